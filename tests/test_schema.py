"""Which files are opened, brought up to date, or refused."""

import sqlite3

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from labeling import schema
from labeling.store import FILE_NAME, StoreError, database, open_store


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "run"


def migrate(run_dir):
    with open_store(run_dir, create=True, migrate=True) as store:
        return store.status()["rankings"]


def refusal(run_dir, **how) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(run_dir, **how)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def with_a_later_migration(monkeypatch, statement):
    """The schema of a future release: today's migrations and one more."""
    later = Migrations("podium")
    later._migrations = list(schema.migrations._migrations)

    @later()
    def m999_later(db):
        db.execute("create table half_done (id integer)")
        db.execute(statement)

    monkeypatch.setattr(database, "migrations", later)


def test_a_run_is_made_only_when_asked_to(run_dir):
    assert "no run" in refusal(run_dir)
    assert not run_dir.exists()
    assert migrate(run_dir) == 0
    with open_store(run_dir) as store:
        assert store.rounds() == []


def test_an_empty_file_is_a_blank_database(run_dir):
    run_dir.mkdir()
    (run_dir / FILE_NAME).touch()
    assert "is empty; restore a copy of it" in refusal(run_dir)  # only the app may take it for a new run
    assert migrate(run_dir) == 0


def test_migrating_again_changes_nothing(run_dir):
    migrate(run_dir)
    with open_store(run_dir) as store:
        before = store.db.schema
    migrate(run_dir)
    with open_store(run_dir) as store:
        assert store.db.schema == before


def test_a_migration_killed_between_its_table_and_its_first_step_is_finished(run_dir):
    run_dir.mkdir()
    schema.migrations.ensure_migrations_table(Database(run_dir / FILE_NAME))
    assert migrate(run_dir) == 0


def test_an_older_schema_is_brought_up_to_date_with_its_rows(run_dir, monkeypatch):
    migrate(run_dir)
    with open_store(run_dir) as store:
        store.add_person("token", "anna", "human")
    with_a_later_migration(monkeypatch, "alter table people add column note text")
    assert "older Podium" in refusal(run_dir)
    migrate(run_dir)
    with open_store(run_dir) as store:
        assert store.session("token").name == "anna"
        assert store.value("select count(*) from people where note is null") == 1


def test_rows_of_tables_that_are_made_anew_are_kept(run_dir, monkeypatch):
    """Migration 6 makes demonstrations, worker and commands anew: a file of the release before keeps all."""
    earlier = Migrations("podium")
    earlier._migrations = schema.migrations._migrations[:5]
    with monkeypatch.context() as patch:
        patch.setattr(database, "migrations", earlier)
        open_store(run_dir, create=True, migrate=True).close()
    with sqlite3.connect(run_dir / FILE_NAME) as old:
        old.executescript("""
            insert into people values (1, 'hash', 'anna', 'human', 1, 0);
            insert into prompts values (1, 'What is tea?', 'starter', 'train', 1, 1);
            insert into policies values (0, null, null, 'path', 'starter', null, 1);
            insert into responses values (1, 1, 0, 'A drink.', 2, 1, '{}', 1);
            insert into tasks (id, prompt_id, policy_version, created_at) values (1, 1, 0, 1);
            insert into rankings (id, nonce, task_id, person_id, kind, created_at)
                values (7, 'n', 1, 1, 'ranked', 1);
            insert into demonstrations values (7, 1, 1, 'A hot drink.', 2);
            insert into worker values (1, 'idle', 'waiting', null, 12, 3);
            insert into commands values (4, 'publish', '{"policy_version": 0}', 1, 1, 2, 'done');
            insert into rounds (id, state, trained_from, trained_through, rankings, parent_version, config,
                                started_at) values (1, 'stopped', 0, 7, 1, 0, '{}', 1);
        """)
    migrate(run_dir)
    with open_store(run_dir) as store:
        assert store.demonstrations() == [
            {"prompt": "What is tea?", "text": "A hot drink.", "split": "train", "source": "annotator"}
            | {"person_id": 1, "ranking_id": 7}
        ]
        assert store.value("select started_from from demonstrations") == 1
        assert store.worker_status()["detail"] == "waiting"
        assert [c["outcome"] for c in store.commands()] == ["done"]
        assert store.rounds()[0].method == "ppo"


def test_a_migration_that_fails_leaves_the_old_schema_whole(run_dir, monkeypatch):
    migrate(run_dir)
    with monkeypatch.context() as patch:
        with_a_later_migration(patch, "alter table there_is_no_such_table add column note text")
        assert "there_is_no_such_table" in refusal(run_dir, migrate=True)
    with open_store(run_dir) as store:
        assert "half_done" not in store.db.table_names()


def test_a_newer_schema_is_refused(run_dir, monkeypatch):
    with monkeypatch.context() as patch:
        with_a_later_migration(patch, "create table later (id integer)")
        migrate(run_dir)
    for how in ({}, {"migrate": True}, {"create": True, "migrate": True}):
        assert "newer Podium" in refusal(run_dir, **how)


@pytest.mark.parametrize(
    "content", [b"this is not a database\n" * 200, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_what_is_no_database_is_refused_and_left_alone(run_dir, content):
    run_dir.mkdir()
    (run_dir / FILE_NAME).write_bytes(content)
    assert "damaged" in refusal(run_dir, create=True, migrate=True)
    assert (run_dir / FILE_NAME).read_bytes() == content


def test_a_damaged_page_is_found_at_the_start(run_dir):
    with open_store(run_dir, create=True, migrate=True) as store:
        store.add_prompts([(f"prompt {i} " + "x" * 500, "train") for i in range(200)], "test")
    path = run_dir / FILE_NAME
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    assert "damaged" in refusal(run_dir, create=True, migrate=True)


def test_somebody_elses_database_is_refused(run_dir):
    run_dir.mkdir()
    with sqlite3.connect(run_dir / FILE_NAME) as other:
        other.execute("create table recipes (id integer)")
    assert "not one of Podium's" in refusal(run_dir, create=True, migrate=True)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refusal(tmp_path / "file" / "run", create=True, migrate=True)
    (tmp_path / "run" / FILE_NAME).mkdir(parents=True)
    assert "cannot be used" in refusal(tmp_path / "run", create=True, migrate=True)


def test_each_connection_has_the_pragmas(run_dir):
    with open_store(run_dir, create=True, migrate=True) as store:
        assert store.value("pragma foreign_keys") == 1
        assert store.value("pragma synchronous") == 2  # FULL
        assert store.value("pragma journal_mode") == "wal"
        with pytest.raises(sqlite3.IntegrityError), store.write():
            store.insert("publications", policy_version=7, reason="no such policy", created_at=0)
