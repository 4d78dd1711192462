"""A round of SFT: demonstrations -> policy, published if it says held-out ones better than the policy before.

A generator of `Progress`, ended by one `Outcome`, like `rlhf/round.py`, whose rankings, reward model and gate
it has no use for. The figures are losses in nats per response token on demonstrations that took no part in
the training, and perplexities: of the policy before, of the one after, and of the model before SFT, by itself
and with examples in front of each prompt (`prompting`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import torch

from data.demonstrations import Demonstration
from rlhf.config import ModelError, setting
from rlhf.likelihood import plain_logprobs
from rlhf.loading import frozen_dtype, load_causal_lm, load_tokenizer
from rlhf.memory import Spent
from rlhf.models import Family, closing_eos_of, eos_ids_of
from rlhf.prompting import pick_examples, with_examples
from rlhf.sft import (
    LEAST_PROMPTS,
    Demonstrations,
    Pair,
    SFTConfig,
    encode_demonstration,
    mean_loss,
    split_demonstrations,
)
from rlhf.told import Outcome, Progress


@dataclass(frozen=True)
class SFTRoundConfig:
    sft: SFTConfig = field(default_factory=SFTConfig)
    from_base: bool = setting(False, "Start from the reference, not from the published policy.")


def sft_round_config(asked: dict[str, Any]) -> SFTRoundConfig:
    """A round as it was asked for, with settings of SFTConfig by name and `from_base`; None: as by default.

    Raises ValueError with one sentence.
    """
    own = {f.name for f in fields(SFTConfig)}
    given = {name: value for name, value in asked.items() if name in own and value is not None}
    return SFTRoundConfig(SFTConfig(**given), bool(asked.get("from_base")))


def run_sft_round(
    family: Family,
    demonstrations: Sequence[Demonstration],
    base: str,
    config: SFTRoundConfig,
    seed: int,
) -> Iterator[Progress | Outcome]:
    """Run one round; the last thing yielded is the Outcome. When published, 'policy' holds the new policy.

    base: folder or hub id of the model before SFT; '': the reference is what it is compared with.
    """
    parts = split_demonstrations(family, demonstrations, config.sft.heldout_share)
    refusal = why_not(parts, demonstrations)
    if refusal:
        yield Outcome(False, refusal, {})
        return
    yield Progress("sft", f"reading {len(parts.train)} demonstrations", 0, {})
    start = "reference" if config.from_base else "published"
    family.copy(start, "policy")
    before = mean_loss(family, "published", parts.judge)
    summary = {
        "demonstrations": float(len(parts.train)),
        "heldout_demonstrations": float(len(parts.judge)),
        "loss_before": before,
    }
    from rlhf.sft_training import train_sft  # TRL takes seconds to import, which others need not wait for

    spent, best_step, steps, ended = Spent(family.device), 0, 0, None
    try:
        for done in train_sft(family, parts.train, parts.stop, config.sft, seed):
            metrics, steps = {"sft/loss": done.loss}, done.step
            if done.heldout is not None:
                metrics["sft/heldout_loss"] = done.heldout
                best_step = done.step if done.best else best_step
            detail = f"learning from {len(parts.train)} demonstrations, step {done.step} of {done.of} at most"
            yield Progress("sft", detail, done.step, metrics)
    except FloatingPointError as error:  # the policy holds the best weights so far
        ended = f"ended early: {error}"
    finally:
        took = spent.figures("sft/")
    summary |= {"steps": float(steps), "best_step": float(best_step)} | took
    summary["loss_after"] = mean_loss(family, "policy", parts.judge)
    yield Progress("sft", "comparing it with a model that is only prompted", steps, {})
    try:
        compared, remark = losses_of_base(family, base, demonstrations, config.sft.heldout_share, seed)
    except (ModelError, torch.OutOfMemoryError) as error:  # the policy is trained, and stays
        compared, remark = {}, f"not compared with the base model: {str(error).splitlines()[0]}"
    summary |= compared
    for name in [name for name in summary if name.startswith("loss_")]:
        summary[name.replace("loss_", "perplexity_")] = math.exp(min(summary[name], 700.0))
    yield judge_sft(summary, [remark, left_out(parts)], ended)


def why_not(parts: Demonstrations, demonstrations: Sequence[Demonstration]) -> str | None:
    """Why SFT may not start, or None."""
    prompts = len({tuple(prompt) for part in (parts.train, parts.stop, parts.judge) for prompt, _ in part})
    if prompts < LEAST_PROMPTS:
        more = f" that fit into the model's context ({left_out(parts)})" if parts.left_out else ""
        return (
            f"there are demonstrations for {prompts} different prompts{more}; wanted: {LEAST_PROMPTS}, "
            "written on the annotate page or read by `python app.py sft --data FILE`"
        )
    return None


def left_out(parts: Demonstrations) -> str | None:
    """What people should know of demonstrations that the model cannot read."""
    why = "too long for the model, or refused by its chat template"
    return f"{parts.left_out} demonstrations left out, {why}" if parts.left_out else None


def judge_sft(summary: dict[str, float], remarks: Sequence[str | None], ended: str | None = None) -> Outcome:
    """Publish only what says held-out demonstrations better than the policy before.

    ended: why the training ended early, which is said in any case.
    """
    before, after = summary["loss_before"], summary["loss_after"]
    count = f"{summary['heldout_demonstrations']:.0f} held-out demonstrations"
    change = f"loss {before:.3f} to {after:.3f} on {count}"
    if not all(map(math.isfinite, summary.values())):
        return Outcome(False, "a figure of the new policy is not a finite number", summary)
    if after >= before:
        change, remarks = f"the new policy is not better on held-out demonstrations ({change})", []
    return Outcome(after < before, "; ".join([change, *filter(None, [ended, *remarks])]), summary)


@torch.no_grad()
def losses_of_base(
    family: Family, base: str, demonstrations: Sequence[Demonstration], heldout_share: float, seed: int
) -> tuple[dict[str, float], str | None]:
    """`loss_base` and `loss_prompted_base` on the judging demonstrations; and why there are none.

    A base model reads prompts in its own way, with its own template or none: in one that it has never seen,
    no prompt would help it. Its responses have the same tokens, or losses per token could not be compared.
    """
    if not base:  # the reference is the base
        parts = split_demonstrations(family, demonstrations, heldout_share)

        def loss(pairs: Sequence[Pair]) -> float:
            return mean_loss(family, "reference", pairs)
    else:
        try:
            tokenizer = load_tokenizer(base, family.trusts_code)
            if tokenizer.get_vocab() != family.tokenizer.get_vocab():
                return {}, "the base model has other tokens, so their losses cannot be compared"
            dtype, small = frozen_dtype(family.device, family.bf16), family.kind == "qlora"
            model = load_causal_lm(base, family.device, dtype, small, family.trusts_code)
        except ModelError as error:
            return {}, f"not compared with the base model: {error}"
        closing = closing_eos_of(tokenizer, eos_ids_of(tokenizer, model) or {family.closing_eos})
        encode = partial(encode_demonstration, tokenizer, closing)
        parts = split_demonstrations(family, demonstrations, heldout_share, encode)

        def loss(pairs: Sequence[Pair]) -> float:
            total = sum(plain_logprobs(model, prompt, response) for prompt, response in pairs)
            return -total / sum(len(response) for _, response in pairs)

    examples = pick_examples(parts.train, seed)
    prompted = [(with_examples(p, examples, _room(family, r)), r) for p, r in parts.judge]
    found = {"loss_base": loss(parts.judge), "loss_prompted_base": loss(prompted)}
    if not all(map(math.isfinite, found.values())):
        return {}, "the base model's loss is not a finite number"
    return found, None


def _room(family: Family, response: Sequence[int]) -> int | None:
    return None if family.context is None else family.context - len(response)
