"""The background loop: look at the store, decide, act.

`app.py` starts it as `python -m rlhf.worker --run-dir DIR --config JSON --supervised` and starts it again
when it dies. It owns the models. It keeps tasks ready ahead of the annotators, runs a round when enough new
rankings have arrived, answers the before/after page, and does what people ask (train, pause, stop ...).
Annotators never wait for it: a round is a generator, and between any two of its steps the worker does
everything else that is due.

It may be killed at any moment. What was acknowledged is in the store; a round that was running is taken up
where it was (`kept_round`), or else begun again, with the same rankings; a policy is published by its row,
written after its folder is on disk.
"""

import argparse
import contextlib
import json
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from data.demonstrations import Demonstration, read_demonstrations
from data.preferences import RankedResponses
from labeling.store import KEEP, NewPolicy, NewResponse, Prompt, RankedTask, Store, StoreError, open_store
from rlhf import checkpoint
from rlhf.config import WorkerConfig
from rlhf.drafts import Draft, draw_drafts
from rlhf.generate import SamplingConfig
from rlhf.imported import learnable
from rlhf.kept_round import KeptRound, forget
from rlhf.loading import same_model
from rlhf.memory import give_back
from rlhf.models import ModelError, load_family, resolve
from rlhf.needs import Work
from rlhf.policy_round import RoundConfig
from rlhf.ppo import PPOConfig
from rlhf.prompts import load_prompts, prompt_limit, readable
from rlhf.reward_model import RewardModel
from rlhf.round import LEAST_RANKINGS, run_round
from rlhf.schedule import LARGEST_FILL, least_tasks, next_action, next_fill, next_rest
from rlhf.sft_model import base_of
from rlhf.sft_round import SFTRoundConfig, run_sft_round, sft_round_config
from rlhf.told import Outcome, Progress
from rlhf.trackers import Trackers
from rlhf.viewer import UNPUBLISHED, Viewer

ROUND_SAMPLES = 6  # held-out prompts kept with a round, answered before and after
ROUND = "round"  # folder in the run directory where a running round is kept
MOST_ATTEMPTS = 3  # at one round: what ends the worker that often will end it again


class StopRound(Exception):
    """This round is to end now; the message is the reason."""


def as_learned(rankings: Sequence[RankedTask]) -> list[RankedResponses]:
    """Rankings of the store as the reward model takes them.

    Who has said once that none was acceptable knows that it can be said: of their other rankings the best is.
    Without these, a reward model finds it easiest to call everything unacceptable, which teaches nothing.
    A better response that they wrote is one more response, above all others, and acceptable where the others
    are not; by how much one of two shown ones is better is not said of it.
    """
    choosy = {r.person_id for r in rankings if r.acceptable is False}
    learned = []
    for r in rankings:
        written = [] if r.better is None else [r.better]
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


