"""Rounds of SFT in a run: asked for on the lab page or by `python app.py sft`, by a worker that serves
others."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import cli
from labeling.demonstrations import import_demonstrations
from labeling.importing import SourceConfig
from labeling.learn import learn
from labeling.serve import lock_run
from labeling.store import Better, Remarks, StoreError, open_store
from rlhf.config import WorkerConfig
from rlhf.schedule import next_action
from rlhf.worker import Worker

ROOT = Path(__file__).resolve().parent.parent
ASKED = {"epochs": 3, "learning_rate": 0.01, "batch": 4}


@pytest.fixture
def config(tiny_model, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"question {i}" for i in range(40)))
    return WorkerConfig(
        model=tiny_model, prompts=str(prompts), device="cpu", open_tasks=4, max_new_tokens=6, threads=1
    )


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "demonstrations.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"say {n}", "response": f"{n}!"}) for n in range(40)))
    return file


@pytest.fixture
def worker(config, tmp_path):
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        store.put_setting("config", asdict(config))
        worker = Worker(store, tmp_path / "run", config)
        worker.load()
        yield worker


def write_better(worker, count):
    """A person ranks and writes what would be better."""
    person = worker.store.add_person("token", "anna", "human").id
    for _ in range(count):
        while (task := worker.store.claim_task(person)) is None:
            worker.fill()
        ranks = list(range(1, len(task.responses) + 1))
        remarks = Remarks(better=Better(f"Yes: {task.prompt}!"))
        worker.store.add_ranking(person, task.id, str(task.id), ranks, 1.0, remarks)


def ask(worker, argument=None):
    """The worker's answer to the command."""
    command = worker.store.add_command("sft", argument)
    worker.commands.obey()
    return next(c["outcome"] for c in worker.store.commands() if c["id"] == command)


@pytest.mark.slow
def test_what_annotators_wrote_becomes_a_policy_while_they_go_on(worker):
    store = worker.store
    write_better(worker, 30)
    assert store.demonstration_count() == 30
    late = store.add_person("late", "late", "human").id
    claimed, between = [], worker.rounds.between

    def busy(event):
        """Somebody takes every task there is, between any two steps."""
        assert event.state == "sft"
        while task := store.claim_task(late):
            claimed.append(task)
            store.add_ranking(late, task.id, str(task.id), [1] * len(task.responses))
        between(event)

    worker.rounds.between = busy
    assert ask(worker, ASKED) is None
    while worker.step() != "sft":
        pass
    assert store.commands()[0]["outcome"] == "round 1 started"
    round_ = store.round(1)
    assert (round_.state, round_.method, round_.rankings) == ("published", "sft", 0), round_.reason
    assert "held-out demonstrations" in round_.reason
    assert round_.summary["loss_after"] < round_.summary["loss_before"]
    assert {"perplexity_base", "perplexity_prompted_base", "perplexity_after"} <= round_.summary.keys()
    assert round_.config["asked"] == ASKED
    policy = store.published()
    assert (policy.version, policy.parent_version, policy.round_id) == (1, 0, 1)
    assert {t.policy_version for t in claimed} == {0}
    assert len(claimed) > 2 * worker.config.open_tasks  # made while it trained
    names = {m["name"] for m in store.metrics(0, 10_000)}
    assert {"sft/loss", "sft/heldout_loss"} == names
    assert store.new_rankings() > 30  # all still count towards the next round on rankings
    assert worker.models.version == 1
    assert not (worker.run_dir / "policies" / "1" / "reward").exists()  # there is no reward model yet
    again = Worker(store, worker.run_dir, worker.config)
    again.load()
    assert again.models.version == 1


def test_it_comes_before_a_round_on_rankings_and_after_tasks():
    known = {"claimable": 3, "wanted_tasks": 6, "new_rankings": 64, "threshold": 64, "paused": False}
    assert next_action(**known, sft=True) == "sft"
    assert next_action(**known | {"claimable": 2, "new_rankings": 0}, sft=True) == "fill"
    assert next_action(**known | {"claimable": 2}, sft=True, filled=True) == "sft"
    assert next_action(**known | {"claimable": 6, "paused": True}, sft=True) == "idle"


