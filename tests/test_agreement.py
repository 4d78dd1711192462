"""Agreement, bias and pace: answers known from outside, planted biases that must be found, and intervals that
hold the truth as often as they say.

On random data SciPy 1.17 and krippendorff 0.9 said the same to 1e-13; neither is needed here.
"""

import json
import math

import numpy as np
import pytest

from labeling.agreement import agreement, report
from labeling.bias import length_bias, position_bias
from labeling.estimates import (
    blocks,
    chi_square_tail,
    mid_ranks,
    ordinal_alpha,
    positions_differ,
    share,
    tau_b,
)
from labeling.pace import pace
from labeling.store import RankingFacts

_ = math.nan


def facts(task, ranks, person=1, kind="human", seconds=10.0, at=0.0, lengths=None, **more):
    lengths = [10] * len(ranks) if lengths is None else list(lengths)
    known = {"policy_version": 0, "partial": False} | more
    return RankingFacts(
        id=task * 10 + person, task_id=task, person_id=person, person=f"person {person}", kind=kind,
        created_at=at + task, seconds=seconds, ranks=list(ranks), characters=lengths, tokens=lengths, **known,
    )  # fmt: skip


def simulate(rng, tasks, people=1, sizes=(4,), noise=1.0, bias=(0.0,) * 4, per_character=0.0):
    """Rankings of random responses: what they are worth, with a bias, and the noise of each annotator."""
    found = []
    for task in range(tasks):
        size = rng.choice(sizes)
        lengths = rng.integers(20, 300, size)
        worth = rng.normal(size=size) + np.asarray(bias)[:size] + per_character * lengths
        for person in range(1, people + 1):
            seen = worth + noise * rng.normal(size=size)
            found.append(
                facts(task, (np.argsort(np.argsort(-seen)) + 1).tolist(), person, lengths=lengths.tolist())
            )
    return found


# answers known from outside


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),  # five pairs agree, one does not
        ([1, 2, 3, 4], [1, 2, 2, 3], 5 / math.sqrt(6 * 5)),  # five agree, one is tied in the second
        ([1, 2, 2, 2], [2, 1, 2, 2], -1 / 3),  # of three pairs untied in each, (1, 2) is reversed
        ([12, 2, 1, 12, 2], [1, 4, 7, 1, 0], -0.47140452079103173),  # scipy.stats.kendalltau's own example
        ([1, 2], [2, 1], -1.0),
    ],
)
def test_tau_b_by_hand(first, second, tau):
    found = tau_b(np.array([first, second]), np.array([second, first]))
    assert found == pytest.approx([tau, tau])


def test_tau_b_is_not_defined_where_one_ties_everything():
    assert np.isnan(tau_b(np.array([[1, 1, 1]]), np.array([[1, 2, 3]]))).all()


def test_mid_ranks_share_their_places():
    ranks = np.array([[1, 2, 2, 3], [1, 2, 2, 2], [1, 1, 1, 1]])
    assert mid_ranks(ranks).tolist() == [[1, 2.5, 2.5, 4], [1, 3, 3, 3], [2.5] * 4]


# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: four observers, twelve units, some missing.
OBSERVED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)


def test_ordinal_alpha_is_the_published_one():
    beside = np.zeros((5, 5))
    for unit in OBSERVED.T:
        values = [int(value) - 1 for value in unit if value == value]
        for at, one in enumerate(values):
            for other in values[:at] + values[at + 1 :]:
                beside[one, other] += 1 / (len(values) - 1)
    assert float(ordinal_alpha(beside)) == pytest.approx(0.815, abs=0.0005)
    assert np.isnan(ordinal_alpha(np.array([[4.0, 0.0], [0.0, 0.0]])))  # all values are the same


# Hollander and Wolfe (1973), p. 140, in R's friedman.test: 22 players, three ways to round first base.
TIMES = """
5.40 5.50 5.55, 5.85 5.70 5.75, 5.20 5.60 5.50, 5.55 5.50 5.40, 5.90 5.85 5.70,
5.45 5.55 5.60, 5.40 5.40 5.35, 5.45 5.50 5.35, 5.25 5.15 5.00, 5.85 5.80 5.70,
5.25 5.20 5.10, 5.65 5.55 5.45, 5.60 5.35 5.45, 5.05 5.00 4.95, 5.50 5.50 5.40,
5.45 5.55 5.50, 5.55 5.55 5.35, 5.45 5.50 5.55, 5.50 5.45 5.25, 5.65 5.60 5.40,
5.70 5.65 5.55, 6.30 6.30 6.25
"""


