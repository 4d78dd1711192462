"""How a reward model is judged: by rankings that it has not learned from."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from data.preferences import RankedResponses
from rlhf.reward_model import RewardModel


@dataclass(frozen=True)
class Accuracy:
    """Share of held-out pairs ordered as the annotators did, with a 95 % interval over prompts."""

    accuracy: float
    low: float
    high: float
    pairs: int
    longer_wins: float  # what "the longer response is better" would have scored
    prompts: int = 0  # how many held-out prompts those pairs come from

    def sentence(self) -> str:
        interval = f"95 % interval {self.low:.0%} to {self.high:.0%}"
        return f"{self.accuracy:.0%} of {self.pairs} held-out pairs ({interval})"


def measure_accuracy(model: RewardModel, heldout: Sequence[RankedResponses]) -> Accuracy:
    """Held-out pair accuracy. Tied pairs do not count; equal scores count half.

    The interval is a bootstrap over *prompts*, not pairs: the pairs of one ranking, and the rankings of one
    prompt, stand or fall together, and an interval that took them for independent would be too narrow.
    """
    per_prompt: dict[str, tuple[float, float, int]] = {}  # right, right by length, pairs
    encoded = [model.encode_ranking(ranking) for ranking in heldout]
    prompts = [prompt for prompt, responses in encoded for _ in responses]
    responses = [response for _, own in encoded for response in own]
    scores = iter(model.score(prompts, responses).tolist() if responses else [])
    for ranking in heldout:
        own = [next(scores) for _ in ranking.responses]
        lengths = [float(len(text)) for text in ranking.responses]
        right, right_by_length, count = 0.0, 0.0, 0
        for i in range(len(own)):
            for j in range(len(own)):
                if ranking.ranks[i] < ranking.ranks[j]:
                    count += 1
                    right += 1.0 if own[i] > own[j] else 0.5 if own[i] == own[j] else 0.0
                    right_by_length += (
                        1.0 if lengths[i] > lengths[j] else 0.5 if lengths[i] == lengths[j] else 0.0
                    )
        if count:
            before = per_prompt.get(ranking.prompt, (0.0, 0.0, 0))
            per_prompt[ranking.prompt] = (before[0] + right, before[1] + right_by_length, before[2] + count)
    sums = list(per_prompt.values())
    total = sum(count for *_, count in sums)
    if total == 0:
        return Accuracy(math.nan, 0.0, 1.0, 0, math.nan)
    draw = random.Random(0)
    resampled = []
    for _ in range(1000):
        chosen = draw.choices(sums, k=len(sums))
        resampled.append(sum(r for r, *_ in chosen) / sum(c for *_, c in chosen))
    resampled.sort()
    right = sum(r for r, *_ in sums)
    by_longer = sum(r for _, r, _ in sums)
    low, high = resampled[24], resampled[974]
    return Accuracy(right / total, low, high, total, by_longer / total, len(sums))
