"""The quick steps say what the model says, row by row; models of another build are left to themselves."""

import pytest
import torch
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rlhf import decoding
from rlhf.decoding import ModelSteps, QuickSteps, steps
from rlhf.models import load_family

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 10_000.0,
}
QUICK = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama, few key heads": lambda: LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, **SIZES)),
    "llama 3's positions": lambda: LlamaForCausalLM(LlamaConfig(rope_parameters=LLAMA3, **SIZES)),
    "tied": lambda: LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **SIZES)),
    "qwen2, with biases": lambda: Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=1, **SIZES)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(sliding_window=None, num_key_value_heads=4, **SIZES)),
}
SLOW = {
    "a window": lambda: MistralForCausalLM(MistralConfig(sliding_window=8, num_key_value_heads=4, **SIZES)),
    "another build": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=2)),
    "a norm that adds 1": lambda: GemmaForCausalLM(GemmaConfig(head_dim=8, num_key_value_heads=4, **SIZES)),
    "positions that depend on the length": lambda: LlamaForCausalLM(
        LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}, **SIZES)
    ),
}
IDS = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10], [0, 11, 12, 13]])
MASK = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])


def make(build):
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():  # as after training: not all ones and zeros
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


@pytest.mark.parametrize("name", QUICK)
def test_quick_steps_say_what_the_model_says(name):
    model = make(QUICK[name])
    quick, slow = steps(model, IDS, MASK, 8), ModelSteps(model, IDS, MASK, 8)
    assert isinstance(quick, QuickSteps)
    assert torch.equal(quick.logits, slow.logits)
    with torch.no_grad():
        for number in range(8):
            tokens = torch.randint(0, 60, (len(quick.positions),))
            one, other = quick.step(tokens), slow.step(tokens)
            assert torch.allclose(one, other, atol=1e-4), number
            if number == 3:
                for kind in (quick, slow):
                    kind.keep(torch.tensor([0, 2]))


@pytest.mark.parametrize("name", SLOW)
def test_other_models_take_their_own_steps(name):
    model = make(SLOW[name])
    assert isinstance(steps(model, IDS, MASK, 8), ModelSteps)


def test_each_adapter_speaks_for_itself(tiny_model):
    family = load_family(tiny_model, tuning="lora", device="cpu", lora_rank=2)
    with torch.no_grad():
        for role in ("policy", "published"):
            for p in family.parameters(role):
                p.normal_(std=0.3)
    said = []
    for role in ("policy", "published", "reference", "policy"):
        with family.use(role, sampling=True) as model, torch.no_grad():
            quick, slow = steps(model, IDS, MASK, 8), ModelSteps(model, IDS, MASK, 8)
            assert isinstance(quick, QuickSteps)
            tokens = torch.tensor([20, 21, 22])
            said.append(quick.step(tokens))
            assert torch.allclose(said[-1], slow.step(tokens), atol=1e-4)
    assert torch.equal(said[0], said[3])
    assert all((said[i] - said[j]).abs().max() > 0.1 for i, j in ((0, 1), (1, 2), (2, 0)))


def test_models_that_are_large_take_their_own_steps(monkeypatch):
    monkeypatch.setattr(decoding, "QUICK_BELOW", 1000)
    assert isinstance(steps(make(QUICK["llama"]), IDS, MASK, 8), ModelSteps)


def test_a_model_that_would_say_something_else_takes_its_own_steps():
    model = make(QUICK["llama"])
    feed_forward = model.model.layers[1].mlp
    feed_forward.forward = lambda states, own=feed_forward.forward: 2 * own(states)
    assert isinstance(steps(model, IDS, MASK, 8), ModelSteps)
