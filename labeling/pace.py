"""How long annotators take for a task, and how much they do. From plain rankings and skips, without SQL.

Seconds are those in which the annotator was active on the task, as the page measured them; most programs say
none. Times have a long tail (a telephone rings), so quartiles are told, and no mean.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labeling.estimates import blocks
from labeling.store import RankingFacts

FEWEST_TIMES = 8  # for quartiles
FEWEST_IN_BLOCK, MOST_BLOCKS = 20, 8


@dataclass(frozen=True)
class Quartiles:
    """Seconds per ranking."""

    low: float  # a quarter took less
    median: float
    high: float  # a quarter took more
    n: int  # rankings


@dataclass(frozen=True)
class PaceBlock:
    """So many rankings in a row."""

    begin: float  # Unix seconds
    end: float
    policies: tuple[int, int]  # the oldest and the newest that were judged
    seconds: Quartiles


@dataclass(frozen=True)
class AnnotatorPace:
    person: str
    kind: str
    rankings: int
    skips: int
    skip_share: float  # of rankings and skips
    seconds: Quartiles | None
    per_active_hour: float | None  # rankings in an hour on tasks, skipped ones included; None: no times
    days: int  # on which something was ranked or skipped, midnight to midnight here
    per_day: float  # rankings, on such a day


@dataclass(frozen=True)
class Pace:
    too_few: str | None  # why there are no quartiles
    seconds: Quartiles | None
    skips: int
    skip_share: float | None  # None: nothing was ranked or skipped
    over_time: list[PaceBlock]  # [] below two blocks' worth
    annotators: list[AnnotatorPace]  # busiest first


def pace(facts: Sequence[RankingFacts]) -> Pace:
    """Times and amounts. facts: rankings and skips, oldest first."""
    timed = [one for one in facts if one.ranks and one.seconds is not None]
    skips = sum(not one.ranks for one in facts)
    cut = blocks(len(timed), FEWEST_IN_BLOCK, MOST_BLOCKS)
    quartiles = _quartiles(timed)
    few = None if quartiles else f"Too few: {len(timed)} of at least {FEWEST_TIMES} rankings have a time."
    by_person: dict[int, list[RankingFacts]] = {}
    for one in facts:
        by_person.setdefault(one.person_id, []).append(one)
    annotators = sorted(map(_annotator, by_person.values()), key=lambda one: (-one.rankings, one.person))
    return Pace(
        too_few=few,
        seconds=quartiles,
        skips=skips,
        skip_share=skips / len(facts) if facts else None,
        over_time=[_block(timed[part]) for part in cut],
        annotators=annotators,
    )


def _annotator(own: list[RankingFacts]) -> AnnotatorPace:
    ranked = [one for one in own if one.ranks]
    active = sum(one.seconds for one in own if one.seconds is not None)
    timed = sum(one.seconds is not None for one in ranked)
    days = len({time.localtime(one.created_at)[:3] for one in own})
    return AnnotatorPace(
        person=own[0].person,
        kind=own[0].kind,
        rankings=len(ranked),
        skips=len(own) - len(ranked),
        skip_share=(len(own) - len(ranked)) / len(own),
        seconds=_quartiles(ranked),
        per_active_hour=3600 * timed / active if timed and active > 0 else None,
        days=days,
        per_day=len(ranked) / days,
    )


def _block(timed: list[RankingFacts]) -> PaceBlock:
    versions = [one.policy_version for one in timed]
    policies = (min(versions), max(versions))
    return PaceBlock(timed[0].created_at, timed[-1].created_at, policies, _quartiles(timed))


def _quartiles(rankings: list[RankingFacts]) -> Quartiles | None:
    seconds = [one.seconds for one in rankings if one.seconds is not None]
    if len(seconds) < FEWEST_TIMES:
        return None
    low, median, high = (float(found) for found in np.quantile(seconds, [0.25, 0.5, 0.75]))
    return Quartiles(low, median, high, len(seconds))
