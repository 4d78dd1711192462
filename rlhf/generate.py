"""Sampling: batched, left-padded, cut at EOS.

One decode loop serves the task queue, PPO rollouts and the before/after page. Rows that have written EOS
leave the batch, so that a few long responses do not make every row pay for their length.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.conversation import as_messages, transcript_of
from rlhf.chat import encode_chat, encode_plain, with_system
from rlhf.config import setting
from rlhf.decoding import steps
from rlhf.models import Family
from rlhf.voices import Voices

# Steps between two looks at what was written. A GPU is asked for the next ones before it has done the last;
# to look is to wait for it. So text comes in bursts, of some 20 ms, and rows that have ended run on a little.
READ_EVERY = {"cuda": 8}


@dataclass(frozen=True)
class SamplingConfig:
    temperature: float = setting(0.8, "Sampling temperature; 0 takes the most likely token.")
    top_p: float = setting(1.0, "Nucleus sampling; 1 keeps the whole distribution (PPO needs that).")
    max_new_tokens: int = setting(96, "Longest response, in tokens.")


@dataclass(frozen=True)
class Sample:
    """One sampled response."""

    tokens: list[int]  # with EOS at the end when finished
    finished: bool  # ended by EOS, not cut
    logprobs: list[float] = field(default_factory=list)  # of each token, as it was drawn
    entropy: list[float] = field(default_factory=list)  # in nats, of what each was drawn from


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a prompt as the model expects it: its chat template, or the text and a line break.

    Messages before the prompt, and the run's system prompt, go with it; without a template as a transcript
    that the assistant goes on with.
    """
    messages = with_system(tokenizer, as_messages(prompt))
    if tokenizer.chat_template:
        return encode_chat(tokenizer, messages)
    if len(messages) == 1:
        return encode_plain(tokenizer, prompt + "\n")
    return encode_plain(tokenizer, transcript_of(messages) + "\n\nAssistant:")


def longest_prompt(model: PreTrainedModel, config: SamplingConfig) -> int | None:
    """Tokens a prompt may have so that the longest response and an EOS still fit; None: no limit known."""
    context = getattr(model.config, "max_position_embeddings", None)
    return None if context is None else context - config.max_new_tokens - 1


def decode_text(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    """The text of a response, without special tokens."""
    return tokenizer.decode(tokens, skip_special_tokens=True)


@dataclass(frozen=True)
class Step:
    """What one step of `decode` wrote, for the rows that were still running."""

    rows: list[int]
    tokens: list[int]
    logprobs: list[float]  # of these tokens, under the distribution that they were drawn from
    entropy: list[float]  # of that distribution, in nats


def _pick(
    logits: Tensor, config: SamplingConfig, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """One token per row from logits (B, V) -> tokens, their log-probabilities, entropies, (B,) each.

    Log-probabilities of logits that are not finite are NaN.
    """
    if config.temperature == 0:
        sure = torch.zeros(logits.shape[0], device=logits.device)
        return logits.argmax(-1), sure, sure
    logprobs = (logits.float() / config.temperature).log_softmax(-1)
    probabilities = logprobs.exp()
    if config.top_p < 1:
        ordered, order = probabilities.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= config.top_p] = 0  # the token that crosses top_p stays
        probabilities = torch.zeros_like(probabilities).scatter_(-1, order, ordered)
        probabilities /= probabilities.sum(-1, keepdim=True)
        logprobs = probabilities.log()
    reach = probabilities.cumsum(-1)
    # One random number a row, not one a word: where it falls between the sums is the token.
    drawn = torch.rand(len(reach), 1, generator=generator, device=reach.device) * reach[:, -1:]
    tokens = torch.searchsorted(reach, drawn, right=True).clamp(max=reach.shape[1] - 1)
    entropy = torch.special.entr(probabilities).sum(-1)
    return tokens.squeeze(1), logprobs.gather(1, tokens).squeeze(1), entropy


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompts: list[list[int]],
    config: SamplingConfig,
    *,
    pad_id: int,
    eos_ids: set[int],
    generator: torch.Generator | None = None,
    voices: Voices | None = None,
) -> Iterator[Step]:
    """Yield what every step writes. Rows end with EOS or at the limit.

    Left-padded, with explicit positions, so that a row gets the same logits alone or in a batch.
    voices: which adapter speaks in which row; None: the one that is on, in all.
    """
    device = model.get_input_embeddings().weight.device
    width = max(len(ids) for ids in prompts)
    rows = list(range(len(prompts)))
    ids, mask = (torch.full((len(prompts), width), fill) for fill in (pad_id, 0))
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    running = steps(model, ids.to(device), mask.to(device), config.max_new_tokens, voices)
    logits = running.logits
    eos = torch.tensor(sorted(eos_ids), device=device)
    stopped = torch.zeros(len(rows), dtype=torch.bool, device=device)
    written: list[tuple[Tensor, ...]] = []
    for step in range(config.max_new_tokens):
        tokens, logprobs, entropy = _pick(logits, config, generator)
        written.append((~stopped, tokens, logprobs, entropy))
        stopped = stopped | torch.isin(tokens, eos)
        last = step + 1 == config.max_new_tokens
        if last or len(written) == READ_EVERY.get(device.type, 1):
            yield from _read(written, rows)
            written.clear()
            left = (~stopped).nonzero().squeeze(1)
            if last or len(left) == 0:
                return
            # A selection copies the cache, so wait until it saves enough.
            if running.pays(len(left), len(rows)):
                running.keep(left)
                rows = [rows[i] for i in left.tolist()]
                tokens, stopped = tokens[left], stopped[left]
        logits = running.step(tokens)


