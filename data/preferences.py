"""Rankings as the reward model learns from them, and the prompts that are held out to judge it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RankedResponses:
    """One ranking: the responses to one prompt and their ranks (1 is best, equal is a tie)."""

    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    finished: tuple[bool, ...] = ()  # ended by EOS, not cut; left out: all of them

    def __post_init__(self) -> None:
        if len(self.responses) != len(self.ranks) or len(self.ranks) < 2:
            raise ValueError(
                f"A ranking needs a rank for each of at least 2 responses; got {len(self.responses)} "
                f"responses and {len(self.ranks)} ranks."
            )
        if not self.finished:
            object.__setattr__(self, "finished", (True,) * len(self.ranks))

    def first(self) -> list[int]:
        """Which responses are ranked first, but none that was cut or is empty; [] when all are tied."""
        best = min(self.ranks)
        if best == max(self.ranks):
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
