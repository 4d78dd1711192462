"""Do annotators agree? With labeling/bias.py and labeling/pace.py: all that the lab's Agreement tab shows.

Pure: plain rankings in (`store.ranking_facts`), dataclasses out; None and a sentence where the data cannot
tell, never NaN. Agreement is measured on the tasks that two or more people ranked (`--overlap`), by three
figures:

same_order  Of the pairs of responses that both annotators decided, the share that both put in the same order.
            50 % is chance. For comparison: the labellers of InstructGPT agreed on 72.6 +- 1.5 % (Ouyang et
            al. 2022, arXiv:2203.02155).
tau         Kendall's tau-b of two rankings of a task (1945, Biometrika 33:239-251), mean over tasks and pairs
            of annotators. 1: the same order, 0: chance, -1: the reverse. It is not defined where one of the
            two ties everything: such pairs are left out and counted (`all_tied`).
alpha       Krippendorff's alpha with the ordinal level of measurement (2018, Content Analysis, 4th ed., ch.
            12; first ed. 1980). It is defined over units and the values they are given. Here each response
            of a task is a unit and the rank that each annotator gives it a value: a task of four ranked by
            two has four units of two values. Ranks are mid-ranks (those tied share the mean of their
            places): with dense ranks the 2 of [1, 2, 2, 2] would be the second place, where it is the shared
            last. A rank among two is not a rank among four, so tasks of each size have an alpha of their
            own, and the mean weighted by their values is told. 1: full agreement, 0: chance. A ranking that
            ties everything counts here, though not for tau.

The units of one task depend on each other, so intervals resample tasks (labeling/estimates.py); a bootstrap
is what Zapf et al. advise for alpha (2016, BMC Medical Research Methodology 16:93). In partial orders those
that were not compared share the last rank: they count as tied there.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labeling.bias import length_bias, position_bias
from labeling.estimates import (
    FEWEST_TASKS,
    Estimate,
    blocks,
    mean_of_sums,
    mid_ranks,
    order_of_pairs,
    ordinal_alpha,
    per_task,
    resampled,
    share,
    tau_b,
)
from labeling.pace import pace
from labeling.store import RankingFacts

MOST_BLOCKS = 6


@dataclass(frozen=True)
class Agreed:
    """The three figures; None where the data cannot tell."""

    too_few: str | None  # why there are none
    tasks: int  # ranked by two or more
    same_order: Estimate | None  # n pairs of responses
    tau: Estimate | None  # n tasks
    alpha: Estimate | None  # n tasks
    all_tied: int  # pairs of rankings without a tau


@dataclass(frozen=True)
class PairAgreement:
    people: tuple[str, str]
    kinds: tuple[str, str]
    agreed: Agreed


@dataclass(frozen=True)
class BlockAgreement:
    """So many tasks in a row, by the time of their second ranking."""

    begin: float  # Unix seconds
    end: float
    policies: tuple[int, int]  # the oldest and the newest that were judged
    agreed: Agreed


@dataclass(frozen=True)
class Agreement:
    overall: Agreed
    pairs: list[PairAgreement]  # most tasks first
    over_time: list[BlockAgreement]  # [] below two blocks' worth


@dataclass(frozen=True)
class JudgeAgreement:
    """A judge, which is a model, beside the people whose tasks it ranked too."""

    person_id: int
    judge: str
    agreed: Agreed


@dataclass(frozen=True)
class _Comparison:
    """Two people's rankings of one task, the earlier known person first."""

    first: RankingFacts
    second: RankingFacts

    @property
    def task_id(self) -> int:
        return self.first.task_id

    @property
    def people(self) -> tuple[int, int]:
        return self.first.person_id, self.second.person_id

    @property
    def at(self) -> float:
        return max(self.first.created_at, self.second.created_at)


