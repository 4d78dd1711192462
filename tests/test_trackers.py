"""Trackers: what a round writes is read back from the files that the real libraries wrote."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from labeling.store import open_store
from rlhf import worker_rounds
from rlhf.config import WorkerConfig
from rlhf.round import Outcome, Progress
from rlhf.trackers import Trackers, check_installed
from rlhf.worker import Worker

EVENTS = [
    Progress("reward_model", "training", 1, {"reward_model/loss": 0.5}),
    Progress("reward_model", "training", 2, {"reward_model/loss": 0.25, "reward_model/bad": float("nan")}),
    Progress("ppo", "update 1", 1, {"objective/kl": 1.5, "objective/score": 0.75}),
    Outcome(False, "not better", {"accuracy": 0.9, "kl": 1.5}),
]


@pytest.fixture
def start(tiny_model, tmp_path, monkeypatch):
    """A worker whose rounds go through EVENTS, with trackers."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"question {i}" for i in range(24)))
    monkeypatch.setattr(worker_rounds, "run_round", lambda *_: (event for event in EVENTS))
    stores = []

    def start(log_to):
        store = open_store(tmp_path / "run", create=True, migrate=True)
        stores.append(store)
        config = WorkerConfig(
            model=tiny_model, prompts=str(prompts), device="cpu", log_to=log_to, max_new_tokens=4
        )
        worker = Worker(store, tmp_path / "run", config)
        worker.load()
        return worker

    yield start
    for store in stores:
        store.close()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads, step and value by name, of all its runs in order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in sorted(folder.iterdir()):
        events = EventAccumulator(str(run))
        events.Reload()
        for name in events.Tags()["scalars"]:
            found.setdefault(name, []).extend((e.step, pytest.approx(e.value)) for e in events.Scalars(name))
    return found


def test_tensorboard_reads_a_round(start, tmp_path):
    pytest.importorskip("tensorboard")
    worker = start("tensorboard")
    worker.rounds.begin()
    folder = tmp_path / "run" / "trackers" / "tensorboard"
    expected = {
        "reward_model/loss": [(1, 0.5), (2, 0.25)],
        "objective/kl": [(3, 1.5)],
        "objective/score": [(3, 0.75)],
        "round/id": [(1, 1.0), (2, 1.0), (3, 1.0)],
        "round/accuracy": [(4, 0.9)],
        "round/kl": [(4, 1.5)],
        "round/published": [(4, 0.0)],
    }
    found = scalars(folder)
    assert {name: found.get(name) for name in expected} == expected
    assert "reward_model/bad" not in found
    [written] = folder.rglob("hparams.yml")
    assert "lora_rank: 16" in written.read_text()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(folder.iterdir())))
    events.Reload()
    [said] = events.Tensors("round/outcome/text_summary")
    assert said.tensor_proto.string_val[0].decode() == "round 1 rejected: not better"


def test_steps_go_on_after_a_restart(start, tmp_path):
    pytest.importorskip("tensorboard")
    start("tensorboard").rounds.begin()
    again = start("tensorboard")
    again.trackers.run += "-again"  # two in one second
    again.rounds.begin()
    found = scalars(tmp_path / "run" / "trackers" / "tensorboard")
    assert found["reward_model/loss"] == [(1, 0.5), (2, 0.25), (5, 0.5), (6, 0.25)]
    assert found["round/id"] == [(1, 1.0), (2, 1.0), (3, 1.0), (5, 2.0), (6, 2.0), (7, 2.0)]


def test_trackio_has_a_round(tmp_path):
    pytest.importorskip("trackio")
    code = f"""
from pathlib import Path
from rlhf.trackers import Trackers
trackers = Trackers("trackio", Path({str(tmp_path)!r}), {{"seed": 3}})
trackers.begin_round()
trackers.log({{"reward_model/loss": 0.5}})
trackers.end_round(1, "published", "better", {{"kl": 1.5}})
assert not trackers.reported
trackers.finish()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKIO")}
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent, env=environment
    )
    with sqlite3.connect(tmp_path / "trackers" / "trackio" / "podium.db") as db:
        rows = [(step, json.loads(text)) for step, text in db.execute("select step, metrics from metrics")]
        config = json.loads(db.execute("select config from configs").fetchone()[0])
    assert rows[0] == (1, {"reward_model/loss": 0.5})
    assert (rows[1][0], rows[1][1]["round/kl"], rows[1][1]["round/published"]) == (2, 1.5, 1.0)
    assert config["seed"] == 3


class Broken:
    """A tracker whose network is gone."""

    def __init__(self):
        self.asked = 0

    def log(self, values, step):
        self.asked += 1
        raise ConnectionError("no route\nto anywhere")

    def finish(self):
        raise ConnectionError("still none")


def test_a_tracker_that_fails_is_told_of_once_and_the_round_goes_on(start, monkeypatch, capsys):
    pytest.importorskip("tensorboard")
    worker, broken = start("tensorboard"), Broken()
    trackers = worker.trackers
    starts = []

    def start_broken(name):
        starts.append(name)
        trackers.running[name] = broken

    monkeypatch.setattr(trackers, "_start", start_broken)
    worker.rounds.begin()
    worker.rounds.begin()
    assert [r.state for r in worker.store.rounds()] == ["rejected", "rejected"]
    assert len(worker.store.metrics()) == 8
    assert broken.asked == 2  # left out after its first failure, tried again with the next round
    assert starts == ["tensorboard"] * 2
    said = [line for line in capsys.readouterr().out.splitlines() if "tracker" in line]
    assert said == [
        "The tracker tensorboard fails (ConnectionError: no route); it is tried again with every round, "
        "and training goes on."
    ]
    worker.end_in_order()


def test_a_tracker_that_does_not_start_ends_nothing(start, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    worker = start("tensorboard")
    (tmp_path / "run" / "trackers").mkdir()
    (tmp_path / "run" / "trackers" / "tensorboard").write_text("in the way")
    worker.rounds.begin()
    assert worker.store.rounds()[0].state == "rejected"
    assert "The tracker tensorboard fails (FileExistsError" in capsys.readouterr().out


def test_what_is_not_installed_is_said_with_its_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else name)
    check_installed(["tensorboard"])
    with pytest.raises(ValueError, match=r"not installed here: pip install wandb$"):
        check_installed(["tensorboard", "wandb"])


def test_names_that_are_none():
    with pytest.raises(ValueError, match="--log-to is tensorbord; wanted: tensorboard, wandb"):
        WorkerConfig(log_to="tensorbord")
    assert WorkerConfig(log_to=" tensorboard, mlflow").log_to


def test_without_trackers_nothing_is_written(tmp_path):
    trackers = Trackers("", tmp_path, {})
    trackers.begin_round()
    trackers.log({"a": 1.0})
    trackers.end_round(1, "failed", None, None)
    trackers.finish()
    assert not list(tmp_path.iterdir())
