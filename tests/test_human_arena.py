"""The arena: who wins in the annotators' own rankings, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from labeling.human_arena import arena, strengths
from labeling.store import ArenaRanking, NewPolicy, NewResponse, open_store


def ranked(task, versions, ranks, *, kind="human", partial=False, tokens=None) -> ArenaRanking:
    return ArenaRanking(task, kind, partial, versions, ranks, tokens or [10] * len(ranks))


def test_pairs_of_different_policies_count_and_ties_count_half():
    # Task 1: policy 1 wins both of its pairs with each of two references but one tie: 2 + 1 + .5 of 4.
    first = ranked(1, [1, 0, 1, 0], [1, 2, 2, 3])
    second = ranked(2, [0, 1], [1, 2])  # 0 of 1
    found = arena([first, second])["human"]
    assert (found["rankings"], found["tasks"]) == (2, 2)
    [pairing] = found["pairings"]
    assert (pairing["version"], pairing["against"], pairing["tasks"]) == (1, 0, 2)
    assert pairing["win_rate"]["value"] == pytest.approx((1 + 1 + 0.5 + 1) / 5)
    assert pairing["win_rate"]["n"] == 5
    assert found["strengths"] == []  # two tasks are too few


def test_what_was_not_compared_is_no_tie():
    partial = ranked(1, [1, 0, 1, 0], [1, 2, 2, 2], partial=True)  # only the best was said
    [pairing] = arena([partial])["human"]["pairings"]
    assert (pairing["win_rate"]["value"], pairing["win_rate"]["n"]) == (1.0, 2)
    whole = ranked(1, [1, 0, 1, 0], [1, 2, 2, 2])
    assert arena([whole])["human"]["pairings"][0]["win_rate"]["value"] == (2 + 0.5 + 0.5) / 4


def test_the_interval_counts_tasks_not_pairs():
    wins = [ranked(task, [1, 1, 0, 0], [1, 1, 2, 2]) for task in range(15)]
    losses = [ranked(task + 15, [1, 1, 0, 0], [2, 2, 1, 1]) for task in range(5)]
    [pairing] = arena(wins + losses)["human"]["pairings"]
    rate = pairing["win_rate"]
    assert (rate["value"], rate["n"], pairing["tasks"]) == (0.75, 80, 20)
    # All four pairs of a task say the same, so 80 pairs are worth 20: Wilson's interval of 15 of 20 (.531 to
    # .888, as any table has it), but for the n - 1 of the variance.
    assert rate["low"] == pytest.approx(0.531, abs=0.01)
    assert rate["high"] == pytest.approx(0.888, abs=0.01)


def test_people_programs_and_judges_are_never_mixed():
    found = arena(
        [
            ranked(1, [1, 0], [1, 2]),
            ranked(2, [1, 0], [2, 1], kind="program"),
            ranked(3, [1, 0], [2, 1], kind="judge"),
        ]
    )
    assert [found[kind]["pairings"][0]["win_rate"]["value"] for kind in ("human", "program", "judge")] == [
        1.0,
        0.0,
        0.0,
    ]
    assert arena([]) == {}


def planted(theta, phi, shift, tasks=1500, seed=0):
    """Policy 1 against 0 and 2 against 1 only; longer responses win by phi."""
    rng = np.random.default_rng(seed)
    found = []
    for task in range(tasks):
        later = 1 + task % 2
        longer = rng.normal(shift, 10)
        chance = 1 / (1 + math.exp(-(theta + phi * math.tanh(longer / 10))))
        won = rng.random() < chance
        found.append(
            ranked(task, [later, later - 1], [1, 2] if won else [2, 1], tokens=[100 + round(longer), 100])
        )
    return found


def test_bradley_terry_compares_policies_that_never_met():
    one, two = arena(planted(theta=1.0, phi=0.0, shift=0))["human"]["strengths"]
    assert (one["version"], two["version"]) == (1, 2)
    for strength, truth in ((one, 1.0), (two, 2.0)):  # 2 beats 1 beats 0
        value = 1 / (1 + math.exp(-truth))
        assert strength["beats"]["value"] == pytest.approx(value, abs=0.03)
        assert strength["beats"]["low"] < value < strength["beats"]["high"]


def test_length_control_takes_away_what_only_length_won():
    one, two = arena(planted(theta=0.0, phi=3.0, shift=8))["human"]["strengths"]
    assert one["beats"]["value"] > 0.7
    for strength in (one, two):
        assert strength["at_equal_length"]["low"] < 0.5 < strength["at_equal_length"]["high"]


def test_strengths_stay_finite_where_one_always_wins():
    [strength] = arena([ranked(task, [1, 0], [1, 2]) for task in range(30)])["human"]["strengths"]
    assert 0.97 < strength["beats"]["value"] < 1
    assert 0.5 < strength["beats"]["low"] < strength["beats"]["value"]
    assert strengths([]) == []


def test_the_interval_of_a_strength_holds_the_truth():
    held = 0
    for seed in range(60):
        one, _ = arena(planted(theta=0.5, phi=0.0, shift=0, tasks=120, seed=seed))["human"]["strengths"]
        held += one["beats"]["low"] <= 1 / (1 + math.exp(-0.5)) <= one["beats"]["high"]
    assert held >= 53


def test_the_store_tells_who_wrote_what_was_ranked(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("model", "model")
        round_ = store.begin_round({})
        store.end_round(round_.id, "published", policy=NewPolicy(1, "policies/1", "model"))
        store.add_prompts([("one", "train"), ("two", "train"), ("three", "train")], "test")
        people = [
            store.add_person(name, name, kind).id
            for name, kind in (("a", "human"), ("b", "program"), ("c", "program"))
        ]
        store.db.execute("insert into judges values (?, 'm', '', 0)", [people[2]])
        for number, prompt in enumerate(store.prompts()):
            responses = [
                NewResponse("new", 7, True, {}, 1), NewResponse("old", 3, True, {}, 0),
                NewResponse("older", 4, True, {}, 0),
            ]  # fmt: skip
            task = store.add_task(prompt.id, 1, responses, wanted=3)
            for person in people[: 3 - number]:
                store.claim_task(person)
                texts = store.task(task).responses
                order = {"new": 2, "old": 1, "older": 2}
                store.add_ranking(person, task, f"{person} {task}", [order[text] for text in texts])
        found = store.arena_rankings()
        assert sorted(r.kind for r in found) == ["human"] * 3 + ["judge"] + ["program"] * 2
        for ranking in found:
            shown = sorted(zip(ranking.versions, ranking.ranks, ranking.tokens, strict=True))
            assert shown == [(0, 1, 3), (0, 2, 4), (1, 2, 7)]
        store.withdraw(people[0], store.undoable(people[0]))
        assert len(store.arena_rankings()) == 5
        # alone: nothing to compare
        alone = store.add_task(store.prompts()[0].id, 1, [NewResponse(t, 1, True, {}, 1) for t in ("x", "y")])
        store.claim_task(people[0])
        store.add_ranking(people[0], alone, "alone", [1, 2])
        assert len(store.arena_rankings()) == 5
