"""What a round lets pass and what it refuses, on a tiny model."""

import math

import pytest
import torch

from data.preferences import RankedResponses, split_by_prompt
from rlhf import policy_round
from rlhf import round as rounds
from rlhf.generate import SamplingConfig, encode_prompt
from rlhf.models import load_family
from rlhf.policy_round import RoundConfig
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import Update
from rlhf.reward_accuracy import Accuracy
from rlhf.reward_model import RewardModel
from rlhf.round import LEAST_HELDOUT, gate, judge, run_round
from rlhf.told import Outcome

GOOD = Accuracy(accuracy=0.8, low=0.7, high=0.9, pairs=60, longer_wins=0.5, prompts=10)


def accuracy(**changes):
    return Accuracy(**vars(GOOD) | changes)


def test_the_gate_lets_a_clearly_good_reward_model_pass():
    assert gate(GOOD, 0.5) is None
    assert "not clearly better than chance" in gate(accuracy(low=0.5), 0.5)
    assert "no held-out pairs" in gate(accuracy(pairs=0, prompts=0, low=0.0), 0.5)


def test_a_handful_of_prompts_that_are_all_right_is_no_proof():
    lucky = {"accuracy": 1.0, "low": 1.0, "high": 1.0}  # what resampling two of them says
    for count in range(1, LEAST_HELDOUT):
        assert f"{count} held-out prompts are too few" in gate(
            accuracy(pairs=6 * count, prompts=count, **lucky), 0.5
        )
    assert gate(accuracy(prompts=LEAST_HELDOUT, **lucky), 0.5) is None


def test_only_what_is_better_with_finite_figures_is_published():
    summary = {"score_before": 0.1, "score_after": 0.6, "kl_before": 3.0, "kl": 3.0, "longer_wins": math.nan}
    assert judge(summary, 0.1, None) == Outcome(True, "score +0.10 to +0.60 at KL 3.0", summary)
    assert judge(summary, 0.1, "KL reached 10").reason.endswith("; KL reached 10")
    for worse in (0.1, -0.2):
        assert "is not better" in judge(summary | {"score_after": worse}, 0.1, None).reason
    assert judge(summary | {"kl": 7.9}, 0.1, None).published
    dear = judge(summary | {"kl": 8.0}, 0.1, "KL reached 10")  # half a point of score for five nats
    assert not dear.published
    assert dear.reason.endswith(
        "not better on held-out prompts (score +0.10 to +0.60 at KL 8.0); KL reached 10"
    )
    for name in ("score_after", "kl"):
        outcome = judge(summary | {name: math.nan}, 0.1, None)
        assert not outcome.published
        assert "not a finite number" in outcome.reason


@pytest.fixture(scope="module")
def family(tiny_model):
    return load_family(tiny_model, tuning="full", device="cpu")


def run(family, *, prompts=20, rankings=20, max_new_tokens=64, ranked=()):
    """The events of one round, the last of them its outcome."""
    ranked = ranked or [
        RankedResponses(f"question {i}", ("a", "bb", "ccc"), (1, 2, 3)) for i in range(rankings)
    ]
    config = RoundConfig(ppo=PPOConfig(sampling=SamplingConfig(max_new_tokens=max_new_tokens)))
    texts = [f"prompt {i}" for i in range(prompts)]
    *events, outcome = run_round(family, RewardModel(family), ranked, texts, config, seed=5)
    assert isinstance(outcome, Outcome)
    return events, outcome


def test_rankings_that_prove_nothing_end_the_round_at_the_gate(family):
    events, outcome = run(family, rankings=10)  # two are held out
    assert {e.state for e in events} == {"reward_model"}
    assert not outcome.published
    assert "too few to judge" in outcome.reason
    assert "accuracy" in outcome.summary
    assert "score_after" not in outcome.summary


def test_too_few_prompts_are_said_before_anything_is_trained(family):
    for prompts in (0, 7):
        events, outcome = run(family, prompts=prompts)
        assert events == []
        assert outcome == Outcome(False, f"there are {prompts} prompts to train on; wanted: 8", {})


def test_a_reference_whose_responses_do_not_end_is_refused(family, monkeypatch):
    monkeypatch.setattr(rounds, "measure_accuracy", lambda *_: GOOD)
    _, outcome = run(family, max_new_tokens=4)
    assert not outcome.published
    assert "end within 4 tokens; raise --max-new-tokens" in outcome.reason


