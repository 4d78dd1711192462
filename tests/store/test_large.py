"""What every reply asks: right after whatever was written, and found without reading a table through."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlite_utils.migrations import Migrations

from labeling import schema
from labeling.store import NewResponse, database, open_store
from labeling.store.tasks import FEW_PROMPTS
from tests.store.make import add_task, add_version, rank

ROOT = Path(__file__).resolve().parents[2]


def counted(store):
    """How many rankings of each person stand: as it is kept, and counted."""
    return store.rows(
        """
        select ranked, (
            select count(*) from rankings
            where person_id = people.id and withdrawn_at is null and rankings.kind = 'ranked'
        ) as counted
        from people
        """
    )


def test_how_many_stand_is_kept_through_everything(store, anna, ben):
    for i in range(6):
        add_task(store, str(i), wanted=1 + i % 2)
    steps = [
        lambda: rank(store, anna, "1"),
        lambda: rank(store, ben, "2"),
        lambda: rank(store, anna, "3", None),  # a skip
        lambda: store.undo(anna),
        lambda: store.undo(anna),
        lambda: rank(store, anna, "4"),
        lambda: rank(store, anna, "5"),
        lambda: store.withdraw(anna, store.undoable(anna)),
        lambda: store.withdraw(ben, store.undoable(ben)),
        lambda: rank(store, ben, "6"),
    ]
    wanted = [(1, 0), (1, 1), (1, 1), (1, 1), (0, 1), (1, 1), (2, 1), (1, 1), (1, 0), (1, 1)]
    for step, each in zip(steps, wanted, strict=True):
        step()
        assert [row["ranked"] for row in counted(store)] == list(each)
        assert all(row["ranked"] == row["counted"] for row in counted(store))
        assert store.ranking_counts_by_kind() == {"human": each[0], "program": each[1], "judge": 0}
        assert store.person_counts(anna) == {"today": each[0], "total": each[0]}
    with store.write() as db:  # by hand, as an archive might be cleaned
        db.execute("delete from ranks")
        db.execute("delete from rankings")
    assert [row["ranked"] for row in counted(store)] == [0, 0]


def test_what_stood_before_is_counted_when_the_file_is_brought_up_to_date(tmp_path, monkeypatch):
    earlier = Migrations("podium")
    earlier._migrations = [m for m in schema.migrations._migrations if m.name < "m005"]
    with monkeypatch.context() as patch:
        patch.setattr(database, "migrations", earlier)
        with open_store(tmp_path, create=True, migrate=True) as store:
            store.add_reference("models/sft", "starter")
            people = [store.add_person(name, name, "human").id for name in ("anna", "ben")]
            for i in range(5):
                add_task(store, str(i))
                rank(store, people[i % 2], str(i), None if i == 4 else (1, 2, 3, 4))
            store.undo(people[1])
    with open_store(tmp_path, migrate=True) as store:
        assert counted(store) == [{"ranked": 2, "counted": 2}, {"ranked": 1, "counted": 1}]
        rank(store, people[1], "again")
        assert counted(store)[1] == {"ranked": 2, "counted": 2}


def test_a_turn_reads_no_table_through(store, anna):
    """That is the whole difference between a new file and one of 100,000 rankings."""
    for i in range(3):
        add_task(store, str(i))
        rank(store, anna, str(i))
    version = add_version(store)
    for i in range(5):
        add_task(store, f"next {i}", version)
    held = store.claim_tasks(anna, ahead=2)
    asked = []
    store.db.conn.set_trace_callback(asked.append)
    with store.write():
        assert store.session("anna's token").id == anna
        store.add_ranking(anna, held[0].id, "nonce", [1, 2, 3, 4])
        assert len(store.claim_tasks(anna, ahead=2)) == 3
    store.person_counts(anna), store.effect(anna), store.undoable(anna), store.status()
    store.db.conn.set_trace_callback(None)
    plans = {}
    for sql in asked:
        if re.match(r"\s*(select|update|insert)", sql):
            plans[sql] = [row["detail"] for row in store.rows(f"explain query plan {sql}")]
    assert len(plans) > 20
    # These are short; open tasks are counted within their index; new rankings up to those of a round.
    short = (
        r"people|policies|publications|rounds|settings|worker|guidelines|tasks USING INDEX|\(subquery-\d+\)"
    )
    for sql, plan in plans.items():
        for step in plan:
            assert not step.startswith("SCAN") or re.match(rf"SCAN ({short})", step), (sql, plan)
            # All this person's rankings: only their last is looked up so.
            assert "rankings_person (person_id=?)" not in step or "max(id)" in sql, (sql, plan)
        assert "TEMP B-TREE" not in str(plan) or "tasks_open" not in str(plan), (sql, plan)


def steps_of(store, ask):
    """How many steps of its virtual machine SQLite takes for what is asked, to the hundred."""
    counted = []
    store.db.conn.set_progress_handler(lambda: counted.append(100), 100)
    ask()
    store.db.conn.set_progress_handler(None, 0)
    return sum(counted)


def test_a_round_that_does_not_come_makes_the_status_no_slower(store, anna):
    judge = store.judge("a", "model").id
    for i in range(70):
        add_task(store, str(i))
        rank(store, judge if i % 2 else anna, str(i))
    few = steps_of(store, store._status)
    with store.write() as db:  # forty times as many
        db.execute(
            """
            insert into tasks (id, prompt_id, policy_version, state, created_at)
            select tasks.id + 70 * value, prompt_id, policy_version, state, created_at
            from tasks, json_each(?)
            """,
            [json.dumps(list(range(1, 41)))],
        )
        db.execute(
            """
            insert into rankings (nonce, task_id, person_id, kind, created_at)
            select 'task ' || tasks.id, tasks.id, person_id, kind, rankings.created_at
            from tasks join rankings on rankings.id = 1 + (tasks.id - 1) % 70 where tasks.id > 70
            """
        )
    assert store.new_rankings() == store.new_rankings(most=10_000) == store.status()["rankings"] == 70 * 41
    assert (store.new_rankings(most=64), store.status()["until_next_round"]) == (64, 0)
    assert 10 * steps_of(store, store._status) < 15 * few < steps_of(store, store.new_rankings)


def test_of_many_prompts_a_few_are_looked_at(store):
    """And still none comes again before all others, nor one that is held out."""
    many = 5 * FEW_PROMPTS
    store.add_prompts([(str(i), "train" if i % 2 else "heldout") for i in range(many)], "test")
    assert steps_of(store, lambda: store.next_prompts(4, 0)) < many
    assert store.next_prompts(4, 0, seed=1) == store.next_prompts(4, 0, seed=1) != store.next_prompts(4, 0)
    seen = []
    for _ in range(25):
        for prompt in store.next_prompts(4, 0):
            seen.append(prompt)
            if len(seen) % 3:
                store.add_task(prompt.id, 0, [NewResponse("a", 1, True), NewResponse("b", 1, True)])
            else:
                store.pass_over(prompt.id, 0)
    assert len({prompt.id for prompt in seen}) == len(seen) == 100
    assert {prompt.split for prompt in seen} == {"train"}
    assert len({10 * prompt.id // many for prompt in seen}) >= 9  # from everywhere
    # Where few are left that nobody has used, all are looked at.
    few = {str(i) for i in range(1, 20, 2)} | {prompt.text for prompt in seen[:2]}
    with store.write() as db:
        rows = store.rows("select id from prompts where text not in (select value from json_each(?))",
                          [json.dumps(sorted(few))])  # fmt: skip
        db.conn.executemany("update prompts set active = 0 where id = ?", [(row["id"],) for row in rows])
    found = store.next_prompts(100, 0)
    assert {prompt.text for prompt in found} == few
    assert [prompt in seen for prompt in found] == sorted(prompt in seen for prompt in found)


def test_what_is_kept_is_what_is_on_disk(store, anna):
    reads = []

    def read():
        reads.append(store.get_setting("a"))
        return reads[-1]

    assert [store.kept("a", read) for _ in range(3)] == [None] * 3
    assert len(reads) == 1
    store.put_setting("a", 1)
    assert [store.kept("a", read) for _ in range(2)] == [1, 1]
    code = "import sys; from labeling.store import open_store; open_store(sys.argv[1]).put_setting('a', 2)"
    subprocess.run([sys.executable, "-c", code, store.run_dir], check=True, cwd=ROOT)
    assert [store.kept("a", read) for _ in range(2)] == [2, 2]
    assert len(reads) == 3

    def taken_back():
        with store.write():
            store.put_setting("a", 3)
            assert store.kept("a", read) == 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        taken_back()
    assert store.kept("a", read) == 2
    assert store.status()["now"] <= store.status()["now"]


def test_the_status_is_asked_again_when_anybody_has_written(store, anna):
    before = store.status()
    assert store.status() | {"now": 0} == before | {"now": 0}
    other = sqlite3.connect(store.path)
    other.execute("insert into settings values ('paused', 'true')")
    other.commit()
    other.close()
    assert store.status()["paused"] is True
    add_task(store)
    assert store.status()["open_tasks"] == 1
    rank(store, anna, "n")
    assert (store.status()["open_tasks"], store.status()["rankings"]) == (0, 1)
