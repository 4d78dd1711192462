"""PPO from update to update: planted preferences, seeds, the KL limit, the best checkpoint, bad numbers."""

import pytest
import torch

from data.preferences import RankedResponses
from data.starter.prompts import train_prompts
from rlhf import ppo_training
from rlhf.generate import SamplingConfig, decode_text, encode_prompt, sample
from rlhf.models import load_family
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import AdaptiveKL, Average, PPOTraining, evaluate_policy, repetition
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model
from tests.planted import SHORT, setup


def taste_for_length(family, longest_first):
    """The starter, and a reward model that learned from its own responses to like them long, or short."""
    sampling = SamplingConfig(temperature=0.8, max_new_tokens=64)
    texts = train_prompts()[:160]
    ids = [encode_prompt(family.tokenizer, t) for t in texts]
    with family.use("reference") as model:
        drawn = sample(
            model,
            [i for i in ids[:48] for _ in range(3)],
            sampling,
            pad_id=family.pad_id,
            eos_ids=family.eos_ids,
            generator=torch.Generator().manual_seed(0),
        )
    data = []
    for number, text in enumerate(texts[:48]):
        responses = tuple(decode_text(family.tokenizer, s.tokens) for s in drawn[3 * number : 3 * number + 3])
        lengths = sorted({len(r) for r in responses}, reverse=longest_first)
        data.append(RankedResponses(text, responses, tuple(lengths.index(len(r)) + 1 for r in responses)))
    model = RewardModel(family)
    model.reset(0)
    for _ in train_reward_model(model, data, RewardModelConfig(epochs=2), 0):
        pass
    model.normalise_on([i for i in ids[:48] for _ in range(3)], [s.tokens for s in drawn])
    return model, ids, sampling


@pytest.mark.slow
@pytest.mark.parametrize(("tuning", "longest_first"), [("full", True), ("lora", False)])
def test_the_starter_follows_a_planted_preference_and_its_opposite(tuning, longest_first):
    family = load_family("starter", tuning=tuning, device="cpu", lora_rank=8)
    model, ids, sampling = taste_for_length(family, longest_first)
    config = PPOConfig(
        updates=5, episodes=32, minibatch=8, warmup_episodes=32, kl_coef=0.02, evaluate_every=5,
        sampling=sampling,
    )  # fmt: skip
    family.copy("reference", "policy")
    before = evaluate_policy(family, model, ids[64:], config, 7, role="reference")
    updates = list(PPOTraining(family, model, ids, ids[:32], config, 0))
    after = evaluate_policy(family, model, ids[64:], config, 7)
    assert [u.step for u in updates] == list(range(config.updates + 1))
    assert after["heldout/score"] > before["heldout/score"] + 0.2
    if longest_first:
        assert after["heldout/length"] > before["heldout/length"] * 1.08
    else:
        assert after["heldout/length"] < before["heldout/length"] * 0.95
    unchanged = evaluate_policy(family, model, ids[64:], config, 7, role="reference")
    assert unchanged == before  # the reference did not move


def test_same_seed_repeats_and_two_seeds_differ(tiny_model):
    def run(seed):
        family, model, prompts = setup(tiny_model)
        config = PPOConfig(updates=2, episodes=16, warmup_episodes=16, sampling=SHORT.sampling)
        return [u.metrics for u in PPOTraining(family, model, prompts, prompts[:8], config, seed)]

    first = run(3)
    assert first == run(3)
    assert first != run(4)


def runaway(updates: int, **changes) -> PPOConfig:
    """Steps so large that KL soon passes 1 nat."""
    return PPOConfig(
        updates=updates, episodes=32, warmup_episodes=16, learning_rate=1e-2, kl_limit=1.0,
        approx_kl_stop=100.0, evaluate_every=1, sampling=SHORT.sampling, **changes,
    )  # fmt: skip


