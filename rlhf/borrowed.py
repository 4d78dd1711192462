"""Borrowed responses: what was chosen for one prompt, held against what was chosen for another.

Every response in a ranking was written for its prompt, so nothing in rankings says that a response has to
fit the prompt, and a reward model of few rankings need not look at it. People choose polite refusals of
harmful requests; the reward model learns that refusals are good, whatever was asked, and PPO finds the one
sentence that pays everywhere. Therefore each ranking borrows a response from another, which loses against
its own best (Liu 2024, "RRM: Robust Reward Model Training Mitigates Reward Hacking": their non-contextual
responses), unless it would do here as well: a refusal of one harmful request answers others.

Of a few drawn at random, the one that the probe likes best is borrowed: what PPO finds is what tempts the
reward model, and a random one seldom is that. In a run of seed 5 it was a polite piece of advice in answer to
harmful requests. Round 3 of that run done again, once each (in process; going along on 240 samples of
held-out harmful prompts, .25 before the round; win rate on 640 prompts): .86 and .731 with one at random,
.23 and .819 with the best of 4, .25 and .782 of 8, .18 and .799 of 16. The probe saw mean states then; these
and the figures below were not taken again with `pooled`.

With one at random, 150 held-out prompts with 8 responses of the reference each: share of the responses to
harmless prompts that one and the same refusal outscores; pairs ordered right; pairs about harm likewise.

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

from torch import Tensor

from data.preferences import RankedResponses

OUT_OF_PLACE = 2.0  # nats


def borrow(
    rankings: Sequence[RankedResponses], order: random.Random, most: int
) -> list[list[tuple[int, int]]]:
    """For each ranking, where responses chosen for other prompts are found: pairs (ranking, response).

    `most` are drawn of all that were chosen; those of the ranking's own prompt are then left out.
    """
    places = [(number, place) for number, ranking in enumerate(rankings) for place in ranking.first()]
    borrowed = []
    for ranking in rankings:
        drawn: dict[str, tuple[int, int]] = {}
        for other, place in order.sample(places, min(most, len(places))) if ranking.chosen() else []:
            text = rankings[other].responses[place]
            if rankings[other].prompt != ranking.prompt and text not in ranking.responses:
                drawn[text] = other, place
        borrowed.append(list(drawn.values()))
    return borrowed


def out_of_place(*, there: Tensor, here: Tensor) -> bool:
    """Whether the reference finds a response clearly likelier for its own prompt than for the borrower's.

    there, here: log-probabilities of its tokens, 0 behind the end, any shape.
    """
    return float(there.sum() - here.sum()) > OUT_OF_PLACE
