"""Podium's one door: `python app.py` serves; the other commands are listed by `python app.py --help`.

Nothing is decided here. Options are made from dataclasses, and heavy modules are imported by the command that
needs them: torch only by `evaluate`, `export` of a model, `sft --out`, and `judge` with a model of its own.
"""

import os
import signal
import sys

LISTENS = signal.getsignal(signal.SIGINT) == signal.default_int_handler  # not in a shell's background
if __name__ == "__main__" and LISTENS:  # Ctrl-C while the rest is imported: nothing has begun
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from labeling.export import MODELS, ExportConfig
from labeling.importing import ImportConfig, SourceConfig
from labeling.options import one_sentence, with_options, with_value
from labeling.serve import ServeConfig
from labeling.simulate import SimulateConfig
from rlhf.config import WorkerConfig
from rlhf.evaluate_config import EvaluateConfig
from rlhf.judge import JudgeConfig

RunDir = Annotated[Path, typer.Option(help="The run to look at.")]


class ServeUnlessNamed(TyperGroup):
    """`python app.py --port 8000` means `python app.py serve --port 8000`."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["serve", *args]
        if args[0] == "evaluate":
            args = with_value(args, "--json", "-")
        return super().parse_args(ctx, args)

    def invoke(self, ctx):
        """Ctrl-C ends any command without a traceback, also while it imports what it needs."""
        with one_sentence():
            return super().invoke(ctx)


cli = typer.Typer(cls=ServeUnlessNamed, add_completion=False, pretty_exceptions_enable=False)


@cli.command()
@with_options(config=ServeConfig, worker=WorkerConfig)
def serve(config: ServeConfig, worker: WorkerConfig) -> None:
    """Serve the annotate and lab pages, and train in the background (the default command)."""
    from labeling.serve import serve
    from rlhf.beforehand import check_settings

    raise typer.Exit(serve(config, asdict(worker), check_settings))


@cli.command()
@with_options(config=SimulateConfig)
def simulate(config: SimulateConfig) -> None:
    """Rank with programs, through the JSON API of a running server."""
    from labeling.simulate import SimulationError, simulate

    with one_sentence(SimulationError):
        summary = simulate(config)
    raise typer.Exit(0 if summary.rankings >= summary.wanted else 1)


@cli.command()
def status(
    run_dir: RunDir = Path("runs/default"),
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how a run stands, with or without its server."""
    from labeling.report import report
    from labeling.store import StoreError

    with one_sentence(StoreError):
        print(report(run_dir, as_json))


@cli.command(name="import")
@with_options(config=ImportConfig)
def import_(
    source: Annotated[str, typer.Argument(help="A file, a folder, or a data set's id on the hub.")],
    config: ImportConfig,
) -> None:
    """Bring prompts, demonstrations and preferences into a run, with or without its server."""
    from data.reading import SourceError
    from labeling.importing import import_into
    from labeling.store import StoreError

    with one_sentence(StoreError, SourceError):
        raise typer.Exit(import_into(source, config))


@cli.command()
@with_options(config=EvaluateConfig)
def evaluate(
    config: EvaluateConfig,
    run_dir: RunDir = Path("runs/default"),
    scorer: Annotated[str, typer.Option(help="Who judges; names as in 'simulate'.")] = "helpful",
    before: Annotated[int, typer.Option(help="Without --policies: version to compare with.")] = 0,
    after: Annotated[
        int | None, typer.Option(help="Without --policies: version; the published one if not given.")
    ] = None,
    prompts: Annotated[int, typer.Option(help="How many prompts nobody has ranked.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the prompts and of sampling.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="auto, cuda, mps or cpu; the run's own if not given.")
    ] = None,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="[FILE]", help="As JSON: into a file, or printed.")
    ] = None,
) -> None:
    """Compare two policies of a run on prompts never ranked; or all there are, in every way (--policies)."""
    from data.behaviours import general
    from data.scorers import behaviours, load_scorer
    from labeling.evaluation_report import check, write
    from labeling.human_arena import arena
    from labeling.report import comparison, say
    from labeling.standings import standings
    from labeling.store import StoreError, open_store
    from rlhf.asked import check_asked
    from rlhf.config import ModelError

    common = {"prompts": prompts, "seed": seed, "device": device}
    with one_sentence(StoreError, ModelError, ValueError), open_store(run_dir, read_only=True) as store:
        check(config.html, as_json)
        check_asked(store, config)
        judged_by = load_scorer(scorer)
        from rlhf.arena import evaluate_versions  # seconds
        from rlhf.judge_votes import judges_of
        from rlhf.quiet import quiet
        from rlhf.standings import evaluate_run

        quiet()
        if not config.asked:
            versions = {"before": before, "after": after, "labels": behaviours}
            say(evaluate_versions(store, judged_by, **versions, **common), comparison, as_json)
            return
        with judges_of(config, store.constitution().text, device) as (judges, at_once, notes):
            result = evaluate_run(
                store,
                config,
                scorers={scorer: judged_by},
                judges=judges,
                at_once=at_once,
                labels=[general, behaviours] if store.get_setting("model") == "starter" else [general],
                people=arena(store.arena_rankings()),
                **common,
            )
        result["notes"] += notes
        write(result, config.html)
        say(result, standings, as_json)


