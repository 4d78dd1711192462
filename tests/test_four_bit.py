"""QLoRA with bitsandbytes' products for CPUs: the same as LoRA over the weights that the 4 bits stand for."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

pytest.importorskip("bitsandbytes")

from rlhf import four_bit, models
from rlhf.decoding import steps
from rlhf.generate import SamplingConfig, sample_from
from rlhf.likelihood import logprobs_and_pools, token_logprobs
from rlhf.model_steps import ModelSteps
from rlhf.models import LoraFamily, ModelError, load_causal_lm, load_family, load_tokenizer
from rlhf.passes import alike
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import PPOTraining
from rlhf.quick_steps import QuickSteps
from rlhf.reward_model import RewardModel

CPU = torch.device("cpu")
PROMPTS, RESPONSES = [[5, 6, 7], [5, 6, 7], [8]], [[9, 1], [10, 11, 12, 1], [13, 14, 1]]


def family_of(folder, dtype=torch.float32, bf16=False):
    base = load_causal_lm(folder, CPU, dtype, in_four_bits=True)
    return LoraFamily(base, load_tokenizer(folder), CPU, 3, bf16)


def meant_by(family, folder):
    """The same family over a base of plain layers, whose weights are what the 4 bits mean."""
    with family.use("reference") as model:
        meant = {
            name.replace(".base_layer", ""): four_bit.weight_of(layer, torch.float32)
            for name, layer in model.named_modules()
            if four_bit.is_quantised(layer)
        }
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, weight in meant.items():
        base.get_submodule(name).weight.data = weight
    plain = LoraFamily(base.eval().requires_grad_(False), family.tokenizer, CPU, 3)
    for role in models.ROLES:
        plain.set_state(role, family.state(role))
    return plain


def stir(family):
    draw = torch.Generator().manual_seed(0)
    for role in models.ROLES:
        state = family.state(role).items()
        family.set_state(role, {n: t + 0.1 * torch.randn(t.shape, generator=draw) for n, t in state})


@pytest.fixture(scope="module")
def both(tiny_model):
    family = family_of(tiny_model)
    stir(family)
    return family, meant_by(family, tiny_model)


def test_the_base_is_in_four_bits_and_what_is_trained_is_not(both, tiny_model):
    family, plain = both
    assert (family.kind, plain.kind) == ("qlora", "lora")
    with family.use("reference") as model:
        kept = [layer for layer in model.modules() if four_bit.is_quantised(layer)]
        assert len(kept) == 2 * 7
        assert type(model.get_output_embeddings()) is nn.Linear
        original = AutoModelForCausalLM.from_pretrained(tiny_model).model.layers[0].self_attn.q_proj.weight
        found = four_bit.weight_of(model.model.layers[0].self_attn.q_proj.base_layer, torch.float32)
    assert 0.01 < (found - original).std() / original.std() < 0.15
    assert sum(layer.weight.nbytes for layer in kept) * 8 == sum(
        layer.in_features * layer.out_features * 4 for layer in kept
    )
    assert all(p.dtype == torch.float32 and p.requires_grad for p in family.parameters("policy"))
    assert family.longest_tree > 0
    assert family.mixes


@pytest.mark.parametrize("role", ["reference", "policy"])
def test_it_says_what_lora_over_these_weights_says(both, role):
    found, wanted = (logprobs_and_pools(family, role, PROMPTS, RESPONSES) for family in both)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert not torch.allclose(found[0], token_logprobs(both[0], "reward", PROMPTS, RESPONSES), atol=1e-2)


def test_gradients_are_those_of_lora_over_these_weights(both):
    def gradients(family):
        ((_, batch),) = family.batches(PROMPTS, RESPONSES)
        with family.use("policy") as model:
            models_logits = model(**batch.inputs, use_cache=False).logits
            models_logits.pow(2).mean().backward()
        found = [p.grad.clone() for p in family.parameters("policy")]
        for p in family.parameters("policy"):
            p.grad = None
        return found

    for one, other in zip(*map(gradients, both), strict=True):
        assert other.abs().max() > 0
        assert (one - other).abs().max() < 1e-3 * other.abs().max()


def test_decode_steps_are_quick_with_one_adapter_none_and_one_a_row(both):
    family, _ = both
    ids, mask = torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    for roles in (["policy"] * 2, ["reference"] * 2, ["policy", "reference"]):
        with family.speaking(roles) as (model, voices):
            quick, slow = steps(model, ids, mask, 4, voices), ModelSteps(model, ids, mask, 4, voices)
            assert type(quick) is QuickSteps
            for token in (6, 7):
                tokens = torch.tensor([token, 8])
                assert alike(quick.step(tokens), slow.step(tokens), within=1e-4)


def test_samples_are_those_of_lora_over_these_weights(both):
    config, prompts = SamplingConfig(temperature=0, max_new_tokens=8), [[5, 6, 7], [8], [9, 10]]
    roles = ["policy", "reference", "published"]
    found, wanted = (sample_from(family, roles, prompts, config) for family in both)
    assert [s.tokens for s in found] == [s.tokens for s in wanted]


def test_an_adapter_is_saved_and_read_again(both, tiny_model, tmp_path):
    family, plain = both
    family.save("policy", tmp_path)
    plain.load("viewer", tmp_path)
    found = token_logprobs(plain, "viewer", PROMPTS, RESPONSES)
    assert torch.allclose(found, token_logprobs(family, "policy", PROMPTS, RESPONSES), atol=1e-4)
    family.copy("policy", "viewer")
    family.draw_back("viewer", 1.0)
    assert torch.equal(
        token_logprobs(family, "viewer", PROMPTS, RESPONSES),
        token_logprobs(family, "reference", PROMPTS, RESPONSES),
    )


@pytest.mark.parametrize("bf16", [False, True])
def test_ppo_moves_the_adapter_and_leaves_the_base_alone(tiny_model, bf16):
    torch.manual_seed(0)
    family = family_of(tiny_model, torch.bfloat16 if bf16 else torch.float32, bf16)
    model = RewardModel(family)
    model.reset(0)
    before = copy.deepcopy(token_logprobs(family, "reference", PROMPTS, RESPONSES))
    sampling = SamplingConfig(max_new_tokens=6)
    config = PPOConfig(updates=2, episodes=8, evaluate_every=10, kl_limit=100.0, sampling=sampling)
    family.copy("reference", "policy")
    updates = list(PPOTraining(family, model, [[5, 6, 7], [8, 9]] * 8, [[5, 6]] * 8, config, 0, []))
    assert updates[1].metrics["policy/ratio"] == pytest.approx(1, abs=0.05 if bf16 else 1e-3)
    after = token_logprobs(family, "reference", PROMPTS, RESPONSES)
    assert torch.equal(before, after)
    assert any(p.abs().max() > 0 for n, p in family.weights("policy").items() if "lora_B" in n)


def test_where_it_cannot_be_had_people_get_one_sentence(tiny_model, monkeypatch):
    with pytest.raises(ModelError, match="qlora needs a CUDA GPU, and this run is on cpu; use --tuning lora"):
        load_family(tiny_model, tuning="qlora", device="cpu")
    assert four_bit.refusal(torch.device("cuda")) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'podium[qlora]'" in four_bit.refusal(torch.device("cuda"))
