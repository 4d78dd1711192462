"""How likely a contender finds texts that it did not write: demonstrations, and general text (forgetting).

Perplexity is exp(-mean log-probability of a token). What has another tokenizer has other tokens, so bits per
byte stand beside it, which can be compared between any two models. A demonstration is read behind its prompt,
as the contender is given prompts, and without its EOS: a base model was never taught to end there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlhf.contenders import Contender
from rlhf.likelihood import token_logprobs

BLOCK = 512  # tokens of a long text that are read together, or the context if that is shorter
RESAMPLES = 1000


@dataclass(frozen=True)
class Reading:
    """Of each text what it cost: nats, and over how many tokens and bytes; NaN where it does not fit."""

    nats: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray


def read_demonstrations(contender: Contender, pairs: Sequence[tuple[str, str]]) -> Reading:
    """Of responses behind their prompts."""
    tokenizer, context = contender.family.tokenizer, contender.family.context
    prompts = [contender.encode(prompt) for prompt, _ in pairs]
    before = " " if contender.prompt is not None else ""  # as its examples have it
    responses = [tokenizer(before + text.strip(), add_special_tokens=False)["input_ids"] for _, text in pairs]
    fits = [
        i
        for i, (p, r) in enumerate(zip(prompts, responses, strict=True))
        if r and p and (context is None or len(p) + len(r) <= context)
    ]
    sizes = [len(text.strip().encode()) for _, text in pairs]
    return _read(contender, len(pairs), fits, prompts, responses, sizes)


def read_texts(contender: Contender, texts: Sequence[str]) -> Reading:
    """Of whole texts, in blocks; the first token of a block is given, or is the BOS where there is one."""
    tokenizer, context = contender.family.tokenizer, contender.family.context
    length = min(BLOCK, context or BLOCK)
    owner, firsts, rests, sizes = [], [], [], []
    for number, text in enumerate(texts):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        step = length - len(begin)
        for at in range(0, len(ids), step):
            block = begin + ids[at : at + step]
            if len(block) > 1:
                owner.append(number)
                firsts.append(block[:1])
                rests.append(block[1:])
                sizes.append(len(tokenizer.decode(block[1:]).encode()))
    by_block = _read(contender, len(rests), range(len(rests)), firsts, rests, sizes)
    found = np.full((3, len(texts)), np.nan)
    for number in set(owner):
        own = [i for i, o in enumerate(owner) if o == number]
        found[:, number] = [by_block.nats[own].sum(), by_block.tokens[own].sum(), by_block.bytes[own].sum()]
    return Reading(*found)


def _read(contender, count, fits, prompts, responses, sizes) -> Reading:
    nats, tokens, bytes_ = (np.full(count, np.nan) for _ in range(3))
    rows = list(fits)
    if rows:
        logprobs = token_logprobs(
            contender.family, contender.role, [prompts[i] for i in rows], [responses[i] for i in rows]
        )
        nats[rows] = -logprobs.double().sum(1).numpy()
        tokens[rows] = [len(responses[i]) for i in rows]
        bytes_[rows] = [sizes[i] for i in rows]
    return Reading(nats, tokens, bytes_)


def summary(reading: Reading, which: np.ndarray) -> dict[str, Any] | None:
    """Perplexity and bits per byte over `which` texts (a mask), with a 95 % interval that counts texts."""
    if not which.any():
        return None
    nats, tokens, size = (part[which] for part in (reading.nats, reading.tokens, reading.bytes))
    low, high = _bootstrap(lambda i: np.exp(nats[i].sum(1) / tokens[i].sum(1)), len(nats))
    return {
        "perplexity": float(np.exp(nats.sum() / tokens.sum())),
        "perplexity_low": low,
        "perplexity_high": high,
        "bits_per_byte": float(nats.sum() / size.sum() / math.log(2)),
        "texts": int(which.sum()),
        "tokens": int(tokens.sum()),
    }


def change(reading: Reading, reference: Reading, which: np.ndarray) -> dict[str, float | None] | None:
    """By how much bits per byte are over the reference's, as a share: .05 is 5 % more; with its interval.

    The same texts are read by both, so texts are drawn again in pairs: how hard they are falls out.
    """
    if not which.any():
        return None
    nats, size = reading.nats[which], reading.bytes[which]
    others, other_size = reference.nats[which], reference.bytes[which]

    def share(i: np.ndarray) -> np.ndarray:
        return nats[i].sum(1) / size[i].sum(1) / (others[i].sum(1) / other_size[i].sum(1)) - 1

    low, high = _bootstrap(share, len(nats))
    value = float(share(np.arange(len(nats))[None])[0])
    return {"change": value, "change_low": low, "change_high": high}


def _bootstrap(statistic, n: int, seed: int = 0) -> tuple[float | None, float | None]:
    """Percentile interval over texts drawn again; None where there are too few to draw from."""
    if n < 5:
        return None, None
    drawn = statistic(np.random.default_rng(seed).integers(n, size=(RESAMPLES, n)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
