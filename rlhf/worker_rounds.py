"""Rounds of a run: from the store's rankings or demonstrations to a policy, published or not.

What trains is a generator (`run_round`, `run_sft_round`); here it is written down what happens, and between
any two of its steps the worker does everything else that is due.
"""

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from data.demonstrations import Demonstration
from data.preferences import RankedResponses
from labeling.store import NewPolicy, RankedTask, Store, StoreError
from rlhf import checkpoint
from rlhf.config import WorkerConfig
from rlhf.imported import learnable, short_enough
from rlhf.kept_round import KeptRound, forget
from rlhf.memory import give_back
from rlhf.policy_round import RoundConfig
from rlhf.ppo import PPOConfig
from rlhf.round import run_round
from rlhf.schedule import least_tasks
from rlhf.sft_round import SFTRoundConfig, run_sft_round, sft_round_config
from rlhf.told import Outcome, Progress
from rlhf.trackers import Trackers
from rlhf.viewer import UNPUBLISHED
from rlhf.worker_commands import Commands, Heart
from rlhf.worker_models import Models
from rlhf.worker_tasks import Tasks

ROUND_SAMPLES = 6  # held-out prompts kept with a round, answered before and after
ROUND = "round"  # folder in the run directory where a running round is kept


class StopRound(Exception):
    """This round is to end now; the message is the reason."""


def as_learned(
    rankings: Sequence[RankedTask], short: Callable[[str], bool] = lambda _: True
) -> list[RankedResponses]:
    """Rankings of the store as the reward model takes them.

    Who has said once that none was acceptable knows that it can be said: of their other rankings the best is.
    Without these, a reward model finds it easiest to call everything unacceptable, which teaches nothing.
    A better response that they wrote is one more response, above all others, and acceptable where the others
    are not; by how much one of two shown ones is better is not said of it. One that is not `short` is left
    out: a model takes memory by the longest that it reads.
    """
    choosy = {r.person_id for r in rankings if r.acceptable is False}
    learned = []
    for r in rankings:
        written = [r.better] if r.better is not None and short(r.better) else []
        said = True if r.acceptable is None and r.person_id in choosy else r.acceptable
        learned.append(
            RankedResponses(
                r.prompt,
                (*written, *r.responses),
                (*(1 for _ in written), *(rank + len(written) for rank in r.ranks)),
                (*(True for _ in written), *r.finished),
                partial=r.partial,
                acceptable=True if written and said is False else said,
                strength=0 if written else r.strength,
                weight=r.weight,
            )
        )
    return learned


