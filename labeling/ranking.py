"""What an annotator says of a task: an order over its responses, marks on single ones, and remarks about it.

One rank per shown response, 1 is best, equal ranks are a tie. Ranks are stored dense: [1, 3, 3] and
[2, 5, 5] say the same as [1, 2, 2], so only that is kept. A gap would look like information ("much worse")
that nobody gave. All equal is a ranking too: it says that nothing here is better. Skipping is not a ranking
and has no ranks.

A response may be left without a rank (None): those that have one are better, and those that have none were
not compared with each other. They share the last rank, and the order is `partial`.

A person may write a better response: it stands above all that were shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

LONGEST_COMMENT = 4000  # characters
LONGEST_BETTER = 20_000
LONGEST_NAME = 60  # of a flag, a reason or a rating
MOST_NAMES = 20
BEST_RATING = 5


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
class Mark:
    """What was said of one response. Names are the project's own choice (labeling/form.py)."""

    flags: tuple[str, ...] = ()  # what is wrong with it: unsafe, false ...
    reasons_for: tuple[str, ...] = ()
    reasons_against: tuple[str, ...] = ()
    ratings: dict[str, int] = field(default_factory=dict)  # scale -> 1 (worst) to 5


@dataclass(frozen=True)
class Better:
    """A response written by the annotator. started_from: the position of the one that was edited."""

    text: str
    started_from: int | None = None


@dataclass(frozen=True)
class Remarks:
    """What else was said."""

    acceptable: bool | None = None  # False: none of the responses is; True: the best is; None: nothing said
    strength: int = 0  # of two, one is slightly (1), clearly (2), much (3) better; 0: nothing said
    comment: str = ""
    skip_reason: str = ""
    marks: tuple[Mark, ...] = ()  # by position; (): nothing was said of any
    better: Better | None = None


def check_skip(remarks: Remarks) -> None:
    """Raises InvalidRanking: a skip says nothing of the responses, but may have a reason and a comment."""
    if remarks.acceptable is not None or remarks.strength or remarks.marks or remarks.better:
        raise InvalidRanking("A skip says nothing of the responses; rank them, or leave out what was said.")
    _check_name("reason to skip", remarks.skip_reason)
    _check_text("comment", remarks.comment, LONGEST_COMMENT)


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
    if not named and remarks.acceptable is not False and remarks.better is None:
        raise InvalidRanking("No response has a rank; rank the best, or say that none is acceptable.")
    dense = {rank: place for place, rank in enumerate(sorted(set(named)), start=1)}
    order = Order([dense.get(rank, len(dense) + 1) for rank in ranks], partial=len(named) < len(ranks))
    _check_remarks(remarks, order)
    return order


def _check_remarks(remarks: Remarks, order: Order) -> None:
    responses = len(order.ranks)
    if remarks.skip_reason:
        raise InvalidRanking("A reason to skip goes with a skip, not with ranks.")
    if remarks.strength not in (0, 1, 2, 3):
        raise InvalidRanking(f"The strength is {remarks.strength}; wanted: 1 (slightly) to 3 (much better).")
    if remarks.strength and (responses != 2 or len(set(order.ranks)) == 1):
        raise InvalidRanking("A strength says by how much one of two is better; here that cannot be said.")
    _check_text("comment", remarks.comment, LONGEST_COMMENT)
    if len(remarks.marks) not in (0, responses):
        raise InvalidRanking(f"This task has {responses} responses, but {len(remarks.marks)} have marks.")
    for mark in remarks.marks:
        _check_mark(mark)
    if remarks.better is not None:
        _check_better(remarks.better, responses)


def _check_mark(mark: Mark) -> None:
    for names in (mark.flags, mark.reasons_for, mark.reasons_against, tuple(mark.ratings)):
        if len(names) > MOST_NAMES or len(set(names)) < len(names):
            raise InvalidRanking(f"Of one kind of mark a response has {MOST_NAMES} at most, and none twice.")
        for name in names:
            if not name:
                raise InvalidRanking("A mark has no name.")
            _check_name("mark", name)
    for name, rating in mark.ratings.items():
        if type(rating) is not int or not 1 <= rating <= BEST_RATING:
            raise InvalidRanking(f"The rating '{name}' is {rating}; wanted: 1 to {BEST_RATING}.")


def _check_better(better: Better, responses: int) -> None:
    if not better.text.strip():
        raise InvalidRanking("The better response is empty; write it, or leave it out.")
    _check_text("better response", better.text, LONGEST_BETTER)
    at = better.started_from
    if at is not None and (type(at) is not int or not 0 <= at < responses):
        raise InvalidRanking(f"The better response started from position {at}; wanted: 0 to {responses - 1}.")


def _check_name(what: str, name: str) -> None:
    _check_text(what, name, LONGEST_NAME)


def _check_text(what: str, text: str, longest: int) -> None:
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidRanking(f"The {what} holds half a character (a lone surrogate); send it as UTF-8.")
    if len(text) > longest:
        raise InvalidRanking(f"The {what} has {len(text)} characters; wanted: {longest} at most.")
