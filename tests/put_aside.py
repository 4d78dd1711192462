"""A process that trains by PPO, keeps its state after every update, and is killed: for test_resume.py.

python -m tests.put_aside MODEL TUNING REWARD_MODEL_FOLDER STATE_FILE UPDATES
"""

import os
import signal
import sys
from pathlib import Path

import torch

from rlhf.generate import SamplingConfig, encode_prompt
from rlhf.models import Family, load_family
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import PPOTraining
from rlhf.reward_model import RewardModel

CONFIG = PPOConfig(
    updates=5,
    episodes=12,
    minibatch=8,
    warmup_episodes=12,
    learning_rate=2e-3,
    kl_target=0.5,
    kl_horizon=50,
    chosen_share=0.375,
    evaluate_every=2,
    sampling=SamplingConfig(temperature=0.9, max_new_tokens=12),
)


def family_of(model: str, tuning: str) -> Family:
    family = load_family(model, tuning=tuning, device="cpu", lora_rank=4)
    family.eos_ids = set(range(1, 30))  # random weights end a response with probability 1/260 a token
    return family


def begin(family: Family, folder: Path) -> PPOTraining:
    """The same training in every process."""
    reward_model = RewardModel(family)
    reward_model.load(folder)
    torch.manual_seed(0)  # a fresh adapter is drawn
    family.copy("reference", "policy")
    prompts = [encode_prompt(family.tokenizer, f"prompt {i}") for i in range(40)]
    chosen = [(p, [*family.tokenizer("ab")["input_ids"], family.closing_eos]) for p in prompts[10:]]
    return PPOTraining(family, reward_model, prompts[8:], prompts[:8], CONFIG, 7, chosen)


def main() -> None:
    model, tuning, folder, file, updates = sys.argv[1:]
    training = begin(family_of(model, tuning), Path(folder))
    for update in training:
        torch.save(training.state(), file)
        if update.step == int(updates):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
