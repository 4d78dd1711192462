"""Log-probabilities of responses under a role of the family, with and without gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf import functional as f
from rlhf.batching import Padded
from rlhf.models import Family, ModelError, listen, states_at
from rlhf.pooled import POOLS, pool


def response_logprobs(
    family: Family, role: str, batch: Padded, temperature: float, *, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the response tokens under a role (B, R), and their entropies if asked for.

    Logits are computed for response positions only: those of the prompt are never needed.
    """
    with family.use(role) as model:
        logits = _response_logits(model, batch)
    logprobs = f.logprobs_of(logits, batch.tokens, temperature)
    if not entropy:
        return logprobs, None
    with torch.no_grad():
        return logprobs, f.entropy_of(logits, temperature)


def _response_logits(model: PreTrainedModel, batch: Padded) -> Tensor:
    """Logits that predict each response token (B, R, V); those of the prompt are never computed."""
    first, width = int(batch.positions.min()), batch.ids.shape[1]
    logits = model(input_ids=batch.ids, use_cache=False, logits_to_keep=width - first).logits
    if logits.shape[1] != width - first:
        raise ModelError(f"{type(model).__name__} cannot leave out a prompt's logits; use another model.")
    return logits.gather(1, (batch.positions - first).unsqueeze(-1).expand(-1, -1, logits.shape[-1]))


def response_states(model: PreTrainedModel, batch: Padded) -> tuple[Tensor, Tensor]:
    """From one pass: the state of each response token (B, R, hidden), which `models.listen` hears, and the
    logits that predict it (B, R, V).
    """
    with listen(model) as heard:
        logits = _response_logits(model, batch)
    own = (batch.positions + 1).clamp(max=batch.ids.shape[1] - 1)
    return states_at(heard[0], own), logits


@torch.no_grad()
def logprobs_and_pools(
    family: Family, role: str, prompts: Sequence[list[int]], responses: Sequence[list[int]]
) -> tuple[Tensor, Tensor]:
    """What `token_logprobs` gives (N, R), and the pooled states of each response (N, 3 hidden)."""
    logprobs = torch.zeros(len(responses), max(len(r) for r in responses))
    pools = torch.zeros(len(responses), POOLS * family.hidden_size)
    for rows, batch in family.batches(prompts, responses):
        with family.use(role) as model:
            states, logits = response_states(model, batch)
        found = f.logprobs_of(logits, batch.tokens, 1.0) * batch.mask
        logprobs[rows, : found.shape[1]] = found.cpu()
        pools[rows] = pool(states, batch.mask).cpu()
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
            logits = _response_logits(model, batch)
        for whole, temperature in zip(found, temperatures, strict=True):
            logprobs = f.logprobs_of(logits, batch.tokens, temperature)
            whole[rows, : logprobs.shape[1]] = (logprobs * batch.mask).cpu()
    return found
