"""Responses to put before an annotator: several to a prompt, all of them different."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rlhf.generate import SamplingConfig, decode_text, encode_prompt, sample
from rlhf.models import Family

SPARE = 2  # draws more than wanted: a sure policy repeats itself, and with these mostly enough differ


@dataclass(frozen=True)
class Draft:
    text: str
    tokens: int  # without EOS
    finished: bool  # ended by EOS, not cut


def draw_drafts(
    family: Family, role: str, prompts: Sequence[str], wanted: int, sampling: SamplingConfig, seed: int
) -> list[list[Draft]]:
    """Up to `wanted` different responses to each prompt; fewer when the policy has no more to say."""
    tokenizer, draws = family.tokenizer, wanted + SPARE
    generator = torch.Generator(device=family.device).manual_seed(seed)
    ids = [encode_prompt(tokenizer, p) for p in prompts for _ in range(draws)]
    with family.use(role) as model:
        samples = sample(
            model, ids, sampling, pad_id=family.pad_id, eos_ids=family.eos_ids, generator=generator
        )
    found = []
    for number in range(len(prompts)):
        different: dict[str, Draft] = {}
        for drawn in samples[number * draws : (number + 1) * draws]:
            text = decode_text(tokenizer, drawn.tokens)
            if text.strip() and text.strip() not in different:
                tokens = len(drawn.tokens) - drawn.finished
                different[text.strip()] = Draft(text, tokens, drawn.finished)
        found.append(list(different.values())[:wanted])
    return found
