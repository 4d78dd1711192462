"""Imports in a real file: what is added, what is known already, and whom it is put before."""

import json

import pytest

from data.incoming import ImportedDemonstration, ImportedPrompt, ImportedRanking
from labeling.store import open_store
from labeling.store.imports import key_of
from tests.store.make import add_task, rank

PAIR = ImportedRanking("p", ("a", "b"), (1, 2), 2, "anna")


def prompts(count, start=0):
    return [ImportedPrompt(f"imported {i}") for i in range(start, start + count)]


def add(store, items, **how):
    return store.add_imported(store.begin_import("a file"), items, **how)


def test_everything_is_there_once(store):
    items = [ImportedPrompt("q"), ImportedDemonstration("p", "a"), PAIR, PAIR]
    import_id = store.begin_import("file.jsonl")
    assert store.add_imported(import_id, items) == {
        "prompts": 1, "demonstrations": 1, "preferences": 1, "known": 1,
    }  # fmt: skip
    assert store.add_imported(import_id, items) == {
        "prompts": 0, "demonstrations": 0, "preferences": 0, "known": 4,
    }  # fmt: skip
    store.end_import(import_id, "trl", {"a response is empty": {"rows": 2, "lines": [3, 9]}})
    assert store.imported_rankings() == [PAIR]
    assert [(d["prompt"], d["text"], d["source"]) for d in store.demonstrations()] == [("p", "a", "import")]
    [kept] = store.imports()
    assert (kept.source, kept.format) == ("file.jsonl", "trl")
    assert kept.added == {"prompts": 1, "demonstrations": 1, "preferences": 1, "known": 5}
    assert kept.refused["a response is empty"]["lines"] == [3, 9]


def test_the_other_way_round_it_is_the_same_ranking_and_another_annotators_is_another():
    swapped = ImportedRanking("p", ("b", "a"), (2, 1), 2, "anna")
    assert key_of(swapped) == key_of(PAIR)
    others = [
        ImportedRanking("p", ("a", "b"), (2, 1), 2, "anna"),
        ImportedRanking("p", ("a", "b"), (1, 2), 2, "ben"),
        ImportedRanking("q", ("a", "b"), (1, 2), 2, "anna"),
        ImportedRanking("p", ("a", "b"), (1, 2), 3, "anna"),
    ]
    assert len({key_of(r) for r in [PAIR, *others]}) == 5


def test_prompts_of_preferences_are_asked_only_if_wished(store):
    add(store, [PAIR, ImportedDemonstration("d", "e")])
    assert store.prompts() == []
    assert add(store, [PAIR], ask=True) == {"prompts": 1, "demonstrations": 0, "preferences": 0, "known": 1}
    assert [p.text for p in store.prompts()] == ["p"]


def test_a_tenth_of_imported_prompts_is_held_out_and_a_known_one_keeps_its_split(store):
    store.add_prompts([("imported 3", "heldout"), ("imported 4", "heldout")], "starter")
    add(store, prompts(100))
    heldout = {p.text for p in store.prompts("heldout")}
    assert 10 <= len(heldout) <= 30
    assert {"imported 3", "imported 4"} <= heldout


def test_imported_prompts_take_the_place_of_the_starters_once_there_are_enough(store, anna):
    store.use_prompts([(f"starter {i}", "train") for i in range(5)], "starter")
    add_task(store, "starter 1")
    held = store.claim_task(anna)
    add_task(store, "starter 2")
    add(store, prompts(19))
    assert len(store.prompts()) == 24
    add(store, prompts(20))
    assert {p.text for p in store.prompts()} == {p.prompt for p in prompts(20)}
    assert store.open_tasks() == 1  # the one on anna's screen; the other is retired
    assert store.claim_task(anna).id == held.id


def test_a_prompts_file_keeps_its_place_beside_imported_ones(store):
    store.use_prompts([("own 1", "train")], "my.txt")
    add(store, prompts(30))
    assert {"own 1", "imported 7"} <= {p.text for p in store.prompts()}
    store.use_prompts([("own 2", "train"), *store.imported_prompts()], "other.txt")
    texts = {p.text for p in store.prompts()}
    assert "own 1" not in texts
    assert len(texts) == 31


def test_what_a_held_out_prompt_would_teach_is_kept_and_not_learned(store):
    store.add_prompts([("p", "heldout")], "test")
    add(store, [PAIR, ImportedRanking("other", ("a", "b"), (1, 2))])
    assert [r.prompt for r in store.imported_rankings()] == ["other"]
    assert store.imported_ranking_count() == 1
    assert store.value("select count(*) from imported_rankings") == 2


def test_of_many_the_same_ones_are_drawn_every_time(store):
    add(store, [ImportedRanking(f"p {i}", ("a", "b"), (1, 2)) for i in range(50)])
    drawn = store.imported_rankings(10)
    assert len(drawn) == 10
    assert store.imported_rankings(10) == drawn
    assert [r.prompt for r in drawn] != [f"p {i}" for i in range(10)]


def test_what_the_model_cannot_read_is_asked_no_more(store):
    add(store, prompts(2))
    store.leave_out([store.prompts()[0].id])
    assert [p.text for p in store.prompts()] == ["imported 1"]
    assert len(store.imported_prompts()) == 2  # a model with more room may have it again
    add(store, prompts(2))
    assert len(store.prompts()) == 1


def test_imported_rankings_do_not_count_towards_a_round(store, anna):
    add(store, [ImportedRanking(f"p {i}", ("a", "b"), (1, 2)) for i in range(50)])
    add_task(store)
    rank(store, anna, "n")
    assert store.new_rankings() == store.ranking_count() == 1
    assert store.status()["until_next_round"] == 63


def test_texts_come_back_as_they_were(store):
    odd = 'A "quoted" \\ text\u2028 with \U0001f600\n  and lines'
    add(store, [ImportedRanking(odd, (odd + "1", odd + "2", odd), (1, 1, 2))])
    [back] = store.imported_rankings()
    assert (back.prompt, back.responses, back.ranks) == (odd, (odd + "1", odd + "2", odd), (1, 1, 2))


@pytest.mark.parametrize("count", [1, 3])
def test_an_import_that_ended_half_way_is_as_far_as_it_came(tmp_path, count):
    with open_store(tmp_path, create=True, migrate=True) as store:
        import_id = store.begin_import("half")
        for part in range(count):
            store.add_imported(import_id, prompts(3, 3 * part))
    with open_store(tmp_path) as store:
        assert store.imports()[0].added["prompts"] == 3 * count
        assert json.loads(store.value("select refused from imports")) == {}
