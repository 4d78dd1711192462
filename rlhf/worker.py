"""The background loop: look at the store, decide, act.

`app.py` starts it as `python -m rlhf.worker --run-dir DIR --config JSON --supervised` and starts it again
when it dies. It owns the models. It keeps tasks ready ahead of the annotators, runs a round when enough new
rankings have arrived, answers the before/after page, and does what people ask (train, pause, stop ...).
Annotators never wait for it: a round is a generator, and between any two of its steps the worker does
everything else that is due.

It may be killed at any moment. What was acknowledged is in the store; a round that was running is begun again
with the same rankings; a policy is published by its row, written after its folder is on disk.
"""

import argparse
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import torch

from data.preferences import RankedResponses
from data.prompts import read_prompts, split_of, starter_prompts
from labeling.store import KEEP, NewPolicy, NewResponse, Store, StoreError, open_store
from rlhf import checkpoint
from rlhf.config import WorkerConfig
from rlhf.generate import SamplingConfig, decode_text, encode_prompt, sample
from rlhf.models import ModelError, load_family, resolve
from rlhf.ppo import PPOConfig
from rlhf.reward_model import RewardModel
from rlhf.round import Outcome, Progress, RoundConfig, run_round
from rlhf.viewer import Viewer

FIRST_FILL = 2  # tasks made at once when there is none: somebody may be looking at an empty page
FILL = 8  # tasks made at once after that
LEAST_RANKINGS = 8  # what 'train now' needs
ROUND_SAMPLES = 6  # held-out prompts kept with a round, answered before and after


class StopRound(Exception):
    """Somebody asked for this round to end."""


def next_action(
    *, open_tasks: int, wanted_tasks: int, new_rankings: int, threshold: int, paused: bool
) -> str:
    """What the worker does next: 'fill', 'round' or 'idle'.

    Tasks first: an annotator with nothing to rank is worse than a round a second later.
    """
    if open_tasks < wanted_tasks:
        return "fill"
    if new_rankings >= threshold and not paused:
        return "round"
    return "idle"


