"""Which policy people prefer, from the rankings that are there: the arena.

Beside a policy's responses stand some of the SFT reference's, and nobody sees which are whose. So every
ranking of such a task compares two policies; no further work is asked of anybody. Two figures:

win rate    Of the pairs with a response by each of two policies, the share that the one won; a tie counts
            half. The interval counts tasks, not pairs (`labeling.estimates.share`).
strength    Bradley-Terry (1952, Biometrika 39:324-345): logit P(i wins against j) = a_i - a_j, over all pairs
            of all policies, told as the chance to win against the oldest. Policies that never stood in one
            task are compared through others. At equal length: the same with phi * tanh(difference of lengths
            / its sd) added, as in AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475), and left out again in
            what is told. Intervals by the sandwich estimator over tasks (Liang and Zeger 1986, Biometrika
            73:13-22).

What is compared are responses to prompts that are trained on, and the rankings themselves train the policies
after the one that they judge: of that one they are an honest test, since it was finished before them.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labeling.estimates import Z95, Estimate, per_task, share
from labeling.store import ArenaRanking

KINDS = ("human", "program", "judge")
PRIOR_SD = 5.0  # of strengths and of phi: keeps them finite where one always wins, and hardly moves them else
FEWEST = 20  # tasks, for strengths: of fewer, the sandwich's intervals are too short


@dataclass(frozen=True)
class Pairing:
    """One policy against another, an earlier one."""

    version: int
    against: int
    tasks: int
    win_rate: Estimate  # n pairs


@dataclass(frozen=True)
class Strength:
    """The chance to win against the oldest policy there is, by the model of all pairs."""

    version: int
    beats: Estimate  # n pairs that it was in
    at_equal_length: Estimate | None


@dataclass(frozen=True)
class _Pair:
    task: int
    first: int  # version, the later one
    second: int
    won: float  # by the first
    longer: int  # tokens more of the first


def arena(rankings: Sequence[ArenaRanking]) -> dict[str, Any]:
    """For each kind of annotator that has ranked responses of several policies: `rankings`, `tasks`,
    `pairings`, `strengths`; as JSON can hold it."""
    found = {}
    for kind in KINDS:
        own = [r for r in rankings if r.kind == kind]
        pairs = [pair for ranking in own for pair in _pairs(ranking)]
        if pairs:
            found[kind] = {
                "rankings": len(own),
                "tasks": len({pair.task for pair in pairs}),
                "pairings": [asdict(one) for one in pairings(pairs)],
                "strengths": [asdict(one) for one in strengths(pairs)],
            }
    return found


def _pairs(ranking: ArenaRanking) -> list[_Pair]:
    """Those of different policies that were compared."""
    last, found = max(ranking.ranks), []
    for i, j in itertools.combinations(range(len(ranking.ranks)), 2):
        if ranking.versions[i] == ranking.versions[j]:
            continue
        if ranking.partial and ranking.ranks[i] == ranking.ranks[j] == last:
            continue
        first, second = (i, j) if ranking.versions[i] > ranking.versions[j] else (j, i)
        better = ranking.ranks[second] - ranking.ranks[first]
        found.append(
            _Pair(
                ranking.task_id,
                ranking.versions[first],
                ranking.versions[second],
                0.5 if better == 0 else float(better > 0),
                ranking.tokens[first] - ranking.tokens[second],
            )
        )
    return found


def pairings(pairs: Sequence[_Pair]) -> list[Pairing]:
    """Each two policies that stood in one task; the newest first."""
    by_versions: dict[tuple[int, int], list[_Pair]] = {}
    for pair in pairs:
        by_versions.setdefault((pair.first, pair.second), []).append(pair)
    found = []
    for (first, second), own in sorted(by_versions.items(), reverse=True):
        sums = per_task([p.task for p in own], np.array([[p.won, 1.0] for p in own]))
        found.append(Pairing(first, second, len(sums), share(sums[:, 0], sums[:, 1])))
    return found


def strengths(pairs: Sequence[_Pair]) -> list[Strength]:
    """Of every policy but the oldest, which they are told against; [] below 20 tasks."""
    versions = sorted({v for p in pairs for v in (p.first, p.second)})
    if len({p.task for p in pairs}) < FEWEST:
        return []
    column = {version: at for at, version in enumerate(versions[1:])}
    design = np.zeros((len(pairs), len(column)))
    for row, pair in enumerate(pairs):
        design[row, column[pair.first]] = 1
        if pair.second in column:
            design[row, column[pair.second]] = -1
    won, tasks = np.array([p.won for p in pairs]), [p.task for p in pairs]
    longer = np.array([p.longer for p in pairs], float)
    plain, plain_errors = _fit(design, won, tasks)
    spread, controlled = float(longer.std()), None
    if spread > 0:
        controlled = _fit(np.column_stack([design, np.tanh(longer / spread)]), won, tasks)
    found = []
    for version, at in column.items():
        n = sum(version in (p.first, p.second) for p in pairs)
        equal = _chance(controlled[0][at], controlled[1][at], n) if controlled else None
        found.append(Strength(version, _chance(plain[at], plain_errors[at], n), equal))
    return found


def _chance(value: float, error: float, n: int) -> Estimate:
    low, high = value - Z95 * error, value + Z95 * error
    return Estimate(*(0.5 * (1 + math.tanh(x / 2)) for x in (value, low, high)), n)


def _fit(x: np.ndarray, y: np.ndarray, tasks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Logistic coefficients under a wide normal prior, and their standard errors, clustered by task.

    The objective is concave; steps are halved until they improve, so that they always arrive.
    """
    precision, b = np.full(x.shape[1], PRIOR_SD**-2), np.zeros(x.shape[1])

    def objective(b: np.ndarray) -> float:
        return float(y @ (x @ b) - np.logaddexp(0, x @ b).sum() - 0.5 * precision @ b**2)

    for _ in range(100):
        p = 1 / (1 + np.exp(-(x @ b)))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(precision)
        step, scale = np.linalg.solve(curvature, x.T @ (y - p) - precision * b), 1.0
        while objective(b + scale * step) < objective(b) and scale > 1e-6:
            scale /= 2
        b = b + scale * step
        if np.abs(scale * step).max() < 1e-9:
            break
    p = 1 / (1 + np.exp(-(x @ b)))
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x + np.diag(precision))
    by_task = per_task(tasks, x * (y - p)[:, None])
    meat = by_task.T @ by_task * len(by_task) / max(1, len(by_task) - 1)
    # Where one always wins the residuals vanish, and the sandwich with them: the model's own error stays.
    errors = np.sqrt(np.maximum(np.diag(bread @ meat @ bread), 0))
    return b, np.where(errors > 0.05 * np.sqrt(np.diag(bread)), errors, np.sqrt(np.diag(bread)))
