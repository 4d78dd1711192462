"""Rankings: what is stored is what was ranked, once, and what undo gives back."""

import pytest

from labeling.store import InvalidRanking, NonceReused, Remarks, TaskClosed, TaskLeased, TaskUnknown, database
from tests.store.make import add_task, add_version, rank


def test_what_is_stored_is_what_was_ranked(store, anna, ben):
    wanted = {}
    for i, ranks in enumerate([[4, 3, 2, 1], [1, 2, 2, 3], [1, 1, 1, 1], [2, 4, 4, 2]]):
        add_task(store, f"prompt {i}", seed=i)
        ranking = rank(store, (anna, ben)[i % 2], f"nonce {i}", ranks)
        wanted[ranking.id] = (store.task(ranking.task_id).responses, ranking.ranks)
    assert [ranks for _, ranks in wanted.values()] == [[4, 3, 2, 1], [1, 2, 2, 3], [1, 1, 1, 1], [1, 2, 2, 1]]
    read = store.rankings()
    assert {r.id: (r.responses, r.ranks) for r in read} == wanted
    assert [r.prompt for r in read] == [f"prompt {i}" for i in range(4)]
    assert [r.person_kind for r in read] == ["human", "program", "human", "program"]
    assert [r.id for r in store.rankings(through=read[1].id)] == [read[0].id, read[1].id]
    rows = store.rows(
        "select text, rank from ranks join responses on responses.id = response_id where ranking_id = ?",
        [read[0].id],
    )
    assert {row["text"]: row["rank"] for row in rows} == dict(
        zip(read[0].responses, read[0].ranks, strict=True)
    )


def test_the_same_nonce_again_changes_nothing(store, anna):
    task = add_task(store)
    first = store.add_ranking(anna, task, "nonce", [1, 3, 3, 4], seconds=2.5)
    assert store.add_ranking(anna, task, "nonce", [1, 3, 3, 4]) == first
    assert store.add_ranking(anna, task, "nonce", [1, 2, 2, 3]) == first
    assert store.ranking_count() == 1
    assert store.value("select seconds from rankings") == 2.5
    skipped = store.add_ranking(anna, add_task(store, "other"), "skip", None)
    assert store.add_ranking(anna, skipped.task_id, "skip", None) == skipped


SAID = {  # ranks as given, remarks -> ranks as stored, partial
    "the best only": ([None, 1, None, None], Remarks(), [2, 1, 2, 2], True),
    "none acceptable, no order": ([None] * 4, Remarks(False, comment="all wrong"), [1, 1, 1, 1], True),
    "none acceptable, an order": ([4, 3, 2, 1], Remarks(False), [4, 3, 2, 1], False),
    "the best acceptable": ([1, 2, 2, 4], Remarks(True), [1, 2, 2, 3], False),
    "a comment": ([1, 2, 3, 4], Remarks(comment="ünd 'quoted'; drop table rankings"), [1, 2, 3, 4], False),
}


@pytest.mark.parametrize("name", SAID)
def test_remarks_are_read_back_as_they_were_said(store, anna, name):
    given, remarks, ranks, partial = SAID[name]
    task = add_task(store)
    ranking = store.add_ranking(anna, task, "nonce", given, 1.0, remarks)
    assert (ranking.ranks, ranking.partial) == (ranks, partial)
    assert store.add_ranking(anna, task, "nonce", given, 9.0, remarks) == ranking  # a retry
    with pytest.raises(NonceReused):
        store.add_ranking(anna, task, "nonce", given, 1.0, Remarks(remarks.acceptable, comment="other words"))
    (read,) = store.rankings()
    assert (read.ranks, read.partial) == (ranks, partial)
    assert Remarks(read.acceptable, read.strength, read.comment) == remarks
    undone = store.undo(anna)
    assert (undone.previous_ranks, undone.previous_remarks) == (given if None in given else ranks, remarks)
    assert store.rankings() == []


