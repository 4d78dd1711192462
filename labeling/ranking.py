"""What an annotator says of a task: an order over its responses, and remarks about it.

One rank per shown response, 1 is best, equal ranks are a tie. Ranks are stored dense: [1, 3, 3] and
[2, 5, 5] say the same as [1, 2, 2], so only that is kept. A gap would look like information ("much worse")
that nobody gave. All equal is a ranking too: it says that nothing here is better. Skipping is not a ranking
and has no ranks.

A response may be left without a rank (None): those that have one are better, and those that have none were
not compared with each other. They share the last rank, and the order is `partial`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_COMMENT = 4000  # characters


class InvalidRanking(ValueError):
    """What was said does not fit the task. The message is one sentence for people."""


@dataclass(frozen=True)
class Order:
    """An order as it is stored: `ranks` dense, one per response in the order shown."""

    ranks: list[int]
    partial: bool = False

    def as_given(self) -> list[int | None]:
        """The ranks with None for those that were not compared."""
        last = max(self.ranks)
        return [None if self.partial and rank == last else rank for rank in self.ranks]


@dataclass(frozen=True)
class Remarks:
    """What else was said."""

    acceptable: bool | None = None  # False: none of the responses is; True: the best is; None: nothing said
    strength: int = 0  # of two, one is slightly (1), clearly (2), much (3) better; 0: nothing said
    comment: str = ""


def check_skip(remarks: Remarks) -> None:
    """Raises InvalidRanking: a skip says nothing of the responses, but may have a comment."""
    if remarks.acceptable is not None or remarks.strength:
        raise InvalidRanking("A skip says nothing of the responses; rank them, or leave out what was said.")
    _check_comment(remarks.comment)


def check_order(ranks: Sequence[int | None], responses: int, remarks: Remarks | None = None) -> Order:
    """The order that these ranks mean. Raises InvalidRanking, also for remarks that do not fit it.

    `True` is an int to Python and would pass for rank 1: a client that sends it means something else.
    """
    remarks = remarks or Remarks()
    if not isinstance(ranks, (list, tuple)):
        raise InvalidRanking("The ranks must be a list with one whole number, or null, per response.")
    if len(ranks) != responses:
        raise InvalidRanking(f"This task has {responses} responses, but {len(ranks)} ranks were given.")
    named = [rank for rank in ranks if rank is not None]
    for rank in named:
        if type(rank) is not int or not 1 <= rank <= responses:
            raise InvalidRanking(f"Every rank must be a whole number from 1 (best) to {responses}, or null.")
    if not named and remarks.acceptable is not False:
        raise InvalidRanking("No response has a rank; rank the best, or say that none is acceptable.")
    dense = {rank: place for place, rank in enumerate(sorted(set(named)), start=1)}
    order = Order([dense.get(rank, len(dense) + 1) for rank in ranks], partial=len(named) < len(ranks))
    _check_remarks(remarks, order)
    return order


def _check_remarks(remarks: Remarks, order: Order) -> None:
    if remarks.strength not in (0, 1, 2, 3):
        raise InvalidRanking(f"The strength is {remarks.strength}; wanted: 1 (slightly) to 3 (much better).")
    if remarks.strength and (len(order.ranks) != 2 or len(set(order.ranks)) == 1):
        raise InvalidRanking("A strength says by how much one of two is better; here that cannot be said.")
    _check_comment(remarks.comment)


def _check_comment(comment: str) -> None:
    if any("\ud800" <= c <= "\udfff" for c in comment):
        raise InvalidRanking("The comment holds half a character (a lone surrogate); send it as UTF-8.")
    if len(comment) > LONGEST_COMMENT:
        raise InvalidRanking(f"The comment has {len(comment)} characters; wanted: {LONGEST_COMMENT} at most.")
