"""The background loop as a real process on the starter model, with a real file, really killed."""

import json
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from labeling.store import open_store
from rlhf.config import WorkerConfig
from rlhf.schedule import next_action, next_fill, next_rest
from tests.test_trackers import scalars

ROOT = Path(__file__).resolve().parent.parent
WORKER = [sys.executable, "-m", "rlhf.worker", "--run-dir"]
QUICK = {
    "rankings_per_round": 40,  # with fewer the gate may well say that nothing was learned
    "ppo_updates": 4,
    "ppo_episodes": 32,
    "open_tasks": 6,
    "max_new_tokens": 32,
}


@pytest.mark.parametrize(
    ("claimable", "new_rankings", "paused", "expected"),
    [
        (0, 0, False, "fill"),
        (5, 63, False, "fill"),
        (2, 64, False, "fill"),  # nobody waits for a round
        (3, 64, False, "round"),  # and it fills between its steps
        (6, 63, False, "idle"),
        (6, 64, True, "idle"),
        (0, 64, True, "fill"),  # paused is the training, not the ranking
    ],
)
def test_next_action(claimable, new_rankings, paused, expected):
    known = {"wanted_tasks": 6, "new_rankings": new_rankings, "threshold": 64, "paused": paused}
    assert next_action(claimable=claimable, **known) == expected


def test_a_due_round_waits_for_one_fill_at_most():
    known = {"claimable": 0, "wanted_tasks": 6, "threshold": 64, "paused": False}
    assert next_action(new_rankings=64, **known) == "fill"
    assert next_action(new_rankings=64, filled=True, **known) == "round"  # all claimed again meanwhile
    assert next_action(new_rankings=63, filled=True, **known) == "fill"
    assert next_action(new_rankings=64, resting=True, **known) == "round"
    assert next_action(new_rankings=63, resting=True, **known) == "idle"


def test_fills_grow_while_annotators_take_all_of_them():
    assert [next_fill(16, in_a_row) for in_a_row in range(5)] == [2, 4, 8, 16, 16]
    assert [next_fill(3, in_a_row) for in_a_row in range(3)] == [2, 3, 3]
    assert [next_fill(1000, in_a_row) for in_a_row in (2, 3, 4, 10_000)] == [8, 16, 16, 16]
    assert next_fill(-1, 3) == 1  # not all prompts but one


def test_a_policy_with_nothing_to_choose_between_is_left_alone_ever_longer():
    rests, rest = [], 0.0
    for _ in range(8):
        rest = next_rest(rest, made=0)
        rests.append(rest)
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
    assert next_rest(60.0, made=1) == 0


def test_settings_out_of_range_are_one_sentence():
    with pytest.raises(ValueError, match="--responses is 5; wanted: 2 to 4"):
        WorkerConfig(responses=5)
    with pytest.raises(ValueError, match="'batch' is not a setting"):
        WorkerConfig.from_dict({"batch": 3})