class Worker:
    """Owns the models; everything it learns or makes goes into the store."""

    def __init__(self, store: Store, run_dir: Path, config: WorkerConfig):
        self.store, self.run_dir, self.config = store, run_dir, config
        self.sampling = SamplingConfig(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
        self.paused = bool(store.get_setting("paused"))
        self.train_now: int | None = None  # id of the command that asked for it
        self.sft_now: dict | None = None  # the command that asked for it
        self.alone = False  # nobody ranks meanwhile: no task is made
        self.stop_asked: int | None = None
        self.in_round = False
        self.starting = True  # until something went well
        self.fills = 0  # in a row, until now
        self.rest = self.rest_until = 0.0  # after a fill that made no task
        self.detail = ("", "")
        self.last_beat = 0.0
        self.known_to_fit: set[int] = set()  # ids of prompts that the model can read
        self.trackers = Trackers(config.log_to, run_dir, asdict(config))

    # -- start -----------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load models and prompts. Raises ModelError, ValueError or StoreError with one sentence."""
        config, store = self.config, self.store
        made_with = store.get_setting("model")
        if made_with is not None and not same_model(made_with, config.source):
            raise ModelError(
                f"Run directory {self.run_dir} was made with --model {made_with}, not {config.source}; "
                "use another --run-dir for another model."
            )
        torch.manual_seed(config.seed)
        self.family = load_family(
            config.source,
            tuning=self._tuning(),
            device=config.device,
            lora_rank=config.lora_rank,
            precision=config.precision,
            lora_targets=config.lora_targets,
            system_prompt=config.system_prompt,
            trust_remote_code=config.trust_remote_code,
            work=self._work() if config.memory_check else None,
        )
        self._check_tuning()
        self.prompt_limit = limit = prompt_limit(self.family, config, self.sampling)
        prompts = load_prompts(self.family, config, limit, store.imported_prompts())
        store.add_reference(resolve(config.source), made_with or config.source)
        store.put_setting("model", made_with or config.source)
        store.put_setting("tuning", self.family.kind)
        store.put_setting("lora_rank", config.lora_rank)
        store.put_setting("lora_targets", config.lora_targets)
        store.put_setting("base", self._base_model())
        checkpoint.clean(self.run_dir, [p.version for p in store.policies()])
        store.use_prompts(prompts, config.prompts or "starter")
        store.fail_running_samples("The worker ended while it wrote this.")
        self.reward_model = RewardModel(self.family)
        self.viewer = Viewer(
            self.family,
            self.reward_model,
            self._base_model(),
            self.sampling,
            self.run_dir,
            limit,
        )
        self._load_policy(store.published().version)
        self._load_scores()
        give_back()  # what reading the models has used

    def _tuning(self) -> str:
        """What 'auto' was when the run was made; how much memory is free now must not change that."""
        made_with = self.store.get_setting("tuning")
        return made_with if made_with and self.config.tuning == "auto" else self.config.tuning

    def _work(self) -> Work:
        """What memory must do for."""
        config = self.config
        return Work(episodes=config.ppo_episodes, response=config.max_new_tokens)

    def _check_tuning(self) -> None:
        """Adapters of another kind or size could not be loaded."""
        tuning, rank, targets = (
            self.store.get_setting(name) for name in ("tuning", "lora_rank", "lora_targets")
        )
        for made_with, now, option in (
            (tuning, self.family.kind, "tuning"),
            (rank if tuning != "full" else None, self.config.lora_rank, "lora-rank"),
            (targets if tuning != "full" else None, self.config.lora_targets, "lora-targets"),
        ):
            if made_with not in (None, now):
                raise ModelError(
                    f"Run directory {self.run_dir} was made with --{option} {made_with}, not {now}; "
                    f"use --{option} {made_with} or another --run-dir."
                )

    def _base_model(self) -> str:
        """Folder or hub id of the model before SFT, or ''."""
        if self.config.base_model:
            return self.config.base_model
        return resolve("starter", "base") if self.config.model == "starter" else base_of(self.config.model)

    def _load_policy(self, version: int) -> None:
        """Bring a policy into memory as the published one."""
        if version == 0:
            self.family.copy("reference", "published")
        else:
            self.family.load("published", checkpoint.policy_folder(self.run_dir, version) / "policy")
        self.version = version

    def _load_scores(self) -> None:
        """Bring the newest reward model that can be read into memory, if there is one."""
        self.viewer.scores_ready = False
        versions = sorted((p.version for p in self.store.policies() if p.version), reverse=True)
        folders = [checkpoint.policy_folder(self.run_dir, version) / "reward" for version in versions]
        for version, folder in zip(versions, folders, strict=True):
            if not folder.is_dir():  # of demonstrations, made before there was a reward model
                continue
            try:
                self.reward_model.load(folder)
            except Exception as error:  # damaged, or of another Podium: all but scores goes on
                print(f"The reward model of policy {version} cannot be read: {error}", flush=True)
            else:
                self.viewer.scores_ready = True
                return

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the process ends."""
        self.take_up()
        while True:
            self.step()

    def run_once(self) -> None:
        """Do what is asked for and end; nobody ranks meanwhile."""
        self.alone = True
        self.take_up()
        while self.store.waiting_commands() or self.store.waiting_samples():
            self.step()
        self.beat("idle", "")
        self.trackers.finish()

    def take_up(self) -> None:
        """Begin again the round this worker's predecessor did not finish, unless it always dies of it."""
        round_ = self.store.running_round()
        if round_ is None:
            return
        died = self.store.get_setting("ended_in_order") != [round_.id, round_.attempts]
        if died and round_.attempts >= MOST_ATTEMPTS:
            self._fail(round_, f"the worker ended {round_.attempts} times in this round")
            return
        if died and round_.attempts == MOST_ATTEMPTS - 1:  # perhaps it died of what was kept
            forget(self.run_dir / ROUND)
        if round_.method == "sft":
            self.begin_sft(round_.config["asked"])
        else:
            self.begin_round()

    def end_in_order(self) -> None:
        """Note that a person ends the app, so that this attempt at a round did not die of the round."""
        round_ = self.store.running_round()
        if round_ is not None:
            self.store.put_setting("ended_in_order", [round_.id, round_.attempts])
        self.trackers.finish()

    def step(self) -> str:
        """One turn outside a round: what is due at any time, then the next action."""
        self.housekeeping()
        action = self.decide()
        if action == "fill":
            self.fill()
        elif action == "round":
            self.begin_round()
        elif action == "sft":
            self.begin_sft()
        else:
            if self.train_now is not None:
                self._finish_train_now(f"not started: it takes at least {LEAST_RANKINGS} rankings")
            self.well("paused" if self.paused else "idle", self._idle_detail(), every=2.0)
            time.sleep(0.1)
        if action != "fill":
            self.fills = 0
        return action

    def decide(self) -> str:
        """Look at the store and say what is next."""
        if self.alone:
            return "sft" if self.sft_now else "idle"
        now = self.train_now is not None
        return next_action(
            claimable=self.store.claimable_tasks(self.version),
            sft=self.sft_now is not None,
            wanted_tasks=self.config.open_tasks,
            new_rankings=self.store.ranking_count() + self.imported() if now else self.store.new_rankings(),
            threshold=LEAST_RANKINGS if now else self.config.rankings_per_round,
            paused=self.paused,
            filled=self.fills > 0,
            resting=time.monotonic() < self.rest_until,
        )

    def imported(self) -> int:
        """How many imported rankings a round would learn from, if the model can read them."""
        return min(self.store.imported_ranking_count(), self.config.imported_rankings)

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

    def well(self, state: str, detail: str, *, every: float = 0.5) -> None:
        """Beat after something went well; the first time, why the worker had to start again is over."""
        self.beat(state, detail, every=every, error=None if self.starting else KEEP)
        self.starting = False

    def _idle_detail(self) -> str:
        left = max(0, self.config.rankings_per_round - self.store.new_rankings())
        return f"waiting for {left} more rankings" if left else "enough rankings are there"

    # -- tasks -----------------------------------------------------------------------------------------

    def fill(self) -> int:
        """Make a few tasks to judge the published policy by; return how many."""
        have = self.store.claimable_tasks(self.version)
        count = next_fill(self.config.open_tasks - have, self.fills)
        self.fills += 1
        if not self.in_round:
            self.beat("generating", f"writing responses of policy {self.version}")
        made = self._add_tasks(self.version, *self._draw(count, self.version, "published"))
        self.rest = next_rest(self.rest, made)
        self.rest_until = time.monotonic() + self.rest
        if not self.in_round:
            self.well("generating", self.detail[1])
        return made

    def _draw(self, count: int, version: int, role: str) -> tuple[list[Prompt], list[list[Draft]], int]:
        """Prompts, what this policy, which has this role, says to them, and the seed of that."""
        prompts = self._readable(self.store.next_prompts(count, version, self.config.seed))
        # with a count that grows: a prompt that comes round again gets other responses
        seed = hash((self.config.seed, version, self.store.prompts_used())) & 0x7FFFFFFF
        beside = min(self.config.reference_responses, self.config.responses // 2) if version else 0
        texts, wanted = [p.text for p in prompts], self.config.responses
        return prompts, draw_drafts(self.family, texts, wanted, beside, self.sampling, seed, role), seed

    def _readable(self, prompts: list[Prompt]) -> list[Prompt]:
        """Those that the model can read; of what is imported while it runs, the others are asked no more."""
        new = [p for p in prompts if p.id not in self.known_to_fit]
        self.known_to_fit |= {p.id for p in new if readable(self.family, p.text, self.prompt_limit)}
        long = [p.id for p in new if p.id not in self.known_to_fit]
        if long:
            self.store.leave_out(long)
        return [p for p in prompts if p.id in self.known_to_fit]

    def _first_tasks(self, version: int) -> tuple[list[Prompt], list[list[Draft]], int] | None:
        """Of the policy that is about to be published: they come with it, or whoever is fast would go on
        ranking what the last one has said. None if they cannot be drawn; the next fill will say why.
        """
        try:
            return self._draw(min(least_tasks(self.config.open_tasks), LARGEST_FILL), version, "policy")
        except StoreError:
            raise
        except Exception:  # whatever it is, the policy has passed, and is not thrown away for this
            traceback.print_exc()
            return None

    def _add_tasks(self, version: int, prompts: list[Prompt], drafts: list[list[Draft]], seed: int) -> int:
        """Tasks to judge this policy by; once there are enough, those of others go. Returns how many."""
        settings, made = {**vars(self.sampling), "seed": seed}, 0
        for number, (prompt, found) in enumerate(zip(prompts, drafts, strict=True)):
            if len(found) < 2:  # nothing to choose between
                self.store.pass_over(prompt.id, version)
                continue
            responses = [
                NewResponse(d.text, d.tokens, d.finished, settings, 0 if d.role == "reference" else version)
                for d in found
            ]
            wanted = 2 if random.Random(f"overlap {seed + number}").random() < self.config.overlap else 1
            self.store.add_task(prompt.id, version, responses, seed=seed + number, wanted=wanted)
            made += 1
        if self.store.claimable_tasks(version) >= least_tasks(self.config.open_tasks):
            self.store.retire_tasks(other_than=version)
        return made

    # -- rounds ----------------------------------------------------------------------------------------

    def begin_round(self) -> None:
        """Run one round on rankings to its end, whatever that is; never raises for a failed one."""
        config = self.round_config()
        round_ = self.store.begin_round(_as_dict(config, self.config), config.method)
        self.beat("reward_model", f"round {round_.id}: reading {round_.rankings} rankings", error=None)
        if self.train_now is not None:
            self._finish_train_now(f"round {round_.id} started")
        config = replace(config, method=round_.method)  # of one that was killed: what it began as
        self._to_its_end(round_, lambda: self._run_round(round_, config))

    def begin_sft(self, asked: dict | None = None) -> None:
        """Run one round on demonstrations. asked: of one that was killed, what it was asked for with."""
        command, self.sft_now = self.sft_now, None
        asked = asked if asked is not None else command["argument"] or {}
        config = sft_round_config(asked)
        settings = {"worker": asdict(self.config), "asked": asked, **asdict(config)}
        round_ = self.store.begin_round(settings, "sft")
        self.beat("sft", f"round {round_.id}: reading demonstrations", error=None)
        if command:
            self.store.finish_command(command["id"], f"round {round_.id} started")
        self._to_its_end(round_, lambda: self._run_sft(round_, asked, config))

    def _to_its_end(self, round_, run: Callable[[], None]) -> None:
        """Whatever ends a round, its row says so."""
        self.in_round, self.stop_asked, self.starting = True, None, False
        self.trackers.begin_round()
        try:
            run()
        except StopRound as stop:
            self._end(round_, "stopped", str(stop), {})
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
        forget(self.run_dir / ROUND)  # it has ended
        ended = self.store.round(round_.id)
        self.trackers.end_round(ended.id, ended.state, ended.reason, ended.summary)
        if not self.viewer.scores_ready:  # a round that ended early leaves a half-trained reward model
            self._load_scores()
        give_back()
        if self.stop_asked is not None:
            self.store.finish_command(self.stop_asked, f"round {round_.id} ended")
            self.stop_asked = None

    def round_config(self) -> RoundConfig:
        config = self.config
        ppo = PPOConfig(
            updates=config.ppo_updates,
            episodes=config.ppo_episodes,
            warmup_episodes=2 * config.ppo_episodes,  # PPOConfig's own proportion
            kl_coef=config.kl_coef,
            kl_limit=config.kl_limit,
            sampling=self.sampling,
        )
        return RoundConfig(method=config.method, ppo=ppo)

    def _run_round(self, round_, config: RoundConfig) -> None:
        store, seed = self.store, self.config.seed + round_.id
        rankings = as_learned(store.rankings(through=round_.trained_through))
        imported = self._imported_rankings()
        rankings += imported
        prompts = [p.text for p in self._readable(store.prompts("train", seed))]
        if self.version != round_.parent_version:  # begun again after somebody went back to another policy
            raise StopRound(f"policy {self.version} was published instead of {round_.parent_version}")
        self.viewer.scores_ready = self.viewer.unpublished_ready = False  # both are being trained anew
        identity = (round_.id, round_.parent_version, config, seed, rankings, prompts)
        kept = KeptRound(self.run_dir / ROUND, *identity)
        events = run_round(self.family, self.reward_model, rankings, prompts, config, seed, kept)
        outcome = self._follow(round_, events, {"imported_rankings": float(len(imported))})
        self.viewer.scores_ready = "score_after" in outcome.summary

    def _imported_rankings(self) -> list[RankedResponses]:
        found = self.store.imported_rankings(self.config.imported_rankings)
        limits = (self.prompt_limit, self.config.max_new_tokens)
        return learnable(self.family, found, *limits, self.config.imported_weight)

    def _run_sft(self, round_, asked: dict, config: SFTRoundConfig) -> None:
        self.viewer.unpublished_ready = False  # it is being trained anew
        demonstrations = [
            Demonstration(d["prompt"], d["text"])
            for d in self.store.demonstrations()
            if d["split"] != "heldout"  # what policies are compared on is learned by none
        ]
        if asked.get("data"):
            heldout = {p.text for p in self.store.prompts("heldout")}
            given = read_demonstrations(Path(asked["data"]))
            demonstrations += [d for d in given if d.prompt not in heldout]
        base = self._base_model()
        seed = self.config.seed + round_.id
        self._follow(round_, run_sft_round(self.family, demonstrations, base, config, seed))

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
        finite = {k: v for k, v in event.metrics.items() if v == v and abs(v) != float("inf")}
        self.store.add_metrics(round_.id, round_.attempts, event.step, finite)
        self.trackers.log(finite | {"round/id": round_.id})
        self.beat(event.state, f"round {round_.id}: {event.detail}")

    def between(self, event: Progress) -> None:
        """Everything else that is due, between two steps of a round. Raises StopRound."""
        self.housekeeping()
        while self.paused and self.stop_asked is None and not self.alone:
            self.beat("paused", f"in a round, after: {event.detail}", every=2.0)
            self._fill_below(self.config.open_tasks)
            time.sleep(0.1)
            self.housekeeping()
        if self.stop_asked is not None:
            raise StopRound("stopped by a person")
        self._fill_below(least_tasks(self.config.open_tasks))

    def _fill_below(self, least: int) -> None:
        if self.alone:
            return
        if self.store.claimable_tasks(self.version) < least and time.monotonic() >= self.rest_until:
            self.fill()
        else:
            self.fills = 0

    def _reject(self, round_, outcome: Outcome) -> None:
        """The policy stays in memory until the next round; samples show what was wrong with it."""
        self.viewer.unpublished_ready = bool({"score_after", "loss_after"} & outcome.summary.keys())
        with self.store.write():
            self._end(round_, "rejected", outcome.reason, outcome.summary)
            if self.viewer.unpublished_ready:
                self._ask_for_samples(round_, UNPUBLISHED)

    def _ask_for_samples(self, round_, after: int) -> None:
        for prompt in self.store.prompts("heldout", round_.id)[:ROUND_SAMPLES]:
            self.store.add_samples(f"round-{round_.id}", prompt.text, [self.version, after])

    def _publish(self, round_, outcome: Outcome) -> None:
        version = self.store.next_version()
        self.beat("publishing", f"writing policy {version}")
        tasks = None if self.alone else self._first_tasks(version)
        scored = round_.method != "sft" or self.viewer.scores_ready  # else there is no reward model yet

        def write(folder: Path) -> None:
            self.family.save("policy", folder / "policy")
            if scored:
                self.reward_model.save(folder / "reward")

        folder = checkpoint.write_policy(self.run_dir, version, write)
        path = str(folder.relative_to(self.run_dir))
        policy = NewPolicy(version, path, self.config.source, outcome.summary)
        with self.store.write():  # all or nothing: a kill in between would leave the round without samples
            self._end(round_, "published", outcome.reason, outcome.summary, policy)
            if tasks:
                self._add_tasks(version, *tasks)
            self._ask_for_samples(round_, version)
        self.family.copy("policy", "published")
        self.version, self.rest_until = version, 0.0

    def _end(self, round_, state: str, reason: str, summary: dict, policy: NewPolicy | None = None) -> None:
        print(f"round {round_.id} {state}: {reason}", flush=True)
        summary = {k: v for k, v in summary.items() if v == v}  # NaN is not JSON
        self.store.end_round(round_.id, state, reason, summary, policy)

    def _fail(self, round_, reason: str) -> None:
        self._end(round_, "failed", reason, {})
        self.starting = False  # what went wrong is this, and it stays to be read
        self.beat("failed", f"round {round_.id} failed", error=f"Round {round_.id}: {reason}")

    # -- what people ask -------------------------------------------------------------------------------

    def obey(self) -> None:
        """Take up what people asked for since the last look."""
        for command in self.store.waiting_commands():
            if command["id"] in (self.train_now, self.stop_asked, self.sft_now and self.sft_now["id"]):
                continue
            match command["name"]:
                case "pause" | "resume":
                    self.paused = command["name"] == "pause"
                    self.store.put_setting("paused", self.paused)
                    self.store.finish_command(command["id"], "paused" if self.paused else "resumed")
                    if self.paused and self.train_now is not None:
                        self._finish_train_now("paused; resume first")
                    if self.paused and self.sft_now is not None:
                        self.store.finish_command(self.sft_now["id"], "paused; resume first")
                        self.sft_now = None
                case "sft" if self.in_round and self.alone:
                    continue  # after the round that was taken up
                case "train" | "sft" if self.in_round:
                    self.store.finish_command(command["id"], "a round is already running")
                case "train" | "sft" if self.paused:
                    self.store.finish_command(command["id"], "paused; resume first")
                case "train":
                    self.train_now = command["id"]
                case "sft":
                    self._ask_for_sft(command)
                case "stop" if self.in_round:
                    self.stop_asked = command["id"]
                case "stop":
                    self.store.finish_command(command["id"], "no round is running")
                case "publish" if self.in_round:
                    self.store.finish_command(command["id"], "stop the running round first")
                case "publish":
                    self.store.finish_command(command["id"], self._go_to(command["argument"]))

    def _ask_for_sft(self, command: dict) -> None:
        """Begin it with the next step, unless what was asked for cannot be."""
        refusal = "it is about to begin already" if self.sft_now else None
        try:
            sft_round_config(command["argument"] or {})
        except (TypeError, ValueError) as error:
            refusal = str(error)
        if refusal:
            self.store.finish_command(command["id"], f"not started: {refusal}")
        else:
            self.sft_now = command

    def _finish_train_now(self, outcome: str) -> None:
        self.store.finish_command(self.train_now, outcome)
        self.train_now = None

    def _go_to(self, argument: dict | None) -> str:
        """Publish an earlier (or later) policy again; the sentence that says what came of it."""
        version = (argument or {}).get("policy_version")
        if version not in {p.version for p in self.store.policies()}:
            return f"there is no policy {version}"
        if version == self.version:
            return f"policy {version} is published already"
        current = self.version
        try:
            self._load_policy(version)
        except Exception:
            traceback.print_exc()
            self._load_policy(current)
            return f"policy {version} could not be loaded, so policy {current} stays"
        self.store.publish(version, "chosen by a person")
        self.rest_until = 0.0
        self.store.retire_tasks(other_than=version)
        return f"policy {version} is published again"

    def answer_samples(self) -> None:
        """Write what the before/after page waits for, streamed into the store."""
        waiting = self.store.waiting_samples()
        if waiting:
            known = {p.version for p in self.store.policies()}
            self.viewer.answer(waiting, self.version, known, self.store.update_sample)


def _as_dict(config: RoundConfig, worker: WorkerConfig) -> dict:
    """Every setting of a round, for the record."""
    return {"worker": asdict(worker), **asdict(config)}


def _threads(cores: int) -> int:
    """As many as it may have a core for: one thread that waits for its core makes all of them wait.

    Two cores are both taken, because on them every second counts and the page rarely wants one: a round is
    1.5 times as fast as with one thread, but 3 times as slow when something else keeps a core busy.
    """
    return min(cores, max(2, cores - 1))


def _end_with_parent(before: Callable[[], None]) -> None:
    """Exit when stdin closes: the app holds the other end, so the worker never outlives it."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock aborts the interpreter at exit
            pass
        with contextlib.suppress(Exception):  # whatever it is, the worker must end now
            before()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description="Podium's background loop; app.py starts it.")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--config", default="{}", help="JSON object of WorkerConfig fields")
    parser.add_argument("--supervised", action="store_true", help="exit when stdin closes")
    parser.add_argument("--once", action="store_true", help="do what is asked for, make no tasks, and exit")
    arguments = parser.parse_args()
    try:
        config = WorkerConfig.from_dict(json.loads(arguments.config))
        if config.threads or "OMP_NUM_THREADS" not in os.environ:  # which torch has read already
            torch.set_num_threads(config.threads or _threads(os.cpu_count() or 1))
        store = open_store(arguments.run_dir)
        worker = Worker(store, arguments.run_dir, config)
        if arguments.supervised:
            _end_with_parent(worker.end_in_order)
        worker.beat("starting", "loading the model")
        worker.load()
    except (ModelError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(2)  # asking again would not help
    except StoreError as error:  # locked, or the disk full: later it may not be
        sys.exit(str(error))
    try:
        worker.run_once() if arguments.once else worker.run()
    except StoreError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