@cli.command()
@with_options(config=JudgeConfig)
def judge(config: JudgeConfig, run_dir: RunDir = Path("runs/default")) -> None:
    """Let a model rank by the constitution, criticise and revise; beside a running server or without one."""
    from labeling.report import judged
    from labeling.store import StoreError, open_store
    from rlhf.config import ModelError
    from rlhf.judge import open_judge
    from rlhf.judge_client import EndpointError
    from rlhf.judging import Judging

    with one_sentence(StoreError, EndpointError, ModelError, ValueError), open_store(run_dir) as store:
        with closing(open_judge(config)) as model:
            summary = Judging(store, model, config).run()
        print(judged(store, summary, summary.cost(config)))
        if summary.trouble:
            raise EndpointError(summary.trouble)


@cli.command()
@with_options(config=ExportConfig)
def export(config: ExportConfig) -> None:
    """Take preferences, rankings, demonstrations, a policy or a reward model out of a run."""
    from data.export_files import ExportError
    from labeling.export import check_out, export_rows
    from labeling.hub import HubError, push_folder
    from labeling.store import StoreError, open_store
    from rlhf.config import ModelError

    refused = (StoreError, ExportError, ModelError, HubError, ValueError)
    with one_sentence(*refused), open_store(config.run_dir, read_only=True) as store:
        check_out(config)
        if config.what == "policy":
            from rlhf.export import export_policy

            said = export_policy(
                store,
                config.out,
                version=config.policy_version,
                merged=config.merged,
                dtype=config.dtype,
                overwrite=config.overwrite,
            )
        elif config.what == "reward-model":
            from rlhf.export_reward import export_reward_model

            said = export_reward_model(
                store,
                config.out,
                version=config.policy_version,
                device=config.device,
                overwrite=config.overwrite,
                prompts=config.prompts,
                tell=partial(print, file=sys.stderr, flush=True),
            )
        else:
            said = export_rows(store, config)
        print(said)
        if config.push_to_hub:
            kind = "model" if config.what in MODELS else "dataset"
            print(push_folder(config.out, config.push_to_hub, kind=kind, public=config.public))


@cli.command()
@with_options(reading=SourceConfig)
def sft(
    reading: SourceConfig,
    data: Annotated[
        str | None,
        typer.Option(help="File, folder or hub id of demonstrations, imported first; beside the run's."),
    ] = None,
    run_dir: RunDir = Path("runs/default"),
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the demonstrations, at most.", min=1)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="For a model 256 wide; wider ones get less.")
    ] = None,
    from_base: Annotated[
        bool, typer.Option("--from-base", help="Start from the reference, not from the published policy.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="No run: write an SFT model into this folder, from --model and --data."),
    ] = None,
    model: Annotated[str, typer.Option(help="With --out: the model to start from.")] = "",
    tuning: Annotated[str, typer.Option(help="With --out: full, lora or auto.")] = "auto",
    device: Annotated[str, typer.Option(help="With --out: auto, cuda, mps or cpu.")] = "auto",
) -> None:
    """Learn from demonstrations: one more policy of a run, or with --out a model to start runs from."""
    from labeling.report import losses

    asked = {"epochs": epochs, "learning_rate": learning_rate}
    if out:
        if not (model and data):
            print("--out needs --model and --data as well.", file=sys.stderr)
            raise typer.Exit(2)
        from labeling.demonstrations import read_demonstrations

        with one_sentence(ValueError):
            demonstrations = read_demonstrations(data, reading, print)
        from rlhf.models import ModelError
        from rlhf.quiet import quiet
        from rlhf.sft_model import make_sft_model
        from rlhf.sft_round import sft_round_config

        quiet()
        with one_sentence(ModelError, ValueError):
            config = sft_round_config(asked)
            ended = make_sft_model(model, demonstrations, out, config, tuning=tuning, device=device)
        published, sentence, summary = ended.published, ended.reason, ended.summary
    else:
        from labeling.learn import learn
        from labeling.store import StoreError

        with one_sentence(StoreError, ValueError):
            ended = learn(run_dir, asked | {"from_base": from_base or None}, data, reading)
        published, sentence, summary = ended.published, ended.sentence, ended.summary
    print("\n".join([*losses(summary), sentence]))
    raise typer.Exit(0 if published else 1)


def main() -> None:
    """The console script `podium`."""
    if LISTENS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli()


if __name__ == "__main__":
    main()
