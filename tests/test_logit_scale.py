"""The factor on the policy's logits: found where logits are linear in the last norm, and moved by PPO."""

import gc
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM, GemmaConfig, GPT2Config, LlamaConfig, OPTConfig, Qwen2Config

from rlhf.logit_scale import LogitScale, logit_gains
from rlhf.models import load_family
from rlhf.ppo import Learner, PPOConfig
from rlhf.reward_model import RewardModel

SMALL = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LINEAR = {
    "llama": LlamaConfig(**SMALL, intermediate_size=48),
    "qwen2": Qwen2Config(**SMALL, intermediate_size=48, num_key_value_heads=1, tie_word_embeddings=True),
    "gpt2": GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=2),
}
NOT_FOUND = {
    "gemma": GemmaConfig(**SMALL, intermediate_size=48, head_dim=16, num_key_value_heads=2),  # 1 + weight
    "opt": OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32),  # its last norm is not made last
}


def make(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # as after training: not all ones and zeros
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


@pytest.mark.parametrize("name", LINEAR)
def test_the_factor_multiplies_the_logits_and_nothing_else(name):
    model = make(LINEAR[name])
    tokens = torch.randint(0, 60, (2, 7))
    before = model(tokens, output_hidden_states=True)
    unchanged = {k: v.clone() for k, v in model.state_dict().items()}
    gains = logit_gains(model)
    assert gains
    assert all(torch.equal(v, unchanged[k]) for k, v in model.state_dict().items())  # trying left no trace
    scale = LogitScale(gains, [g.detach().clone() for g in gains], learning_rate=0.1)
    logits = model(tokens).logits
    scale.hear(logits)
    logits.pow(2).mean().backward()  # what makes this smaller is a smaller factor
    scale.step()
    assert scale.value == pytest.approx(torch.tensor(-0.1).exp().item(), rel=1e-3)
    after = model(tokens, output_hidden_states=True)
    assert torch.allclose(after.logits, scale.value * before.logits, atol=1e-4)
    for now, then in zip(after.hidden_states[:-1], before.hidden_states[:-1], strict=True):
        assert torch.equal(now, then)


def test_it_hears_the_gradient_of_all_gains_together_or_the_counted_logits_part_of_it():
    tokens, counted = torch.randint(0, 60, (1, 7)), torch.arange(7) % 3 == 1

    def heard(counted=None, among=slice(None)):
        """-> what moves the factor, and what the gains' own gradient says it should be."""
        model = make(LINEAR["llama"])
        gains = logit_gains(model)
        scale = LogitScale(gains, gains, learning_rate=0.1)
        logits = model(tokens).logits.squeeze(0)
        scale.hear(logits, counted)
        logits[among].pow(3).sum().backward()
        gradient = sum((p.grad * p.detach()).sum() for p in gains).item()
        scale.step()
        return scale.log.grad.item(), gradient

    found, of_all = heard()
    assert found == pytest.approx(of_all, rel=1e-4)
    _, of_some = heard(among=counted)
    found, gradient = heard(counted)
    assert (found, gradient) == pytest.approx((of_some, of_all), rel=1e-4)
    assert of_some != pytest.approx(of_all, rel=0.1)


def test_having_heard_it_lets_go_of_the_whole_pass_at_once():
    model = make(LINEAR["llama"])
    scale = LogitScale(logit_gains(model), logit_gains(model), learning_rate=0.1)
    gc.disable()  # so that nothing but the last reference lets go
    try:
        logits = model(torch.tensor([[1, 2, 3]])).logits.squeeze(0)
        scale.hear(logits)
        kept = weakref.ref(logits)
        logits.sum().backward()
        del logits
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", NOT_FOUND)
def test_where_logits_are_not_linear_in_the_last_norm_there_is_no_factor(name):
    model = make(NOT_FOUND[name])
    unchanged = {k: v.clone() for k, v in model.state_dict().items()}
    assert logit_gains(model) == []
    assert all(torch.equal(v, unchanged[k]) for k, v in model.state_dict().items())


def test_it_stays_within_its_limit_and_comes_back_to_it():
    model = make(LINEAR["llama"])
    tokens = torch.randint(0, 60, (2, 7))
    gains = logit_gains(model)
    reference = [g.detach().clone() for g in gains]
    scale = LogitScale(gains, reference, learning_rate=0.1, limit=1.25)
    seen = []
    for _ in range(6):
        model.zero_grad()
        logits = model(tokens).logits
        scale.hear(logits)
        (-logits.pow(2).mean()).backward()
        scale.step()
        seen.append(scale.value)
    assert seen[0] == pytest.approx(1.105, abs=0.01)
    assert seen[-1] == pytest.approx(1.25, rel=1e-4)
    again = LogitScale(gains, reference, learning_rate=0.1, limit=1.1)  # as after a round with another limit
    again.step()
    assert again.value == pytest.approx(1.1, rel=1e-4)


def test_with_lora_there_is_none(tiny_model):
    family = load_family(tiny_model, tuning="lora", device="cpu", lora_rank=4)
    reward_model = RewardModel(family)
    assert Learner.start(family, reward_model, PPOConfig()).logit_scale is None