@pytest.fixture
def seen(monkeypatch):
    """What PPO is given and what is judged, in a round with a good reward model and a quick PPO."""
    seen = {"judged": []}

    def PPOTraining(family, reward_model, own, heldout, config, seed, chosen):
        seen.update(own=own, heldout=heldout, seed=seed, chosen=chosen, start=family.state("policy"))
        numbers = {"policy/best_update": 1.0, "objective/score": 0.5, "policy/skipped_steps": 2.0}
        yield Update(1, numbers)
        yield Update(2, numbers | {"policy/went_back": 2.0, "policy/skipped_steps": 1.0})

    def judge_policy(family, reward_model, heldout, config, seed, role="policy"):
        seen["judged"].append((role, heldout, seed))
        figures = {"heldout/score": float(role == "policy"), "heldout/kl": 1.0, "heldout/length": 9.0}
        return figures, [1.0, 0.0] if role == "policy" else [0.0, 0.0]

    monkeypatch.setattr(rounds, "measure_accuracy", lambda *_: GOOD)
    monkeypatch.setattr(policy_round, "PPOTraining", PPOTraining)
    monkeypatch.setattr(rounds, "judge_policy", judge_policy)
    return seen


@pytest.mark.parametrize(("prompts", "judges"), [(8, 2), (20, 5), (500, 96)])
def test_small_prompt_lists_are_shared_and_luck_does_not_count(family, seen, prompts, judges):
    _, outcome = run(family, prompts=prompts)
    assert outcome.published, outcome.reason
    assert "; went back 2 times from a KL over 10; left out 3 steps whose gradient was not" in outcome.reason
    assert (len(seen["heldout"]), len(seen["own"])) == (judges, prompts - judges)
    assert not set(map(tuple, seen["heldout"])) & set(map(tuple, seen["own"]))
    assert [role for role, *_ in seen["judged"]] == ["published", "policy"]
    assert outcome.summary["win_rate"] == 0.75  # one won, one tied
    assert outcome.summary["win_rate_low"] < 0.75 < outcome.summary["win_rate_high"]
    for _, heldout, seed in seen["judged"]:
        assert heldout == seen["heldout"]
        assert seed != seen["seed"]  # that one chose the checkpoint
    assert len({seed for *_, seed in seen["judged"]}) == 1


def test_ppo_learns_from_what_was_chosen_but_for_prompts_that_judge(family, seen):
    ranked = [RankedResponses(f"prompt {i}", ("a", "bb", "ccc"), (2, 1, 3)) for i in range(20)]
    run(family, ranked=ranked)  # the prompts are the same twenty
    tokens = family.tokenizer("bb")["input_ids"]
    chosen = {tuple(prompt): response for prompt, response in seen["chosen"]}
    assert list(chosen.values()) == [[*tokens, family.closing_eos]] * len(chosen)
    told = {tuple(encode_prompt(family.tokenizer, r.prompt)) for r in ranked}
    assert chosen.keys() == told - set(map(tuple, seen["heldout"]))
    assert len(chosen) == 15


def test_what_is_longer_than_the_model_reads_is_not_imitated(family, seen):
    ranked = [RankedResponses(f"question {i}", ("x" * 600, "bb"), (1, 2)) for i in range(20)]
    run(family, ranked=[*ranked, RankedResponses("question", ("a", "bb"), (1, 2))])
    assert [len(response) for _, response in seen["chosen"]] == [2]


def test_heldout_rankings_judge_first_and_teach_then(family, seen, monkeypatch):
    told = []

    def learn_heldout(model, heldout, train, config, seed):
        told.append((heldout, train))
        yield {"reward_model/loss": 0.25}

    monkeypatch.setattr(rounds, "learn_heldout", learn_heldout)
    ranked = [RankedResponses(f"question {i}", ("a", "bb", "ccc"), (1, 2, 3)) for i in range(24)]
    events, _ = run(family, ranked=ranked)
    train, heldout = split_by_prompt(ranked, RoundConfig().reward_model.heldout_share, LEAST_HELDOUT)
    assert told == [(heldout, train)]
    steps = [event for event in events if event.state == "reward_model"]
    *before, judged, taught = steps
    assert "reward_model/accuracy" in judged.metrics
    assert all("reward_model/accuracy" not in event.metrics for event in before)
    assert (taught.metrics, taught.step) == ({"reward_model/loss": 0.25}, judged.step + 1)
    assert f"the {len(heldout)} rankings that have judged it" in taught.detail

    monkeypatch.setattr(rounds, "measure_accuracy", lambda *_: Accuracy(0.5, 0.4, 0.6, 90, 0.5, 30))
    run(family, ranked=ranked)
    assert len(told) == 1  # at the gate there is nothing left to teach


def test_ppo_starts_half_way_back_from_the_published_policy_to_the_reference(family, seen):
    family.copy("reference", "published")
    reference = family.state("published")
    family.set_state("published", {name: weights + 1 for name, weights in reference.items()})
    run(family)
    assert all(torch.allclose(now, reference[name] + 0.5) for name, now in seen["start"].items())
    assert all(torch.equal(now, reference[name] + 1) for name, now in family.state("published").items())
    family.copy("reference", "published")
