"""Marks, better responses, changes on record, several annotators on one task, tasks that follow."""

import json

import pytest

from labeling.form import Form
from labeling.store import (
    Better,
    InvalidRanking,
    Mark,
    NewResponse,
    NonceReused,
    Remarks,
    TaskClosed,
    TaskLeased,
    TaskUnknown,
)
from tests.store.make import add_task, add_version, rank

MARKS = (
    Mark(flags=("unsafe", "false"), ratings={"tone": 1}),
    Mark(),
    Mark(reasons_for=("clear",), reasons_against=("too long",)),
    Mark(ratings={"tone": 5, "safety": 4}),
)
SAID = Remarks(marks=MARKS, better=Better("A better one.", 2), comment="hm")


def open_and_leased(store, task):
    return store.row("select state, leased_by from tasks where id = ?", [task])


def test_marks_and_a_better_response_are_read_back_as_they_were_said(store, anna):
    task = add_task(store)
    ranking = store.add_ranking(anna, task, "n", [2, 1, 3, 4], 9.5, SAID, guidelines=3)
    assert store.add_ranking(anna, task, "n", [2, 1, 3, 4], 11.0, SAID, guidelines=3) == ranking
    for other in (Remarks(comment="hm"), Remarks(marks=MARKS, comment="hm", better=Better("Another.", 2))):
        with pytest.raises(NonceReused):
            store.add_ranking(anna, task, "n", [2, 1, 3, 4], 9.5, other)
    columns = store.row("select seconds, guidelines, skip_reason, withdrawn_for from rankings")
    assert columns == {"seconds": 9.5, "guidelines": 3, "skip_reason": "", "withdrawn_for": None}
    kept = [json.loads(row["marks"]) for row in store.rows("select marks from ranks order by position")]
    assert kept[0] == {"flags": ["unsafe", "false"], "ratings": {"tone": 1}}
    assert kept[1] == {}
    assert kept[2] == {"reasons_for": ["clear"], "reasons_against": ["too long"]}
    origin = "select text from responses where id = (select started_from from demonstrations)"
    assert store.value(origin) == store.task(task).responses[2]
    [read] = store.rankings()
    assert (read.ranks, read.better) == ([2, 1, 3, 4], "A better one.")
    assert [d["text"] for d in store.demonstrations()] == ["A better one."]
    undone = store.undo(anna)
    assert (undone.previous_ranks, undone.previous_remarks) == ([2, 1, 3, 4], SAID)
    assert store.demonstrations() == []
    again = store.add_ranking(anna, task, "n2", [1, 2, 3, 4], 1.0)
    assert (store.rankings()[0].id, store.rankings()[0].better) == (again.id, None)


def test_a_better_response_alone_is_a_ranking(store, anna):
    task = add_task(store)
    store.add_ranking(anna, task, "n", [None] * 4, None, Remarks(better=Better("From nothing.")))
    [read] = store.rankings()
    assert (read.ranks, read.partial, read.better) == ([1, 1, 1, 1], True, "From nothing.")
    assert store.undo(anna).previous_ranks == [None] * 4


