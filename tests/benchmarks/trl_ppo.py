"""TRL 1.12.0's PPO on a workload, run by the Python of an environment that has it (`ppo_vs_trl`).

    peer/bin/python tests/benchmarks/trl_ppo.py '{"folder": ..., "updates": 4, ...}'

Prints one JSON line: seconds of each update, most memory held.
"""

import json
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Clock(TrainerCallback):
    """When each update ended."""

    def __init__(self):
        self.ended = []

    def on_train_begin(self, *_args, **_more):
        self.ended.append(time.perf_counter())

    def on_step_end(self, *_args, **_more):
        self.ended.append(time.perf_counter())


def main() -> None:
    ask = json.loads(sys.argv[1])
    folder = Path(ask["folder"])
    torch.set_num_threads(ask["threads"])
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32)
    reference = None
    peft_config = None
    if ask["lora"]:
        from peft import LoraConfig

        peft_config = LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0
        )
    else:
        reference = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32)
    value, reward = (
        AutoModelForSequenceClassification.from_pretrained(
            folder / "reward", num_labels=1, dtype=torch.float32
        )
        for _ in range(2)
    )
    prompts = json.loads((folder / "prompts.json").read_text())
    dataset = Dataset.from_dict({"input_ids": prompts})
    clock = Clock()
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
            missing_eos_penalty=1.0,
            num_sample_generations=0,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=ask["bf16"],
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
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    seconds = [later - earlier for earlier, later in pairwise(clock.ended)]
    print(json.dumps({"seconds": seconds, "peak_mb": round(int(peak) / 1024)}))


if __name__ == "__main__":
    main()
