"""Judges in the store: what they may rank, what is learned from them, and what people notice (nothing)."""

import pytest

from data.constitution import CONSTITUTION
from labeling.store import StoreError, open_store
from rlhf.worker_rounds import as_learned
from tests.store.make import add_task, rank

JUDGED = {"calls": 2, "prompt_tokens": 900, "response_tokens": 40, "consistent": 0.5, "seconds": 1.5}


@pytest.fixture
def judge(store):
    return store.judge("qwen3", "Qwen/Qwen3-4B", "http://127.0.0.1:8000/v1").id


def judged(store, judge, task_id, nonce="n", ranks=(2, 1, 1, 3), **how):
    return store.add_judgement(judge, task_id, nonce, ranks and list(ranks), **JUDGED, **how)


def test_a_judge_is_one_person_wherever_it_answers(store, judge):
    again = store.judge("qwen3", "Qwen/Qwen3-4B", "http://elsewhere/v1")
    assert (again.id, again.name, again.kind) == (judge, "judge qwen3", "program")
    assert store.judge("qwen3", "Qwen/Qwen3-8B").name == "judge qwen3 2"
    first, second = store.judges()
    assert (first["endpoint"], second["endpoint"]) == ("http://elsewhere/v1", "")
    assert (first["rankings"], first["consistent"], first["calls"], first["last"]) == (0, None, 0, None)


def test_what_it_says_is_kept_with_what_it_cost(store, judge, tmp_path):
    task = add_task(store)
    judged(store, judge, task, why="Shorter.")
    with open_store(tmp_path) as other:
        [ranking] = other.rankings()
        assert (ranking.ranks, ranking.by_judge, ranking.weight, ranking.comment) == (
            [2, 1, 1, 3],
            True,
            0.5,
            "Shorter.",
        )
        [known] = other.judges()
    assert {name: known[name] for name in JUDGED} == JUDGED
    assert (known["rankings"], known["failed"]) == (1, 0)
    assert judged(store, judge, task, ranks=(2, 1, 1, 3), why="Shorter.").task_id == task  # sent again
    assert store.judges()[0]["calls"] == 2
    assert judged(store, judge, task, "another") is None


def test_it_takes_the_newest_task_and_leaves_some_to_people(store, judge, anna):
    tasks = [add_task(store, f"prompt {i}") for i in range(4)]
    assert store.claim_task(anna).id == tasks[0]
    assert store.claim_to_judge(judge, leave=2).id == tasks[3]
    assert store.claim_to_judge(judge, leave=2) is None  # two are free
    assert store.claim_to_judge(judge, leave=1).id == tasks[2]
    assert judged(store, judge, tasks[0]) is None  # on Anna's screen
    assert not store.hold_to_judge(judge, tasks[0])
    assert store.hold_to_judge(judge, tasks[2])
    store.leave(judge, 0)
    assert {task.id for task in store.claim_tasks(anna, ahead=3)} == set(tasks)


def test_it_never_takes_what_several_people_are_to_rank_or_what_is_being_changed(store, judge, anna):
    add_task(store, "two", wanted=2)
    assert store.claim_to_judge(judge, leave=0) is None
    add_task(store, "one")
    rank(store, anna, "a")
    rank(store, anna, "b")
    store.undo(anna)
    with store.write() as db:
        db.execute("update tasks set leased_until = 0 where state = 'open'")
    assert store.claim_to_judge(judge, leave=0) is None


def test_no_usable_answer_is_recorded_and_leaves_the_task_to_people(store, judge, anna):
    task = add_task(store)
    assert store.claim_to_judge(judge, leave=0).id == task
    failed = judged(store, judge, task, ranks=None, why="no JSON in the answer, " * 9)
    assert failed.kind == "skipped"
    assert store.value("select state from tasks") == "open"
    assert store.claim_to_judge(judge, leave=0) is None  # it is not asked again
    assert (store.judges()[0]["failed"], store.judges()[0]["rankings"]) == (1, 0)
    assert store.rankings() == []
    rank(store, anna, "a")
    assert store.value("select state from tasks") == "ranked"


