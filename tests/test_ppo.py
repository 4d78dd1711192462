"""One update of PPO on really trained tiny models: first-step identities, what is paid, what is skipped."""

import copy
import math
import random
from dataclasses import replace

import pytest
import torch

from data.starter.prompts import train_prompts
from rlhf import functional as f
from rlhf import ppo
from rlhf.batching import pad
from rlhf.generate import Sample, SamplingConfig, encode_prompt
from rlhf.models import load_family, load_tokenizer
from rlhf.passes import look
from rlhf.ppo import Learner, PPOConfig, paid_scores, rollout, update, warm_up_value
from rlhf.ppo_training import PPOTraining
from rlhf.probe import LikelihoodTerm
from rlhf.reward_model import RewardModel
from rlhf.value_function import ValueFunction
from tests.planted import SHORT, draw, setup


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_first_step_identities(tiny_model, tuning):
    family, model, prompts = setup(tiny_model, tuning)
    data = draw(family, model, prompts)
    assert data.kl.abs().max() < 1e-5  # a fresh policy is the reference
    learner = Learner.start(family, model, SHORT)
    learner.set_rates(0.0)
    metrics = update(learner, data, 0.05, SHORT, random.Random(0))
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert metrics["policy/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["policy/clipfrac"] == 0


def test_an_update_that_sees_another_policy_is_refused(tiny_model):
    family, model, prompts = setup(tiny_model)
    data = draw(family, model, prompts)
    data.logprobs = data.logprobs - 0.5 * data.mask
    with pytest.raises(RuntimeError, match="first ratio"):
        update(Learner.start(family, model, SHORT), data, 0.05, SHORT, random.Random(0))


def test_the_value_starts_as_what_the_reward_models_head_makes_of_the_text_so_far(tiny_model):
    family, model, prompts = setup(tiny_model)
    model.mean, model.std = 0.3, 2.0
    data = draw(family, model, prompts)
    row = int(data.mask.sum(1).argmax())
    cut = data.responses[row][:-1]
    with family.use("reward") as trunk, torch.no_grad():
        states = look(trunk, pad([data.prompts[row]], [cut], 0)).middle[0]
        so_far = states[len(data.prompts[row]) - 1 :]  # the prompt's end knows what is asked
        pooled = torch.cat([so_far.max(0).values, so_far.min(0).values, so_far.sum(0)])
        expected = (model.head(pooled) - 0.3) / 2.0
        value_function = ValueFunction(model)
        values = value_function(value_function.read(data.states))
    assert values[row, len(cut)].item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_value_learns_and_the_trunk_that_it_reads_stays_as_it_is(tiny_model):
    family, model, prompts = setup(tiny_model)
    learner = Learner.start(family, model, SHORT)
    assert not learner.value_function.ahead[2].weight.any()
    data, trunk = draw(family, model, prompts), family.state("reward")
    with torch.no_grad():
        values = learner.value_function(learner.value_function.read(data.states))
    before = f.explained_variance(values, data.rewards(0.0).flip(1).cumsum(1).flip(1), data.mask)
    after = warm_up_value(learner, data, replace(SHORT, kl_coef=0.0), random.Random(0))
    assert after["value/explained_variance"] > before + 0.3
    assert after["value/explained_variance"] > 0
    assert all(torch.equal(now, trunk[name]) for name, now in family.state("reward").items())


def test_a_response_without_eos_gets_the_fixed_low_score(tiny_model):
    family, model, prompts = setup(tiny_model)
    family.eos_ids = {1}
    data = draw(family, model, prompts)
    assert not data.finished.all()
    assert (data.scores[~data.finished] == SHORT.missing_eos_score).all()


def test_what_a_token_earns_early_is_taken_from_the_last_reward(tiny_model):
    family, model, prompts = setup(tiny_model)
    data = draw(family, model, prompts)
    assert data.early.abs().max() > 0.01  # likelihood goes with length, which was preferred
    rewards = data.rewards(kl_coef=0.0)
    assert torch.allclose(rewards.sum(1), data.scores, atol=1e-4)
    last = data.mask.sum(1) - 1
    before = torch.arange(data.mask.shape[1]) < last.unsqueeze(1)
    assert torch.equal(rewards[before], data.early[before])


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1.0, -1.0], ids=["sure", "unlikely"])
def test_the_policy_speaks_more_or_less_surely_as_the_rankings_ask(weight):
    family = load_family("starter", tuning="full", device="cpu")
    ids = [encode_prompt(family.tokenizer, t) for t in train_prompts()[:64]]
    model = RewardModel(family)
    model.reset(0)
    # a new head says 0: nothing counts but how likely the reference finds a response
    model.likelihood = LikelihoodTerm(torch.tensor([[weight], [0.0]]), std=torch.tensor([10.0, 1.0]))
    config = PPOConfig(
        episodes=64, minibatch=8, learning_rate=0.0, sampling=SamplingConfig(temperature=0.8)
    )  # fmt: skip
    family.copy("reference", "policy")
    learner = Learner.start(family, model, config)
    data = rollout(family, model, ids, config, torch.Generator().manual_seed(0))
    factor = update(learner, data, 0.0, config, random.Random(0))["policy/logit_scale"]
    assert factor > 1.05 if weight > 0 else factor < 0.95, factor


