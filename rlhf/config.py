"""The settings of the background loop, as one frozen dataclass the command line is made from.

It imports nothing heavy, so that `app.py --help` and the web process never load torch. Settings of one
algorithm live beside it (`ppo.PPOConfig`, `reward_training.RewardModelConfig`, `generate.SamplingConfig`).
"""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path

STARTER = Path(__file__).resolve().parent.parent / "data" / "starter"


TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")


class ModelError(Exception):
    """A model cannot be had; the message is one sentence for people."""


def setting(default, help: str, *flags: str):
    """A dataclass field with its help text (shown by `--help` and by README's table).

    flags: all spellings of its option, where it has more than its name.
    """
    return field(default=default, metadata={"help": help, "flags": flags})


@dataclass(frozen=True)
class WorkerConfig:
    """What `python app.py` passes on to `python -m rlhf.worker`."""

    model: str = setting("starter", "SFT model the loop starts from: 'starter', a local folder, or a hub id.")
    revision: str = setting("", "Branch, tag or commit of a hub model; empty: its main one.")
    trust_remote_code: bool = setting(
        False, "Run code that comes with the model: it can do all that you can."
    )
    system_prompt: str = setting("", "System message before each prompt; empty: what the template says.")
    base_model: str = setting("", "Model before SFT, shown in before/after; empty: the starter's, else none.")
    prompts: str = setting("", "Text file, one prompt a line; empty: the starter's prompts.")
    tuning: str = setting(
        "auto",
        "full, lora, qlora (base in 4 bits; CUDA), or auto (full below 50M parameters, else what fits).",
    )
    lora_rank: int = setting(16, "Rank of the LoRA adapters; what they add is scaled by 2 whatever it is.")
    lora_targets: str = setting(
        "", "Names of the layers that have adapters, by commas; empty: all linear ones but the LM head."
    )
    memory_check: bool = setting(True, "Refuse a model that memory will not do for, by an estimate.")
    device: str = setting("auto", "auto (CUDA, else MPS, else CPU), cuda, mps or cpu.")
    precision: str = setting(
        "auto",
        "Of matrix products: bf16, float32, or auto (bf16 on CUDA, and on AMX, but for tiny models).",
        "--precision",
        "--dtype",
    )
    threads: int = setting(
        0, "CPU threads for torch; 0: OMP_NUM_THREADS if set, else all cores but one, at least two."
    )
    responses: int = setting(4, "Responses per task, 2 to 4.")
    reference_responses: int = setting(
        2, "How many of them the SFT reference writes once another policy is published; half at most."
    )
    rankings_per_round: int = setting(64, "New rankings that start a round.")
    imported_rankings: int = setting(2000, "Imported rankings that a round learns from, at most; 0: none.")
    imported_weight: float = setting(
        1.0, "What an imported ranking counts beside an annotator's, which is 1."
    )
    open_tasks: int = setting(16, "Tasks kept ready ahead of the annotators.")
    overlap: float = setting(
        0.0, "Share of tasks that two annotators rank, one after the other, so that they can be compared."
    )
    temperature: float = setting(0.8, "Sampling temperature, for tasks and for PPO rollouts alike.")
    max_new_tokens: int = setting(96, "Longest response, in tokens.")
    max_prompt_tokens: int = setting(512, "Longer prompts are refused when they are read.")
    method: str = setting(
        "ppo", "What trains the policy on the rankings: ppo, dpo, or both, of which the better is published."
    )
    ppo_updates: int = setting(12, "PPO updates per round, at most.")
    ppo_episodes: int = setting(64, "Responses sampled per PPO update.")
    kl_coef: float = setting(0.1, "Coefficient of the KL penalty against the SFT reference.")
    kl_limit: float = setting(10.0, "KL in nats per response beyond which PPO takes the policy back.")
    seed: int = setting(0, "Seed of prompts, sampling and training.")
    log_to: str = setting(
        "", "Trackers beside the curves: tensorboard, wandb, trackio, mlflow; commas between."
    )

    def __post_init__(self) -> None:
        checks = [
            (math.isfinite(value), name.replace("_", "-"), "a finite number")
            for name, value in vars(self).items()
            if isinstance(value, float)
        ]
        checks += [
            (2 <= self.responses <= 4, "responses", "2 to 4"),
            (self.reference_responses >= 0, "reference-responses", "0 or more"),
            (self.rankings_per_round >= 4, "rankings-per-round", "at least 4"),
            (self.imported_rankings >= 0, "imported-rankings", "0 or more"),
            (self.imported_weight > 0, "imported-weight", "above 0"),
            (self.open_tasks >= 1, "open-tasks", "at least 1"),
            (0 <= self.overlap <= 1, "overlap", "0 to 1"),
            (self.temperature > 0, "temperature", "above 0"),
            (self.max_new_tokens >= 4, "max-new-tokens", "at least 4"),
            (self.method in ("ppo", "dpo", "both"), "method", "ppo, dpo or both"),
            (self.ppo_updates >= 1, "ppo-updates", "at least 1"),
            (self.ppo_episodes >= 8, "ppo-episodes", "at least 8"),
            (self.kl_coef >= 0, "kl-coef", "0 or more"),
            (self.kl_limit > 0, "kl-limit", "above 0"),
            (self.tuning in ("full", "lora", "qlora", "auto"), "tuning", "full, lora, qlora or auto"),
            (
                self.precision in ("bf16", "float32", "auto"),
                "precision",
                "bf16, float32 or auto (float16 has too short a range to train in)",
            ),
            (
                not (self.revision and self.model == "starter"),
                "revision",
                "none with the starter, only with a model of the hub",
            ),
            (self.lora_rank >= 1, "lora-rank", "at least 1"),
            (self.threads >= 0, "threads", "0 or more"),
        ]
        trackers = [name.strip() for name in self.log_to.split(",") if name.strip()]
        checks.append((set(trackers) <= set(TRACKERS), "log-to", f"{', '.join(TRACKERS)}, commas between"))
        for fine, name, wanted in checks:
            if not fine:
                value = getattr(self, name.replace("-", "_"))
                raise ValueError(f"--{name} is {value}; wanted: {wanted}.")

    @property
    def source(self) -> str:
        """The model and its revision in one, as loaders take them."""
        return f"{self.model}@{self.revision}" if self.revision else self.model

    @classmethod
    def from_dict(cls, values: dict) -> "WorkerConfig":
        """Build from JSON. Raises ValueError for a name that is not a setting."""
        known = {f.name for f in fields(cls)}
        for name in values:
            if name not in known:
                raise ValueError(
                    f"'{name}' is not a setting of the worker; wanted one of {', '.join(sorted(known))}."
                )
        return cls(**values)
