"""Supervised fine-tuning: demonstrations -> policy, by TRL's SFTTrainer.

The loss is on the response alone, its closing EOS with it.

Packing (several demonstrations in one row, so that nothing is padding) is on where it is safe: the model is
asked whether it reads two in one row as it reads them alone. Without FlashAttention its attention costs the
square of all tokens in a batch, so it is left out for long ones; then those of about the same length share a
batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from trl import SFTConfig as Arguments
from trl import SFTTrainer

from rlhf.models import Family
from rlhf.passes import alike
from rlhf.sft import Pair, SFTConfig, mean_loss
from rlhf.trainer_steps import common_arguments, lent, make_trainer, rows_of, steps

LONGEST_PACKED = 1024  # tokens of a batch in one row, without FlashAttention


@dataclass(frozen=True)
class SFTStep:
    """One optimiser step; `heldout` where the loss on held-out demonstrations was looked at after it."""

    step: int
    of: int
    loss: float  # nats per response token, of this batch
    heldout: float | None = None
    best: bool = False  # the lowest so far


def train_sft(
    family: Family,
    train: Sequence[Pair],
    stop: Sequence[Pair],
    config: SFTConfig,
    seed: int,
    role: str = "policy",
) -> Iterator[SFTStep]:
    """Train the role from where it stands; at the end, or when closed, it holds the best weights.

    The best are those with the lowest loss on `stop`, the ones it began with included. Raises
    FloatingPointError when the loss is no longer a number.
    """
    lowest, best, since = mean_loss(family, role, stop), family.state(role), 0
    try:
        with common_arguments(family) as common, lent(family, role) as model:
            trainer = sft_trainer(family, role, model, train, config, seed, common)
            training = steps(trainer)
            try:
                for done in training:
                    heldout = None
                    every = max(1, math.ceil(done.of / (config.epochs * config.evaluations)))
                    if done.step % every == 0 or done.step == done.of:
                        heldout = mean_loss(family, role, stop)
                        since += 1
                        if heldout < lowest:
                            lowest, best, since = heldout, family.state(role), 0
                    found = heldout is not None and since == 0
                    yield SFTStep(done.step, done.of, done.logs["loss"], heldout, found)
                    if since >= config.patience:
                        return
            finally:
                training.close()
    finally:
        family.set_state(role, best)


def sft_trainer(
    family: Family,
    role: str,
    model: PreTrainedModel,
    train: Sequence[Pair],
    config: SFTConfig,
    seed: int,
    common: dict[str, Any],
) -> SFTTrainer:
    """TRL's trainer over these pairs."""
    lengths = [len(prompt) + len(response) for prompt, response in train]
    together = config.batch * sum(lengths) / len(lengths)  # tokens of a batch, about
    packing = (_flash(model) or together <= LONGEST_PACKED) and reads_packed(family, role)
    row = max(lengths)
    rate = family.learning_rate(config.learning_rate)
    arguments = Arguments(
        **common,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=max(1, round(together / row)) if packing else config.batch,
        learning_rate=rate,
        warmup_steps=0.1,
        seed=seed,
        max_length=row if packing else None,
        packing=packing,
        completion_only_loss=True,
        train_sampling_strategy="random" if packing else "group_by_length",
        average_tokens_across_devices=False,
    )
    rows = rows_of(
        {
            "input_ids": [prompt + response for prompt, response in train],
            "labels": [[-100] * len(prompt) + response for prompt, response in train],
        }
    )
    return make_trainer(SFTTrainer, family, role, model, arguments, rate, train_dataset=rows)


def _flash(model: PreTrainedModel) -> bool:
    return "flash" in (model.config._attn_implementation or "")


@torch.no_grad()
def reads_packed(family: Family, role: str) -> bool:
    """Try whether positions that begin anew keep two texts in one row apart, as packing wants it."""
    one, two = torch.tensor([[1, 2, 3, 1], [3, 2, 2, 1]], device=family.device)
    ids, positions = torch.cat([one, two])[None], torch.arange(4, device=family.device).repeat(2)[None]
    try:
        with family.use(role) as model:
            alone = model(torch.stack([one, two]), use_cache=False).logits
            packed = model(ids, position_ids=positions, use_cache=False).logits.view(alone.shape)
    except Exception:  # a model may refuse in any way
        return False
    return alike(alone, packed, within=1e-4 if packed.dtype == torch.float32 else 1e-2)
