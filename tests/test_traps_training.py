"""Traps in what learns, what is kept and what is saved, set on real, tiny models."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from rlhf import functional as f
from rlhf import ppo
from rlhf.generate import sample_from
from rlhf.imitation import scored_chosen
from rlhf.likelihood import token_logprobs
from rlhf.models import ROLES
from rlhf.passes import look
from rlhf.ppo import Learner, warm_up_value
from rlhf.ppo_training import Average
from rlhf.reward_model import RewardModel
from tests.test_models import SIZES
from tests.test_resume import same
from tests.traps import (
    BOTH,
    CONFIG,
    draw,
    family_of,
    finite,
    gradients,
    moved_by,
    prompts_of,
    saved_with_tokenizer,
    taught,
)

# -- steps and micro-batches ---------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("broken", ["first", "last"])
def test_a_step_of_which_one_micro_batch_is_nan_changes_nothing_and_the_next_go_on(
    tiny_model, tuning, broken, monkeypatch
):
    family = family_of(tiny_model, tuning)
    family.token_budget = 100
    model = taught(family)
    learner, data = Learner.start(family, model, CONFIG), draw(family, model, prompts_of(family, 16))
    real_step, real_logprobs, passes, states = ppo._policy_step, f.logprobs_of, [], []

    def step(learner, data, advantages, rows, *rest):
        prompts, responses = ([own[i] for i in rows] for own in (data.prompts, data.responses))
        parts = len(list(family.batches(prompts, responses)))
        assert parts > 2
        passes.extend("last" if i == parts - 1 else "first" if i == 0 else "" for i in range(parts))
        states.append(learner.state())
        return real_step(learner, data, advantages, rows, *rest)

    def logprobs(*arguments):
        """Of the second step one micro-batch overflows."""
        found, place = real_logprobs(*arguments), passes.pop(0)
        return found * (float("nan") if len(states) == 2 and place == broken else 1.0)

    monkeypatch.setattr(ppo, "_policy_step", step)
    monkeypatch.setattr(f, "logprobs_of", logprobs)
    metrics, policy = moved_by(learner, data)
    states.append(learner.state())  # weights, both optimisers, the value function, the factor on the logits
    assert [same(*pair) for pair in itertools.pairwise(states)] == [False, True, False, False]
    assert (metrics["policy/skipped_steps"], metrics["policy/inner_steps"]) == (1, 3)
    assert finite(metrics)
    assert all(torch.isfinite(t).all() for t in policy.values())


def test_a_batch_that_minibatches_do_not_divide_is_used_once_in_each_pass(tiny_model, monkeypatch):
    family = family_of(tiny_model)
    model = taught(family)
    config = replace(CONFIG, minibatch=4, inner_epochs=3, warmup_epochs=2)
    learner, data = Learner.start(family, model, config), draw(family, model, prompts_of(family, 10))
    policy, value = [], []
    real_policy, real_value = ppo._policy_step, ppo._value_step
    monkeypatch.setattr(ppo, "_policy_step", lambda *given: policy.append(given[3]) or real_policy(*given))
    monkeypatch.setattr(
        ppo, "_value_step", lambda *given: value.append(int(given[2].sum())) or real_value(*given)
    )
    warm_up_value(learner, data, config, random.Random(0))
    tokens = int(data.mask.sum())
    assert len(value) == 6
    assert [sum(value[i : i + 3]) for i in (0, 3)] == [tokens] * 2
    value.clear()
    metrics, _ = moved_by(learner, data, config)
    assert metrics["policy/inner_steps"] == 9
    assert [len(rows) for rows in policy] == [4, 4, 2] * 3
    passes = [[row for rows in policy[i : i + 3] for row in rows] for i in (0, 3, 6)]
    assert [sorted(rows) for rows in passes] == [list(range(10))] * 3
    assert passes[0] != passes[1]
    assert [sum(value[i : i + 3]) for i in (0, 3, 6)] == [tokens] * 3


@BOTH
def test_micro_batches_add_up_to_the_gradient_of_the_whole(tiny_model, tuning):
    """Whether there is one or many, whether responses share rows, and with some that people chose."""
    config = replace(CONFIG, max_grad_norm=1e9, chosen_coef=0.5, chosen_share=0.8)
    family = family_of(tiny_model, tuning)
    model = taught(family)
    data = draw(family, model, [p for p in prompts_of(family, 5) for _ in range(2)], config)
    advantages = torch.randn(data.mask.shape, generator=torch.Generator().manual_seed(0)) * data.mask
    pairs = [model.encode(f"prompt {'x' * i}", "ab" * i) for i in range(8)]
    chosen = [replace(card, score=50.0) for card in scored_chosen(model, pairs, 8, 0.7, 0).cards]
    learner = Learner.start(family, model, config)
    learner.set_rates(0.0)
    learner.chosen = itertools.cycle(chosen)
    found, longest = [], family.longest_tree
    for budget, shared in ((10**6, True), (64, True), (64, False)):
        family.token_budget, family.longest_tree = budget, longest if shared else 0
        assert (len(list(family.batches(data.prompts, data.responses))) > 3) == (budget == 64)
        watch = ppo._policy_step(learner, data, advantages, list(range(10)), 0.02, config)
        found.append((watch, gradients(family)))
    whole, right = found[0]
    assert whole["policy/chosen_loss"] > 1
    largest = max(float(g.abs().max()) for g in right)
    assert largest > 0.01
    for parts, summed in found[1:]:
        assert parts == pytest.approx(whole, rel=1e-4, abs=1e-5)
        for one, other in zip(summed, right, strict=True):
            assert (one - other).abs().max() < 1e-4 * largest


# -- which weights learn -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("role", ["policy", "reward"])
def test_whatever_was_used_before_the_trained_role_gets_gradients_and_nothing_else_does(
    tiny_model, tuning, role
):
    family = family_of(tiny_model, tuning, moved=ROLES)
    others = [other for other in ROLES if other != role]
    with family.use("reference") as model:
        base = [p for name, p in model.named_parameters() if "lora_" not in name]
    before = [p.clone() for p in base]
    parameters = family.parameters(role)
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for last in ("reference", *others, role):
        for sampling in (False, True):
            with family.use(last, sampling=sampling):
                pass
            optimizer.zero_grad()
            for _, batch in family.batches([[5, 6], [7]], [[8, 9, 1], [10, 1]]):
                with family.use(role) as model:
                    (-look(model, batch).logprobs(1.0).sum()).backward()
            assert all(p.grad is not None and p.grad.any() for p in parameters), last
            optimizer.step()
            for other in others:
                assert gradients(family, other) == [None] * len(family.parameters(other)), last
            assert not any(p.requires_grad or p.grad is not None for p in base), last
    assert all(map(torch.equal, base, before))


# -- dropout -------------------------------------------------------------------------------------------

DROPPING = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3, **SIZES
        )
    ),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            attention_dropout=0.3, **SIZES,
        )
    ),
}  # fmt: skip


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("kind", DROPPING)
def test_dropout_is_off_in_every_role_while_it_learns_too(tiny_model, tmp_path, kind, tuning):
    folder = saved_with_tokenizer(DROPPING[kind](), tiny_model, tmp_path)
    family = family_of(folder, tuning, moved=("policy", "published"))
    family.eos_ids |= set(range(4, 30))
    model = taught(family)
    data = draw(family, model, prompts_of(family, 16))
    learner = Learner.start(family, model, CONFIG)
    learner.set_rates(0.0)
    metrics, _ = moved_by(learner, data)
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert metrics["policy/approx_kl"] == pytest.approx(0, abs=1e-6)
    for role in ("reference", "policy", "published", "viewer", "reward"):
        once, again = (token_logprobs(family, role, data.prompts, data.responses) for _ in range(2))
        assert torch.equal(once, again), role
    assert torch.equal(model.score(data.prompts, data.responses), model.score(data.prompts, data.responses))


# -- tied weights, saving ------------------------------------------------------------------------------

SEEN = [[5, 6, 7], [8]], [[9, 1], [10, 11, 12, 1]]


def logits(family, role="policy"):
    with torch.no_grad(), family.use(role) as model:
        return model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits


def tied_of(family, role="policy"):
    with family.use(role) as model:
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        return model.get_input_embeddings().weight


def test_tied_weights_stay_one_and_are_averaged_drawn_back_and_saved_as_one(tiny_model, tmp_path):
    family = family_of(tiny_model)
    reference = tied_of(family, "reference").clone()
    start, tied = family.state("policy"), tied_of(family)
    other = family_of(tiny_model, moved=("policy",) * 2)
    average = Average(start, decay=0.85)
    average.add(other.state("policy"))
    family.set_state("policy", average.state)
    assert tied_of(family) is tied
    wanted = 0.25 * start["model.embed_tokens.weight"] + 0.75 * tied_of(other)
    assert torch.allclose(tied, wanted, atol=1e-6)

    family.draw_back("policy", 0.5)
    assert torch.allclose(tied, (wanted + reference) / 2, atol=1e-6)
    assert not torch.equal(tied_of(family, "reference"), tied)

    family.save("policy", tmp_path)
    family.copy("policy", "published")
    again = family_of(tiny_model, moved=())
    again.load("policy", tmp_path)
    assert torch.equal(tied_of(again), tied)
    assert torch.equal(logits(again), logits(family))
    assert torch.equal(logits(family, "published"), logits(family))
    tied_of(family, "published")


@BOTH
def test_a_reward_model_and_a_policy_that_were_saved_say_the_same_bit_for_bit(tiny_model, tmp_path, tuning):
    family = family_of(tiny_model, tuning)
    model = taught(family, epochs=2)
    model.normalise_on(*SEEN)
    model.save(tmp_path / "reward")
    family.save("policy", tmp_path / "policy")
    again = family_of(tiny_model, tuning, moved=("policy", "reward"))  # what is there before does not matter
    fresh = RewardModel(again)
    assert not torch.equal(logits(again, "reward"), logits(family, "reward"))
    fresh.load(tmp_path / "reward")
    again.load("policy", tmp_path / "policy")
    one, other = (m.assess(*SEEN, with_states=True) for m in (model, fresh))
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.early, other.early)
    assert torch.equal(one.states, other.states)
    assert torch.equal(logits(family), logits(again))
    assert not torch.equal(logits(family), logits(family, "reference"))
    drawn = [
        sample_from(f, "policy", [[5, 6], [7]], CONFIG.sampling, torch.Generator().manual_seed(0))
        for f in (family, again)
    ]
    assert drawn[0] == drawn[1]
