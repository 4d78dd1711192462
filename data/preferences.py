"""Rankings as the reward model learns from them, and the prompts that are held out to judge it."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RankedResponses:
    """One ranking: the responses to one prompt and their ranks (1 is best, equal is a tie)."""

    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    finished: tuple[bool, ...] = ()  # ended by EOS, not cut; left out: all of them
    partial: bool = False  # those ranked last were not compared with each other
    acceptable: bool | None = None  # whether the best is; None: nobody was asked
    strength: int = 0  # 1, 2, 3: the best is slightly, clearly, much better; 0: nobody was asked
    weight: float = 1.0  # how much the annotator's word counts, against that of others
    imported: bool = False  # made elsewhere: the reward model learns from it, and no policy imitates it

    def __post_init__(self) -> None:
        if len(self.responses) != len(self.ranks) or len(self.ranks) < 2:
            raise ValueError(
                f"A ranking needs a rank for each of at least 2 responses; got {len(self.responses)} "
                f"responses and {len(self.ranks)} ranks."
            )
        if self.strength not in (0, 1, 2, 3):
            raise ValueError(f"strength is {self.strength}; wanted: 0 (not asked), 1, 2 or 3.")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight is {self.weight}; wanted: a number above 0.")
        if not self.finished:
            object.__setattr__(self, "finished", (True,) * len(self.ranks))

    def first(self) -> list[int]:
        """Which responses are ranked first, but none that was cut or is empty.

        [] when all are tied, and when none is acceptable.
        """
        best = min(self.ranks)
        if best == max(self.ranks) or self.acceptable is False:
            return []
        rows = zip(self.responses, self.ranks, self.finished, strict=True)
        return [i for i, (text, rank, finished) in enumerate(rows) if rank == best and finished and text]

    def chosen(self) -> list[str]:
        """The texts of `first`: what to learn from."""
        return [self.responses[i] for i in self.first()]


def split_by_prompt(
    rankings: Sequence[RankedResponses], heldout_share: float, least: int = 0
) -> tuple[list[RankedResponses], list[RankedResponses]]:
    """Split so that no prompt is in both halves, the same way every time: -> (train, held-out).

    The prompts are ordered by a hash of their text and the first `heldout_share` of them are held out, so a
    small set gets its share too, which a threshold on the hash would not promise. least: hold out so many of
    a small set, if that is no more than a third.
    """
    prompts = sorted({r.prompt for r in rankings}, key=lambda p: hashlib.sha256(p.encode()).digest())
    count = max(round(heldout_share * len(prompts)), min(least, len(prompts) // 3))
    heldout = set(prompts[:count])
    train = [r for r in rankings if r.prompt not in heldout]
    return train, [r for r in rankings if r.prompt in heldout]


def weighed(rankings: Sequence[RankedResponses]) -> list[RankedResponses]:
    """The same with weights whose mean is 1: they tell annotators apart and leave the learning rate alone."""
    mean = sum(r.weight for r in rankings) / max(1, len(rankings))
    return [replace(r, weight=r.weight / mean) for r in rankings]