def test_what_people_ranked_is_compared_and_neither_changed_nor_learned_from(store, judge, anna, ben):
    task = add_task(store)
    programs = add_task(store, "by a program")
    rank(store, anna, "a")
    store.add_ranking(ben, programs, "b", [1, 2, 3, 4])
    before = store.row("select * from tasks where id = ?", [task])
    assert [one.id for one in store.to_compare(judge, 9)] == [task]
    judged(store, judge, task, compare=True)
    assert store.to_compare(judge, 9) == []
    assert store.row("select * from tasks where id = ?", [task]) == before
    assert [r.person_id for r in store.rankings()] == [anna, ben]
    assert (store.ranking_count(), store.new_rankings()) == (2, 2)
    assert [r.person_id for r in store.rankings(all_standing=True)] == [anna, ben, judge]
    assert {(f.person_id, f.judge) for f in store.judged_facts()} == {(anna, False), (judge, True)}
    assert judged(store, judge, task, "again", compare=True) is None
    # taken back for good: then the judge's is the only word there is
    store.withdraw(anna, 1)
    assert [r.person_id for r in store.rankings()] == [ben, judge]


def test_anna_changes_a_ranking_that_a_judge_was_compared_with(store, judge, anna):
    task = add_task(store)
    rank(store, anna, "a")
    judged(store, judge, task, compare=True)
    assert store.undo(anna).previous_ranks == [1, 2, 3, 4]
    assert store.rankings() == []  # nor is the judge's learned from while she changes hers
    store.add_ranking(anna, task, "c", [4, 3, 2, 1])
    assert store.value("select state from tasks") == "ranked"
    assert [r.person_id for r in store.rankings()] == [anna]


def test_one_switch_turns_all_of_it_off(store, judge, anna):
    for number in range(3):
        judged(store, judge, add_task(store, f"judged {number}"), f"n{number}")
    add_task(store)
    rank(store, anna, "a")
    status = store.status()
    assert (status["rankings"], status["programs"], status["judges"]) == (4, 0, 3)
    assert (store.ranking_count(), store.new_rankings(), status["until_next_round"]) == (4, 4, 60)
    assert [r.weight for r in as_learned(store.rankings())] == [0.5, 0.5, 0.5, 1]
    assert store.set_ai_feedback(weight=0.1) == {"use": True, "weight": 0.1}
    assert [r.weight for r in as_learned(store.rankings())] == [0.1, 0.1, 0.1, 1]

    assert store.set_ai_feedback(use=False) == {"use": False, "weight": 0.1}
    assert [r.person_id for r in store.rankings()] == [anna]
    assert (store.ranking_count(), store.new_rankings_since(0)) == (1, 1)
    assert (store.status()["until_next_round"], store.status()["judges"]) == (63, 3)
    assert store.begin_round({}).rankings == 1
    assert store.ranking_counts_by_kind() == {"human": 1, "program": 0, "judge": 3}
    for weight in (0, -1, 11, float("nan")):
        with pytest.raises(ValueError, match="switch them off"):
            store.set_ai_feedback(weight=weight)


def test_constitutions_have_versions(store, judge, anna):
    assert (store.constitution().version, store.constitution().text) == (0, CONSTITUTION)
    assert store.add_constitution(CONSTITUTION).version == 0
    assert store.add_constitution("- Prefer the shorter one.\n", anna).version == 1
    assert store.add_constitution("- Prefer the shorter one.").version == 1
    assert store.constitution(0).text == CONSTITUTION
    assert store.constitution(7) is None
    judged(store, judge, add_task(store))
    assert [(v["version"], v["by"], v["rankings"]) for v in store.constitution_versions()] == [
        (1, "anna", 0),
        (0, None, 1),
    ]
    for wrong, why in (("", "0 characters"), ("Be good.", "no principle"), ("- \ud800", "half a character")):
        with pytest.raises(ValueError, match=why):
            store.add_constitution(wrong)


def test_revisions_are_demonstrations_of_the_judges(store, judge):
    add_task(store, "one")
    add_task(store, "two")
    found = store.to_revise(9)
    assert [(r["prompt"], r["text"]) for r in found] == [
        ("two", "two, response 2"),
        ("one", "one, response 2"),
    ]
    assert store.add_revision(found[0]["response_id"], " better \n")
    assert not store.add_revision(found[0]["response_id"], "better")
    assert [r["prompt"] for r in store.to_revise(9)] == ["one"]
    [kept] = store.demonstrations()
    assert (kept["prompt"], kept["text"], kept["source"], kept["person_id"]) == (
        "two",
        "better",
        "judge",
        None,
    )
    with pytest.raises(StoreError, match="no response 99"):
        store.add_revision(99, "x")
