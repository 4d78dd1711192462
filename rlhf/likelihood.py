"""Log-probabilities of responses under a role of the family."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.models import Family
from rlhf.passes import look
from rlhf.pooled import POOLS, pool


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
        found = seen.logprobs(1.0)
        logprobs[rows, : found.shape[1]] = found.cpu()
        pools[rows] = pool(seen.written(), batch.mask).cpu()
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
            logprobs = seen.logprobs(temperature)
            whole[rows, : logprobs.shape[1]] = logprobs.cpu()
    return found


@torch.no_grad()
def plain_logprobs(model: PreTrainedModel, prompt: list[int], response: list[int]) -> float:
    """Log-probability of a whole response under any causal LM, at temperature 1."""
    ids = torch.tensor([prompt + response], device=model.get_input_embeddings().weight.device)
    logits = model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    found = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])
    return float(found.sum())