def report(
    facts: Sequence[RankingFacts],
    kind: str,
    left_out: int = 0,
    by_judges: int = 0,
    judged: Sequence[RankingFacts] = (),
) -> dict[str, Any]:
    """Everything the tab shows, as JSON can hold it.

    facts: rankings and skips, oldest first, of one `kind` (human, program) or of both (all), never of judges.
    left_out, by_judges: how many rankings of the other kind and of judges there are, for the sentence that
    says whom this counts. judged: rankings of people and judges over what judges have ranked.
    """
    rankings = [one for one in facts if one.ranks]
    return {
        "kind": kind,
        "says": _whom(rankings, kind, left_out, by_judges),
        "rankings": len(rankings),
        "left_out": left_out,
        "partial": sum(one.partial for one in rankings),
        "position": asdict(position_bias(rankings)),
        "length": asdict(length_bias(rankings)),
        "pace": asdict(pace(facts)),
        "agreement": asdict(agreement(rankings)),
        "judges": [asdict(one) for one in with_judges(judged)],
    }


def _whom(rankings: list[RankingFacts], kind: str, left_out: int, by_judges: int) -> str:
    names = {"human": ("person", "people"), "program": ("program", "programs")}
    counted = []
    for one, words in names.items():
        number = len({ranking.person_id for ranking in rankings if ranking.kind == one})
        if number or kind == one:
            counted.append(f"{number} {words[number != 1]}")
    together = " together" if len(counted) > 1 else ""
    says = f"Counts {_plural(len(rankings), 'ranking')} by {' and '.join(counted) or 'nobody'}{together}"
    other = names["program" if kind == "human" else "human"][1]
    others = [f"{number} by {who}" for number, who in ((left_out, other), (by_judges, "judges")) if number]
    if not others:
        return f"{says}."
    return f"{says}; {' and '.join(others)} {'is' if left_out + by_judges == 1 else 'are'} left out."


def agreement(rankings: Sequence[RankingFacts]) -> Agreement:
    """Overall, by pair of annotators, and over time. rankings: without skips, one per person and task."""
    by_task: dict[int, list[RankingFacts]] = {}
    for one in rankings:
        by_task.setdefault(one.task_id, []).append(one)
    compared = []
    for found in by_task.values():
        found.sort(key=lambda one: one.person_id)
        compared += [_Comparison(*both) for both in itertools.combinations(found, 2)]
    compared.sort(key=lambda one: one.at)
    by_people: dict[tuple[int, int], list[_Comparison]] = {}
    for one in compared:
        by_people.setdefault(one.people, []).append(one)
    pairs = [_pair(found) for found in sorted(by_people.values(), key=len, reverse=True)]
    return Agreement(_agreed(compared), pairs, _over_time(compared))


def with_judges(judged: Sequence[RankingFacts]) -> list[JudgeAgreement]:
    """Each judge against the people who ranked the same tasks, most tasks first. judged: without skips."""
    people: dict[int, list[RankingFacts]] = {}
    for one in judged:
        if one.kind == "human":
            people.setdefault(one.task_id, []).append(one)
    by_judge: dict[int, list[_Comparison]] = {}
    for one in judged:
        if one.judge:
            both = [_Comparison(person, one) for person in people.get(one.task_id, [])]
            by_judge.setdefault(one.person_id, []).extend(both)
    names = {one.person_id: one.person for one in judged}
    few = "Too few: {} of at least {} tasks are ranked by a person and this judge."
    found = [JudgeAgreement(id_, names[id_], _agreed(both, few)) for id_, both in by_judge.items()]
    return sorted(found, key=lambda one: -one.agreed.tasks)


def _pair(compared: list[_Comparison]) -> PairAgreement:
    both = compared[0].first, compared[0].second
    people, kinds = (tuple(getattr(one, name) for one in both) for name in ("person", "kind"))
    return PairAgreement(people, kinds, _agreed(compared))


