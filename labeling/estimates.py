"""The statistics behind the reports on rankings: arrays in, an estimate with its 95 % interval out.

Rankings of one task are not independent of each other, and neither are the pairs inside one ranking: where a
response is good, it wins all of its pairs, for everybody. What is drawn at random is the task. So tasks, not
pairs, are what every interval here counts: `share` by the design effect, `resampled` by drawing tasks again.

NumPy only, which the web process has in memory already. SciPy would add 76 MB there, and, merely installed,
35 MB to the worker, where Transformers loads it; the package `krippendorff` is under the GPL. The tests hold
these functions to published values, and to what those two packages say.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054  # 97.5 % point of the standard normal distribution
FEWEST_TASKS = 20  # with 10, a bootstrap's interval for alpha held the truth in 85 to 89 % of simulated runs
RESAMPLES = 1000
AT_ONCE = 100  # of them; bounds the memory


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; low and high are None where the data cannot tell one."""

    value: float
    low: float | None
    high: float | None
    n: int  # of what, the one who returns it says


def share(successes: np.ndarray, trials: np.ndarray) -> Estimate | None:
    """Share of trials that succeeded, `n` of them; None without any.

    successes, trials: per task, shape (tasks,). Wilson's interval (1927, JASA 22:209-212), which stays inside
    0..1 and keeps a width when all succeeded, with the effective number of trials: their number divided by
    the design effect (Kish 1965, Survey Sampling), as Franco et al. recommend for clustered samples (2019,
    J. Survey Statistics and Methodology 7:334-364). Where all or none succeeded the design effect cannot be
    estimated, and a task counts as one trial.
    """
    counts = trials > 0
    successes, trials = successes[counts].astype(float), trials[counts].astype(float)
    tasks, n = len(trials), float(trials.sum())
    if tasks == 0:
        return None
    p = float(successes.sum()) / n
    variance = 0.0
    if tasks > 1:
        residuals = successes - p * trials
        variance = tasks / (tasks - 1) * float((residuals**2).sum()) / n**2
    effective = min(n, p * (1 - p) / variance) if variance > 0 else tasks
    shrink = 1 + Z95**2 / effective
    centre = (p + Z95**2 / (2 * effective)) / shrink
    half = Z95 / shrink * math.sqrt(p * (1 - p) / effective + Z95**2 / (4 * effective**2))
    # At 0 and 1 the bound is the share itself; rounding must not put it on the wrong side.
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return Estimate(p, low, high, round(n))


def resampled(
    sums: np.ndarray, statistics: Sequence[Callable[[np.ndarray], np.ndarray]], seed: int = 0
) -> list[Estimate | None]:
    """Statistics of sums over tasks, each with a percentile bootstrap that resamples tasks (Field and Welsh
    2007, JRSS B 69:369-390); `n` is the number of tasks. None where a statistic is not defined.

    sums: what each task adds, shape (tasks, columns). A statistic: (resamples, columns) -> (resamples,), NaN
    where it is not defined. The seed is fixed: the same rankings have the same interval.
    """
    rng = np.random.default_rng(seed)
    tasks = len(sums)
    drawn = []
    for _ in range(0, RESAMPLES, AT_ONCE):
        which = rng.integers(tasks, size=(AT_ONCE, tasks), dtype=np.int32)
        which += np.arange(AT_ONCE, dtype=np.int32)[:, None] * tasks
        times = np.bincount(which.ravel(), minlength=which.size).reshape(which.shape)
        drawn.append(times.astype(float) @ sums)
    total, draws = sums.sum(axis=0, keepdims=True), np.concatenate(drawn)
    return [_percentiles(float(find(total)[0]), find(draws), tasks) for find in statistics]


def _percentiles(value: float, draws: np.ndarray, n: int) -> Estimate | None:
    if not math.isfinite(value):
        return None
    draws = draws[np.isfinite(draws)]
    # All tasks say the same, or few draws have a value: this tells nothing of what other tasks would say.
    if len(draws) < RESAMPLES / 2 or np.ptp(draws) < 1e-12:
        return Estimate(value, None, None, n)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)


def mid_ranks(ranks: np.ndarray) -> np.ndarray:
    """Ranks in which those tied share the mean of their places: [1, 2, 2, 3] -> [1, 2.5, 2.5, 4].

    ranks: shape (n, k), 1 is best. The sum stays k(k+1)/2 whatever is tied (Kendall 1945, Biometrika
    33:239-251), so that a 2 means the same place in every ranking of k responses.
    """
    above = (ranks[:, :, None] > ranks[:, None, :]).sum(axis=2)
    level = (ranks[:, :, None] == ranks[:, None, :]).sum(axis=2)
    return above + (level + 1) / 2