def test_of_two_it_is_kept_how_much_better_one_is(store, anna):
    task = add_task(store, responses=2)
    store.add_ranking(anna, task, "nonce", [2, 1], None, Remarks(strength=3))
    assert store.rankings()[0].strength == 3
    assert store.undo(anna).previous_remarks.strength == 3


def test_a_skip_keeps_its_comment_and_nothing_else(store, anna):
    task = add_task(store)
    with pytest.raises(InvalidRanking, match="A skip says nothing"):
        store.add_ranking(anna, task, "nonce", None, None, Remarks(acceptable=False))
    store.add_ranking(anna, task, "nonce", None, None, Remarks(comment="I do not know this subject"))
    assert store.value("select comment from rankings where kind = 'skipped'") == "I do not know this subject"
    assert store.rankings() == []
    undone = store.undo(anna)
    assert (undone.previous_ranks, undone.previous_remarks.comment) == (None, "I do not know this subject")


def test_a_nonce_for_another_submission_is_refused(store, anna, ben):
    task, other = add_task(store), add_task(store, "other")
    store.add_ranking(anna, task, "nonce", [1, 2, 3, 4])
    for person, task_id, ranks in [
        (anna, task, [1, 2, 3, 3]),
        (anna, task, [1, 2]),
        (anna, task, None),
        (anna, other, [1, 2, 3, 4]),
        (ben, task, [1, 2, 3, 4]),
    ]:
        with pytest.raises(NonceReused):
            store.add_ranking(person, task_id, "nonce", ranks)
    assert store.ranking_count() == 1
    assert store.open_tasks() == 1


def test_what_is_refused_stores_nothing(store, anna, ben):
    task = add_task(store)
    store.claim_task(anna)
    for person, task_id, ranks, error in [
        (anna, task, [1, 2, 3], InvalidRanking),
        (anna, task, [1, 2, 3, 5], InvalidRanking),
        (anna, task, [1, 2, 3, True], InvalidRanking),
        (anna, 999, [1, 2, 3, 4], TaskUnknown),
        (ben, task, [1, 2, 3, 4], TaskLeased),
    ]:
        with pytest.raises(error):
            store.add_ranking(person, task_id, "nonce", ranks)
    assert store.value("select count(*) from rankings") == store.value("select count(*) from ranks") == 0
    store.add_ranking(anna, task, "nonce", [1, 2, 3, 4])
    with pytest.raises(TaskClosed, match="already ranked"):
        store.add_ranking(anna, task, "another", [1, 2, 3, 4])


def test_a_skip_closes_the_task_and_counts_nowhere(store, anna, ben):
    task = add_task(store)
    skip = rank(store, anna, "skip", None)
    assert (skip.task_id, skip.kind, skip.ranks) == (task, "skipped", None)
    assert store.claim_task(ben) is None
    assert store.ranking_count() == store.new_rankings() == store.person_counts(anna)["total"] == 0
    assert store.ranking_count(include_skips=True) == 1
    assert store.rankings() == []


def test_counts(store, anna, ben, monkeypatch):
    for i in range(5):
        add_task(store, str(i))
        rank(store, anna if i < 3 else ben, f"n{i}")
    assert store.ranking_count() == store.new_rankings_since(0) == 5
    assert store.ranking_counts_by_kind() == {"human": 3, "program": 2, "judge": 0}
    assert store.new_rankings_since(store.last_ranking_id() - 1) == 1
    assert store.person_counts(anna) == {"today": 3, "total": 3}
    counts = {person["name"]: (person["rankings"], person["skips"]) for person in store.people()}
    assert counts == {"anna": (3, 0), "ben": (2, 0)}
    real = database.now
    monkeypatch.setattr("labeling.store.rankings.now", lambda: real() + 2 * 86400)
    assert store.person_counts(anna) == {"today": 0, "total": 3}


