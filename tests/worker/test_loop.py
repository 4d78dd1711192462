"""Restarts, and what people ask for."""

import shutil

import pytest

from rlhf import worker_rounds
from rlhf.worker import _threads
from rlhf.worker_rounds import ROUND, Rounds
from tests.worker.steps import STEP, ask, fill_up, publish, rank


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (3, 2), (4, 3), (16, 15)])
def test_the_worker_leaves_a_core_to_the_page_where_there_are_enough(cores, threads):
    assert _threads(cores) == threads


def test_a_round_that_always_ends_the_worker_is_given_up(start):
    worker = start()
    for _ in range(3):
        worker.store.begin_round({})
    worker = start()
    worker.take_up()
    round_ = worker.store.round(1)
    assert (round_.state, round_.reason) == ("failed", "the worker ended 3 times in this round")
    fill_up(worker)
    assert "3 times" in worker.store.worker_status()["error"]


def test_a_round_that_people_ended_three_times_is_begun_again(start, monkeypatch):
    worker = start()
    for _ in range(3):
        worker.store.begin_round({})
    worker.end_in_order()
    begun = []
    monkeypatch.setattr(Rounds, "begin", lambda self: begun.append(self.store.begin_round({})))
    start().take_up()
    assert begun[0].attempts == 4
    start().take_up()  # the fourth attempt died, and nobody knows why
    assert len(begun) == 1
    assert worker.store.round(1).state == "failed"


def test_the_last_attempt_at_a_round_trusts_nothing_that_was_kept(start, monkeypatch):
    worker = start()
    worker.store.begin_round({})
    kept = worker.run_dir / ROUND / "reward"
    kept.mkdir(parents=True)
    there = []

    def begin_round(self):
        there.append(kept.exists())
        self.store.begin_round({})

    monkeypatch.setattr(Rounds, "begin", begin_round)
    start().take_up()  # the first attempt died
    start().take_up()  # and so did the second, perhaps of what it took up
    assert there == [True, False]


def test_a_restart_with_a_full_queue_clears_why_it_was_needed(start):
    worker = start()
    fill_up(worker)
    worker.store.beat("failed", "Starting again in 1 s.", error="The worker was killed.")
    worker = start()
    assert worker.store.worker_status()["error"]
    assert worker.step() == "idle"
    assert worker.store.worker_status()["error"] is None


def test_going_back_changes_the_policy_and_not_who_scores(start):
    worker = start()
    publish(worker)
    worker = start()
    ask(worker, "publish", {"policy_version": 0})
    assert worker.models.version == 0
    assert worker.models.viewer.scores_ready
    assert start().models.viewer.scores_ready


def test_a_policy_that_cannot_be_loaded_is_not_published(start):
    worker = start()
    publish(worker)
    assert ask(worker, "publish", {"policy_version": 0}) == "policy 0 is published again"
    shutil.rmtree(worker.run_dir / "policies" / "1" / "policy")
    assert ask(worker, "publish", {"policy_version": 1}) == "policy 1 could not be loaded, so policy 0 stays"
    assert (worker.store.published().version, worker.models.version) == (0, 0)
    fill_up(worker)
    assert worker.store.claimable_tasks(0) == 4
    start()  # and a restart works


def test_train_now_while_paused_starts_nothing(start):
    worker = start()
    rank(worker, 8)
    ask(worker, "pause")
    assert ask(worker, "train") == "paused; resume first"
    fill_up(worker)
    assert worker.store.rounds() == []
    ask(worker, "resume")
    assert ask(worker, "train") is None  # it will
    assert ask(worker, "pause") == "paused"
    assert worker.store.commands()[1]["outcome"] == "paused; resume first"


def test_who_asks_twice_to_stop_a_round_is_answered_twice_and_stops_one(start, monkeypatch):
    worker = start()

    def run_round(*_):
        for _ in range(2):
            worker.store.add_command("stop")
            worker.commands.obey()
        yield STEP

    monkeypatch.setattr(worker_rounds, "run_round", run_round)
    worker.rounds.begin()
    assert worker.store.round(1).state == "stopped"
    assert [c["outcome"] for c in worker.store.commands()] == ["round 1 ended"] * 2
