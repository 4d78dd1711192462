"""The worker and people, through the store: what they ask of it, and what it tells them of itself."""

import os
import time
import traceback

from labeling.store import KEEP, Store
from rlhf.sft_round import sft_round_config
from rlhf.worker_models import Models
from rlhf.worker_tasks import Tasks


class Heart:
    """Beats: the store has that the worker is alive, and what it does."""

    def __init__(self, store: Store):
        self.store = store
        self.starting = True  # until something went well
        self.detail = ("", "")
        self.last_beat = 0.0

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


class Commands:
    """What people asked for: done at once, or kept until the loop or the running round comes to it."""

    def __init__(self, store: Store, models: Models, tasks: Tasks):
        self.store, self.models, self.tasks = store, models, tasks
        self.paused = bool(store.get_setting("paused"))
        self.train_now: int | None = None  # id of the command that asked for it
        self.sft_now: dict | None = None  # the command that asked for it
        self.stops: list[int] = []  # ids of commands that asked for the round's end
        self.in_round = False
        self.alone = False  # nobody ranks meanwhile: no task is made

    def obey(self) -> None:
        """Take up what people asked for since the last look."""
        for command in self.store.waiting_commands():
            if command["id"] in (self.train_now, self.sft_now and self.sft_now["id"], *self.stops):
                continue
            match command["name"]:
                case "pause" | "resume":
                    self.paused = command["name"] == "pause"
                    self.store.put_setting("paused", self.paused)
                    self.store.finish_command(command["id"], "paused" if self.paused else "resumed")
                    if self.paused:
                        self.finish_train_now("paused; resume first")
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
                    self.stops.append(command["id"])
                case "stop":
                    self.store.finish_command(command["id"], "no round is running")
                case "publish" if self.in_round:
                    self.store.finish_command(command["id"], "stop the running round first")
                case "publish":
                    self.store.finish_command(command["id"], self._go_to(command["argument"]))

    def finish_train_now(self, outcome: str) -> None:
        """Answer who asked for a round on rankings, if anybody did."""
        if self.train_now is not None:
            self.store.finish_command(self.train_now, outcome)
            self.train_now = None

    def finish_stops(self, outcome: str) -> None:
        """Answer who asked for the round's end, if anybody did."""
        for command in self.stops:
            self.store.finish_command(command, outcome)
        self.stops = []

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

    def _go_to(self, argument: dict | None) -> str:
        """Publish an earlier (or later) policy again; the sentence that says what came of it."""
        version, current = (argument or {}).get("policy_version"), self.models.version
        if version not in {p.version for p in self.store.policies()}:
            return f"there is no policy {version}"
        if version == current:
            return f"policy {version} is published already"
        try:
            self.models.load_policy(version)
        except Exception:
            traceback.print_exc()
            self.models.load_policy(current)
            return f"policy {version} could not be loaded, so policy {current} stays"
        self.store.publish(version, "chosen by a person")
        self.tasks.rest_until = 0.0
        self.store.retire_tasks(other_than=version)
        return f"policy {version} is published again"