def test_undo_reopens_the_task_with_its_ranks_for_the_same_person(store, anna, ben):
    task = add_task(store)
    add_task(store, "other")
    first = rank(store, anna, "first", [2, 1, 3, 3])
    other = store.claim_task(anna)
    undone = store.undo(anna)
    assert (undone.id, undone.previous_ranks) == (task, [2, 1, 3, 3])
    assert store.ranking_count() == 0
    assert store.rankings() == []
    assert store.claim_task(anna) == undone  # a reload shows it, with the ranks
    assert store.task(task, ben).previous_ranks is None
    assert store.claim_task(ben) is None
    assert [t.id for t in store.claim_tasks(anna, ahead=1)] == [
        task,
        other.id,
    ]  # what was shown comes after it
    again = store.add_ranking(anna, task, "second", [1, 2, 3, 4])
    assert again.id != first.id
    assert [r.ranks for r in store.rankings()] == [[1, 2, 3, 4]]
    assert store.value("select count(*) from rankings where withdrawn_at is not null") == 1


def test_the_nonce_of_an_undone_ranking_is_refused_and_does_not_bring_it_back(store, anna):
    task = add_task(store)
    store.add_ranking(anna, task, "first", [1, 2, 3, 4])
    store.undo(anna)
    with pytest.raises(NonceReused, match="taken back"):  # an answer would say that it is stored
        store.add_ranking(anna, task, "first", [1, 2, 3, 4])
    assert store.ranking_count() == 0
    assert store.open_tasks() == 1


def test_undo_goes_back_step_by_step_through_skips_and_touches_only_ones_own(store, anna, ben):
    for i in range(3):
        add_task(store, str(i))
    one = rank(store, anna, "one")
    two = rank(store, anna, "two", None)
    rank(store, ben, "three")
    undone = store.undo(anna)
    assert (undone.id, undone.previous_ranks) == (two.task_id, None)
    assert store.undo(anna).id == one.task_id
    assert store.undo(anna) is None
    assert store.ranking_count() == 1


def test_undo_of_a_named_ranking_asked_again_takes_back_no_other(store, anna, ben):
    for i in range(3):
        add_task(store, str(i))
    one, two = rank(store, anna, "one"), rank(store, anna, "two", [2, 1, 3, 3])
    rank(store, ben, "three")
    assert store.undoable(anna) == two.id
    undone = store.undo(anna, ranking_id=two.id)
    assert store.undo(anna, ranking_id=two.id) == undone  # the first reply was lost
    assert (undone.id, undone.previous_ranks) == (two.task_id, [2, 1, 3, 3])
    assert (store.undoable(anna), store.ranking_count()) == (one.id, 2)
    assert store.undo(ben, ranking_id=one.id) is None
    assert store.undo(anna, ranking_id=99) is None
    store.add_ranking(anna, two.task_id, "again", [1, 2, 3, 4])
    with pytest.raises(TaskClosed):
        store.undo(anna, ranking_id=two.id)
    assert store.undo(anna, ranking_id=one.id).id == one.task_id
    assert store.claim_task(anna).id == one.task_id
    with store.write() as db:
        db.execute("update tasks set leased_by = ? where id = ?", [ben, one.task_id])
    with pytest.raises(TaskLeased):
        store.undo(anna, ranking_id=one.id)


def test_undo_shows_a_task_of_an_older_policy_first(store, anna):
    old = add_task(store)
    rank(store, anna, "old")
    version = add_version(store)
    add_task(store, "new", version)
    store.retire_tasks(before=version)
    assert store.undo(anna).id == old
    assert store.retire_tasks(before=version) == 0  # it is on somebody's screen
    assert store.claim_task(anna).id == old


def test_an_undone_task_is_somebody_elses_when_its_lease_ran_out(store, anna, ben):
    task = add_task(store)
    rank(store, anna, "one")
    store.undo(anna, lease_seconds=-1)
    taken = store.claim_task(ben)
    assert (taken.id, taken.previous_ranks) == (task, None)