def order_of_pairs(values: np.ndarray) -> np.ndarray:
    """For each two columns i < j: -1, 0, 1 as the first is less, equal, greater. (n, k) -> (n, pairs)"""
    first, second = np.triu_indices(values.shape[1], k=1)
    return np.sign(values[:, first] - values[:, second]).astype(int)


def tau_b(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of each row: 1 the same order, -1 the reverse, ties counted in neither.

    first, second: shape (n, k), returns (n,): (concordant - discordant) pairs / sqrt(pairs untied in the
    first * pairs untied in the second) (Kendall 1945, Biometrika 33:239-251). NaN where one row is all tied.
    """
    one, other = order_of_pairs(first), order_of_pairs(second)
    untied = np.sqrt(np.abs(one).sum(axis=1) * np.abs(other).sum(axis=1))
    return np.divide((one * other).sum(axis=1), untied, out=np.full(len(untied), math.nan), where=untied > 0)


def ordinal_alpha(coincidences: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha with the ordinal metric: 1 full agreement, 0 chance, below 0 they contradict.

    coincidences: shape (..., v, v), how often a value stood beside another in one unit, values in their
    order, each pair of a unit with m values counted 1 / (m - 1) in both directions. Returns (...), NaN where
    all values are the same. 1 - observed / expected disagreement (Krippendorff 2018, Content Analysis, 4th
    ed., ch. 12). The metric is the square of how many of the given values lie between two, half of each of
    the two included: that is the difference of their mean places among all that were given.
    """
    given = coincidences.sum(axis=-1)
    n = given.sum(axis=-1)
    place = np.cumsum(given, axis=-1) - given / 2
    distance = (place[..., :, None] - place[..., None, :]) ** 2
    observed = (coincidences * distance).sum(axis=(-2, -1))
    expected = (given[..., :, None] * given[..., None, :] * distance).sum(axis=(-2, -1))
    alpha = np.full(np.shape(n), math.nan)
    return np.subtract(1, np.divide(observed * (n - 1), expected, out=alpha, where=expected > 0), out=alpha)


def positions_differ(scores: list[np.ndarray]) -> float | None:
    """The p value of Friedman's test (1937, JASA 32:675-701): do the positions do equally well?

    scores: one array of shape (tasks, k) for each number of responses k, a linear function of the ranks at
    each position, summed over a task's rankings, each row with the sum 0. Positions were shuffled, so that
    each order of a row is equally likely when they do not matter: the test needs no more than that, ties and
    tasks of several sizes (Skillings and Mack 1981, Technometrics 23:171-177) included. None where every
    ranking is all tied.
    """
    most = max((array.shape[1] for array in scores), default=0)
    total, covariance = np.zeros(most), np.zeros((most, most))
    for array in scores:
        k = array.shape[1]
        total[:k] += array.sum(axis=0)
        covariance[:k, :k] += (array**2).sum() / (k - 1) * (np.eye(k) - 1 / k)
    freedom = int(np.linalg.matrix_rank(covariance)) if most else 0
    if freedom == 0:
        return None
    return chi_square_tail(float(total @ np.linalg.pinv(covariance) @ total), freedom)


def chi_square_tail(x: float, freedom: int) -> float:
    """P(chi-square > x) for whole degrees of freedom (Abramowitz and Stegun 1964, 26.4.4 and 26.4.5)."""
    half = x / 2
    if freedom % 2:
        steps = [k + 0.5 for k in range((freedom - 1) // 2)]
        tail = math.erfc(math.sqrt(half))
    else:
        steps = list(range(freedom // 2))
        tail = 0.0
    return min(1.0, tail + sum(half**k * math.exp(-half) / math.gamma(k + 1) for k in steps))


def per_task(tasks: Sequence[int], rows: np.ndarray) -> np.ndarray:
    """Rows of the same task added up, in the order of the task ids. rows: (n, ...) -> (tasks, ...)"""
    names, place = np.unique(np.asarray(tasks), return_inverse=True)
    sums = np.zeros((len(names), *rows.shape[1:]), dtype=rows.dtype)
    np.add.at(sums, place, rows)
    return sums


def mean_of_sums(sums: np.ndarray) -> np.ndarray:
    """First column over the second, NaN where that is 0: a mean, for `resampled`. (n, 2 or more) -> (n,)"""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), math.nan), where=sums[:, 1] > 0)


def blocks(n: int, fewest: int, most: int) -> list[slice]:
    """`n` things in a row cut into equal parts of at least `fewest` each, at most `most`; [] if only one."""
    parts = min(most, n // fewest)
    if parts < 2:
        return []
    edges = [round(part * n / parts) for part in range(parts + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(edges)]