class Worker:
    """Owns the models; everything it learns or makes goes into the store."""

    def __init__(self, store: Store, run_dir: Path, config: WorkerConfig):
        self.store, self.run_dir, self.config = store, run_dir, config
        self.sampling = SamplingConfig(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
        self.paused = bool(store.get_setting("paused"))
        self.train_now: int | None = None  # id of the command that asked for it
        self.stop_asked: int | None = None
        self.in_round = False
        self.started = True  # until the first tasks are written
        self.detail = ("", "")
        self.last_beat = 0.0

    # -- start -----------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load models and prompts. Raises ModelError, ValueError or StoreError with one sentence."""
        config, store = self.config, self.store
        made_with = store.get_setting("model")
        if made_with not in (None, config.model):
            raise ModelError(
                f"Run directory {self.run_dir} was made with --model {made_with}, not {config.model}; "
                "use another --run-dir for another model."
            )
        torch.manual_seed(config.seed)
        self.family = load_family(
            config.model, tuning=config.tuning, device=config.device, lora_rank=config.lora_rank
        )
        tuning = store.get_setting("tuning")
        if tuning not in (None, self.family.kind):
            raise ModelError(
                f"Run directory {self.run_dir} was made with {tuning} tuning, not {self.family.kind}; "
                f"use --tuning {tuning} or another --run-dir."
            )
        prompts = self._read_prompts()
        store.add_reference(resolve(config.model), config.model)
        store.put_setting("model", config.model)
        store.put_setting("tuning", self.family.kind)
        store.put_setting("base", self._base_model())
        checkpoint.clean(self.run_dir, [p.version for p in store.policies()])
        store.add_prompts(prompts, config.prompts or "starter")
        self.reward_model = RewardModel(self.family)
        self.viewer = Viewer(self.family, self.reward_model, self._base_model(), self.sampling)
        self._load_published()

    def _read_prompts(self) -> list[tuple[str, str]]:
        """The prompts with their split, too long ones left out."""
        config = self.config
        if config.prompts:
            prompts = [(p, split_of(p)) for p in read_prompts(Path(config.prompts))]
        else:
            prompts = starter_prompts()
        tokenizer = self.family.tokenizer
        short = [p for p in prompts if len(encode_prompt(tokenizer, p[0])) <= config.max_prompt_tokens]
        if len(short) < len(prompts):
            print(f"{len(prompts) - len(short)} prompts over {config.max_prompt_tokens} tokens left out")
        if not short:
            raise ValueError(
                f"All prompts are over {config.max_prompt_tokens} tokens; raise --max-prompt-tokens."
            )
        return short

    def _base_model(self) -> str:
        """Folder or hub id of the model before SFT, or ''."""
        if self.config.base_model:
            return self.config.base_model
        return resolve("starter", "base") if self.config.model == "starter" else ""

    def _load_published(self) -> None:
        """Bring the published policy, and the reward model that trained it, into memory."""
        policy = self.store.published()
        self.version = policy.version
        if policy.version == 0:
            self.family.copy("reference", "published")
            self.viewer.scores_ready = False
            return
        folder = Path(policy.path)
        self.family.load("published", folder / "policy")
        self.reward_model.load(folder / "reward")
        self.viewer.scores_ready = True

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the process ends."""
        if self.store.running_round():  # a round this worker's predecessor did not finish
            self.begin_round()
        while True:
            self.housekeeping()
            action = self.decide()
            if action == "round":
                self.begin_round()
            elif action == "idle":
                state = "paused" if self.paused else "idle"
                self.beat(state, self._idle_detail(), every=2.0)
                time.sleep(0.1)

    def decide(self) -> str:
        """Refill when due, then say what is next."""
        threshold = self.config.rankings_per_round if self.train_now is None else LEAST_RANKINGS
        waiting = self.store.new_rankings()
        action = next_action(
            open_tasks=self.store.open_tasks(self.version),
            wanted_tasks=self.config.open_tasks,
            new_rankings=self.store.ranking_count() if self.train_now is not None else waiting,
            threshold=threshold,
            paused=self.paused and self.train_now is None,
        )
        if action == "fill":
            self.fill()
        elif self.train_now is not None and action == "idle":
            self._finish_train_now(f"not started: it takes at least {LEAST_RANKINGS} rankings")
        return action

    def housekeeping(self) -> None:
        """What is due between any two steps, in a round or out of it."""
        self.obey()
        self.answer_samples()

    def beat(self, state: str, detail: str, *, every: float = 0.5, error: str | object | None = KEEP) -> None:
        """Tell the store that the worker is alive and what it does; news at once, else every few seconds."""
        now = time.monotonic()
        if (state, detail) == self.detail and now - self.last_beat < every and error is KEEP:
            return
        self.detail, self.last_beat = (state, detail), now
        self.store.beat(state, detail, error, pid=os.getpid())

    def _idle_detail(self) -> str:
        left = max(0, self.config.rankings_per_round - self.store.new_rankings())
        return f"waiting for {left} more rankings" if left else "enough rankings are there"

    # -- tasks -----------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Make a few tasks from the published policy."""
        have = self.store.open_tasks(self.version)
        count = min(self.config.open_tasks - have, FILL if have else FIRST_FILL)
        if not self.in_round:
            self.beat("generating", f"writing responses of policy {self.version}")
        prompts = self.store.next_prompts(count, self.version, self.config.seed)
        tokenizer, wanted = self.family.tokenizer, self.config.responses
        draws = wanted + 2  # a sure policy repeats itself; two more draws mostly find enough that differ
        seed = hash((self.config.seed, self.version, tuple(p.id for p in prompts))) & 0x7FFFFFFF
        generator = torch.Generator(device=self.family.device).manual_seed(seed)
        ids = [encode_prompt(tokenizer, p.text) for p in prompts for _ in range(draws)]
        with self.family.use("published") as model:
            samples = sample(
                model,
                ids,
                self.sampling,
                pad_id=self.family.pad_id,
                eos_ids=self.family.eos_ids,
                generator=generator,
            )
        settings = {**vars(self.sampling), "seed": seed}
        for number, prompt in enumerate(prompts):
            responses: dict[str, NewResponse] = {}
            for drawn in samples[number * draws : (number + 1) * draws]:
                text = decode_text(tokenizer, drawn.tokens)
                if text.strip() and text.strip() not in responses:
                    tokens = len(drawn.tokens) - drawn.finished
                    responses[text.strip()] = NewResponse(text, tokens, drawn.finished, settings)
            chosen = list(responses.values())[:wanted]
            if len(chosen) >= 2:
                self.store.add_task(prompt.id, self.version, chosen, seed=seed + number)
            else:
                self.store.pass_over(prompt.id, self.version)
        if have + count >= min(self.config.open_tasks, FILL):
            self.store.retire_tasks(other_than=self.version)
        if not self.in_round and self.started:
            self.started = False
            self.beat("generating", self.detail[1], error=None)  # it works: why it had to start again is over

    # -- rounds ----------------------------------------------------------------------------------------

    def begin_round(self) -> None:
        """Run one round to its end, whatever that is; never raises for a failed one."""
        config = self.round_config()
        round_ = self.store.begin_round(_as_dict(config, self.config))
        self.in_round, self.stop_asked = True, None
        self.beat("reward_model", f"round {round_.id}: reading {round_.rankings} rankings", error=None)
        if self.train_now is not None:
            self._finish_train_now(f"round {round_.id} started")
        try:
            self._run_round(round_, config)
        except StopRound:
            self._end(round_, "stopped", "stopped by a person", {})
        except (StoreError, KeyboardInterrupt):
            raise
        except torch.OutOfMemoryError:
            self._fail(round_, "out of memory: try --tuning lora or a smaller --max-new-tokens")
        except Exception as error:  # a round may fail in any way; the annotators' tasks go on
            traceback.print_exc()
            first_line = (str(error).splitlines() or [""])[0]
            self._fail(round_, f"{type(error).__name__}: {first_line[:300]}")
        finally:
            self.in_round = False
        if self.stop_asked is not None:
            self.store.finish_command(self.stop_asked, f"round {round_.id} ended")
            self.stop_asked = None

    def round_config(self) -> RoundConfig:
        config = self.config
        ppo = PPOConfig(
            updates=config.ppo_updates,
            episodes=config.ppo_episodes,
            kl_coef=config.kl_coef,
            kl_stop=config.kl_stop,
            sampling=self.sampling,
        )
        return RoundConfig(ppo=ppo)

    def _run_round(self, round_, config: RoundConfig) -> None:
        store, seed = self.store, self.config.seed + round_.id
        rankings = [
            RankedResponses(r.prompt, tuple(r.responses), tuple(r.ranks))
            for r in store.rankings(through=round_.trained_through)
        ]
        prompts = [p.text for p in store.prompts("train", seed)]
        if self.version != round_.parent_version:  # begun again after somebody went back to another policy
            raise StopRound
        self.viewer.scores_ready = False  # the reward model is being trained anew
        outcome = None
        for event in run_round(self.family, self.reward_model, rankings, prompts, config, seed):
            if isinstance(event, Outcome):
                outcome = event
                break
            self._write_down(round_, event)
            self.between(event)
        self.viewer.scores_ready = outcome is not None and "score_after" in outcome.summary
        if outcome.published:
            self._publish(round_, outcome)
        else:
            self._end(round_, "rejected", outcome.reason, outcome.summary)

    def _write_down(self, round_, event: Progress) -> None:
        finite = {k: v for k, v in event.metrics.items() if v == v and abs(v) != float("inf")}
        self.store.add_metrics(round_.id, round_.attempts, event.step, finite)
        self.beat(event.state, f"round {round_.id}: {event.detail}")

    def between(self, event: Progress) -> None:
        """Everything else that is due, between two steps of a round. Raises StopRound."""
        self.housekeeping()
        while self.paused and self.stop_asked is None:
            self.beat("paused", f"in a round, after: {event.detail}", every=2.0)
            if self.store.open_tasks(self.version) < self.config.open_tasks:
                self.fill()
            time.sleep(0.1)
            self.housekeeping()
        if self.stop_asked is not None:
            raise StopRound
        if self.store.open_tasks(self.version) < max(2, self.config.open_tasks // 2):
            self.fill()

    def _publish(self, round_, outcome: Outcome) -> None:
        version = self.store.next_version()
        self.beat("publishing", f"writing policy {version}")

        def write(folder: Path) -> None:
            self.family.save("policy", folder / "policy")
            self.reward_model.save(folder / "reward")

        folder = checkpoint.write_policy(self.run_dir, version, write)
        policy = NewPolicy(version, str(folder), self.config.model, outcome.summary)
        self._end(round_, "published", outcome.reason, outcome.summary, policy)
        before = self.version
        self.family.copy("policy", "published")
        self.version = version
        for prompt in self.store.prompts("heldout", round_.id)[:ROUND_SAMPLES]:
            self.store.add_samples(f"round-{round_.id}", prompt.text, [before, version])

    def _end(self, round_, state: str, reason: str, summary: dict, policy: NewPolicy | None = None) -> None:
        print(f"round {round_.id} {state}: {reason}", flush=True)
        summary = {k: v for k, v in summary.items() if v == v}  # NaN is not JSON
        self.store.end_round(round_.id, state, reason, summary, policy)

    def _fail(self, round_, reason: str) -> None:
        self._end(round_, "failed", reason, {})
        self.beat("failed", f"round {round_.id} failed", error=f"Round {round_.id}: {reason}")

    # -- what people ask -------------------------------------------------------------------------------

    def obey(self) -> None:
        """Take up what people asked for since the last look."""
        for command in self.store.waiting_commands():
            if command["id"] in (self.train_now, self.stop_asked):
                continue
            match command["name"]:
                case "pause" | "resume":
                    self.paused = command["name"] == "pause"
                    self.store.put_setting("paused", self.paused)
                    self.store.finish_command(command["id"], "paused" if self.paused else "resumed")
                case "train" if self.in_round:
                    self.store.finish_command(command["id"], "a round is already running")
                case "train":
                    self.train_now = command["id"]
                case "stop" if self.in_round:
                    self.stop_asked = command["id"]
                case "stop":
                    self.store.finish_command(command["id"], "no round is running")
                case "publish" if self.in_round:
                    self.store.finish_command(command["id"], "stop the running round first")
                case "publish":
                    self.store.finish_command(command["id"], self._go_to(command["argument"]))

    def _finish_train_now(self, outcome: str) -> None:
        self.store.finish_command(self.train_now, outcome)
        self.train_now = None

    def _go_to(self, argument: dict | None) -> str:
        """Publish an earlier (or later) policy again; the sentence that says what came of it."""
        version = (argument or {}).get("policy_version")
        policies = {p.version: p for p in self.store.policies()}
        if version not in policies:
            return f"there is no policy {version}"
        if version == self.version:
            return f"policy {version} is published already"
        self.store.publish(version, "chosen by a person")
        self._load_published()
        self.store.retire_tasks(other_than=version)
        return f"policy {version} is published again"

    def answer_samples(self) -> None:
        """Write what the before/after page waits for, streamed into the store."""
        waiting = self.store.waiting_samples()
        if waiting:
            folders = {p.version: p.path for p in self.store.policies()}
            self.viewer.answer(waiting, self.version, folders, self.store.update_sample)


def _as_dict(config: RoundConfig, worker: WorkerConfig) -> dict:
    """Every setting of a round, for the record."""
    ppo = {**vars(config.ppo), "sampling": vars(config.ppo.sampling)}
    return {
        "worker": vars(worker),
        "reward_model": vars(config.reward_model),
        "ppo": ppo,
        "gate": config.gate,
    }


def _end_with_parent() -> None:
    """Exit when stdin closes: the app holds the other end, so the worker never outlives it."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock aborts the interpreter at exit
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description="Podium's background loop; app.py starts it.")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--config", default="{}", help="JSON object of WorkerConfig fields")
    parser.add_argument("--supervised", action="store_true", help="exit when stdin closes")
    arguments = parser.parse_args()
    if arguments.supervised:
        _end_with_parent()
    try:
        config = WorkerConfig.from_dict(json.loads(arguments.config))
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) - 1))
        store = open_store(arguments.run_dir)
        worker = Worker(store, arguments.run_dir, config)
        worker.beat("starting", "loading the model")
        worker.load()
        worker.run()
    except (ModelError, StoreError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(2)  # asking again would not help


if __name__ == "__main__":
    main()
