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
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rlhf import quick_steps
from rlhf.decoding import steps
from rlhf.graph_steps import GraphSteps
from rlhf.model_steps import ModelSteps
from rlhf.models import load_family
from rlhf.quick_steps import Joined, QuickSteps, in_one, lay_together

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
    "qwen3, that norms heads": lambda: Qwen3ForCausalLM(
        Qwen3Config(head_dim=16, num_key_value_heads=2, **SIZES)
    ),
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


class FixedSteps(GraphSteps):
    """What a GPU records, taken as it comes."""

    def _step(self, tokens):
        return self._fixed_step(tokens)


@pytest.mark.parametrize("kind", [None, FixedSteps])
@pytest.mark.parametrize("name", QUICK)
def test_quick_steps_say_what_the_model_says(name, kind):
    model = make(QUICK[name])
    quick, slow = steps(model, IDS, MASK, 8), ModelSteps(model, IDS, MASK, 8)
    assert type(quick) is QuickSteps
    quick = kind(model, IDS, MASK, 8, None) if kind else quick
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


@pytest.mark.parametrize("kind", [None, FixedSteps])
def test_each_row_has_an_adapter_of_its_own(tiny_model, kind):
    """Rows of three adapters and of the base in one batch say what each says alone, also when some leave."""
    family = load_family(tiny_model, tuning="lora", device="cpu", lora_rank=2)
    with torch.no_grad():
        for role in ("policy", "published", "viewer"):
            for p in family.parameters(role):
                p.normal_(std=0.3)
    roles = ["policy", "reference", "viewer", "published", "policy"]
    ids, mask = IDS[[0, 1, 2, 0, 1]], MASK[[0, 1, 2, 0, 1]]
    with family.speaking(roles) as (model, voices):
        own = steps(model, ids, mask, 8, voices)
        assert type(own) is QuickSteps
        together = [
            ModelSteps(model, ids, mask, 8, voices),
            kind(model, ids, mask, 8, voices) if kind else own,
        ]
        said = []
        for running in together:
            found = [running.logits, running.step(torch.tensor([20, 21, 22, 23, 24]))]
            running.keep(torch.tensor([1, 2, 4]))
            said.append([*found, running.step(torch.tensor([25, 26, 27]))])
    for row, role in enumerate(roles):
        with family.use(role, sampling=True) as model:
            alone = ModelSteps(model, ids[[row]], mask[[row]], 8)
            wanted = [alone.logits, alone.step(torch.tensor([20 + row]))]
            for found in said:
                assert all(torch.allclose(a[row], b[0], atol=1e-4) for a, b in zip(found, wanted))  # noqa: B905
            if row in (1, 2, 4):
                last = alone.step(torch.tensor([25 + (1, 2, 4).index(row)]))[0]
                assert all(torch.allclose(found[2][(1, 2, 4).index(row)], last, atol=1e-4) for found in said)


def test_weights_that_lie_together_are_joined_without_a_copy():
    model = make(QUICK["llama, few key heads"])
    layer = model.model.layers[0].self_attn
    layers = [layer.q_proj, layer.k_proj, layer.v_proj]
    before = torch.cat([x.weight for x in layers])
    said = model(IDS).logits
    apart = in_one([x.weight for x in layers])
    lay_together(model)
    together = in_one([x.weight for x in layers])
    assert together.data_ptr() == layer.q_proj.weight.data_ptr() != apart.data_ptr()
    assert torch.equal(together, before)
    assert torch.equal(apart, before)
    assert torch.equal(model(IDS).logits, said)
    assert Joined(layers, torch.float32, True, None).weight.data_ptr() == layer.q_proj.weight.data_ptr()
    assert in_one([layer.k_proj.weight, layer.q_proj.weight]).data_ptr() != layer.k_proj.weight.data_ptr()


def test_models_that_are_large_take_their_own_steps(monkeypatch):
    monkeypatch.setattr(quick_steps, "QUICK_BELOW", 1000)
    assert isinstance(steps(make(QUICK["llama"]), IDS, MASK, 8), ModelSteps)


def test_a_model_that_would_say_something_else_takes_its_own_steps():
    model = make(QUICK["llama"])
    feed_forward = model.model.layers[1].mlp
    feed_forward.forward = lambda states, own=feed_forward.forward: 2 * own(states)
    assert isinstance(steps(model, IDS, MASK, 8), ModelSteps)
