"""What the tests of traps share: tiny models that have moved, and what is done with them."""

import math
import random

import pytest
import torch
from transformers import (
    AutoTokenizer,
)

from data.preferences import RankedResponses
from rlhf.generate import SamplingConfig, encode_prompt
from rlhf.models import load_family
from rlhf.ppo import Learner, PPOConfig, rollout, update, warm_up_value
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model

CONFIG = PPOConfig(
    episodes=16,
    minibatch=8,
    learning_rate=1e-3,
    kl_coef=0.02,
    approx_kl_stop=100.0,
    sampling=SamplingConfig(temperature=0.7, max_new_tokens=16),
)
BOTH = pytest.mark.parametrize("tuning", ["full", "lora"])


def family_of(folder, tuning="full", moved=("policy",)):
    """moved: roles that are not the reference any more; a new adapter adds nothing, and would hide much."""
    torch.manual_seed(0)  # LoRA draws its adapters
    family = load_family(str(folder), tuning=tuning, device="cpu", lora_rank=4)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for role in moved:
            for p in family.parameters(role):
                p.add_(0.05 * torch.randn(p.shape, generator=draw))
    return family


def taught(family, epochs=1) -> RewardModel:
    """A reward model that has learned to like short responses, its scores at PPO's scale."""
    model = RewardModel(family)
    model.reset(0)
    texts = ("ab", "abcdefgh", "abcdefghijklmnopqr")
    data = [RankedResponses(f"prompt {i}", texts, (1, 2, 3)) for i in range(8)]
    for _ in train_reward_model(model, data, RewardModelConfig(epochs=epochs, rankings_per_step=4), 0):
        pass
    encoded = [model.encode(ranking.prompt, text) for ranking in data for text in texts]
    model.normalise_on([prompt for prompt, _ in encoded], [response for _, response in encoded])
    return model


def prompts_of(family, count):
    return [encode_prompt(family.tokenizer, f"prompt {'x' * i}") for i in range(count)]


def draw(family, model, prompts, config=CONFIG):
    return rollout(family, model, prompts, config, torch.Generator().manual_seed(0))


def moved_by(learner, data, config=CONFIG):
    """-> metrics of an update, and the policy after it."""
    metrics = update(learner, data, config.kl_coef, config, random.Random(0))
    return metrics, learner.family.state("policy")


def finite(metrics) -> bool:
    return all(map(math.isfinite, metrics.values()))


def gradients(family, role="policy"):
    return [p.grad for p in family.parameters(role)]


def saved_with_tokenizer(model, tiny_model, folder):
    """A folder of this model, with weights as after training, not all ones and zeros."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def assert_finite_learning(family, model, data, config):
    """Warm-up and an update over this rollout take every step, and leave finite numbers."""
    learner = Learner.start(family, model, config)
    assert finite(warm_up_value(learner, data, config, random.Random(0)))
    metrics, policy = moved_by(learner, data, config)
    assert finite(metrics)
    assert metrics["policy/skipped_steps"] == 0
    assert all(torch.isfinite(t).all() for t in policy.values())
