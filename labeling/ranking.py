"""What an order over responses is: one rank per shown response, 1 is best, equal ranks are a tie.

Ranks are stored dense: [1, 3, 3] and [2, 5, 5] say the same as [1, 2, 2], so only that is kept. A gap would
look like information ("much worse") that nobody gave. All equal is a ranking too: it says that nothing here
is better. Skipping is not a ranking and has no ranks.
"""

from collections.abc import Sequence


class InvalidRanking(ValueError):
    """The ranks do not fit the task. The message is one sentence for people."""


def check_ranks(ranks: Sequence[int], responses: int) -> list[int]:
    """Return `ranks` made dense, one per response in the order shown. Raises InvalidRanking.

    `True` is an int to Python and would pass for rank 1: a client that sends it means something else.
    """
    if not isinstance(ranks, (list, tuple)):
        raise InvalidRanking("The ranks must be a list with one whole number per response.")
    if len(ranks) != responses:
        raise InvalidRanking(f"This task has {responses} responses, but {len(ranks)} ranks were given.")
    for rank in ranks:
        if type(rank) is not int or not 1 <= rank <= responses:
            raise InvalidRanking(f"Every rank must be a whole number from 1 (best) to {responses}.")
    dense = {rank: place for place, rank in enumerate(sorted(set(ranks)), start=1)}
    return [dense[rank] for rank in ranks]
