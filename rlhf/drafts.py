"""Responses to put before an annotator: several to a prompt, all of them different."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from rlhf.generate import Sample, SamplingConfig, decode_text, encode_prompt, sample_from
from rlhf.models import Family

SPARE = 2  # draws more than wanted: a sure policy repeats itself, and with these mostly enough differ


@dataclass(frozen=True)
class Draft:
    role: str
    text: str
    tokens: int  # without EOS
    finished: bool  # ended by EOS, not cut


def draw_drafts(
    family: Family,
    prompts: Sequence[str],
    responses: int,
    reference_responses: int,
    sampling: SamplingConfig,
    seed: int,
    role: str = "published",
) -> list[list[Draft]]:
    """Up to `responses` different ones to each prompt: `reference_responses` of the reference, the rest of
    `role`; fewer when the two have no more to say.

    Why the reference's: the better a policy, the more alike are its responses, and the less is there to
    learn from ranking them. What it has given up altogether would never be seen again, and the next reward
    model would forget why. Beside the reference's responses people also say, every time, which of the two
    is better. Win rates with two of four and with none, in one set-up (`ppo`, choice 8): .870 and .862
    against .852 and .764, seeds 10 and 11; with no factor on the logits, which makes responses alike, they
    did not help: .689 against .750, seed 10.

    Adapters of one base write both in one batch (`voices`): 2, 4, 8 and 16 prompts took 602, 765, 1032 and
    1416 ms, one role after the other 782, 877, 1275 and 1594 (5.9M parameters, two cores, float32).
    """
    if not prompts:
        return []
    shares = [(role, responses - reference_responses), ("reference", reference_responses)]
    shares = [(who, wanted) for who, wanted in shares if wanted]
    roles = [who for who, wanted in shares for _ in range(wanted + SPARE)] * len(prompts)
    tokenizer, each = family.tokenizer, len(roles) // len(prompts)
    ids = [encoded for prompt in prompts for encoded in [encode_prompt(tokenizer, prompt)] * each]
    generator = torch.Generator(device=family.device).manual_seed(seed)
    samples = sample_from(family, roles, ids, sampling, generator)
    drawn = [_draft(tokenizer, *one) for one in zip(roles, samples, strict=True)]
    return [_different(drawn[start : start + each], dict(shares)) for start in range(0, len(drawn), each)]


def _draft(tokenizer: PreTrainedTokenizerBase, role: str, sample: Sample) -> Draft:
    tokens = len(sample.tokens) - sample.finished
    return Draft(role, decode_text(tokenizer, sample.tokens), tokens, sample.finished)


def _different(drafts: Sequence[Draft], wanted: dict[str, int]) -> list[Draft]:
    """Of each role as many as wanted, in their order; none that is empty or says what another has said."""
    found: dict[str, Draft] = {}
    left = dict(wanted)
    for draft in drafts:
        text = draft.text.strip()
        if text and text not in found and left[draft.role]:
            found[text] = draft
            left[draft.role] -= 1
    return list(found.values())
