"""Direct preference optimisation: rankings -> policy without a reward model or samples, by TRL's DPOTrainer.

The reference's log-probabilities are computed once, by the family, so no second model is in memory; tokens
are those of `encode_prompt`. DPO's loss is about the policy at temperature 1, PPO's about the one that is
sampled.

Checkpoints are judged as PPO's are: on held-out prompts, by the reward model's score less kl_coef times KL; a
KL over the limit ends the training, and the policy holds the best one.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedModel
from trl import DPOConfig as Arguments
from trl import DPOTrainer

from rlhf.dpo import DPOConfig, Preference, as_often_as_weighed
from rlhf.likelihood import token_logprobs
from rlhf.models import Family
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import Update, evaluate_policy
from rlhf.reward_model import RewardModel
from rlhf.trainer_steps import common_arguments, lent, make_trainer, rows_of, steps

# Log-probabilities of whole responses under the reference, by prompt and response.
Known = dict[tuple[tuple[int, ...], tuple[int, ...]], float]


def train_dpo(
    family: Family,
    reward_model: RewardModel,
    preferences: Sequence[Preference],
    known: Known,
    heldout: Sequence[list[int]],
    config: DPOConfig,
    ppo: PPOConfig,
    seed: int,
) -> Iterator[Update]:
    """Train the 'policy' from where it stands; yields after every optimiser step, like `PPOTraining`.

    known: of `read_reference`. heldout: encoded prompts that choose the checkpoint. ppo: KL's price and
    limit, and how to sample. At the end, or when closed, the policy holds the best checkpoint;
    'policy/best_update' is its step, 0 for none.
    """
    best, highest, best_step = family.state("policy"), -math.inf, 0
    preferences = as_often_as_weighed(preferences, seed)
    try:
        with common_arguments(family) as common, lent(family, "policy") as model:
            trainer = dpo_trainer(family, model, preferences, known, config, seed, common)
            training = steps(trainer)
            try:
                for done in training:
                    metrics = {f"dpo/{ours}": done.logs[name] for name, ours in LOGGED.items()}
                    stop = None
                    every = max(1, math.ceil(done.of / config.evaluations))
                    if done.step % every == 0 or done.step == done.of:
                        judged = evaluate_policy(family, reward_model, heldout, ppo, seed)
                        score, kl = judged["heldout/score"], judged["heldout/kl"]
                        metrics |= {name.replace("heldout/", "dpo/heldout_"): v for name, v in judged.items()}
                        if kl > ppo.kl_limit:
                            stop = f"KL against the reference reached {kl:.1f} nats, over {ppo.kl_limit:g}"
                        elif score - ppo.kl_coef * kl > highest:
                            best, highest = family.state("policy"), score - ppo.kl_coef * kl
                            best_step = done.step
                    metrics["policy/best_update"] = float(best_step)
                    yield Update(done.step, metrics, stop)
                    if stop:
                        return
            except FloatingPointError as error:
                yield Update(trainer.state.global_step, {"policy/best_update": float(best_step)}, str(error))
            finally:
                training.close()
    finally:
        family.set_state("policy", best)


LOGGED = {"loss": "loss", "rewards/accuracies": "accuracy", "rewards/margins": "margin"}


class _Trainer(DPOTrainer):
    """Takes preferences that are tokens already, with the reference's log-probabilities."""

    def _prepare_dataset(self, dataset, *_: Any, **__: Any):
        return dataset

    def _precompute_ref_logps(self, dataset, *_: Any, **__: Any):
        return dataset


def dpo_trainer(
    family: Family,
    model: PreTrainedModel,
    preferences: Sequence[Preference],
    known: Known,
    config: DPOConfig,
    seed: int,
    common: dict[str, Any],
) -> DPOTrainer:
    """TRL's trainer over these preferences."""
    rate = family.learning_rate(config.learning_rate)
    arguments = Arguments(
        **common,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch,
        learning_rate=rate,
        warmup_steps=0.1,
        seed=seed,
        beta=config.beta,
        max_length=None,
        precompute_ref_log_probs=True,  # which are in the data
    )
    rows = rows_of(columns_of(preferences, known, config.beta))
    return make_trainer(_Trainer, family, "policy", model, arguments, rate, train_dataset=rows)


def read_reference(
    family: Family, preferences: Sequence[Preference], known: Known, at_once: int = 256
) -> Iterator[int]:
    """Fill `known` with what the reference makes of every response; yields how many are known."""
    pairs = {(tuple(p.prompt), tuple(side)) for p in preferences for side in (p.chosen, p.rejected)}
    rest = sorted(pairs - known.keys())  # responses to one prompt are read together
    for start in range(0, len(rest), at_once):
        part = rest[start : start + at_once]
        found = token_logprobs(
            family, "reference", *(list(map(list, side)) for side in zip(*part, strict=True))
        )
        known.update(zip(part, found.sum(1).tolist(), strict=True))
        yield len(known)


def columns_of(preferences: Sequence[Preference], known: Known, beta: float) -> dict[str, list]:
    """The columns that TRL's collator takes."""

    def logprobs(side: str) -> list[float]:
        return [known[tuple(p.prompt), tuple(getattr(p, side))] for p in preferences]

    shifted = zip(logprobs("chosen"), preferences, strict=True)
    return {
        "prompt_ids": [p.prompt for p in preferences],
        "chosen_ids": [p.chosen for p in preferences],
        "rejected_ids": [p.rejected for p in preferences],
        "ref_chosen_logps": [logprob + p.offset / beta for logprob, p in shifted],
        "ref_rejected_logps": logprobs("rejected"),
    }
