"""Transactions, a full disk, threads."""

import gc
import threading

import pytest

from labeling.store import StoreError
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
