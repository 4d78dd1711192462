"""The background loop: look at the store, decide, act.

Here is what is next, and how the process starts and ends; its parts have a file each: what is in memory
(`worker_models`), tasks (`worker_tasks`), what people ask (`worker_commands`) and rounds (`worker_rounds`).

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
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from labeling.store import Store, StoreError, open_store
from rlhf.config import WorkerConfig
from rlhf.kept_round import forget
from rlhf.models import ModelError
from rlhf.round import LEAST_RANKINGS
from rlhf.schedule import next_action
from rlhf.trackers import Trackers
from rlhf.worker_commands import Commands, Heart
from rlhf.worker_models import Models
from rlhf.worker_rounds import ROUND, Rounds
from rlhf.worker_tasks import Tasks

MOST_ATTEMPTS = 3  # at one round: what ends the worker that often will end it again


class Worker:
    """Owns the models; everything it learns or makes goes into the store."""

    def __init__(self, store: Store, run_dir: Path, config: WorkerConfig):
        self.store, self.run_dir, self.config = store, run_dir, config
        self.heart = Heart(store)
        self.trackers = Trackers(config.log_to, run_dir, asdict(config))

    def load(self) -> None:
        """Load models and prompts. Raises ModelError, ValueError or StoreError with one sentence."""
        store, run_dir, config = self.store, self.run_dir, self.config
        self.models = Models(store, run_dir, config)
        self.tasks = Tasks(store, config, self.models)
        self.commands = Commands(store, self.models, self.tasks)
        self.rounds = Rounds(
            store=store,
            run_dir=run_dir,
            config=config,
            models=self.models,
            tasks=self.tasks,
            commands=self.commands,
            heart=self.heart,
            trackers=self.trackers,
            housekeeping=self.housekeeping,
        )

    def run(self) -> None:
        """Work until the process ends."""
        self.take_up()
        while True:
            self.step()

    def run_once(self) -> None:
        """Do what is asked for and end; nobody ranks meanwhile."""
        self.commands.alone = True
        self.take_up()
        while self.store.waiting_commands() or self.store.waiting_samples():
            self.step()
        self.heart.beat("idle", "")
        self.trackers.finish()

    def take_up(self) -> None:
        """Begin again the round this worker's predecessor did not finish, unless it always dies of it."""
        round_ = self.store.running_round()
        if round_ is None:
            return
        died = self.store.get_setting("ended_in_order") != [round_.id, round_.attempts]
        if died and round_.attempts >= MOST_ATTEMPTS:
            self.rounds.fail(round_, f"the worker ended {round_.attempts} times in this round")
            return
        if died and round_.attempts == MOST_ATTEMPTS - 1:  # perhaps it died of what was kept
            forget(self.run_dir / ROUND)
        if round_.method == "sft":
            self.rounds.begin_sft(round_.config["asked"])
        else:
            self.rounds.begin()

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
            self.rounds.begin()
        elif action == "sft":
            self.rounds.begin_sft()
        else:
            self.commands.finish_train_now(f"not started: it takes at least {LEAST_RANKINGS} rankings")
            self.heart.well("paused" if self.commands.paused else "idle", self._idle_detail(), every=2.0)
            time.sleep(0.1)
        if action != "fill":
            self.tasks.fills = 0
        return action

    def fill(self) -> int:
        """Make a few tasks, and tell so; return how many."""
        detail = f"writing responses of policy {self.models.version}"
        self.heart.beat("generating", detail)
        made = self.tasks.fill()
        self.heart.well("generating", detail)
        return made

    def decide(self) -> str:
        """Look at the store and say what is next."""
        commands, tasks = self.commands, self.tasks
        if commands.alone:
            return "sft" if commands.sft_now else "idle"
        threshold = self.config.rankings_per_round if commands.train_now is None else LEAST_RANKINGS
        if commands.train_now is None:
            rankings = self.store.new_rankings(most=threshold)
        else:
            rankings = self.store.ranking_count() + self.imported()
        return next_action(
            claimable=tasks.claimable(),
            sft=commands.sft_now is not None,
            wanted_tasks=self.config.open_tasks,
            new_rankings=rankings,
            threshold=threshold,
            paused=commands.paused,
            filled=tasks.fills > 0,
            resting=tasks.resting,
        )

    def imported(self) -> int:
        """How many imported rankings a round would learn from, if the model can read them."""
        return min(self.store.imported_ranking_count(), self.config.imported_rankings)

    def housekeeping(self) -> None:
        """What is due between any two steps, in a round or out of it."""
        self.commands.obey()
        self.answer_samples()

    def _idle_detail(self) -> str:
        wanted = self.config.rankings_per_round
        left = wanted - self.store.new_rankings(most=wanted)
        return f"waiting for {left} more rankings" if left else "enough rankings are there"

    def answer_samples(self) -> None:
        """Write what the before/after page waits for, streamed into the store."""
        waiting = self.store.waiting_samples()
        if waiting:
            known = {p.version for p in self.store.policies()}
            self.models.viewer.answer(waiting, self.models.version, known, self.store.update_sample)


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
        worker.heart.beat("starting", "loading the model")
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