def test_what_cannot_be_is_said(worker):
    store = worker.store
    assert ask(worker, {"epochs": 0}) == "not started: --epochs is 0; wanted: at least 1."
    assert ask(worker) is None
    assert ask(worker) == "not started: it is about to begin already"
    while worker.step() != "sft":
        pass
    assert (store.round(1).state, store.published().version) == ("rejected", 0)
    assert "demonstrations for 0 different prompts; wanted: 12" in store.round(1).reason
    assert ask(worker) is None
    store.add_command("pause")
    worker.commands.obey()
    assert store.commands()[1]["outcome"] == "paused; resume first"
    assert ask(worker) == "paused; resume first"


def test_it_is_rejected_where_nothing_got_better_and_shown_before_it_is_gone(worker):
    write_better(worker, 30)
    assert ask(worker, ASKED | {"learning_rate": 1e-12}) is None
    while worker.step() != "sft":
        pass
    round_ = worker.store.round(1)
    assert round_.state == "rejected"
    assert "is not better on held-out demonstrations" in round_.reason
    assert worker.models.viewer.unpublished_ready
    assert worker.store.samples("round-1")


@pytest.mark.slow
def test_app_sft_starts_a_worker_for_this_alone_where_none_runs(worker, data, tmp_path):
    """`python app.py sft --data FILE`, in a run that nobody serves."""
    worker.store.close()
    words = ["sft", "--data", str(data), "--run-dir", str(tmp_path / "run")]
    ended = CliRunner().invoke(cli, [*words, "--epochs", "3", "--learning-rate", "0.01"])
    assert ended.exit_code == 0, ended.output
    assert "40 demonstrations\n" in ended.output
    assert "There are 36 demonstrations to learn from, and 4 of held-out prompts." in ended.output
    assert "a worker is started for this alone" in ended.output
    lines = [line.split() for line in ended.output.splitlines()]
    assert ["held-out", "loss", "perplexity"] in lines
    assert "Round 1 published: loss" in ended.output
    with open_store(tmp_path / "run") as store:
        assert store.published().version == 1
        assert store.open_tasks() == 0  # nobody ranks meanwhile
        samples = store.samples("round-1")
        assert samples
        assert {s["state"] for s in samples} == {"done"}
        assert store.round(1).summary["demonstrations"] == 29  # of 36 the rest judges, and 4 are held out
    with lock_run(tmp_path / "run"):
        pass  # let go


def test_alone_it_ends_though_the_run_was_paused_in_a_round(worker, data):
    import_demonstrations(worker.store, worker.run_dir, str(data), SourceConfig(), print)
    asked = {"epochs": 1}
    worker.store.begin_round({"asked": asked}, "sft")  # a worker was killed in it
    worker.commands.paused = True
    ask(worker, asked)
    worker.run_once()
    assert worker.store.running_round() is None
    assert [c["outcome"] for c in worker.store.commands()] == ["paused; resume first"]


@pytest.mark.slow
def test_app_sft_says_in_one_sentence_what_is_missing(worker, tmp_path, data):
    with pytest.raises(StoreError, match=r"There is no run in .*or give --out FOLDER"):
        learn(tmp_path / "nowhere", {})
    with pytest.raises(ValueError, match="There is no file or folder"):
        learn(tmp_path / "run", {}, str(tmp_path / "no.jsonl"))
    assert worker.store.waiting_commands() == []
    ended = CliRunner().invoke(cli, ["sft", "--out", str(tmp_path / "new"), "--data", str(data)])
    assert (ended.exit_code, ended.stderr.strip()) == (2, "--out needs --model and --data as well.")
    broken = worker.config.prompts
    Path(broken).unlink()
    worker.store.close()
    with pytest.raises(StoreError, match="cannot be read"):  # the worker's own sentence
        learn(tmp_path / "run", {}, str(data))
    with open_store(tmp_path / "run") as store:
        status = store.worker_status()
        assert (status["state"], status["detail"]) == ("failed", "The start was refused.")
        assert "cannot be read" in status["error"]