def _read(written: Sequence[tuple[Tensor, ...]], rows: Sequence[int]) -> Iterator[Step]:
    """Steps as Python numbers: which rows were alive, and the tokens, log-probabilities and entropies."""
    for alive, *found in zip(*(torch.stack(part).cpu() for part in zip(*written, strict=True)), strict=True):
        tokens, logprobs, entropy = (values[alive].tolist() for values in found)
        if any(map(math.isnan, logprobs)):
            raise FloatingPointError("the model's probabilities are not finite numbers")
        if tokens:
            yield Step([rows[i] for i in alive.nonzero().squeeze(1).tolist()], tokens, logprobs, entropy)


def sample(
    model: PreTrainedModel,
    prompts: list[list[int]],
    config: SamplingConfig,
    *,
    pad_id: int,
    eos_ids: set[int],
    generator: torch.Generator | None = None,
    voices: Voices | None = None,
) -> list[Sample]:
    """One response per prompt (repeat a prompt to get several)."""
    if not prompts:
        return []
    tokens, logprobs, entropy = ([[] for _ in prompts] for _ in range(3))
    ids = {"pad_id": pad_id, "eos_ids": eos_ids}
    for step in decode(model, prompts, config, **ids, generator=generator, voices=voices):
        for row, *found in zip(step.rows, step.tokens, step.logprobs, step.entropy, strict=True):
            for whole, part in zip((tokens, logprobs, entropy), found, strict=True):
                whole[row].append(part)
    return [
        Sample(t, bool(t) and t[-1] in eos_ids, p, e)
        for t, p, e in zip(tokens, logprobs, entropy, strict=True)
    ]


def sample_from(
    family: Family,
    role: str | Sequence[str],
    prompts: Sequence[list[int]],
    config: SamplingConfig,
    generator: torch.Generator | None = None,
) -> list[Sample]:
    """One response to each prompt, of a role or of each prompt's own: of adapters on one base together."""
    roles = [role] * len(prompts) if isinstance(role, str) else list(role)
    found: dict[int, Sample] = {}
    ids = {"pad_id": family.pad_id, "eos_ids": family.eos_ids}
    for rows in family.together(roles):
        own = [roles[row] for row in rows]
        with family.speaking(own) as (model, voices):
            drawn = sample(
                model, [prompts[row] for row in rows], config, **ids, generator=generator, voices=voices
            )
        found |= zip(rows, drawn, strict=True)
    return [found[row] for row in range(len(prompts))]
