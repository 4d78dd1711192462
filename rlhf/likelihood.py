"""One pass of a model over prompts and responses, and what it says of each response token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf import functional as f
from rlhf.batching import Padded
from rlhf.models import Family, listen
from rlhf.pooled import POOLS, pool


@dataclass(frozen=True)
class Pass:
    """From one pass over a batch of B sequences with N response tokens in all, R in the longest."""

    middle: Tensor  # (B, T, hidden) the states that `models.listen` hears
    last: Tensor  # (B, T, output) the states that the LM head reads
    logits: Tensor  # (N, V) that predict the response tokens, in the order of `batch.mask`

    def logprobs(self, batch: Padded, temperature: float) -> Tensor:
        """Log-probabilities of the response tokens (B, R); 0 behind the end."""
        return spread(f.logprobs_of(self.logits, batch.tokens[batch.mask], temperature), batch.mask)

    def written(self, batch: Padded) -> Tensor:
        """Middle states of the response tokens themselves (B, R, hidden)."""
        return at(self.middle, (batch.positions + 1).clamp(max=batch.ids.shape[1] - 1))

    def before(self, batch: Padded) -> Tensor:
        """Middle and last states before each response token (B, R, hidden + output)."""
        return torch.cat([at(self.middle, batch.positions), at(self.last, batch.positions)], dim=-1)


def look(model: PreTrainedModel, batch: Padded) -> Pass:
    """One pass. Logits are computed for the response tokens alone: not for prompts, not for padding."""
    with listen(model, (batch.mask.nonzero()[:, 0], batch.positions[batch.mask])) as heard:
        logits = model(input_ids=batch.ids, use_cache=False).logits
    return Pass(heard.middle, heard.last.float(), logits.squeeze(0))


def at(states: Tensor, positions: Tensor) -> Tensor:
    """(B, T, any), (B, R) -> (B, R, any)."""
    return states.gather(1, positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) to where the mask is True, 0 elsewhere -> the mask's shape."""
    return torch.zeros_like(mask, dtype=values.dtype).masked_scatter(mask, values)


def response_logprobs(family: Family, role: str, batch: Padded, temperature: float) -> Tensor:
    """Log-probabilities of the response tokens under a role (B, R); 0 behind the end."""
    with family.use(role) as model:
        return look(model, batch).logprobs(batch, temperature)


@torch.no_grad()
def logprobs_and_pools(
    family: Family, role: str, prompts: Sequence[list[int]], responses: Sequence[list[int]]
) -> tuple[Tensor, Tensor]:
    """What `token_logprobs` gives (N, R), and the pooled states of each response (N, 3 hidden)."""
    logprobs = torch.zeros(len(responses), max(len(r) for r in responses))
    pools = torch.zeros(len(responses), POOLS * family.hidden_size)
    for rows, batch in family.batches(prompts, responses):
        with family.use(role) as model:
            seen = look(model, batch)
        found = seen.logprobs(batch, 1.0)
        logprobs[rows, : found.shape[1]] = found.cpu()
        pools[rows] = pool(seen.written(batch), batch.mask).cpu()
    return logprobs, pools


def token_logprobs(
    family: Family, role: str, prompts: Sequence[list[int]], responses: Sequence[list[int]]
) -> Tensor:
    """Log-probability of every response token under a role, at temperature 1 (N, R); 0 behind the end."""
    return token_logprobs_at((1.0,), family, role, prompts, responses)[0]


@torch.no_grad()
def token_logprobs_at(
    temperatures: Sequence[float],
    family: Family,
    role: str,
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
) -> list[Tensor]:
    """The same at several temperatures, from one pass through the model: (N, R) for each."""
    shape = len(responses), max(len(r) for r in responses)
    found = [torch.zeros(shape) for _ in temperatures]
    for rows, batch in family.batches(prompts, responses):
        with family.use(role) as model:
            seen = look(model, batch)
        for whole, temperature in zip(found, temperatures, strict=True):
            logprobs = seen.logprobs(batch, temperature)
            whole[rows, : logprobs.shape[1]] = logprobs.cpu()
    return found