ACTS = """
import sys
from pathlib import Path
from labeling.store import open_store
store = open_store(Path(sys.argv[1]))
if "begins" in sys.argv:
    store.begin_round({"asked": {}}, "sft")
store.beat("sft", "at work")
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("waits", "Stopped before the round had begun."),
        ("begins", "Round 1 is taken up at the next start of python app.py, or of python app.py sft."),
    ],
)
def test_ctrl_c_says_what_becomes_of_the_round(tmp_path, monkeypatch, does, says):
    """A child that acts as a worker in this regard, since a real one needs half a minute to begin."""
    command = [sys.executable, "-c", ACTS, str(tmp_path), does]
    monkeypatch.setattr("labeling.learn.worker_command", lambda *_: command)
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.put_setting("config", {"seed": 0})
        store.add_reference("starter", "starter")
        with pytest.raises(KeyboardInterrupt) as stopped:
            learn(tmp_path, {}, echo=interrupt_when("at work"))
        assert str(stopped.value) == says
        assert bool(store.waiting_commands()) == (does == "begins")  # the worker of this test answers none
        assert bool(store.running_round()) == (does == "begins")
    with lock_run(tmp_path):
        pass  # let go


def interrupt_when(words):
    """An echo in which somebody presses Ctrl-C."""

    def echo(said):
        if said == words:
            raise KeyboardInterrupt

    return echo


def test_ctrl_c_leaves_a_round_of_a_server_alone(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store, lock_run(tmp_path):
        store.put_setting("config", {"seed": 0})
        store.beat("idle", "at work")
        words = [sys.executable, str(ROOT / "app.py"), "sft", "--run-dir", str(tmp_path)]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        ) as process:
            assert process.stdout.readline() == b"at work\n"
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=120)[1].decode()
        assert (process.returncode, said) == (
            130,
            "The server goes on with it; its lab page can stop a round.\n",
        )
        assert [c["name"] for c in store.waiting_commands()] == ["sft"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_was_stopped_is_waited_for_no_longer(tmp_path, begun):
    with open_store(tmp_path, create=True, migrate=True) as store, ExitStack() as server:
        store.put_setting("config", {"seed": 0})
        store.add_reference("starter", "starter")
        store.beat("idle", "at work")
        server.enter_context(lock_run(tmp_path))

        def stops(_):
            if begun:
                store.begin_round({"asked": {}}, "sft")
            store.db.execute("update worker set seen = seen - 60")
            server.close()

        with pytest.raises(StoreError) as left:
            learn(tmp_path, {}, echo=stops)
        becomes = "round 1 is taken up" if begun else "the round begins"
        assert str(left.value).startswith(f"Nobody serves the run any more; {becomes} at the next start")
        assert [c["name"] for c in store.waiting_commands()] == ["sft"]  # it is asked for still


@pytest.mark.slow
def test_killed_in_sft_it_begins_again_as_it_was_asked_for(config, data, tmp_path):
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "rlhf.worker", "--run-dir", str(run_dir), "--config"]
    command.append(json.dumps(asdict(config)))
    with open_store(run_dir, create=True, migrate=True) as store, (tmp_path / "log").open("w") as log:

        def wait(what):
            deadline = time.monotonic() + 90
            while not (found := what()):
                assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, store.status()
                time.sleep(0.02)
            return found

        import_demonstrations(store, run_dir, str(data), SourceConfig(), print)
        data.unlink()  # it is in the run
        store.add_command("sft", ASKED | {"epochs": 30, "patience": 500})
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        wait(lambda: len(store.metrics()) > 4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (store.round(1).state, store.round(1).method) == ("running", "sft")
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            wait(lambda: store.round(1).state != "running")
        finally:
            process.kill()
            process.wait()
        round_ = store.round(1)
        assert (round_.state, round_.attempts) == ("published", 2), round_.reason
        assert round_.config["asked"] == ASKED | {"epochs": 30, "patience": 500}
        assert round_.summary["demonstrations"] == 29
        assert (run_dir / "policies" / "1" / "policy" / "model.safetensors").is_file()
        steps = [m["step"] for m in store.metrics(0, 10_000) if m["name"] == "sft/loss"]
        assert steps == sorted(set(steps))  # the broken attempt's points are drawn once
