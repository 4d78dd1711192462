"""A head over a whole response: one linear map of the largest, the least and the sum of its tokens' states.

A polite phrase, an insult or a wrong word is a few tokens: the mean over all tokens drowns them, the last
token has forgotten them, the largest and the least keep them. The sum knows about length. The states are
those at three quarters of the trunk's depth (`passes.look`): the last layer's are about the next
word (Skean 2025, "Layer by Layer: Uncovering Hidden Representations in Language Models").

Measured on the starter, a head alone on the untrained trunk with the two weights of the likelihood: pairs
ordered right, of 150 held-out prompts with 8 responses of the reference each, mean of three sets of rankings
with 10 % noise, each the better of two ridges (1e-3, 4e-3), before each dimension was made to count alike:

| states | 64 `helpful` | 200 `helpful` | 64 `concise` | 64 `verbose` |
|---|---|---|---|---|
| mean, last layer | .798 | .813 | .851 | .862 |
| mean | .816 | .825 | .865 | .871 |
| largest and least | .840 | .860 | .898 | .901 |
| largest, least and sum | .844 | .864 | .926 | .923 |

With the trunk trained, 200 rankings of each of two runs, same prompts: .834 with the mean of the last layer,
.872 with all three (and 3e-4 instead of 8e-4 as the rate). A polite response was scored above a plain one,
else equal, in .77 of pairs, now in .88. Win rate after three rounds of 200 `helpful` rankings in all, 640
held-out prompts, seeds 20 and 21: .675 and .801, now .804 and .852; seed 22, only now: .834.
"""

import torch
from torch import Tensor, nn

POOLS = 3


def pool(states: Tensor, mask: Tensor) -> Tensor:
    """Of the tokens where mask is True: (B, R, hidden), (B, R) -> (B, 3 hidden)."""
    mask = mask.unsqueeze(-1)
    largest = states.masked_fill(~mask, -torch.inf).amax(1)
    least = states.masked_fill(~mask, torch.inf).amin(1)
    return torch.cat([largest, least, (states * mask).sum(1)], dim=-1)


def pool_so_far(states: Tensor) -> Tensor:
    """Of the first token, of the first two, and so on: (B, R, hidden) -> (B, R, 3 hidden)."""
    return torch.cat([states.cummax(1).values, states.cummin(1).values, states.cumsum(1)], dim=-1)


class PooledHead(nn.Module):
    """(..., 3 hidden) -> (..., heads), in float32 even where the trunk is bf16. Says 0 until it is fitted."""

    def __init__(self, hidden: int, heads: int = 1):
        super().__init__()
        self.register_buffer("mean", torch.zeros(POOLS * hidden))
        self.register_buffer("scale", torch.ones(POOLS * hidden))
        self.linear = nn.Linear(POOLS * hidden, heads)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        with torch.autocast(pooled.device.type, enabled=False):
            return self.linear(self.standardise(pooled))

    def standardise(self, pooled: Tensor) -> Tensor:
        """What the linear map sees."""
        return (pooled.float() - self.mean) / self.scale

    @torch.no_grad()
    def standardise_on(self, pooled: Tensor) -> Tensor:
        """Learn mean and scale from (N, 3 hidden); returns what the linear map then sees.

        Each dimension counts alike, so that a few very large ones, as big models have, do not count alone.
        All together have a variance of 1, so that a ridge on the weights means the same for any width.
        """
        spread = pooled.std(0, unbiased=False)
        self.mean.copy_(pooled.mean(0))
        self.scale.copy_(spread.clamp(min=0.01 * float(spread.mean()) + 1e-6) * pooled.shape[1] ** 0.5)
        return (pooled - self.mean.to(pooled)) / self.scale.to(pooled)
