"""The store between processes: real ones, writing, claiming and ranking at once, and killed.

An ordinary `with db.atomic()` lost 503 of 600 writes in this situation; nothing may be lost here, nothing
may be there twice, and nobody may see "database is locked".
"""

import multiprocessing
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from labeling.store import (
    FILE_NAME,
    NewResponse,
    StoreError,
    TaskClosed,
    TaskLeased,
    open_store,
)

PROCESSES = 4
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pool():
    """Processes as the app starts them: spawned, sharing nothing but the file."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        list(pool.map(abs, range(PROCESSES)))
        yield pool


@pytest.fixture
def run_dir(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        store.add_prompts([(f"prompt {i}", "train") for i in range(20)], "test")
    return tmp_path


def at_once(pool, function, *arguments):
    """Run `function(number, *arguments)` in all processes and return what each answered."""
    return [f.result(60) for f in [pool.submit(function, n, *arguments) for n in range(PROCESSES)]]


def add_tasks(store, count):
    responses = [NewResponse(f"response {i}", 3, True) for i in range(3)]
    return [store.add_task(1 + i % 20, 0, responses, seed=i) for i in range(count)]


def ranks_for(task_id):
    """Which ranks a task gets here, so that reading back can tell whether they were mixed up."""
    return [[1, 2, 3], [3, 2, 1], [2, 1, 2], [1, 1, 1], [2, 3, 1]][task_id % 5]


def fill_and_rank(number, run_dir, each):
    """Half worker, half annotator: make tasks, beat, write metrics, and rank whatever can be claimed."""
    ranked = []
    with open_store(run_dir) as store:
        person = store.add_person(f"token {number}", "annotator", "program").id
        for i in range(each):
            add_tasks(store, 1)
            store.beat("generating", f"process {number}")
            store.add_metrics(1, 1, i, {"objective/kl": float(i), "objective/score": float(number)})
            task = store.claim_task(person)
            if task is not None:
                store.add_ranking(person, task.id, f"{number}/{i}", ranks_for(task.id))
                ranked.append(task.id)
        while (task := store.claim_task(person)) is not None:
            store.add_ranking(person, task.id, f"{number}/late/{task.id}", ranks_for(task.id))
            ranked.append(task.id)
    return ranked


def test_nothing_is_lost_or_done_twice(pool, run_dir):
    each = 40
    with open_store(run_dir) as store:
        store.begin_round({})
    ranked = [task for tasks in at_once(pool, fill_and_rank, run_dir, each) for task in tasks]
    with open_store(run_dir) as store:
        assert sorted(ranked) == list(range(1, PROCESSES * each + 1))
        assert store.ranking_count() == PROCESSES * each
        assert store.open_tasks() == 0
        assert len(store.metrics()) == 2 * PROCESSES * each
        assert len({p["name"] for p in store.people()}) == PROCESSES
        by_task = store.rows(
            "select task_id, group_concat(rank, '') as ranks from "
            "(select * from rankings join ranks on ranking_id = id order by id, position) group by task_id"
        )
        for row in by_task:
            dense = {2: "212", 3: "111"}.get(row["task_id"] % 5, "".join(map(str, ranks_for(row["task_id"]))))
            assert row["ranks"] == dense
        assert store.value("pragma integrity_check") == "ok"
        assert store.rows("pragma foreign_key_check") == []


def claim_for(number, run_dir, people):
    with open_store(run_dir) as store:
        mine = [store.add_person(f"{number}/{i}", "annotator", "human").id for i in range(people)]
        return [task.id for person in mine if (task := store.claim_task(person)) is not None]


def test_no_task_is_leased_to_two_people(pool, run_dir):
    with open_store(run_dir) as store:
        tasks = add_tasks(store, 30)
    claimed = [task for tasks in at_once(pool, claim_for, run_dir, 20) for task in tasks]
    assert sorted(claimed) == tasks
    with open_store(run_dir) as store:
        assert store.value("select count(distinct leased_by) from tasks") == 30


def repeat_one_ranking(number, run_dir, person, task):
    with open_store(run_dir) as store:
        return {store.add_ranking(person, task, "the same nonce", [1, 3, 2]).id for _ in range(25)}


def test_one_nonce_sent_by_all_is_stored_once(pool, run_dir):
    with open_store(run_dir) as store:
        person = store.add_person("token", "anna", "human").id
        [task] = add_tasks(store, 1)
    answers = at_once(pool, repeat_one_ranking, run_dir, person, task)
    assert answers == [{1}] * PROCESSES
    with open_store(run_dir) as store:
        assert store.ranking_count() == 1


def fight_for(number, run_dir, tasks):
    with open_store(run_dir) as store:
        person = store.add_person(f"token {number}", "annotator", "human").id
        won = []
        for task in tasks:
            try:
                store.add_ranking(person, task, f"{number}/{task}", [1, 2, 3])
                won.append(task)
            except (TaskClosed, TaskLeased):
                continue
        return won


def test_one_task_takes_one_ranking(pool, run_dir):
    with open_store(run_dir) as store:
        tasks = add_tasks(store, 25)
    won = [task for tasks in at_once(pool, fight_for, run_dir, tasks) for task in tasks]
    assert sorted(won) == tasks


def open_new(_number, run_dir, at):
    while time.time() < at:  # not asleep: all are to arrive within the same millisecond
        pass
    with open_store(run_dir, create=True, migrate=True) as store:
        return store.ranking_count()


def test_a_new_run_opened_by_all_at_once_is_migrated_once(pool, tmp_path):
    for i in range(25):  # one time in four it went wrong, before a new file's turn to WAL was waited for
        at = time.time() + 0.02
        assert at_once(pool, open_new, tmp_path / f"run {i}", at) == [0] * PROCESSES


def begin_and_leave(_number, run_dir):
    with open_store(run_dir) as store:
        return store.begin_round({}).id


def test_there_is_one_running_round(pool, run_dir):
    assert at_once(pool, begin_and_leave, run_dir) == [1] * PROCESSES
    with open_store(run_dir) as store:
        [round_] = store.rounds()
        assert round_.attempts == PROCESSES


RANK_AND_SAY_SO = """
import sys
from labeling.store import NewResponse, open_store
store = open_store(sys.argv[1])
person = store.add_person("token", "anna", "human").id
number = 0
while True:
    task = store.add_task(1, 0, [NewResponse("a", 1, True), NewResponse("b", 1, True)])
    number += 1
    ranking = store.add_ranking(person, task, f"nonce {number}", [2, 1] if number % 2 else [1, 2])
    print(ranking.id, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(run_dir):
    command = [sys.executable, "-c", RANK_AND_SAY_SO, str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        acknowledged = [int(process.stdout.readline()) for _ in range(40)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    with open_store(run_dir, migrate=True) as store:
        stored = {ranking.id: ranking.ranks for ranking in store.rankings()}
        assert set(acknowledged) <= set(stored)
        assert len(stored) - len(acknowledged) <= 1  # stored, and killed before it could say so
        assert all(ranks == ([2, 1] if number % 2 else [1, 2]) for number, ranks in stored.items())
        assert store.value("select count(*) from ranks") == 2 * len(stored)
        assert store.value("pragma integrity_check") == "ok"


def test_a_database_that_stays_locked_is_one_sentence(run_dir, monkeypatch):
    monkeypatch.setattr("labeling.store.database.BUSY_SECONDS", 0.05)
    with open_store(run_dir) as store:
        other = sqlite3.connect(run_dir / FILE_NAME, isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(StoreError, match="locked"):
            store.add_command("pause")
        assert store.commands() == []  # readers do not wait
        other.rollback()
        other.close()
        assert store.add_command("pause") == 1
