"""TRL 1.12.0's PPO on a workload, run by the Python of an environment that has it.

    peer/bin/python -m tests.benchmarks.trl_ppo --one '{"folder": ..., "updates": 4, ...}'

Prints one JSON line: seconds of each update, most memory held, tokens of a response. For `ppo_vs_trl` the
reward model is that of the workload; for `learner_vs_trl` it pays what `planted` says, and the policy is
saved.

Its settings are what serves its speed. bf16 is said in the environment too, as `accelerate launch` does:
`PPOTrainer` makes an Accelerator of its own, which the trainer's arguments do not reach (transformers 5.17).
On CUDA, what is never trained (reference, reward model, the base under LoRA) is in bf16, as only the policy's
pass in an update is under autocast; what is left in float32 may use TF32. `pure`: all weights are bf16.
"""

import argparse
import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import trl.experimental.ppo.ppo_trainer as trainer_module
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
    set_seed,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from tests.benchmarks.measured import now, peak_memory


class Clock(TrainerCallback):
    """When each update ended."""

    def __init__(self, device: str):
        self.device, self.ended = device, []

    def on_train_begin(self, *_args, **_more):
        self.ended.append(now(self.device))

    def on_step_end(self, *_args, **_more):
        self.ended.append(now(self.device))


def count_tokens(pad_id: int) -> list[Tensor]:
    """Where the lengths of the responses of each rollout will be, their EOS counted."""
    lengths: list[Tensor] = []
    truncate = trainer_module.truncate_response

    def counted(*arguments):
        responses = truncate(*arguments)
        lengths.append((responses != pad_id).sum(1))
        return responses

    trainer_module.truncate_response = counted
    return lengths


class PlantedReward(nn.Module):
    """A reward model to TRL, which asks a trunk for states, a head for the score of each, and takes one.

    Here every state of a row is the number that the row is paid, so it does not matter which.
    """

    base_model_prefix = "pay"

    def __init__(self, planted):
        super().__init__()
        self.planted = planted

    def pay(self, input_ids: Tensor, attention_mask: Tensor, **_more) -> SimpleNamespace:
        rows = zip(input_ids, attention_mask.bool(), strict=True)
        paid = torch.tensor([self.planted.of_row(row[mask].tolist()) for row, mask in rows])
        return SimpleNamespace(hidden_states=[paid[:, None, None].expand(*input_ids.shape, 1)])

    def score(self, states: Tensor) -> Tensor:
        return states


def train(ask: dict) -> dict:
    """Seconds of each update and the most memory held."""
    folder, device = Path(ask["folder"]), ask.get("device", "cpu")
    torch.set_num_threads(ask["threads"])
    set_seed(ask["seed"])
    mixed = ask["bf16"] and not ask.get("pure")
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if mixed else "no"
    trained = torch.bfloat16 if ask.get("pure") else torch.float32
    fixed = torch.bfloat16 if ask["bf16"] and device == "cuda" else trained
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=fixed if ask["lora"] else trained)
    reference = None
    peft_config = None
    if ask["lora"]:
        from peft import LoraConfig

        peft_config = LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0
        )
    else:
        reference = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=fixed)
    value, reward = (
        AutoModelForSequenceClassification.from_pretrained(folder / "reward", num_labels=1, dtype=dtype)
        for dtype in (trained, fixed)
    )
    if ask.get("planted"):
        from tests.benchmarks.planted import Planted

        reward = PlantedReward(Planted(tokenizer, **ask["planted"]))
    prompts = json.loads((folder / "prompts.json").read_text())
    dataset = Dataset.from_dict({"input_ids": prompts})
    clock, lengths = Clock(device), count_tokens(tokenizer.pad_token_id)
    with tempfile.TemporaryDirectory() as scratch:
        config = PPOConfig(
            output_dir=scratch,
            per_device_train_batch_size=ask["episodes"],
            gradient_accumulation_steps=1,
            local_rollout_forward_batch_size=ask["episodes"],
            num_mini_batches=ask["minibatches"],
            num_ppo_epochs=ask["inner_epochs"],
            total_episodes=ask["episodes"] * ask["updates"],
            response_length=ask["response_length"],
            stop_token="eos",
            temperature=ask["temperature"],
            kl_coef=0.1,
            learning_rate=ask["learning_rate"],
            missing_eos_penalty=None if ask.get("planted") else 1.0,  # that reward sees to it
            num_sample_generations=0,
            save_strategy="no",
            report_to=[],
            use_cpu=device == "cpu",
            bf16=mixed,
            tf32=True if device == "cuda" else None,
            disable_tqdm=True,
            seed=ask["seed"],
        )
        trainer = PPOTrainer(
            args=config,
            processing_class=tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=value,
            train_dataset=dataset,
            eval_dataset=dataset.select(range(ask["episodes"])),
            peft_config=peft_config,
            callbacks=[clock],
        )
        trainer.train()
    if ask.get("save"):
        policy.save_pretrained(ask["save"])
    seconds = [later - earlier for earlier, later in pairwise(clock.ended)]
    tokens = torch.cat(lengths[1:] or lengths).float().mean().item()
    return {"seconds": seconds, "tokens": tokens, **peak_memory(device)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--one", required=True, help="what to do, as JSON")
    print(json.dumps(train(json.loads(parser.parse_args().one))))