def test_beyond_the_kl_limit_the_policy_goes_back_and_the_coefficient_doubles(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = runaway(30, kl_coef=0.01)
    updates = list(PPOTraining(family, model, prompts, prompts[:32], config, 0))
    over = next(u for u in updates if u.step and u.metrics["objective/kl"] > 1.0)
    assert over.metrics["policy/went_back"] == 1
    assert "policy/loss" not in over.metrics  # it did not learn from what it should not have written
    after = updates[over.step + 1].metrics
    assert after["objective/kl"] < over.metrics["objective/kl"]
    assert after["objective/kl_coef"] == 2 * config.kl_coef
    assert evaluate_policy(family, model, prompts[:32], config, 0)["heldout/kl"] <= 1.0


def test_training_ends_when_the_average_is_beyond_the_kl_limit_too(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = runaway(30, kl_coef=0.0, average=0.0)  # an average that is the policy itself
    updates = list(PPOTraining(family, model, prompts, prompts[:32], config, 0))
    assert len(updates) < 30
    assert "over the limit of 1" in updates[-1].stop
    assert updates[-2].metrics["policy/went_back"] >= 1
    kept = evaluate_policy(family, model, prompts[:32], config, 0)
    assert kept["heldout/kl"] <= 1.0  # the best checkpoint, not the last policy


def test_a_round_that_begins_beyond_the_kl_limit_may_find_its_way_back(tiny_model):
    family, model, prompts = setup(tiny_model)
    moved = {k: v + 0.1 * torch.randn_like(v) for k, v in family.state("policy").items()}
    family.set_state("policy", moved)
    config = PPOConfig(updates=1, episodes=16, warmup_episodes=16, kl_limit=1e-3, sampling=SHORT.sampling)
    _, first = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    assert first.metrics["objective/kl"] > 1e-3
    assert "policy/loss" in first.metrics  # it learned
    assert first.stop is None


def test_the_best_checkpoint_is_kept_by_score_and_kl_together(tiny_model, monkeypatch):
    family, model, prompts = setup(tiny_model)
    verdicts = iter([(1.0, 2.0), (1.5, 3.0), (1.6, 9.0), (9.0, 11.0), (1.4, 3.0)])  # score and KL
    weights = []

    def judge(family, *_):
        score, kl = next(verdicts)
        weights.append(family.state("policy"))
        return {"heldout/score": score, "heldout/kl": kl, "heldout/length": 1.0}

    monkeypatch.setattr(ppo_training, "evaluate_policy", judge)
    config = PPOConfig(
        updates=5, episodes=16, warmup_episodes=16, evaluate_every=1, kl_coef=0.1, sampling=SHORT.sampling
    )
    *_, last = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    assert last.metrics["policy/best_update"] == 2  # 3 pays too much KL, 4 is beyond the limit
    kept = family.state("policy")
    assert all(torch.equal(kept[name], weights[1][name]) for name in kept)
    assert any(not torch.equal(kept[name], weights[2][name]) for name in kept)


def test_held_out_prompts_are_judged_by_what_is_paid(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = PPOConfig(missing_eos_score=-100.0, sampling=SamplingConfig(max_new_tokens=2))
    assert evaluate_policy(family, model, prompts[:16], config, 0)["heldout/score"] < -50


@pytest.mark.parametrize("every", [1, 5])  # with 5, nothing has been judged before
def test_numbers_that_are_not_finite_end_training_and_the_best_checkpoint_stays(
    tiny_model, monkeypatch, every
):
    family, model, prompts = setup(tiny_model)
    config = PPOConfig(
        updates=5, episodes=16, warmup_episodes=16, evaluate_every=every, sampling=SHORT.sampling
    )
    real, calls = ppo_training.rollout, []

    def rollout(*arguments, **options):
        if options:  # an evaluation
            return real(*arguments, **options)
        calls.append(arguments)
        if len(calls) == 4:  # the warm-up is the first
            raise FloatingPointError("the model's probabilities are not finite numbers")
        return real(*arguments)

    monkeypatch.setattr(ppo_training, "rollout", rollout)
    training = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    *_, last = training
    assert (last.step, last.stop) == (3, "the model's probabilities are not finite numbers")
    assert last.metrics["policy/best_update"] == 3 if every == 5 else last.metrics["policy/best_update"] > 0
    if every == 5:
        assert "heldout/score" in last.metrics
        policy = family.state("policy")
        assert all(torch.equal(t, policy[name]) for name, t in training.average.state.items())


def test_the_average_forgets_its_start_follows_what_comes_and_leaves_old_states_alone():
    start = {"weight": torch.tensor([100.0]), "steps": torch.tensor([0])}
    average = Average(start, decay=0.85)
    average.add({"weight": torch.tensor([1.0]), "steps": torch.tensor([1])})
    first = average.state
    assert first["weight"].item() == pytest.approx(0.25 * 100 + 0.75 * 1)
    for step in range(2, 30):
        average.add({"weight": torch.tensor([1.0 + (-1.0) ** step]), "steps": torch.tensor([step])})
    assert average.state["weight"].item() == pytest.approx(1.0, abs=0.1)  # of a policy that jumps 0, 2, 0, 2
    assert average.state["steps"].item() == 29
    assert (start["weight"].item(), first["weight"].item()) == (100.0, 25.75)


def test_without_decay_the_average_is_the_policy_itself():
    average, live = Average({"weight": torch.tensor([5.0])}, decay=0.0), {"weight": torch.tensor([1.0])}
    average.add(live)
    live["weight"].fill_(9.0)  # the policy goes on
    assert average.state["weight"].item() == 1.0


def test_the_kl_coefficient_rises_above_the_target_and_falls_below_it():
    controller = AdaptiveKL(0.1, target=6.0, horizon=10_000)
    controller.update(kl=60.0, episodes=100)
    assert controller.coefficient == pytest.approx(0.1 * (1 + 0.2 * 100 / 10_000))
    controller.update(kl=6.0, episodes=100)
    assert controller.coefficient == pytest.approx(0.1 * (1 + 0.2 * 100 / 10_000))
    controller.update(kl=0.0, episodes=100)
    assert controller.coefficient == pytest.approx(0.1 * (1 + 0.002) * (1 - 0.002))


def test_a_policy_of_no_numbers_ends_training_with_a_reason(tiny_model):
    family, model, prompts = setup(tiny_model)
    with torch.no_grad():
        family.parameters("policy")[0].fill_(float("nan"))
    updates = list(PPOTraining(family, model, prompts, prompts[:8], SHORT, 0))
    assert [(u.step, u.metrics) for u in updates] == [(0, {})]
    assert "not finite numbers" in updates[0].stop


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ([], 0),
        ([5, 5], 0),
        ([5, 5, 5], 0),
        ([5, 5, 5, 5], 0.5),
        ([1, 2, 3, 1, 2, 3, 1], 2 / 5),
        ([1, 2, 3, 4], 0),
    ],
)
def test_repetition_by_hand(tokens, share):
    assert repetition(tokens) == pytest.approx(share)
