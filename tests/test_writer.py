"""The writer: what waits together is committed together, and each is told what became of it."""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from labeling.store import (
    InvalidRanking,
    NewResponse,
    StoreError,
    TaskClosed,
    TaskLeased,
    TaskUnknown,
    open_store,
)
from labeling.writer import Writer


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        store.add_prompts([("a prompt", "train")], "test")
        for i in range(20):
            store.add_task(1, 0, [NewResponse("a", 1, True), NewResponse("b", 1, True)], seed=i)
        yield store


@pytest.fixture
def people(store):
    return [store.add_person(f"token {i}", f"person {i}", "program").id for i in range(20)]


def run(coroutine):
    """In a thread of its own: the browser tests' library keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def together(store, writes, then=lambda result: result):
    """What becomes of writes that all arrive while another one is written."""
    writer, held = Writer(store), threading.Event()

    async def all_of_them():
        first = asyncio.create_task(writer.run(held.wait))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(writer.run(write, then)) for write in writes]
        await asyncio.sleep(0.01)
        held.set()
        await first
        return await asyncio.gather(*rest, return_exceptions=True)

    return run(all_of_them())


def ranking(store, person, task, nonce=None, ranks=(1, 2)):
    return lambda: store.add_ranking(person, task, nonce or f"{person} {task}", list(ranks))


def in_the_file(store):
    """Nonces that stand, as anybody else would read them."""
    other = sqlite3.connect(store.path)
    found = [nonce for (nonce,) in other.execute("select nonce from rankings order by id")]
    other.close()
    return found


def test_what_waits_is_one_transaction(store, people, monkeypatch):
    commits = []
    write = store.write

    def counted():
        commits.append(store.db.conn.in_transaction)
        return write()

    monkeypatch.setattr(store, "write", counted)
    answers = together(store, [ranking(store, person, person) for person in people])
    assert [answer.task_id for answer in answers] == people
    assert in_the_file(store) == [f"{person} {person}" for person in people]
    assert commits.count(False) == 2  # the first one's, and all the others'


def test_a_refused_one_takes_back_its_own_and_nothing_else(store, people):
    def half():
        store.add_ranking(people[2], 3, "half", [2, 1])
        raise InvalidRanking("No.")

    answers = together(
        store,
        [
            ranking(store, people[0], 1),
            ranking(store, people[1], 2, ranks=(1, 2, 3)),
            half,
            ranking(store, people[3], 999),
            ranking(store, people[4], 3),
        ],
    )
    assert [type(answer) for answer in answers[1:4]] == [InvalidRanking, InvalidRanking, TaskUnknown]
    assert (answers[0].task_id, answers[4].task_id) == (1, 3)
    assert in_the_file(store) == ["1 1", "5 3"]
    assert store.value("select count(*) from ranks") == 4
    assert store.person_counts(people[2])["total"] == 0


def test_one_task_and_one_nonce_are_ranked_once_also_together(store, people):
    anna, ben, *_ = people
    store.claim_task(ben)  # task 1
    answers = together(
        store,
        [
            ranking(store, anna, 1),
            ranking(store, anna, 2, "twice"),
            ranking(store, anna, 2, "twice"),
            ranking(store, ben, 2),
            ranking(store, ben, 1),
        ],
    )
    assert isinstance(answers[0], TaskLeased)
    assert answers[1] == answers[2]
    assert isinstance(answers[3], TaskClosed)
    assert in_the_file(store) == ["twice", f"{ben} 1"]


def test_it_is_on_the_disk_before_anybody_is_answered(store, people):
    seen = together(
        store,
        [ranking(store, person, person) for person in people[:3]],
        then=lambda _: (in_the_file(store), store.db.conn.in_transaction),
    )
    assert seen == [(["1 1", "2 2", "3 3"], False)] * 3


def test_a_full_disk_refuses_all_and_keeps_none(store, people):
    def fill():
        store.value(f"pragma max_page_count = {store.value('pragma page_count')}")
        store.add_prompts([(f"{i}" + "x" * 4000, "train") for i in range(100)], "test")

    answers = together(
        store, [ranking(store, people[0], 1), fill, *(ranking(store, p, p) for p in people[1:])]
    )
    kept = in_the_file(store)
    for person, answer in zip(people, [answers[0], *answers[2:]], strict=True):
        assert isinstance(answer, StoreError) == (f"{person} {person}" not in kept)
    assert "full" in str(answers[1])
    assert len(store.prompts()) == 1


def test_a_locked_file_is_said_to_each(store, people, monkeypatch):
    monkeypatch.setattr("labeling.store.database.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    writer = Writer(store)

    async def all_of_them():
        other.execute("begin immediate")
        refused = await asyncio.gather(
            *(writer.run(ranking(store, person, person)) for person in people), return_exceptions=True
        )
        other.execute("rollback")
        return refused, await writer.run(ranking(store, people[0], 1))

    refused, later = run(all_of_them())
    assert all(isinstance(error, StoreError) and "locked" in str(error) for error in refused)
    assert (later.task_id, in_the_file(store)) == (1, ["1 1"])
    other.close()


def test_who_left_is_stored_and_the_others_are_answered(store, people):
    writer, held = Writer(store), threading.Event()

    async def all_of_them():
        first = asyncio.create_task(writer.run(held.wait))
        await asyncio.sleep(0.01)
        left, stayed = (
            asyncio.create_task(writer.run(ranking(store, person, person))) for person in people[:2]
        )
        await asyncio.sleep(0.01)
        left.cancel()
        held.set()
        await first
        return await stayed

    assert run(all_of_them()).task_id == people[1]
    assert in_the_file(store) == ["1 1", "2 2"]


def test_an_answer_that_fails_is_its_own(store, people):
    def then(stored):
        return 1 / (stored.task_id - 2)

    answers = together(store, [ranking(store, person, person) for person in people[:3]], then)
    assert (answers[0], type(answers[1]), answers[2]) == (-1, ZeroDivisionError, 1)
    assert len(in_the_file(store)) == 3


def test_it_serves_one_loop_after_another(store, people):
    writer = Writer(store)
    for person in people[:3]:
        assert run(writer.run(ranking(store, person, person))).task_id == person
    assert len(in_the_file(store)) == 3
