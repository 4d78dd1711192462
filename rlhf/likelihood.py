"""Log-probabilities of responses under a role of the family, with and without gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf import functional as f
from rlhf.batching import Padded, by_length, pad
from rlhf.models import Family


def response_logprobs(
    family: Family, role: str, batch: Padded, temperature: float, *, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the response tokens under a role (B, R), and their entropies if asked for.

    Logits are computed for response positions only: those of the prompt are never needed.
    """
    first = int(batch.positions.min())
    with family.use(role) as model:
        width = batch.ids.shape[1]
        logits = model(input_ids=batch.ids, use_cache=False, logits_to_keep=width - first).logits
    index = (batch.positions - first).unsqueeze(-1).expand(-1, -1, logits.shape[-1])
    logits = logits.gather(1, index)
    logprobs = f.logprobs_of(logits, batch.tokens, temperature)
    if not entropy:
        return logprobs, None
    with torch.no_grad():
        return logprobs, f.entropy_of(logits, temperature)


@torch.no_grad()
def token_logprobs(
    family: Family, role: str, prompts: Sequence[list[int]], responses: Sequence[list[int]]
) -> Tensor:
    """Log-probability of every response token under a role, at temperature 1 (N, R); 0 behind the end."""
    found = torch.zeros(len(responses), max(len(r) for r in responses))
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    for rows in by_length(lengths, family.token_budget):
        batch = pad([prompts[i] for i in rows], [responses[i] for i in rows], family.pad_id, family.device)
        logprobs, _ = response_logprobs(family, role, batch, temperature=1.0)
        found[rows, : logprobs.shape[1]] = (logprobs * batch.mask).cpu()
    return found
