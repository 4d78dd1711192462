"""A planted taste for length, and PPO that can follow it: for the tests of PPO."""

import torch

from data.preferences import RankedResponses
from rlhf.generate import SamplingConfig, encode_prompt
from rlhf.models import load_family
from rlhf.ppo import PPOConfig, Rollout, rollout
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model

# Random weights end a response with probability 1/260 a token, so "half the vocabulary is EOS" stands in for
# a policy that knows how to stop; what is left is a policy whose length PPO can move.
SHORT = PPOConfig(
    updates=8,
    episodes=64,
    learning_rate=2e-3,
    value_learning_rate=2e-3,
    kl_coef=0.02,
    kl_limit=100.0,
    evaluate_every=4,
    sampling=SamplingConfig(temperature=1.0, max_new_tokens=24),
)


def setup(tiny_model, tuning="full", longest_first=False):
    """A family whose responses end, and a reward model with a planted taste for length."""
    family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=8)
    family.eos_ids = set(range(1, 30))
    model = RewardModel(family)
    model.reset(0)
    data = []
    for i in range(48):
        responses = tuple("".join(chr(97 + (i * j) % 26) for j in range(n)) for n in (2, 8, 18))
        data.append(RankedResponses(f"prompt {i}", responses, (3, 2, 1) if longest_first else (1, 2, 3)))
    for _ in train_reward_model(model, data, RewardModelConfig(), 0):
        pass
    prompts = [encode_prompt(family.tokenizer, f"prompt {i}") for i in range(64)]
    family.copy("reference", "policy")
    return family, model, prompts


def draw(family, model, prompts, config=SHORT, seed=0) -> Rollout:
    return rollout(family, model, prompts, config, torch.Generator().manual_seed(seed))
