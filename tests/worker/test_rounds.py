"""Rounds: what is learned from, and how they end."""

from dataclasses import fields

import pytest

from labeling.store import Better, Remarks, StoreError
from rlhf import worker_rounds
from rlhf.imported import short_enough
from rlhf.policy_round import RoundConfig
from rlhf.ppo import PPOConfig
from rlhf.told import Outcome
from rlhf.viewer import UNPUBLISHED
from rlhf.worker_rounds import as_learned
from tests.worker.steps import STEP, ends_with, publish


def test_a_round_is_set_up_as_asked_and_else_as_ppo_is_by_itself(start):
    assert start().rounds.round_config() == RoundConfig(ppo=PPOConfig(sampling=start().models.sampling))
    asked = start(ppo_updates=5, ppo_episodes=32, kl_coef=0.3, kl_limit=7.0).rounds.round_config().ppo
    assert (asked.updates, asked.episodes, asked.warmup_episodes) == (5, 32, 64)
    assert (asked.kl_coef, asked.kl_limit) == (0.3, 7.0)


def test_a_round_of_another_policy_than_the_published_one_says_so(start):
    worker = start()
    publish(worker)
    worker.store.publish(0, "back")
    worker.store.begin_round({})
    worker.rounds.begin()  # again, with policy 1 in memory
    round_ = worker.store.round(2)
    assert (round_.state, round_.reason) == ("stopped", "policy 1 was published instead of 0")


@pytest.mark.parametrize("ending", [Outcome(False, "at the gate", {}), RuntimeError("broken"), "stop"])
def test_scores_are_there_after_a_round_that_ended_without_a_policy(start, monkeypatch, ending):
    worker = start()
    publish(worker)
    worker.models.viewer.scores_ready = True
    head = worker.models.reward_model.head.linear.weight.clone()

    def run_round(*_):
        worker.models.reward_model.reset(99)
        if ending == "stop":
            worker.store.add_command("stop")
        yield STEP
        if isinstance(ending, Exception):
            raise ending
        yield ending

    monkeypatch.setattr(worker_rounds, "run_round", run_round)
    worker.rounds.begin()
    assert worker.store.round(2).state in ("rejected", "failed", "stopped")
    assert worker.models.viewer.scores_ready
    assert worker.models.reward_model.head.linear.weight.equal(head)


def test_a_rejected_policy_is_shown_before_it_is_gone(start, monkeypatch):
    worker = start()
    worse = Outcome(False, "it is worse", {"score_before": 1.0, "score_after": 0.5})
    ends_with(monkeypatch, worse)
    worker.store.add_command("train")
    worker.rounds.begin()
    assert worker.store.round(1).state == "rejected"
    worker.answer_samples()
    samples = worker.store.samples("round-1")
    assert {s["policy_version"] for s in samples} == {0, UNPUBLISHED}
    assert {s["state"] for s in samples} == {"done"}
    assert worker.models.version == 0


def test_a_round_is_published_with_its_samples_or_not_at_all(start, monkeypatch):
    worker = start()
    with monkeypatch.context() as full:

        def add_samples(*_):
            raise StoreError("the disk is full")

        full.setattr(worker.store, "add_samples", add_samples)
        with pytest.raises(StoreError):
            publish(worker)
    assert [p.version for p in worker.store.policies()] == [0]
    assert worker.store.round(1).state == "running"
    worker = start()
    publish(worker)
    assert {s["policy_version"] for s in worker.store.samples("round-1")} == {0, 1}


def test_every_setting_of_a_round_is_on_record(start, monkeypatch):
    worker = start()
    ends_with(monkeypatch, Outcome(False, "no", {}))
    worker.rounds.begin()
    config = worker.store.round(1).config
    assert set(config) == {"worker"} | {f.name for f in fields(RoundConfig)}
    assert config["ppo"]["sampling"]["max_new_tokens"] == 6


def test_rankings_are_learned_with_all_that_was_said(start):
    """Who has said that none was acceptable found the best acceptable elsewhere; others were not asked."""
    worker = start()
    anna, ben = (worker.store.add_person(name, name, "human").id for name in ("anna", "ben"))
    for nonce, person, ranks, remarks in [
        ("1", anna, [None, 1, None, None], Remarks()),
        ("2", anna, [None] * 4, Remarks(acceptable=False)),
        ("3", ben, [1, 2, 3, 4], Remarks(comment="fine")),
    ]:
        while (task := worker.store.claim_task(person)) is None:
            worker.fill()
        worker.store.add_ranking(person, task.id, nonce, ranks[: len(task.responses)], 1.0, remarks)
    learned = as_learned(worker.store.rankings())
    assert [(r.partial, r.acceptable) for r in learned] == [(True, True), (True, False), (False, None)]


def test_a_better_response_is_learned_above_all_that_were_shown(start):
    worker = start()
    anna = worker.store.add_person("anna", "anna", "human").id
    for nonce, ranks, acceptable in [("1", [2, 1, 3, 4], None), ("2", [None] * 4, False)]:
        while (task := worker.store.claim_task(anna)) is None:
            worker.fill()
        remarks = Remarks(acceptable=acceptable, better=Better(f"Written {nonce}."))
        worker.store.add_ranking(anna, task.id, nonce, ranks[: len(task.responses)], 1.0, remarks)
    first, second = as_learned(worker.store.rankings())
    assert (first.chosen(), second.chosen()) == (["Written 1."], ["Written 2."])
    assert first.ranks[:3] == (1, 3, 2)
    assert set(second.ranks[1:]) == {2}
    assert (second.partial, second.acceptable, second.finished[0]) == (True, True, True)
    short = short_enough(worker.models.family, max_new_tokens=6)
    assert [short("y" * tokens) for tokens in (384, 385)] == [True, False]
    without, second = as_learned(worker.store.rankings(), lambda text: text == "Written 2.")
    assert (without.responses, without.ranks) == (first.responses[1:], (2, 1, 3, 4)[: len(first.ranks) - 1])
    assert second.chosen() == ["Written 2."]


def test_a_round_that_is_begun_again_keeps_its_method_on_record_too(start, monkeypatch):
    start(method="dpo").store.begin_round({}, "ppo")
    methods = []
    monkeypatch.setattr(
        worker_rounds, "run_round", lambda *a: methods.append(a[4].method) or iter([Outcome(False, "no", {})])
    )
    worker = start(method="dpo")
    worker.take_up()
    round_ = worker.store.round(1)
    assert (methods, round_.method, round_.config["method"]) == (["ppo"], "ppo", "ppo")


def test_a_round_of_demonstrations_and_the_answer_to_who_asked_are_written_together(start, monkeypatch):
    """Else a worker that is killed between the two would learn from them twice."""
    worker = start()
    worker.store.add_command("sft", {})
    worker.commands.obey()

    def finish_command(*_):
        raise StoreError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(worker.store, "finish_command", finish_command)
        with pytest.raises(StoreError):
            worker.rounds.begin_sft()
    assert worker.store.rounds() == []
    assert len(worker.store.waiting_commands()) == 1


def test_what_was_kept_of_a_round_is_of_the_system_prompt_it_was_trained_with(start, monkeypatch):
    kept = []
    monkeypatch.setattr(
        worker_rounds, "run_round", lambda *a: kept.append(a[-1].identity) or iter([Outcome(False, "no", {})])
    )
    for prompt in ("", "", "Be brief."):
        worker = start(system_prompt=prompt)
        if worker.store.running_round() is None:
            worker.store.begin_round({})
        worker.rounds.begin()
        worker.store.db.execute("update rounds set state = 'running'")
    assert kept[0] == kept[1] != kept[2]