def test_friedmans_test_is_the_published_one():
    times = np.array([[float(time) for time in row.split()] for row in TIMES.split(",")])
    assert positions_differ([mid_ranks(times) - 2]) == pytest.approx(0.003805, abs=1e-6)
    # of two it is the sign test's normal approximation: 15 of 20, chi-square 5.0
    signs = np.array([[1, -1]] * 15 + [[-1, 1]] * 5)
    assert positions_differ([signs]) == pytest.approx(0.02535, abs=1e-5)
    assert positions_differ([np.zeros((5, 3))]) is None
    for x, freedom in ((3.841459, 1), (5.991465, 2), (7.814728, 3), (9.487729, 4), (11.070498, 5)):
        assert chi_square_tail(x, freedom) == pytest.approx(0.05, abs=1e-7)


def test_a_share_has_wilsons_interval_and_a_task_counts_once():
    # Newcombe (1998), Statistics in Medicine 17:857-872: 81 of 263, 0.2553 to 0.3662
    alone = share(np.arange(263) < 81, np.ones(263))
    assert (alone.low, alone.high) == pytest.approx((0.2553, 0.3662), abs=0.0003)
    # three pairs of each task that always go together say no more than one
    together = share(3 * (np.arange(263) < 81), 3 * np.ones(263))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert together.n == 3 * alone.n == 789
    assert share(np.ones(10), np.ones(10)).low == pytest.approx(0.7225, abs=0.0001)  # Wilson, 10 of 10
    assert share(np.zeros(3), np.zeros(3)) is None


def test_blocks_are_equal_and_large_enough():
    assert blocks(39, 20, 6) == []
    assert blocks(45, 20, 6) == [slice(0, 22), slice(22, 45)]
    assert [part.stop - part.start for part in blocks(1000, 20, 4)] == [250] * 4


# bias


@pytest.mark.parametrize("sizes", [(4,), (2,), (2, 3, 4)])
def test_a_planted_position_bias_is_found_and_named(sizes):
    rng = np.random.default_rng(1)
    found = position_bias(simulate(rng, 400, sizes=sizes, bias=(0.8, 0, 0, 0)))
    assert (found.too_few, found.biased) == (None, True)
    assert "A wins more than chance" in found.verdict
    assert found.positions[0].low > 0.55
    assert [size.responses for size in found.by_size] == ([] if len(sizes) == 1 else [2, 3, 4])
    assert sum(size.tasks for size in found.by_size) in (0, 400)
    worst = position_bias(simulate(rng, 400, sizes=(4,), bias=(0, 0, 0, -0.8)))
    assert "D wins less than chance" in worst.verdict


@pytest.mark.parametrize("more", [{}, {"sizes": (2, 3, 4)}, {"people": 3, "noise": 0.1}])
def test_without_a_bias_one_run_in_twenty_is_called_biased(more):
    rng = np.random.default_rng(2)
    runs = [position_bias(simulate(rng, 30, **more)) for _ in range(150)]
    assert 1 <= sum(run.biased for run in runs) <= 15
    assert all("No bias seen" in run.verdict for run in runs if not run.biased)
    held = [one.low <= 0.5 <= one.high for run in runs for one in run.positions[:2]]
    assert 0.9 < np.mean(held) < 0.98


def test_three_who_rank_the_same_tasks_are_not_three_times_the_evidence():
    rankings = simulate(np.random.default_rng(3), 100, people=3, noise=0.01)
    alone = [one for one in rankings if one.person_id == 1]
    assert position_bias(rankings).p == pytest.approx(position_bias(alone).p, abs=0.1)
    width = [
        (found.high - found.low)
        for found in (position_bias(rankings).positions[0], position_bias(alone).positions[0])
    ]
    assert width[0] == pytest.approx(width[1], rel=0.05)


def test_one_annotator_who_takes_the_first_is_told_from_the_others():
    rng = np.random.default_rng(4)
    fair = simulate(rng, 60, people=2)
    lazy = [facts(task, [1, 2, 3, 4], person=3) for task in range(60, 90)]
    few = [facts(task, [1, 2, 3, 4], person=4) for task in range(90, 95)]
    told = {one.person: one for one in position_bias(fair + lazy + few).annotators}
    assert [told[f"person {number}"].biased for number in (1, 2, 3, 4)] == [False, False, True, None]
    assert "A wins more than chance, 100 % of its pairs" in told["person 3"].verdict
    assert told["person 4"].verdict == "Too few: 5 of at least 20 tasks are ranked."