@dataclass(eq=False)
class Rounds:
    """Runs rounds, each to its end.

    housekeeping: what is due between any two steps, in a round or out of it.
    """

    store: Store
    run_dir: Path
    config: WorkerConfig
    models: Models
    tasks: Tasks
    commands: Commands
    heart: Heart
    trackers: Trackers
    housekeeping: Callable[[], None]

    def begin(self) -> None:
        """Run one round on rankings to its end, whatever that is; never raises for a failed one."""
        config, killed = self.round_config(), self.store.running_round()
        if killed is not None:  # it is begun again as what it was
            config = replace(config, method=killed.method)
        with self.store.write():  # who asked for it is answered with it, or asks again
            round_ = self.store.begin_round(_as_dict(config, self.config), config.method)
            self.commands.finish_train_now(f"round {round_.id} started")
        self.heart.beat("reward_model", f"round {round_.id}: reading {round_.rankings} rankings", error=None)
        self._to_its_end(round_, lambda: self._run_round(round_, config))

    def begin_sft(self, asked: dict | None = None) -> None:
        """Run one round on demonstrations. asked: of one that was killed, what it was asked for with."""
        command, self.commands.sft_now = self.commands.sft_now, None
        asked = asked if asked is not None else command["argument"] or {}
        config = sft_round_config(asked)
        settings = {"worker": asdict(self.config), "asked": asked, **asdict(config)}
        with self.store.write():  # a kill in between would let it learn twice
            round_ = self.store.begin_round(settings, "sft")
            if command:
                self.store.finish_command(command["id"], f"round {round_.id} started")
        self.heart.beat("sft", f"round {round_.id}: reading demonstrations", error=None)
        self._to_its_end(round_, lambda: self._run_sft(round_, config))

    def _to_its_end(self, round_, run: Callable[[], None]) -> None:
        """Whatever ends a round, its row says so."""
        self.commands.in_round, self.heart.starting = True, False
        self.trackers.begin_round()
        try:
            run()
        except StopRound as stop:
            self._end(round_, "stopped", str(stop), {})
        except (StoreError, KeyboardInterrupt):
            raise
        except torch.OutOfMemoryError:
            self.fail(round_, "out of memory: try --tuning lora or a smaller --max-new-tokens")
        except Exception as error:  # a round may fail in any way; the annotators' tasks go on
            traceback.print_exc()
            first_line = (str(error).splitlines() or [""])[0]
            self.fail(round_, f"{type(error).__name__}: {first_line[:300]}")
        finally:
            self.commands.in_round = False
        forget(self.run_dir / ROUND)  # it has ended
        ended = self.store.round(round_.id)
        self.trackers.end_round(ended.id, ended.state, ended.reason, ended.summary)
        if not self.models.viewer.scores_ready:  # a round that ended early leaves a half-trained reward model
            self.models.load_scores()
        give_back()
        self.commands.finish_stops(f"round {round_.id} ended")

    def round_config(self) -> RoundConfig:
        config = self.config
        ppo = PPOConfig(
            updates=config.ppo_updates,
            episodes=config.ppo_episodes,
            warmup_episodes=2 * config.ppo_episodes,  # PPOConfig's own proportion
            kl_coef=config.kl_coef,
            kl_limit=config.kl_limit,
            sampling=self.models.sampling,
        )
        return RoundConfig(method=config.method, ppo=ppo)

    def _run_round(self, round_, config: RoundConfig) -> None:
        store, models, seed = self.store, self.models, self.config.seed + round_.id
        found = store.rankings(through=round_.trained_through)
        rankings = as_learned(found, short_enough(models.family, self.config.max_new_tokens))
        imported = self._imported_rankings()
        rankings += imported
        prompts = [p.text for p in self.tasks.readable(store.prompts("train", seed))]
        if models.version != round_.parent_version:  # begun again after somebody went back to another policy
            raise StopRound(f"policy {models.version} was published instead of {round_.parent_version}")
        models.viewer.scores_ready = models.viewer.unpublished_ready = False  # both are being trained anew
        read = (rankings, prompts, self.config.system_prompt)
        identity = (round_.id, round_.parent_version, config, seed, *read)
        kept = KeptRound(self.run_dir / ROUND, *identity)
        events = run_round(models.family, models.reward_model, rankings, prompts, config, seed, kept)
        outcome = self._follow(round_, events, {"imported_rankings": float(len(imported))})
        models.viewer.scores_ready = "score_after" in outcome.summary

    def _imported_rankings(self) -> list[RankedResponses]:
        found = self.store.imported_rankings(self.config.imported_rankings)
        limits = (self.models.prompt_limit, self.config.max_new_tokens)
        return learnable(self.models.family, found, *limits, self.config.imported_weight)

    def _run_sft(self, round_, config: SFTRoundConfig) -> None:
        self.models.viewer.unpublished_ready = False  # it is being trained anew
        demonstrations = [
            Demonstration(d["prompt"], d["text"])
            for d in self.store.demonstrations()
            if d["split"] != "heldout"  # what policies are compared on is learned by none
        ]
        base = self.models.base_model()
        seed = self.config.seed + round_.id
        self._follow(round_, run_sft_round(self.models.family, demonstrations, base, config, seed))

    def _follow(
        self, round_, events: Iterator[Progress | Outcome], figures: dict[str, float] | None = None
    ) -> Outcome:
        """Write down what happens, serve annotators in between, and publish or reject what came of it.

        figures: what else belongs into the summary.
        """
        with contextlib.closing(events):  # one that is left half-way puts weights and models back at once
            for event in events:
                if isinstance(event, Outcome):
                    break
                self._write_down(round_, event)
                self.between(event)
        event.summary.update(figures or {})
        if event.published:
            self._publish(round_, event)
        else:
            self._reject(round_, event)
        return event

    def _write_down(self, round_, event: Progress) -> None:
        finite = {k: v for k, v in event.metrics.items() if math.isfinite(v)}
        self.store.add_metrics(round_.id, round_.attempts, event.step, finite)
        self.trackers.log(finite | {"round/id": round_.id})
        self.heart.beat(event.state, f"round {round_.id}: {event.detail}")

    def between(self, event: Progress) -> None:
        """Everything else that is due, between two steps of a round. Raises StopRound."""
        self.housekeeping()
        commands, wanted = self.commands, self.config.open_tasks
        while commands.paused and not commands.stops and not commands.alone:
            self.heart.beat("paused", f"in a round, after: {event.detail}", every=2.0)
            self.tasks.fill_below(wanted)
            time.sleep(0.1)
            self.housekeeping()
        if commands.stops:
            raise StopRound("stopped by a person")
        if not commands.alone:
            self.tasks.fill_below(least_tasks(wanted))

    def _reject(self, round_, outcome: Outcome) -> None:
        """The policy stays in memory until the next round; samples show what was wrong with it."""
        self.models.viewer.unpublished_ready = bool({"score_after", "loss_after"} & outcome.summary.keys())
        with self.store.write():
            self._end(round_, "rejected", outcome.reason, outcome.summary)
            if self.models.viewer.unpublished_ready:
                self._ask_for_samples(round_, UNPUBLISHED)

    def _ask_for_samples(self, round_, after: int) -> None:
        for prompt in self.store.prompts("heldout", round_.id)[:ROUND_SAMPLES]:
            self.store.add_samples(f"round-{round_.id}", prompt.text, [self.models.version, after])

    def _publish(self, round_, outcome: Outcome) -> None:
        models, version = self.models, self.store.next_version()
        self.heart.beat("publishing", f"writing policy {version}")
        tasks = None if self.commands.alone else self.tasks.first_of(version)
        scored = round_.method != "sft" or models.viewer.scores_ready  # else there is no reward model yet

        def write(folder: Path) -> None:
            models.family.save("policy", folder / "policy")
            if scored:
                models.reward_model.save(folder / "reward")

        folder = checkpoint.write_policy(self.run_dir, version, write)
        path = str(folder.relative_to(self.run_dir))
        policy = NewPolicy(version, path, self.config.source, outcome.summary)
        with self.store.write():  # all or nothing: a kill in between would leave the round without samples
            self._end(round_, "published", outcome.reason, outcome.summary, policy)
            if tasks:
                self.tasks.add(version, *tasks)
            self._ask_for_samples(round_, version)
        models.family.copy("policy", "published")
        models.version, self.tasks.rest_until = version, 0.0

    def _end(self, round_, state: str, reason: str, summary: dict, policy: NewPolicy | None = None) -> None:
        print(f"round {round_.id} {state}: {reason}", flush=True)
        summary = {k: v for k, v in summary.items() if math.isfinite(v)}  # others are not JSON
        self.store.end_round(round_.id, state, reason, summary, policy)

    def fail(self, round_, reason: str) -> None:
        """End it for a reason that stays on the page."""
        self._end(round_, "failed", reason, {})
        self.heart.starting = False  # what went wrong is this, and it stays to be read
        self.heart.beat("failed", f"round {round_.id} failed", error=f"Round {round_.id}: {reason}")


def _as_dict(config: RoundConfig, worker: WorkerConfig) -> dict:
    """Every setting of a round, for the record."""
    return {"worker": asdict(worker), **asdict(config)}
