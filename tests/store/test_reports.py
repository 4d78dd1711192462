"""What the reports on rankings are made from: what stands, as it was said, and when it changes."""

import pytest

from labeling.ranking import Order
from labeling.store import RankingFacts, Remarks
from tests.store.make import add_task, add_version, rank


@pytest.fixture
def timed(store, anna):
    """A task of three responses of different lengths, ranked by anna, only the best named."""
    task = add_task(store, responses=3)
    with store.write() as db:
        for position in range(3):
            where = "(select response_id from task_responses where task_id = ? and position = ?)"
            db.execute(
                f"update responses set text = ?, tokens = ? where id = {where}",
                ["ä" * (position + 1), 10 - position, task, position],
            )
    return task, store.add_ranking(anna, task, "n", [None, 1, None], 12.5)


def test_facts_are_read_by_position_as_they_were_said(store, anna, timed):
    task, ranking = timed
    [found] = store.ranking_facts()
    assert found == RankingFacts(
        id=ranking.id,
        task_id=task,
        person_id=anna,
        person="anna",
        kind="human",
        policy_version=0,
        created_at=store.value("select created_at from rankings"),
        seconds=12.5,
        partial=True,
        ranks=[2, 1, 2],
        characters=[1, 2, 3],
        tokens=[10, 9, 8],
    )


def test_what_was_taken_back_is_not_there_and_a_skip_has_no_ranks(store, anna, ben):
    for number in range(3):
        add_task(store, f"prompt {number}")
    rank(store, anna, "1")
    skip = rank(store, anna, "2", None)
    version = add_version(store)
    add_task(store, "of the new policy", version=version)
    later = rank(store, ben, "3", (1, 2, 2, 1))
    found = store.ranking_facts()
    assert [(one.id, one.kind, one.policy_version) for one in found][1:] == [
        (skip.id, "human", 0),
        (later.id, "program", version),
    ]
    assert (found[1].ranks, found[1].characters, found[1].tokens, found[1].seconds) == ([], [], [], None)
    assert (found[2].ranks, found[2].partial) == ([1, 2, 2, 1], False)
    assert [one.person for one in store.ranking_facts("human")] == ["anna", "anna"]
    assert [one.person for one in store.ranking_facts("program")] == ["ben"]
    store.undo(ben)
    assert store.ranking_facts("program") == []


def test_two_people_on_one_task_are_two_facts(store, anna, ben):
    task = add_task(store, wanted=2)
    rank(store, anna, "1", (1, 2, 3, 4))
    rank(store, ben, "2", (4, 3, 2, 1))
    assert [(one.task_id, one.person, one.ranks) for one in store.ranking_facts()] == [
        (task, "anna", [1, 2, 3, 4]),
        (task, "ben", [4, 3, 2, 1]),
    ]


def test_the_stamp_changes_when_the_facts_do_and_not_otherwise(store, anna):
    seen = [store.reports_stamp()]

    def changed():
        seen.append(store.reports_stamp())
        return seen[-1] not in seen[:-1]

    add_task(store)
    add_task(store, "another")
    store.beat("idle")
    assert not changed()
    rank(store, anna, "1")
    assert changed()
    rank(store, anna, "2", None)
    assert changed()
    store.undo(anna)
    assert changed()
    rank(store, anna, "3", (4, 3, 2, 1))
    assert changed()
    store.withdraw(anna, store.undoable(anna))
    assert changed()
    store.rename_person(anna, "Anna K.")
    assert changed()


def test_what_was_taken_back_says_by_whom_for_what_and_where_it_was_learned_from(store, anna, ben):
    assert (store.taken_back(), store.taken_back_counts()) == ([], {"changed": 0, "withdrawn": 0})
    tasks = [add_task(store, f"prompt {i}", wanted=2) for i in range(3)]
    changed = rank(store, anna, "1").id
    gone = rank(store, anna, "2", (2, 1, 1, 3)).id
    skipped = rank(store, anna, "3", None).id
    rank(store, ben, "4", (4, 3, 2, 1))  # of the first task too, and it stands
    for method, ends in (("ppo", "rejected"), ("sft", "rejected"), ("ppo", "stopped")):
        store.end_round(store.begin_round({}, method).id, ends, "why")
    store.undo(anna, ranking_id=changed)
    [reopened] = store.taken_back()
    assert (reopened.id, reopened.task_id, reopened.after) == (changed, tasks[0], None)
    again = store.add_ranking(anna, tasks[0], "5", [2, 1, 3, 4], None, Remarks(comment="hm")).id
    store.withdraw(anna, gone)
    store.undo(anna, ranking_id=skipped)
    store.begin_round({})  # after all that
    known = store.taken_back()
    assert [(one.id, one.person, one.prompt, one.for_good, one.rounds) for one in known] == [
        (skipped, "anna", "prompt 2", False, []),
        (gone, "anna", "prompt 1", True, [1, 3]),
        (changed, "anna", "prompt 0", False, [1, 3]),
    ]
    orders = [(one.before[0], one.after and one.after[0]) for one in known]
    assert orders == [
        (None, None),
        (Order([2, 1, 1, 3]), None),
        (Order([1, 2, 3, 4]), Order([2, 1, 3, 4])),
    ]
    assert known[2].after[1].comment == "hm"
    store.withdraw(anna, again)  # what it was changed into: the change stays on record, both count
    assert [one.id for one in store.taken_back(2)] == [again, skipped]
    assert store.taken_back()[3].after[0] == Order([2, 1, 3, 4])
    assert store.taken_back_counts() == {"changed": 2, "withdrawn": 2}