def test_length_wins_where_it_was_planted_and_only_there():
    rng = np.random.default_rng(5)
    longer = length_bias(simulate(rng, 200, per_character=0.01))
    assert longer.biased
    assert longer.verdict.startswith("The longer response wins more than chance: ")
    assert longer.longer_wins.low > 0.6
    shorter = length_bias(simulate(rng, 200, per_character=-0.01))
    assert shorter.verdict.startswith("The shorter response wins more than chance: ")
    runs = [length_bias(simulate(rng, 40)) for _ in range(150)]
    assert 1 <= sum(run.biased for run in runs) <= 15
    assert all(run.verdict.startswith("No preference") for run in runs if not run.biased)


def test_pairs_of_one_length_and_pairs_of_one_rank_decide_nothing():
    rankings = [facts(task, [1, 2, 2], lengths=[5, 5, 9]) for task in range(25)]
    found = length_bias(rankings)
    assert (found.longer_wins.value, found.longer_wins.n, found.same_length) == (0.0, 25, 25)
    assert found.longer_wins.high < 0.2
    partial = [facts(task, [1, 2, 2, 2], partial=True) for task in range(25)]  # the best only
    first, second, *_ = position_bias(partial).positions
    assert (first.value, first.n, second.value, second.n) == (1.0, 75, 0.0, 25)


# agreement


def test_full_agreement_its_reverse_and_chance():
    rng = np.random.default_rng(6)
    same = agreement(simulate(rng, 30, people=2, noise=0.0)).overall
    assert (same.same_order.value, same.tau.value, same.alpha.value) == pytest.approx((1, 1, 1))
    assert (same.tau.low, same.alpha.low) == (None, None)  # no task says otherwise: resampling tells nothing
    assert same.same_order.low < 0.95
    one = [facts(task, [1, 2, 3, 4]) for task in range(30)]
    reverse = agreement([*one, *(facts(task, [4, 3, 2, 1], person=2) for task in range(30))]).overall
    assert (reverse.same_order.value, reverse.tau.value) == (0, -1)
    assert reverse.alpha.value < -0.9
    for sizes in ((4,), (2, 4)):
        chance = agreement(simulate(rng, 2000, people=2, sizes=sizes, noise=1e6)).overall
        assert chance.same_order.value == pytest.approx(0.5, abs=0.03)
        assert chance.tau.value == pytest.approx(0, abs=0.05)
        assert chance.alpha.value == pytest.approx(0, abs=0.05)


def test_ranks_among_two_and_among_four_are_not_one_scale():
    """Thrown together, annotators who agree by chance would seem to agree: both know which tasks have two."""
    rankings = simulate(np.random.default_rng(7), 2000, people=2, sizes=(2, 4), noise=1e6)
    beside = np.zeros((4, 4))
    for first, second in zip(rankings[::2], rankings[1::2], strict=True):
        for one, other in zip(first.ranks, second.ranks, strict=True):
            beside[one - 1, other - 1] += 1
            beside[other - 1, one - 1] += 1
    assert ordinal_alpha(beside) > 0.08
    assert abs(agreement(rankings).overall.alpha.value) < 0.05


def test_alpha_of_three_annotators_counts_each_value_once():
    rankings = simulate(np.random.default_rng(8), 60, people=3)
    found = agreement(rankings)
    assert found.overall.tasks == 60
    beside = np.zeros((7, 7))
    for task in range(60):
        ranks = mid_ranks(np.array([one.ranks for one in rankings if one.task_id == task]))
        for unit in (2 * ranks - 2).astype(int).T:
            for at, one in enumerate(unit):
                for other in np.delete(unit, at):
                    beside[one, other] += 1 / 2
    assert found.overall.alpha.value == pytest.approx(float(ordinal_alpha(beside)))
    assert [pair.people for pair in found.pairs] == [
        ("person 1", "person 2"), ("person 1", "person 3"), ("person 2", "person 3")]  # fmt: skip
    assert {pair.agreed.tasks for pair in found.pairs} == {60}
    assert sum(block.agreed.tasks for block in found.over_time) == 60


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(9)
    sizes = (3, 4)
    truth = agreement(simulate(rng, 4000, people=2, sizes=sizes)).overall
    runs = [agreement(simulate(rng, 40, people=2, sizes=sizes)).overall for _ in range(120)]
    for name in ("same_order", "tau", "alpha"):
        value = getattr(truth, name).value
        held = [getattr(run, name).low <= value <= getattr(run, name).high for run in runs]
        assert 0.88 < np.mean(held) <= 1, name