@pytest.mark.parametrize(
    ("remarks", "says"),
    [
        (Remarks(better=Better("  ")), "is empty"),
        (Remarks(better=Better("x" * 20_001)), "20001 characters"),
        (Remarks(better=Better("half \ud800")), "half a character"),
        (Remarks(better=Better("ok", 4)), "position 4"),
        (Remarks(better=Better("a prompt, response 1 ")), "same as one that was shown"),
        (Remarks(marks=(Mark(),)), "but 1 have marks"),
        (Remarks(marks=(Mark(flags=("a", "a")), *MARKS[:3])), "none twice"),
        (Remarks(marks=(Mark(flags=("",)), *MARKS[:3])), "no name"),
        (Remarks(marks=(Mark(flags=("x" * 61,)), *MARKS[:3])), "61 characters"),
        (Remarks(marks=(Mark(ratings={"tone": 6}), *MARKS[:3])), "wanted: 1 to 5"),
        (Remarks(marks=(Mark(ratings={"tone": True}), *MARKS[:3])), "wanted: 1 to 5"),
        (Remarks(skip_reason="harmful prompt"), "goes with a skip"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(store, anna, remarks, says):
    task = add_task(store)
    with pytest.raises(InvalidRanking, match=says):
        store.add_ranking(anna, task, "n", [1, 2, 3, 4], 1.0, remarks)
    assert store.last_ranking_id() == 0
    assert store.open_tasks() == 1
    store.add_ranking(anna, task, "n", [1, 2, 3, 4])


def test_a_skip_has_its_reason(store, anna):
    task = add_task(store)
    with pytest.raises(InvalidRanking, match="A skip says nothing"):
        store.add_ranking(anna, task, "n", None, None, SAID)
    store.add_ranking(anna, task, "n", None, None, Remarks(skip_reason="cannot judge"))
    assert store.value("select skip_reason from rankings") == "cannot judge"
    assert store.undo(anna).previous_remarks.skip_reason == "cannot judge"


# changes on record


def test_any_of_the_latest_can_be_changed_and_the_change_is_on_record(store, anna):
    tasks = [add_task(store, f"prompt {i}") for i in range(12)]
    ids = [rank(store, anna, str(i)).id for i in range(12)]
    latest = store.latest_rankings(anna)
    assert [found["id"] for found in latest] == ids[:1:-1]
    assert latest[0]["order"].ranks == [1, 2, 3, 4]
    assert not any(found["changed"] for found in latest)
    reopened = store.undo(anna, ranking_id=ids[4])
    assert (reopened.id, reopened.previous_ranks) == (tasks[4], [1, 2, 3, 4])
    assert store.claim_task(anna).id == tasks[4]
    again = store.add_ranking(anna, tasks[4], "again", [4, 3, 2, 1])
    newest = store.latest_rankings(anna)[0]
    assert (newest["id"], newest["prompt"], newest["changed"]) == (again.id, "prompt 4", True)
    assert newest["order"].ranks == [4, 3, 2, 1]
    kept = store.rows("select id, withdrawn_for from rankings where task_id = ? order by id", [tasks[4]])
    assert kept == [{"id": ids[4], "withdrawn_for": "change"}, {"id": again.id, "withdrawn_for": None}]
    assert len(store.rankings()) == 12


def test_withdrawn_for_good_is_not_asked_again_and_not_learned(store, anna, ben):
    task = add_task(store)
    ranking = rank(store, anna, "n").id
    with pytest.raises(TaskUnknown, match="You have no ranking"):
        store.withdraw(ben, ranking)
    for _ in range(2):  # the reply was lost: asked again
        store.withdraw(anna, ranking)
    assert store.rankings() == store.latest_rankings(anna) == []
    assert store.claim_task(anna) is store.claim_task(ben) is None
    assert open_and_leased(store, task)["state"] == "retired"
    assert store.value("select withdrawn_for from rankings") == "good"
    with pytest.raises(TaskClosed, match="withdrawn for good"):
        store.undo(anna, ranking_id=ranking)
    assert store.undo(anna) is None


# tasks that follow the one on the screen


def test_tasks_are_sent_along_in_the_order_they_will_be_shown(store, anna, ben):
    tasks = [add_task(store, f"prompt {i}") for i in range(5)]
    assert [t.id for t in store.claim_tasks(anna, ahead=2)] == tasks[:3]
    assert [t.id for t in store.claim_tasks(ben, ahead=1)] == tasks[3:]
    assert store.claimable_tasks(0) == 0
    store.add_ranking(anna, tasks[0], "1", [1, 2, 3, 4])
    assert [t.id for t in store.claim_tasks(anna, ahead=2)] == tasks[1:3]
    assert store.claim_task(anna).id == tasks[1]
    with pytest.raises(TaskLeased):
        store.add_ranking(ben, tasks[2], "2", [1, 2, 3, 4])
    # what is taken back comes first, and what was on the screen after it
    store.undo(anna)
    assert [t.id for t in store.claim_tasks(anna, ahead=1)] == tasks[:2]


def test_a_heartbeat_holds_all_and_leaving_gives_all_back_but_not_at_once(store, anna, ben):
    tasks = [add_task(store, f"prompt {i}") for i in range(2)]
    assert len(store.claim_tasks(anna, ahead=1, lease_seconds=1)) == 2
    store.renew_lease(anna, tasks[0])
    until = "select min(leased_until) - strftime('%s') from tasks"
    assert store.value(until) > 100
    store.leave(anna)
    assert 0 < store.value(until) <= 11
    assert store.claim_task(ben) is None
    assert [t.id for t in store.claim_tasks(anna, ahead=1)] == tasks  # loaded again
    assert store.value(until) > 100
    store.leave(anna, seconds=-1)
    assert store.claim_task(ben).id == tasks[0]


# several people on one task


def test_a_task_that_wants_two_is_ranked_by_two_people_one_after_the_other(store, anna, ben):
    task, other = add_task(store, wanted=2), add_task(store, "other")
    assert store.claim_task(anna).id == task
    assert store.claim_task(ben).id == other  # never two on one lease
    rank(store, anna, "1", [1, 2, 3, 4])
    assert open_and_leased(store, task) == {"state": "open", "leased_by": None}
    assert store.claimable_tasks(0) == 0  # for anna there is nothing: the worker writes more
    assert store.claim_task(anna) is None
    with pytest.raises(TaskClosed, match="You have ranked task"):
        store.add_ranking(anna, task, "2", [1, 2, 3, 4])
    rank(store, ben, "3")
    assert store.claim_task(ben).id == task
    rank(store, ben, "4", [4, 3, 2, 1])
    assert open_and_leased(store, task)["state"] == "ranked"
    assert [r.ranks for r in store.rankings() if r.prompt == "a prompt"] == [[1, 2, 3, 4], [4, 3, 2, 1]]


def test_what_another_person_holds_cannot_be_reopened_now(store, anna, ben):
    task = add_task(store, wanted=2)
    rank(store, anna, "1")
    assert store.claim_task(ben).id == task
    with pytest.raises(TaskLeased):
        store.undo(anna)
    assert len(store.rankings()) == 1
    rank(store, ben, "2")
    assert store.undo(anna).id == task
    assert len(store.rankings()) == 1
    rank(store, anna, "3")
    assert open_and_leased(store, task)["state"] == "ranked"


@pytest.mark.parametrize("first", ["ranked", "skipped"])
def test_who_skips_it_ends_the_asking(store, anna, ben, first):
    task = add_task(store, wanted=2)
    if first == "ranked":
        rank(store, ben, "1")
    rank(store, anna, "2", None)
    assert open_and_leased(store, task)["state"] == first


def test_half_asked_it_is_not_lost_when_its_policy_is_replaced(store, anna):
    task = add_task(store, wanted=2)
    rank(store, anna, "1")
    store.retire_tasks(other_than=add_version(store))
    assert open_and_leased(store, task)["state"] == "ranked"
    assert len(store.rankings()) == 1


# what people are asked


def test_guidelines_have_versions_and_the_first_is_delivered(store, anna):
    assert (store.guidelines().version, store.status()["guidelines"]) == (0, 0)
    assert store.guidelines().text.startswith("Put the response first")
    assert store.add_guidelines(" Be **strict**. ", anna).version == 1
    assert store.add_guidelines("Be **strict**.", anna).version == 1
    assert store.add_guidelines("Be kind.", anna).version == 2
    assert (store.guidelines(1).text, store.guidelines(3)) == ("Be **strict**.", None)
    assert store.guidelines(0).text.startswith("Put the response first")
    store.add_ranking(anna, add_task(store), "n", [1, 2, 3, 4], guidelines=1)
    assert [(v["version"], v["by"], v["rankings"]) for v in store.guideline_versions()] == [
        (2, "anna", 0), (1, "anna", 1), (0, None, 0)]  # fmt: skip
    for wrong in ("  ", "x" * 40_001, "half \ud800"):
        with pytest.raises(ValueError, match="guidelines"):
            store.add_guidelines(wrong)


def test_the_form_is_kept_and_its_changes_are_counted(store):
    assert store.form() == Form()
    assert store.form().ratings == ()
    store.put_form(Form.from_dict({"flags": [" rude "], "ratings": ["tone"]}))
    assert (store.form().flags, store.form().ratings) == (("rude",), ("tone",))
    assert store.form().skip_reasons == Form().skip_reasons
    assert store.status()["form_changes"] == 1
    for wrong in ({"flags": "rude"}, {"flags": [""]}, {"flags": ["a", "a "]}, {"colour": []}, {"flags": [1]}):
        with pytest.raises(ValueError, match=r"\.$"):
            Form.from_dict(wrong)


def test_the_effect_of_ones_rankings_is_that_of_the_published_policys_round(store, anna, ben):
    assert store.effect(anna) is None
    for i in range(3):
        add_task(store, f"prompt {i}")
    rank(store, anna, "1")
    rank(store, ben, "2")
    version = add_version(store)
    rank(store, anna, "3")  # too late for it
    assert store.effect(anna) == {
        "policy_version": version, "parent_version": 0, "rankings": 2, "mine": 1,
        "win_rate": None, "win_rate_low": None, "win_rate_high": None}  # fmt: skip
    store.publish(0, "back")
    assert store.effect(anna) is None


def test_bringing_two_back_loses_neither_though_their_policy_is_gone(store, anna, ben):
    tasks = [add_task(store, f"prompt {i}") for i in range(2)]
    for i in range(2):
        rank(store, anna, str(i))
    version = add_version(store)
    new = add_task(store, "new", version=version)
    assert store.claim_task(anna).id == new
    store.undo(anna)
    store.undo(anna)
    assert [t.id for t in store.claim_tasks(anna, ahead=2)] == [*tasks, new]
    store.leave(anna, seconds=-1)  # and goes away
    store.retire_tasks(other_than=version)
    assert [t.id for t in store.claim_tasks(anna, ahead=2)] == [*tasks, new]
    assert store.claim_tasks(anna)[0].previous_ranks == [1, 2, 3, 4]


def test_who_withdrew_for_good_is_not_asked_by_the_same_task_again(store, anna, ben):
    task = add_task(store, wanted=2)
    store.withdraw(anna, rank(store, anna, "1").id)
    assert store.claim_task(anna) is None
    assert store.claimable_tasks(0) == 0
    assert store.claim_task(ben).id == task


def test_a_copy_with_other_line_breaks_is_no_better_response(store, anna):
    store.add_prompts([("p", "train")], "test")
    responses = [NewResponse("one\r\ntwo", 2, True), NewResponse("three", 1, True)]
    task = store.add_task(store.prompts()[0].id, 0, responses)
    with pytest.raises(InvalidRanking, match="same as one that was shown"):
        store.add_ranking(anna, task, "n", [1, 2], None, Remarks(better=Better("one\ntwo\n")))