class Process:
    """A worker process, and what a person would see of it in the store."""

    def __init__(self, run_dir: Path, **config):
        self.run_dir, self.config = run_dir, {**QUICK, **config}
        self.store = open_store(run_dir, create=True, migrate=True)
        self.person = self.store.add_person("token", "a program", "program").id
        self.start()

    def start(self):
        self.log = (self.run_dir / "worker.log").open("a")
        self.process = subprocess.Popen(
            [*WORKER, str(self.run_dir), "--config", json.dumps(self.config), "--supervised"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
        )

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait(self, what, *, seconds=90):
        """Wait until `what()` is true; fail with the worker's log if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            log = (self.run_dir / "worker.log").read_text()[-3000:]
            assert self.process.poll() is None, f"the worker ended:\n{log}"
            assert time.monotonic() < deadline, f"waited {seconds} s:\n{self.store.status()}\n{log}"
            time.sleep(0.05)
        return found

    def rank(self, count):
        """Rank `count` tasks, shorter is better; returns the ranking ids."""
        ids = []
        while len(ids) < count:
            task = self.wait(lambda: self.store.claim_task(self.person))
            lengths = sorted({len(r) for r in task.responses})
            ranks = [lengths.index(len(r)) + 1 for r in task.responses]
            nonce = f"{task.id}-{random.random()}"
            ids.append(self.store.add_ranking(self.person, task.id, nonce, ranks).id)
        return ids

    def ended(self, number):
        """The round's row, when it has ended."""
        rounds = [r for r in self.store.rounds() if r.id == number and r.state != "running"]
        return rounds[0] if rounds else None

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()  # as when the app dies
            self.process.wait(timeout=30)
        self.log.close()
        self.store.close()


def outcome(worker):
    """What the tracker knows of the round's end, once it does."""
    return scalars(worker.run_dir / "trackers" / "tensorboard").get("round/published")


@pytest.fixture
def worker(tmp_path):
    process = Process(tmp_path, log_to="tensorboard" if find_spec("tensorboard") else "")
    yield process
    process.close()


@pytest.mark.slow
def test_killed_in_a_round_it_begins_again_and_nothing_is_lost_or_used_twice(worker):
    ids = worker.rank(40)
    worker.wait(lambda: any(m["name"] == "objective/kl" for m in worker.store.metrics(0, 10_000)))
    worker.kill()
    round_ = worker.store.rounds()[0]
    assert (round_.state, round_.attempts, round_.trained_through) == ("running", 1, ids[-1])
    # as if killed while writing, between the rename and the row, and by an older worker
    rubbish = [worker.run_dir / "policies" / name for name in (".9.tmp", "1", "5")]
    for folder in rubbish:
        folder.mkdir(parents=True)
        (folder / "half a model").touch()

    assert (worker.run_dir / "round" / "reward" / "round.json").is_file()
    worker.start()
    late = worker.rank(2)
    worker.wait(lambda: not any((folder / "half a model").exists() for folder in rubbish))
    assert not any(folder.exists() for folder in rubbish if folder.name != "1")
    round_ = worker.wait(lambda: worker.ended(1))
    assert (round_.attempts, round_.rankings) == (2, 40)
    assert "The round is taken up after: " in (worker.run_dir / "worker.log").read_text()
    worker.wait(lambda: not (worker.run_dir / "round").exists())
    assert (round_.trained_from, round_.trained_through) == (0, ids[-1])
    assert len(worker.store.rounds()) == 1
    assert [r.id for r in worker.store.rankings()] == ids + late
    assert worker.store.new_rankings_since(worker.store.trained_through()) == 2
    curve = [m for m in worker.store.metrics(0, 10_000) if m["name"] == "objective/kl"]
    assert [m["step"] for m in curve] == [1, 2, 3, 4]  # the broken attempt's points are drawn once

    if worker.config["log_to"]:  # what was told again after the restart is told there again
        tracked = scalars(worker.run_dir / "trackers" / "tensorboard")
        assert [value for _, value in tracked["objective/kl"][-4:]] == [m["value"] for m in curve]
        assert tracked["round/id"][-1][0] < worker.wait(lambda: outcome(worker))[0][0]

    # "shorter" is easy: the round is published, and the next tasks are the new policy's
    assert round_.state == "published", round_.reason
    policy = worker.store.published()
    assert (policy.version, policy.parent_version, policy.round_id) == (1, 0, 1)
    assert (worker.run_dir / policy.path / "policy" / "model.safetensors").is_file()
    assert not (worker.run_dir / policy.path / "half a model").exists()
    worker.wait(lambda: worker.store.claimable_tasks(1) >= 6 and worker.store.open_tasks(0) == 0)
    task = worker.wait(lambda: worker.store.claim_task(worker.person))
    assert task.policy_version == 1

    # before/after, from the base, the reference and the new policy, with a score where there is one
    worker.store.add_samples("b", "What is the capital of France?", [-1, 0, 1, 7])
    samples = worker.wait(
        lambda: (
            done := worker.store.samples("b"),
            all(s["state"] in ("done", "failed") for s in done) and done,
        )[1]
    )
    assert [s["state"] for s in samples] == ["done", "done", "done", "failed"]
    assert all(s["text"] and s["score"] is not None for s in samples[:3])
    assert samples[3]["error"] == "There is no policy 7."
    kept = worker.wait(lambda: worker.store.samples("round-1"))
    assert {s["policy_version"] for s in kept} == {0, 1}

    # going back to an earlier policy, and a restart that still knows which one answers
    command = worker.store.add_command("publish", {"policy_version": 0}, worker.person)
    worker.wait(lambda: worker.store.commands()[0]["outcome"])
    assert worker.store.commands()[0]["id"] == command
    assert worker.store.published().version == 0
    worker.kill()
    worker.start()
    worker.wait(lambda: worker.store.open_tasks(0) >= 6)


@pytest.mark.slow
def test_people_can_pause_resume_stop_and_train_now(worker):
    store = worker.store
    worker.rank(10)
    store.add_command("pause", None, worker.person)
    worker.wait(lambda: store.worker_status()["state"] == "paused")
    worker.rank(32)
    store.add_command("train", None, worker.person)
    worker.wait(lambda: store.commands()[0]["outcome"] == "paused; resume first")
    worker.wait(lambda: store.claimable_tasks(0) >= QUICK["open_tasks"])
    store.add_command("stop", None, worker.person)
    worker.wait(lambda: store.commands()[0]["outcome"] == "no round is running")
    assert store.rounds() == []  # enough rankings and nothing else to do, but paused
    store.add_command("resume", None, worker.person)
    worker.wait(lambda: store.rounds())
    store.add_command("stop", None, worker.person)
    round_ = worker.wait(lambda: worker.ended(1))
    assert (round_.state, round_.reason) == ("stopped", "stopped by a person")
    store.add_command("train", None, worker.person)  # no new ranking is needed for that
    worker.wait(lambda: len(store.rounds()) == 2)
    worker.process.stdin.close()  # as Ctrl-C in the app does
    worker.process.wait(timeout=30)
    assert store.get_setting("ended_in_order") == [2, 1]
    worker.start()
    worker.wait(lambda: store.rounds()[0].attempts == 2)
    store.add_command("stop", None, worker.person)
    assert worker.wait(lambda: worker.ended(2)).state == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model": "no/such-model"}, "Model 'no/such-model' is not on this machine, and the hub"),
        ({"prompts": "/nowhere.txt"}, "'/nowhere.txt' cannot be read"),
    ],
)
def test_a_setting_that_cannot_work_is_one_sentence_and_exit_code_2(tmp_path, config, sentence):
    open_store(tmp_path, create=True, migrate=True).close()
    done = subprocess.run(
        [*WORKER, str(tmp_path), "--config", json.dumps(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert sentence in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
