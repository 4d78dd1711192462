"""What rankings teach: the scores of their responses, and all that was said about them -> one loss each.

The order, with its ties, by one of two likelihoods; how clearly the best is better; whether it is acceptable
at all; what of other prompts' responses it must beat (`borrowed`); how much the annotator's word counts.

Measured on the starter with programs that rank (10 % noise), 150 held-out prompts with 8 responses of the
reference each: pairs ordered right, and how often a response above the border beats one below it, whatever
their prompts. The border is the median score, with "acceptable" its .6 quantile.

| rankings | | pairs | across prompts | seeds |
|---|---|---|---|---|
| 64, 200 of 4, `helpful` | pairwise | .861, .887 | .828, .872 | 50 to 52 |
| | plackett-luce | .861, .886 | .843, .887 | |
| 64, 200 of 4, `concise` | pairwise | .850, .866 | .827, .856 | 50 to 52 |
| | plackett-luce | .853, .877 | .838, .872 | |
| 128 of 4, only the best named | the others as a tie | .871 | .861 | 50, 51 |
| | the others not compared | .875 | .873 | |
| 128 of 4, said if acceptable | weight 0, .3, 1 | .876, .885, .881 | .880, .927, .951 | 50, 51 |
| 128 of 2, said how clearly | margin 0, .5, 1 | .827, .825, .827 | .814, .818, .822 | 50 to 52 |
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data.preferences import RankedResponses
from rlhf import functional as f

LIKELIHOODS = {"pairwise": f.pairwise_loss, "plackett-luce": f.plackett_luce_loss}


@dataclass(frozen=True)
class Lesson:
    """B rankings as tensors, K responses in the largest, M borrowed ones behind them.

    Their N scores come one ranking after the other, each with its own responses first.
    """

    own: Tensor  # (B, K) where in N
    mask: Tensor  # (B, K)
    borrowed: Tensor  # (B, M) where in N
    borrowed_mask: Tensor  # (B, M)
    ranks: Tensor  # (B, K)
    first: Tensor  # (B, K) True for those ranked first
    partial: Tensor  # (B,)
    strength: Tensor  # (B,) 0 to 1
    asked: Tensor  # (B,) whether somebody said if the best is acceptable
    acceptable: Tensor  # (B,)
    weight: Tensor  # (B,)

    @classmethod
    def of(
        cls, rankings: Sequence[RankedResponses], borrowed: Sequence[int], device: torch.device | str = "cpu"
    ) -> "Lesson":
        """borrowed: how many responses each ranking borrows."""
        sizes = [len(r.ranks) for r in rankings]
        ends = torch.tensor([*zip(sizes, borrowed, strict=True)]).flatten().cumsum(0).view(-1, 2)
        own, mask = _places(ends[:, 0], sizes)
        others, others_mask = _places(ends[:, 1], borrowed)
        ranks = torch.zeros_like(own)
        ranks[mask] = torch.tensor([rank for r in rankings for rank in r.ranks])
        best = torch.tensor([min(r.ranks) for r in rankings])
        found = [
            own,
            mask,
            others,
            others_mask,
            ranks,
            mask & (ranks == best.unsqueeze(1)),
            torch.tensor([r.partial for r in rankings]),
            torch.tensor([r.strength / 3 for r in rankings]),
            torch.tensor([r.acceptable is not None for r in rankings]),
            torch.tensor([bool(r.acceptable) for r in rankings]),
            torch.tensor([r.weight for r in rankings]),
        ]
        return cls(*(t.to(device) for t in found))

    def losses(
        self,
        scores: Tensor,
        *,
        likelihood: str = "pairwise",
        margin: float = 0.0,
        acceptance: float = 0.0,
        borrowed: float = 0.0,
    ) -> Tensor:
        """Loss of each ranking (B,) from the scores of all responses (N,).

        margin: by how much, in logits, a response that is said to be much better must win; by two thirds of
        it if clearly, by one if slightly (Touvron 2023, "Llama 2", section 3.2.2). acceptance, borrowed:
        weights of `functional.acceptance_loss` and `functional.borrowed_loss`.
        """
        scores = scores.float()
        own = scores[self.own]
        needed = (margin * self.strength).unsqueeze(1) * self.first
        losses = LIKELIHOODS[likelihood](own - needed, self.ranks, self.mask, self.partial)
        if acceptance:
            said = f.acceptance_loss(own, self.first, self.mask, self.acceptable)
            losses = losses + acceptance * said * self.asked
        if borrowed and self.borrowed.shape[1]:
            losses = losses + borrowed * f.borrowed_loss(
                own, self.first, scores[self.borrowed], self.borrowed_mask
            )
        return losses * self.weight


def _places(ends: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where the `counts` things lie that end before `ends` (B, most), and the mask."""
    counts = torch.tensor(counts).unsqueeze(1)
    steps = torch.arange(int(counts.max()))
    mask = steps < counts
    return torch.where(mask, ends.unsqueeze(1) - counts + steps, 0), mask
