"""A running round on disk, `run_dir/round`, so that a worker that was killed goes on where it was.

Two stages are kept: the reward model when it is trained, and PPO between updates (`PPOTraining.state`). Each
holds what the round had told so far, to be told again: the curves of the new attempt are then whole. What
belongs to another round, other rankings or other settings is not taken up.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rlhf.checkpoint import write_folder
from rlhf.ppo_training import PPOTraining
from rlhf.reward_model import RewardModel
from rlhf.told import Progress

FORMAT = 3  # of what is kept; another one is not taken up
SHARE = 0.05  # of the time, at most, goes into writing PPO's state


@dataclass(frozen=True)
class Stage:
    """What a stage has come to."""

    told: list[Progress]
    summary: dict[str, float]
    training: dict[str, Any] | None = None  # PPOTraining's state


def forget(folder: Path) -> None:
    """Remove what was kept of a round, if anything."""
    shutil.rmtree(folder, ignore_errors=True)


class KeptRound:
    """Keeps one round; `identity` is all that makes it this one."""

    def __init__(self, folder: Path, *identity: object):
        self.folder = folder
        self.identity = hashlib.sha256(repr((FORMAT, *identity)).encode()).hexdigest()
        self._written, self._took = 0.0, 0.0

    def keep_reward_model(self, model: RewardModel, told: Sequence[Progress], summary: dict) -> None:
        """From the reward model's end on."""
        kept = {"identity": self.identity, "told": [asdict(event) for event in told], "summary": summary}

        def write(folder: Path) -> None:
            model.save(folder)
            (folder / "round.json").write_text(json.dumps(kept), encoding="utf-8")

        forget(self.folder)
        with self._goes_on():
            write_folder(self.folder / "reward", write)

    def keep_training(self, training: PPOTraining, told: Sequence[Progress]) -> None:
        """Between two updates; skipped while writing would take too much of the time."""
        begun = time.monotonic()
        if begun - self._written < self._took / SHARE:
            return
        kept = {"told": [asdict(event) for event in told], "training": training.state()}
        with self._goes_on():
            aside = self.folder / ".ppo.tmp"
            with aside.open("wb") as file:
                torch.save(kept, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.folder / "ppo.pt")
        self._written = time.monotonic()
        self._took = self._written - begun

    @contextmanager
    def _goes_on(self) -> Iterator[None]:
        """A round that cannot be kept, on a full disk say, is trained all the same."""
        try:
            yield
        except Exception as error:
            print(f"The round cannot be kept in {self.folder}: {error}", flush=True)

    def take_up(self, model: RewardModel) -> Stage | None:
        """Load the reward model; what the round had come to, or None when it must begin at its beginning."""
        try:
            kept = json.loads((self.folder / "reward" / "round.json").read_text(encoding="utf-8"))
            if kept["identity"] != self.identity:
                return None
            model.load(self.folder / "reward")
        except FileNotFoundError:
            return None
        except Exception as error:  # damaged: a round that begins again loses time only
            print(f"The kept round in {self.folder} cannot be read, so it begins again: {error}", flush=True)
            return None
        told, training = kept["told"], None
        try:
            ppo = torch.load(self.folder / "ppo.pt", map_location="cpu", weights_only=True)
            told, training = told + ppo["told"], ppo["training"]
        except FileNotFoundError:
            pass
        except Exception as error:
            print(f"PPO's state in {self.folder} cannot be read, so it begins again: {error}", flush=True)
        print(f"The round is taken up after: {told[-1]['detail']}", flush=True)
        return Stage([Progress(**event) for event in told], kept["summary"], training)
