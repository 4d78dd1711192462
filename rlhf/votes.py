"""Who wins, by each judge: scorers and reward models, which score a response by itself, and judges of two."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from rlhf.contenders import Response
from rlhf.evaluate import length_controlled_win_rate, win_rate

Judge = Callable[[str, str, str], float]  # prompt, a, b: 1 if a is better, .5 if neither is, 0 if b is
AGAIN = "again"  # SFT, sampled a second time


def as_judge(rank: Callable[[str, Sequence[str]], Sequence[int]]) -> Judge:
    """A judge of two, of what ranks any number: rank(prompt, responses) -> ranks, 1 for the best."""

    def judge(prompt: str, a: str, b: str) -> float:
        first, second = rank(prompt, [a, b])
        return 0.5 if first == second else float(first < second)

    return judge


class Votes:
    """Of contenders' responses to the same prompts. Scores are taken once for each contender, and judgements
    once for each pair. at_once: how many a judge is asked for at the same time; each in a thread of its own.
    """

    def __init__(self, prompts: Sequence[str], responses: dict[str, list[Response]], at_once: int = 1):
        self.prompts, self.responses, self.at_once = list(prompts), responses, at_once
        self.scores: dict[str, dict[str, list[float]]] = {}  # by judge and contender
        self.judges: dict[str, Judge] = {}

    def score(self, name: str, scores: Callable[..., list[float]]) -> None:
        """Let a scorer score everything: scores(prompts, texts, finished)."""
        self.scores[name] = {
            key: scores(self.prompts, [r.text for r in own], [r.finished for r in own])
            for key, own in self.responses.items()
        }

    def match(
        self, judge: str, key: str, other: str, lengths: dict[str, list[int]] | None = None
    ) -> dict[str, Any]:
        """The win rate of one over another with its interval, and, with lengths, at equal length."""
        before, after = self._votes(judge, key, other)
        found = asdict(win_rate(before, after))
        found["ties"] = sum(b == a for b, a in zip(before, after, strict=True))
        if lengths:
            controlled = length_controlled_win_rate(before, after, lengths[other], lengths[key])
            found["length_controlled"] = asdict(controlled) if controlled else None
        return found

    def _votes(self, judge: str, key: str, other: str) -> tuple[list[float], list[float]]:
        """As scores: higher wins."""
        if judge in self.scores:
            return self.scores[judge][other], self.scores[judge][key]

        def won(prompt: str, own: Response, others: Response) -> float:
            if own.text == others.text:  # nothing to ask
                return 0.5
            return float(self.judges[judge](prompt, own.text, others.text))

        with ThreadPoolExecutor(self.at_once) as threads:
            found = list(threads.map(won, self.prompts, self.responses[key], self.responses[other]))
        return [0.5] * len(found), found

    def mean(self, judge: str, key: str) -> float | None:
        """A contender's mean score; None where it is not finite."""
        return finite(float(np.mean(self.scores[judge][key])))


def finite(value: float) -> float | None:
    """None where JSON has no number."""
    return float(value) if math.isfinite(value) else None
