"""Policies and rounds: which rankings a round used, what it published."""

import pytest

from labeling.store import NewPolicy, StoreError
from tests.store.make import add_task, add_version, rank


def test_the_reference_is_added_and_published_once(store):
    again = store.add_reference("moved/sft", "starter")
    assert (again.version, again.path) == (0, "moved/sft")
    assert store.published().version == 0
    assert store.value("select count(*) from publications") == 1
    with pytest.raises(StoreError, match="made with starter, not org/other"):
        store.add_reference("other", "org/other")


def test_publishing_goes_back_and_forth_and_keeps_every_step(store):
    assert add_version(store) == 1
    assert store.published().version == 1
    store.publish(0, "chosen by a person")
    assert store.published().version == 0
    assert store.next_version() == 2
    assert [p.version for p in store.policies()] == [0, 1]
    with pytest.raises(StoreError, match="no policy 9"):
        store.publish(9, "a slip")
    assert store.value("select count(*) from publications") == 3


def test_a_round_uses_what_was_there_when_it_began(store, anna):
    for i in range(6):
        add_task(store, str(i))
    rank(store, anna, "0")
    rank(store, anna, "1", None)
    last = rank(store, anna, "2").id
    assert store.new_rankings() == 2
    round_ = store.begin_round({"updates": 3})
    assert (round_.trained_from, round_.trained_through, round_.rankings) == (0, last, 2)
    assert (round_.attempts, round_.parent_version, round_.config) == (1, 0, {"updates": 3})
    rank(store, anna, "3")
    assert store.new_rankings() == 1
    assert [r.id for r in store.rankings(through=round_.trained_through)] == [1, 3]
    ended = store.end_round(round_.id, "rejected", "the gate failed", {"accuracy": 0.5, "kl": float("nan")})
    assert (ended.state, ended.reason, ended.policy_version) == ("rejected", "the gate failed", None)
    assert ended.summary == {"accuracy": 0.5, "kl": None}
    assert store.new_rankings() == 1
    second = store.begin_round({})
    assert (second.trained_from, second.rankings) == (last, 3)
    assert [r.id for r in store.rounds()] == [second.id, round_.id]


def test_a_round_that_was_killed_begins_again_with_the_same_rankings(store, anna):
    for i in range(4):
        add_task(store, str(i))
    rank(store, anna, "0")
    first = store.begin_round({"updates": 3})
    rank(store, anna, "1")
    store.publish(0, "somebody published in between")
    assert store.running_round() == first
    again = store.begin_round({"updates": 2})
    assert (again.id, again.trained_through, again.rankings) == (first.id, first.trained_through, 1)
    assert (again.attempts, again.config) == (2, {"updates": 2})
    store.undo(anna)  # not of this round
    store.undo(anna)
    taken_back = store.begin_round({})
    assert (taken_back.trained_through, taken_back.rankings) == (first.trained_through, 0)
    assert store.rankings(through=first.trained_through) == []
    store.end_round(first.id, "stopped", "by a person")
    assert store.running_round() is None
    assert store.begin_round({}).trained_from == first.trained_through


def test_a_round_ends_once_and_with_its_policy_or_not_at_all(store):
    round_ = store.begin_round({})
    policy = NewPolicy(store.next_version(), "policies/1", "starter", {"kl": 2.0})
    for state, given in [("published", None), ("rejected", policy), ("running", None), ("lost", None)]:
        with pytest.raises(StoreError):
            store.end_round(round_.id, state, "", {}, given)
    assert store.running_round() == round_
    ended = store.end_round(round_.id, "published", "better", {"kl": 2.0}, policy)
    assert ended.policy_version == 1
    made = store.policy(1)
    assert (made.parent_version, made.round_id, made.summary) == (0, round_.id, {"kl": 2.0})
    assert store.published() == made
    with pytest.raises(StoreError, match="not running"):
        store.end_round(round_.id, "failed")


def test_a_failed_publication_leaves_no_trace(store):
    round_ = store.begin_round({})
    clash = NewPolicy(0, "policies/0", "starter")  # version 0 is taken
    with pytest.raises(Exception, match="UNIQUE"):
        store.end_round(round_.id, "published", None, {}, clash)
    assert store.running_round() == round_
    assert len(store.policies()) == 1


def test_curves_of_a_repeated_round_are_the_newest_attempts(store):
    round_ = store.begin_round({})
    store.add_metrics(round_.id, 1, 0, {"objective/kl": 1.0, "objective/score": float("nan")})
    store.add_metrics(round_.id, 1, 1, {"objective/kl": float("inf")})
    [point] = store.metrics()
    assert (point["round"], point["step"], point["name"], point["value"]) == (
        round_.id,
        0,
        "objective/kl",
        1.0,
    )
    store.begin_round({})
    assert store.metrics() == []
    store.add_metrics(round_.id, 2, 0, {"objective/kl": 3.0})
    [point] = store.metrics(point["id"])
    assert (point["attempt"], point["value"]) == (2, 3.0)
    assert store.metrics(point["id"]) == []


def test_an_sft_round_leaves_the_rankings_to_the_next(store, anna):
    add_task(store)
    rank(store, anna, "0")
    round_ = store.begin_round({}, "sft")
    assert (round_.method, round_.rankings, round_.trained_through) == ("sft", 0, 0)
    store.end_round(round_.id, "rejected", "worse", None)
    assert store.new_rankings() == 1
    assert store.begin_round({}).rankings == 1
    with pytest.raises(StoreError, match="'grpo'"):
        store.begin_round({}, "grpo")