def test_who_ties_everything_has_no_tau_but_an_alpha():
    rankings = simulate(np.random.default_rng(10), 30, people=2)
    tied = [facts(task, [1, 1, 1, 1], person) for task in range(30, 35) for person in (1, 2)]
    found = agreement(rankings + tied).overall
    assert (found.tasks, found.all_tied) == (35, 5)
    assert found.tau.value == pytest.approx(agreement(rankings).overall.tau.value)
    assert found.alpha.value != pytest.approx(agreement(rankings).overall.alpha.value)
    two = [facts(task, [1, 1], person) for task in range(40, 60) for person in (1, 2)]
    only = agreement(tied + two).overall
    assert (only.same_order, only.tau, only.alpha, only.all_tied) == (None, None, None, 25)
    assert only.too_few == "Every ranking of these tasks ties all responses."


def test_agreement_that_fades_is_seen_over_time():
    rng = np.random.default_rng(11)
    early = simulate(rng, 100, people=2, noise=0.1)
    late = [
        facts(one.task_id + 1000, one.ranks, one.person_id, policy_version=3)
        for one in simulate(rng, 100, people=2, noise=5.0)
    ]
    over_time = agreement(early + late).over_time
    assert [block.policies for block in over_time] == [(0, 0)] * 3 + [(3, 3)] * 3
    assert over_time[0].agreed.alpha.low > over_time[-1].agreed.alpha.high
    assert (over_time[0].begin, over_time[-1].end) == (0, 1099)


# pace


def test_times_and_amounts_by_hand():
    day = 86400.0
    own = [
        facts(task, [1, 2], seconds=seconds) for task, seconds in enumerate((10, 20, 30, 40, 50, 60, 70, 80))
    ]
    skip = facts(9, [], seconds=40)
    untimed = facts(10, [1, 2], seconds=None, at=3 * day)
    other = facts(11, [1, 2], person=2, kind="program", seconds=None)
    found = pace([*own, skip, untimed, other])
    assert (found.seconds.low, found.seconds.median, found.seconds.high, found.seconds.n) == (
        27.5,
        45,
        62.5,
        8,
    )
    assert (found.skips, found.skip_share, found.over_time) == (1, 1 / 11, [])
    first, second = found.annotators
    assert (first.person, first.rankings, first.skips, first.skip_share) == ("person 1", 9, 1, 0.1)
    assert first.per_active_hour == 3600 * 8 / 400  # the skip's time counts, what has no time does not
    assert (first.days, first.per_day) == (2, 4.5)
    assert (second.kind, second.seconds, second.per_active_hour, second.skip_share) == (
        "program",
        None,
        None,
        0,
    )


def test_times_over_time_are_in_equal_blocks():
    slow_then_fast = [facts(task, [1, 2], seconds=60.0 if task < 50 else 5.0) for task in range(100)]
    over_time = pace(slow_then_fast).over_time
    assert [block.seconds.n for block in over_time] == [20] * 5
    assert (over_time[0].seconds.median, over_time[-1].seconds.median) == (60, 5)
    assert over_time[0].begin == 0
    assert over_time[-1].end == 99


# the whole report


@pytest.mark.parametrize(
    "rankings",
    [
        [],
        [facts(1, [1, 2])],
        [facts(task, []) for task in range(50)],
        [facts(task, [1, 1, 1, 1], person) for task in range(50) for person in (1, 2)],
        [facts(task, [1, 2], person) for task in range(50) for person in (1, 2)],
        [facts(task, [1, 2] if person == 1 else [1, 1], person) for task in range(50) for person in (1, 2)],
        [facts(task, [1, 2], seconds=0.0) for task in range(50)],
    ],
    ids=["nothing", "one pair", "skips", "all tied", "always the first", "one always ties", "no time"],
)
def test_where_the_data_cannot_tell_a_sentence_says_so_and_nothing_is_nan(rankings):
    found = report(rankings, "human")
    json.dumps(found, allow_nan=False)
    for part in (found["position"], found["length"], found["pace"], found["agreement"]["overall"]):
        known = [value for value in part.values() if isinstance(value, dict)]
        assert known or part.get("positions") or part["too_few"].endswith(".")


def test_the_report_says_whom_it_counts():
    people = [facts(1, [1, 2]), facts(2, [1, 2], person=2)]
    program = facts(3, [1, 2], person=3, kind="program")
    assert report(people, "human", 1)["says"] == "Counts 2 rankings by 2 people; 1 by programs is left out."
    assert (
        report([program], "program", 2)["says"] == "Counts 1 ranking by 1 program; 2 by people are left out."
    )
    both = report([*people, program], "all")["says"]
    assert both == "Counts 3 rankings by 2 people and 1 program together."
    assert report([], "human")["says"] == "Counts 0 rankings by 0 people."
    assert report([], "all")["says"] == "Counts 0 rankings by nobody."
