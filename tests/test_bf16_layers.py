"""The layers for bf16 on a CPU compute what transformers' own do, and only models that are alike get them."""

import copy

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.llama import modeling_llama

from rlhf.bf16_layers import NAME, attend, quicken
from rlhf.models import load_family

SMALL = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
ALIKE = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen3, with norms of queries and keys": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
    "mistral, with a window": lambda: MistralForCausalLM(MistralConfig(sliding_window=3, **SIZES)),
    "gemma, with norms of its own": lambda: GemmaForCausalLM(GemmaConfig(**SIZES)),
}
OTHERS = {"gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=2))}


def quick_norms(model):
    return [layer for layer in model.modules() if "forward" in vars(layer)]


def pair(build):
    """The model as transformers computes it, and with these layers; weights as after training."""
    torch.manual_seed(0)
    plain = build().eval()
    with torch.no_grad():
        for p in plain.parameters():
            p.add_(0.1 * torch.randn_like(p))
    quick = copy.deepcopy(plain)
    plain.set_attn_implementation("eager")
    quicken(quick)
    return plain, quick


def seen(model):
    """Logits, and the gradients of a loss that every token and every weight has a part in."""
    torch.manual_seed(1)
    ids = torch.randint(0, 60, (3, 11))
    logits = model(input_ids=ids, use_cache=False).logits.float()
    (logits * torch.randn(logits.shape)).sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("build", ALIKE.values(), ids=ALIKE)
def test_outputs_and_gradients_are_those_of_transformers(build):
    plain, quick = pair(build)
    assert quick.config._attn_implementation == NAME
    wanted, gradients = seen(plain)
    found, own = seen(quick)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
    for name, gradient in gradients.items():
        assert (own[name] - gradient).abs().max() < 1e-4 * gradient.abs().max(), name


@pytest.mark.parametrize("build", ALIKE.values(), ids=ALIKE)
def test_in_bf16_they_are_as_near_to_float32_as_transformers(build):
    plain, quick = pair(build)
    wanted, gradients = seen(plain)
    plain.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        rounded, theirs = seen(plain)
        found, own = seen(quick)
    assert (found - wanted).abs().mean() < 1.3 * (rounded - wanted).abs().mean()

    def apart(some):
        return sum((some[name] - gradient).norm() / gradient.norm() for name, gradient in gradients.items())

    assert apart(own) < 1.3 * apart(theirs)


def test_attention_is_llamas_with_and_without_a_mask():
    torch.manual_seed(0)
    module = nn.Module().eval()
    module.num_key_value_groups = 2
    query, key, value = (torch.randn(2, h, 5, 8) for h in (4, 2, 2))
    seen = torch.rand(2, 1, 5, 5) < 0.7
    seen[:, :, range(5), range(5)] = True
    mask = torch.zeros(2, 1, 5, 5).masked_fill(~seen, -1e30)
    for added in (mask, None):
        wanted = modeling_llama.eager_attention_forward(module, query, key, value, added, 0.3)[0]
        assert torch.allclose(attend(module, query, key, value, added, 0.3)[0], wanted, atol=1e-6)


@pytest.mark.parametrize("build", ALIKE.values(), ids=ALIKE)
def test_tokens_that_see_nothing_harm_nobody(build):
    _, quick = pair(build)
    ids = torch.tensor([[0, 0, 0, 5, 6], [1, 2, 3, 4, 5]])
    mask = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = quick(
            input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)
        ).logits
        alone = quick(input_ids=ids[:1, 3:]).logits
    assert torch.isfinite(found).all()
    assert torch.allclose(found[0, 3:].float(), alone[0].float(), atol=0.1)


def test_only_norms_like_llamas_within_the_layers_are_replaced():
    assert len(quick_norms(pair(ALIKE["llama"])[1])) == 4  # two a layer; the last norm is read as float32
    assert not quick_norms(pair(ALIKE["gemma, with norms of its own"])[1])


@pytest.mark.parametrize("build", OTHERS.values(), ids=OTHERS)
def test_a_model_with_an_attention_of_its_own_keeps_it(build):
    plain, quick = pair(build)
    assert quick.config._attn_implementation == "eager"
    assert torch.equal(seen(quick)[0], seen(plain)[0])


def test_a_model_that_does_otherwise_for_attentions_it_knows_keeps_its_own(monkeypatch):
    """DeepSeek's sparse attention, for one: it hands a mask to those it knows by name, and others none."""
    import inspect

    real = inspect.getsource

    def getsource(of):
        asks = '\nif config._attn_implementation in ("eager", "sdpa"): pass\n'
        return real(of) + asks if of is modeling_llama else real(of)

    monkeypatch.setattr(inspect, "getsource", getsource)
    assert pair(ALIKE["llama"])[1].config._attn_implementation == "eager"


def test_a_family_has_them_in_bf16_only_and_each_role_its_own(tiny_model, tmp_path):
    assert (
        load_family(tiny_model, tuning="full", device="cpu")._model("reference").config._attn_implementation
        != NAME
    )
    family = load_family(tiny_model, tuning="full", device="cpu", precision="bf16")
    reference, policy = family._model("reference"), family._model("policy")
    assert policy.config._attn_implementation == NAME
    ids = torch.tensor([[5, 6, 7]])
    before = policy(ids).logits.detach()
    with torch.no_grad():
        for layer in quick_norms(reference):
            layer.weight.zero_()
    assert torch.equal(policy(ids).logits, before)  # a copied norm reads its own weight
    family.save("policy", tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert plain.config._attn_implementation == "sdpa"
    assert torch.allclose(plain(ids).logits, before, atol=1e-5)
