"""Rankings as the reward model learns from them: split by prompt, or as (prompt, chosen, rejected) pairs."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RankedResponses:
    """One ranking: the responses to one prompt and their ranks (1 is best, equal is a tie)."""

    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.responses) != len(self.ranks) or len(self.ranks) < 2:
            raise ValueError(
                f"A ranking needs a rank for each of at least 2 responses; got {len(self.responses)} "
                f"responses and {len(self.ranks)} ranks."
            )


def split_by_prompt(
    rankings: Sequence[RankedResponses], heldout_share: float
) -> tuple[list[RankedResponses], list[RankedResponses]]:
    """Split so that no prompt is in both halves, the same way every time: -> (train, held-out).

    The prompts are ordered by a hash of their text and the first `heldout_share` of them are held out, so a
    small set gets its share too, which a threshold on the hash would not promise.
    """
    prompts = sorted({r.prompt for r in rankings}, key=lambda p: hashlib.sha256(p.encode()).digest())
    heldout = set(prompts[: round(heldout_share * len(prompts))])
    train = [r for r in rankings if r.prompt not in heldout]
    return train, [r for r in rankings if r.prompt in heldout]


def pairs(ranking: RankedResponses) -> Iterator[tuple[str, str]]:
    """Every (chosen, rejected) of a ranking; tied responses make no pair."""
    for chosen, chosen_rank in zip(ranking.responses, ranking.ranks, strict=True):
        for rejected, rejected_rank in zip(ranking.responses, ranking.ranks, strict=True):
            if chosen_rank < rejected_rank:
                yield chosen, rejected
