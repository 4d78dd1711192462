"""Borrowed responses: what was chosen for one prompt, held against what was chosen for another.

Every response in a ranking was written for its prompt, so nothing in rankings says that a response has to
fit the prompt, and a reward model of few rankings need not look at it. People choose polite refusals of
harmful requests; the reward model learns that refusals are good, whatever was asked, and PPO finds the one
sentence that pays everywhere. Therefore each ranking borrows at most one response from another, which loses
against its own best (Liu 2024, "RRM: Robust Reward Model Training Mitigates Reward Hacking": their
non-contextual responses), unless it would do here as well: a refusal of one harmful request answers others.

Measured on the starter, 150 held-out prompts with 8 responses of the reference each: share of the responses
to harmless prompts that one and the same refusal outscores; pairs ordered right; pairs about harm likewise.

    12 reward models of 64 rankings (6 runs)      weight 0     .49   .752   .763
                                                  0.15         .32   .750   .744
                                                  0.3          .26   .746   .729
                                                  0.5          .23   .742   .718
    6 of 64, 128 and 200 rankings (2 other runs)  weight 0     .72   .796   .779
                                                  0.5          .12   .792   .752
                                                  ... without `OUT_OF_PLACE`
                                                               .09   .788   .733
    4 of 128 rankings, with `probe` (4 runs)      0.3          .29   .833   .813
                                                  0.5          .23   .833   .805
"""

import random
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from data.preferences import RankedResponses

OUT_OF_PLACE = 2.0  # nats


def borrow(rankings: Sequence[RankedResponses], order: random.Random) -> list[tuple[int, int] | None]:
    """For each ranking, where a response chosen for another prompt is found: (ranking, response), or None."""
    places = [(number, place) for number, ranking in enumerate(rankings) for place in ranking.first()]
    borrowed: list[tuple[int, int] | None] = []
    for ranking in rankings:
        drawn = order.choice(places) if ranking.chosen() else None
        if drawn:
            other = rankings[drawn[0]]
            if other.prompt == ranking.prompt or other.responses[drawn[1]] in ranking.responses:
                drawn = None
        borrowed.append(drawn)
    return borrowed


def out_of_place(*, there: Tensor, here: Tensor) -> bool:
    """Whether the reference finds a response clearly likelier for its own prompt than for the borrower's.

    there, here: log-probabilities of its tokens, 0 behind the end, any shape.
    """
    return float(there.sum() - here.sum()) > OUT_OF_PLACE


def borrowed_loss(ranking: RankedResponses, scores: Tensor) -> Tensor:
    """How much a borrowed response rivals those ranked first -> scalar; 0 when none was borrowed.

    scores: (K,) of the ranking's own responses, or (K+1,), the borrowed one last. The mean over those ranked
    first of the Bradley-Terry loss.
    """
    if len(scores) == len(ranking.ranks):
        return scores.new_zeros(())
    first = [i for i, rank in enumerate(ranking.ranks) if rank == min(ranking.ranks)]
    return F.softplus(scores[-1] - scores[first]).mean()
