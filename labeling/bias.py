"""Do annotators prefer a place on the page, or a length? From plain rankings, without SQL.

A pair counts where its two responses have different ranks. What shares a rank decides nothing, so nothing has
to be done about partial orders, whose last were not compared: they share the last rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.estimates import FEWEST_TASKS, Estimate, order_of_pairs, per_task, positions_differ, share
from labeling.store import RankingFacts

SURE = 0.05
# A difference that 80 % of runs would show, in half widths of an interval: (1.96 + 0.84) / 1.96.
LIKELY_SEEN = 1.43
LETTERS = "ABCD"


@dataclass(frozen=True)
class SizeBias:
    responses: int  # in a task
    tasks: int
    positions: list[Estimate | None]


@dataclass(frozen=True)
class AnnotatorBias:
    person: str
    kind: str
    tasks: int
    biased: bool | None  # None: too few
    verdict: str


@dataclass(frozen=True)
class PositionBias:
    """Of the pairs with the response at a position, the share it won: 50 % where position plays no part.

    Positions are shuffled when a task is made, so what a response is worth says nothing of its position. The
    verdict is one test of all positions together (Friedman's): one of four intervals misses 50 % in every
    sixth or so unbiased run.
    """

    too_few: str | None  # why there is nothing to tell
    verdict: str
    biased: bool | None
    p: float | None  # of the test
    positions: list[Estimate | None]  # A, B ...: win rate, n decided pairs; None: too few
    by_size: list[SizeBias]  # if tasks differ in their number of responses
    annotators: list[AnnotatorBias]  # if there are several


@dataclass(frozen=True)
class LengthBias:
    """Does the longer response win? Lengths in characters, what people see; pairs of one length are left out.

    It may win because it is better: this is a preference for length, and a bias only if it is unwanted.
    """

    too_few: str | None
    verdict: str
    biased: bool | None
    longer_wins: Estimate | None  # share of pairs, n of them
    longer_wins_tokens: Estimate | None  # the same, by tokens
    same_length: int  # decided pairs left out


def position_bias(rankings: Sequence[RankingFacts]) -> PositionBias:
    """Win rates by position, the verdict, and a verdict on each annotator. rankings: without skips.

    An annotator's verdict is the stricter the more of them there are (Bonferroni): of many, one is often odd.
    """
    sizes = _by_size(rankings)
    positions, p, few = _tested(sizes)
    by_person: dict[int, list[RankingFacts]] = {}
    for one in rankings:
        by_person.setdefault(one.person_id, []).append(one)
    several = list(by_person.values()) if len(by_person) > 1 else []
    return PositionBias(
        too_few=few,
        verdict="" if few else _position_verdict(positions, p, SURE),
        biased=None if few else p < SURE,
        p=p,
        positions=positions,
        by_size=[_of_size(one) for one in sizes] if len(sizes) > 1 and not few else [],
        annotators=[_annotator(own, SURE / len(several)) for own in several],
    )


def length_bias(rankings: Sequence[RankingFacts]) -> LengthBias:
    """How often the longer response won. rankings: without skips."""
    longer, same_length = _longer_wins(rankings, "characters")
    few = _too_few(len({one.task_id for one in rankings})) or (
        None if longer else "No pair of different lengths is decided."
    )
    if few:
        return LengthBias(few, "", None, None, None, same_length)
    biased = not longer.low <= 0.5 <= longer.high
    if biased and longer.value < 0.5:
        shorter = Estimate(1 - longer.value, 1 - longer.high, 1 - longer.low, longer.n)
        verdict = f"The shorter response wins more than chance: {_of_pairs(shorter)}."
    elif biased:
        verdict = f"The longer response wins more than chance: {_of_pairs(longer)}."
    else:
        verdict = f"No preference for length seen: the longer response wins {_of_pairs(longer)}."
    in_tokens, _ = _longer_wins(rankings, "tokens")
    return LengthBias(None, verdict, biased, longer, in_tokens, same_length)


@dataclass(frozen=True)
class _Size:
    """Rankings of tasks with k responses, as arrays."""

    tasks: np.ndarray  # ids, in their order, (tasks,)
    wins: np.ndarray  # pairs that each position of each task won, (tasks, k)
    losses: np.ndarray


def _arrays(rankings: Sequence[RankingFacts], *names: str) -> Iterator[list[np.ndarray]]:
    """For each number of responses: the task ids, and these columns, as arrays."""
    by_size: dict[int, list[RankingFacts]] = {}
    for one in rankings:
        by_size.setdefault(len(one.ranks), []).append(one)
    for _, of in sorted(by_size.items()):
        yield [np.array([getattr(one, name) for one in of]) for name in ("task_id", *names)]


def _by_size(rankings: Sequence[RankingFacts]) -> list[_Size]:
    found = []
    for tasks, ranks in _arrays(rankings, "ranks"):
        wins = (ranks[:, :, None] < ranks[:, None, :]).sum(axis=2)
        losses = (ranks[:, :, None] > ranks[:, None, :]).sum(axis=2)
        found.append(_Size(np.unique(tasks), per_task(tasks, wins), per_task(tasks, losses)))
    return found


def _tested(sizes: list[_Size]) -> tuple[list[Estimate | None], float | None, str | None]:
    """Win rates, the p value, and why there is none."""
    few = _too_few(sum(len(one.tasks) for one in sizes))
    if few:
        return [], None, few
    p = positions_differ([one.wins - one.losses for one in sizes])
    if p is None:
        return [], None, "Every ranking ties all responses: no pair is decided."
    return _positions(sizes), p, None


def _positions(sizes: list[_Size]) -> list[Estimate | None]:
    found = []
    for at in range(max(one.wins.shape[1] for one in sizes)):
        shown = [one for one in sizes if at < one.wins.shape[1]]
        wins = np.concatenate([one.wins[:, at] for one in shown])
        decided = wins + np.concatenate([one.losses[:, at] for one in shown])
        found.append(share(wins, decided) if np.count_nonzero(decided) >= FEWEST_TASKS else None)
    return found


def _of_size(one: _Size) -> SizeBias:
    return SizeBias(one.wins.shape[1], len(one.tasks), _positions([one]))


def _position_verdict(positions: list[Estimate | None], p: float, sure: float) -> str:
    known = [(LETTERS[at], one) for at, one in enumerate(positions) if one]
    if p >= sure:
        half = max((one.high - one.low for _, one in known), default=1.0) / 2
        return f"No bias seen ({_p(p)}); {100 * LIKELY_SEEN * half:.0f} points from 50 % would likely show."
    clear = [(letter, one) for letter, one in known if not one.low <= 0.5 <= one.high]
    if not clear:
        return f"Positions do not do equally well ({_p(p)}), though none stands out."
    clear.sort(key=lambda found: -abs(found[1].value - 0.5))
    return f"{'; '.join(_wins(*found) for found in clear[:2])} ({_p(p)})."


def _wins(letter: str, one: Estimate) -> str:
    how = "more" if one.value > 0.5 else "less"
    return f"{letter} wins {how} than chance, {100 * one.value:.0f} % of its pairs"


def _annotator(own: list[RankingFacts], sure: float) -> AnnotatorBias:
    sizes = _by_size(own)
    positions, p, few = _tested(sizes)
    verdict = few or _position_verdict(positions, p, sure)
    tasks = sum(len(one.tasks) for one in sizes)
    return AnnotatorBias(own[0].person, own[0].kind, tasks, None if few else p < sure, verdict)


def _longer_wins(rankings: Sequence[RankingFacts], unit: str) -> tuple[Estimate | None, int]:
    """The share, and how many decided pairs are of one length."""
    rows, ids, same = [], [], 0
    for tasks, ranks, lengths in _arrays(rankings, "ranks", unit):
        better, longer = -order_of_pairs(ranks), order_of_pairs(lengths)
        same += int(((longer == 0) & (better != 0)).sum())
        rows.append(np.stack([(better * longer > 0).sum(axis=1), (better * longer != 0).sum(axis=1)], axis=1))
        ids.append(tasks)
    if not rows:
        return None, 0
    wins, decided = per_task(np.concatenate(ids), np.concatenate(rows)).T
    return share(wins, decided), same


def _too_few(tasks: int) -> str | None:
    return f"Too few: {tasks} of at least {FEWEST_TASKS} tasks are ranked." if tasks < FEWEST_TASKS else None


def _of_pairs(one: Estimate) -> str:
    return f"{100 * one.value:.0f} % of pairs ({100 * one.low:.0f} to {100 * one.high:.0f})"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
