"""Transactions, a full disk, threads; files that are lost, empty, or may only be read."""

import gc
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from labeling.store import FILE_NAME, StoreError, open_store
from tests.store.make import add_task


def test_a_write_is_kept_whole_or_not_at_all(store):
    def half():
        with store.write():
            store.add_command("pause")
            with store.write():
                store.add_command("resume")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.commands() == []
    assert not store.db.conn.in_transaction


def test_a_full_disk_is_one_sentence_and_loses_nothing(store, anna):
    task = add_task(store)
    pages = store.value("pragma page_count")
    store.value(f"pragma max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"Not saved.*full"):
        store.add_prompts([(f"{i}" + "x" * 4000, "train") for i in range(100)], "test")
    store.value("pragma max_page_count = 100000")
    assert store.add_ranking(anna, task, "nonce", [1, 2, 3, 4]).id == 1


def test_threads_share_a_store_and_their_connections_end_with_them(store):
    errors = []

    def work(number):
        try:
            for i in range(5):
                store.add_command("pause", {"from": f"{number}/{i}"})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store.commands(100)) == 40
    gc.collect()
    assert len(store._open) == 1


@pytest.mark.parametrize("lost", ["missing", "empty"])
def test_trained_policies_without_their_database_are_no_new_run(tmp_path, lost):
    (tmp_path / "policies" / "1").mkdir(parents=True)
    if lost == "empty":
        (tmp_path / FILE_NAME).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=r"trained policies.*restore a copy.*--run-dir"):
        open_store(tmp_path, create=True, migrate=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_file_without_policies_is_a_new_run_but_only_to_the_app(tmp_path):
    (tmp_path / FILE_NAME).touch()
    for read_only in (True, False):
        with pytest.raises(StoreError, match="is empty"):
            open_store(tmp_path, read_only=read_only)
    assert [(p.name, p.stat().st_size) for p in tmp_path.iterdir()] == [(FILE_NAME, 0)]
    open_store(tmp_path, create=True, migrate=True).close()


def test_reading_changes_nothing_and_writing_is_refused(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.db.conn.execute("pragma journal_mode = delete")  # which opening it to write would turn to WAL
    before = (tmp_path / FILE_NAME).read_bytes()
    with open_store(tmp_path, read_only=True) as store:
        assert store.status()["rankings"] == 0
        with pytest.raises(StoreError, match="readonly"):
            store.put_setting("a", 1)
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]
    assert (tmp_path / FILE_NAME).read_bytes() == before


@contextmanager
def nobody():
    """Root may write anywhere, so be somebody else for a moment."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="folders are made read-only otherwise there")
def test_a_run_in_a_folder_that_cannot_be_written_can_be_read():
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: nobody else may enter that
        run_dir = Path(name)
        with open_store(run_dir, create=True, migrate=True) as store:
            store.put_setting("model", "starter")
        run_dir.chmod(0o555)
        with nobody():
            with pytest.raises(StoreError, match="cannot be used"):
                open_store(run_dir)
            with open_store(run_dir, read_only=True) as store:
                assert store.status()["model"] == "starter"
        run_dir.chmod(0o755)
        (run_dir / f"{FILE_NAME}-wal").write_bytes(b"not yet in the file, and not to be left out silently")
        run_dir.chmod(0o555)
        with nobody(), pytest.raises(StoreError, match="cannot be used"):
            open_store(run_dir, read_only=True)
        run_dir.chmod(0o755)