def test_responses_to_one_prompt_are_learned_in_one_step_and_one_row(tiny_model, monkeypatch):
    family, model, prompts = setup(tiny_model)
    family.packs = False  # which would put several prompts in a row
    changes = {"episodes": 32, "minibatch": 8, "responses_per_prompt": 4, "updates": 1}
    config = replace(SHORT, approx_kl_stop=100.0, **changes)
    steps, rows, real = [], [], ppo._policy_step

    def step(learner, data, advantages, picked, *others):
        steps.append([tuple(data.prompts[i]) for i in picked])
        rows.extend(batch.ids.shape[0] for _, batch in family.batches(*zip(*[
            (data.prompts[i], data.responses[i]) for i in picked
        ], strict=True)))  # fmt: skip
        return real(learner, data, advantages, picked, *others)

    monkeypatch.setattr(ppo, "_policy_step", step)
    training = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    *_, last = training
    assert last.step == 1
    assert len(steps) == 4 * config.inner_epochs
    for prompts_of_step in steps:
        assert [prompts_of_step.count(p) for p in dict.fromkeys(prompts_of_step)] == [4, 4]
    assert len({p for step in steps for p in step}) == 8
    assert sum(rows) == 2 * len(steps)
    with pytest.raises(ValueError, match="minibatch is 32; wanted: a multiple of responses_per_prompt, 3"):
        PPOConfig(responses_per_prompt=3, episodes=63, warmup_episodes=63)


def test_large_steps_end_the_inner_epochs(tiny_model):
    family, model, prompts = setup(tiny_model)
    for stop, steps in ((1e-9, 2), (100.0, 8)):  # the first step is seen by the second
        config = PPOConfig(
            updates=1,
            episodes=16,
            warmup_episodes=16,
            minibatch=4,
            inner_epochs=2,
            approx_kl_stop=stop,
            sampling=SHORT.sampling,
        )
        *_, update = PPOTraining(family, model, prompts, prompts[:8], config, 0)
        assert update.metrics["policy/inner_steps"] == steps


def test_cut_and_empty_responses_are_paid_the_fixed_low_score(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    blank = tokenizer(" \n", add_special_tokens=False)["input_ids"]
    samples = [Sample([70, 1], True), Sample([70, 71], False), Sample([1], True), Sample([*blank, 1], True)]
    paid = paid_scores(torch.full((4,), 2.0), samples, tokenizer, PPOConfig(missing_eos_score=-3.0))
    assert paid.tolist() == [2, -3, -3, -3]


@pytest.mark.parametrize("bad", [1, 100])  # one of four minibatches, or all
def test_a_gradient_that_is_not_finite_is_skipped_and_told(tiny_model, monkeypatch, bad):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, minibatch=32)
    learner, data = Learner.start(family, model, config), draw(family, model, prompts)
    real, calls = f.policy_loss, []

    def policy_loss(*arguments):
        calls.append(arguments)
        loss, watch = real(*arguments)
        return loss * (float("nan") if len(calls) <= bad else 1.0), watch

    monkeypatch.setattr(f, "policy_loss", policy_loss)
    before = family.state("policy")
    if bad > 1:
        with pytest.raises(FloatingPointError, match="only gradients that are not finite"):
            update(learner, data, 0.05, config, random.Random(0))
        assert all(torch.equal(now, before[name]) for name, now in family.state("policy").items())
        return
    metrics = update(learner, data, 0.05, config, random.Random(0))
    assert (metrics["policy/skipped_steps"], metrics["policy/inner_steps"]) == (1, 3)
    after = family.state("policy")
    assert all(torch.isfinite(now).all() for now in after.values())
    assert any(not torch.equal(now, before[name]) for name, now in after.items())


@pytest.mark.parametrize("bad", [1, 100])
def test_so_is_one_of_the_value_function(tiny_model, monkeypatch, bad):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, minibatch=32, warmup_epochs=2)
    learner, data = Learner.start(family, model, config), draw(family, model, prompts)
    real, calls = f.value_loss, []

    def value_loss(*arguments):
        calls.append(arguments)
        return real(*arguments) * (float("nan") if len(calls) <= bad else 1.0)

    monkeypatch.setattr(f, "value_loss", value_loss)
    if bad > 1:
        with pytest.raises(FloatingPointError, match="value function met only gradients"):
            update(learner, data, 0.05, config, random.Random(0))
    else:
        metrics = update(learner, data, 0.05, config, random.Random(0))
        assert (metrics["value/skipped_steps"], metrics["policy/skipped_steps"]) == (1, 0)
        assert math.isfinite(metrics["value/loss"])
    before = copy.deepcopy(learner.value_function.state_dict())
    data.states[3] = float("inf")
    with pytest.raises(FloatingPointError, match="value function met only gradients"):
        warm_up_value(learner, data, replace(config, minibatch=64), random.Random(0))
    assert all(torch.equal(t, before[name]) for name, t in learner.value_function.state_dict().items())


def test_an_update_that_sees_another_policy_is_refused_also_when_its_first_step_was_left_out(
    tiny_model, monkeypatch
):
    family, model, prompts = setup(tiny_model)
    data, real, calls = draw(family, model, prompts), ppo._policy_step, []
    data.logprobs = data.logprobs - 0.5 * data.mask

    def step(*given):
        calls.append(given)
        return real(*given) if len(calls) > 1 else None

    monkeypatch.setattr(ppo, "_policy_step", step)
    with pytest.raises(RuntimeError, match="first ratio"):
        update(Learner.start(family, model, SHORT), data, 0.05, SHORT, random.Random(0))
    assert len(calls) == 2