def _over_time(compared: list[_Comparison]) -> list[BlockAgreement]:
    by_task: dict[int, list[_Comparison]] = {}
    for one in compared:
        by_task.setdefault(one.task_id, []).append(one)
    found = []
    for part in blocks(len(by_task), FEWEST_TASKS, MOST_BLOCKS):
        own = list(itertools.chain(*list(by_task.values())[part]))
        versions = [one.first.policy_version for one in own]
        times = [one.at for one in own]
        policies = (min(versions), max(versions))
        found.append(BlockAgreement(min(times), max(times), policies, _agreed(own)))
    return found


TOO_FEW = "Too few: {} of at least {} tasks are ranked by two annotators."


def _agreed(compared: list[_Comparison], few: str = TOO_FEW) -> Agreed:
    tasks = len({one.task_id for one in compared})
    if tasks < FEWEST_TASKS:
        return Agreed(few.format(tasks, FEWEST_TASKS), tasks, None, None, None, 0)
    sizes = sorted({len(one.first.ranks) for one in compared})
    same, sums, ids, known = [], [], [], 0
    for size in sizes:
        of = [one for one in compared if len(one.first.ranks) == size]
        first = mid_ranks(np.array([one.first.ranks for one in of]))
        second = mid_ranks(np.array([one.second.ranks for one in of]))
        both = order_of_pairs(first) * order_of_pairs(second)
        same.append(np.stack([(both > 0).sum(axis=1), (both != 0).sum(axis=1)], axis=1))
        tau = tau_b(first, second)
        defined = np.isfinite(tau)
        known += int(defined.sum())
        columns = [np.where(defined, tau, 0.0), defined]
        beside = _coincidences(first, second, _weights(of))
        columns += [beside if size == other else np.zeros((len(of), (2 * other - 1) ** 2)) for other in sizes]
        sums.append(np.column_stack(columns))
        ids += [one.task_id for one in of]
    agree, decided = per_task(ids, np.concatenate(same)).T
    added = per_task(ids, np.concatenate(sums))
    tau, alpha = resampled(added, [mean_of_sums, lambda draws: _alpha(draws[:, 2:], sizes)])
    same_order = share(agree, decided)
    nothing = not (same_order or tau or alpha)
    tied = "Every ranking of these tasks ties all responses." if nothing else None
    return Agreed(tied, tasks, same_order, tau, alpha, all_tied=len(compared) - known)


def _weights(compared: list[_Comparison]) -> np.ndarray:
    """A pair of values counts 1 / (m - 1) where m annotators gave one: so each value counts once."""
    people: dict[int, set[int]] = {}
    for one in compared:
        people.setdefault(one.task_id, set()).update(one.people)
    return np.array([1 / (len(people[one.task_id]) - 1) for one in compared])


def _coincidences(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each mid-rank stands beside each other one, flat. (n, k) -> (n, (2k - 1)^2)

    The mid-ranks of k are 1, 1.5 ... k: 2k - 1 values.
    """
    n, size = first.shape
    one, other = (2 * first - 2).astype(int), (2 * second - 2).astype(int)
    found = np.zeros((n, 2 * size - 1, 2 * size - 1))
    at = np.arange(n)[:, None]
    np.add.at(found, (at, one, other), weights[:, None])
    np.add.at(found, (at, other, one), weights[:, None])
    return found.reshape(n, -1)


def _alpha(sums: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Alpha of each size, mean by their values; NaN where none is defined. sums: (n, columns) -> (n,)"""
    total, weight, begin = np.zeros(len(sums)), np.zeros(len(sums)), 0
    for size in sizes:
        values = 2 * size - 1
        beside = sums[:, begin : begin + values**2].reshape(-1, values, values)
        alpha, given = ordinal_alpha(beside), beside.sum(axis=(1, 2))
        defined = np.isfinite(alpha)
        total += np.where(defined, alpha, 0.0) * given
        weight += np.where(defined, given, 0.0)
        begin += values**2
    return mean_of_sums(np.column_stack([total, weight]))


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
