"""What the worker and the pages say to each other: heartbeat, commands, samples, settings, status."""

import pytest

from labeling.store import StoreError
from tests.store.make import add_task, add_version, rank


def test_the_heartbeat_keeps_the_last_error_until_it_is_cleared(store):
    assert store.worker_status()["seen"] is None
    store.beat("failed", "starting again", error="out of memory", pid=7)
    store.beat("idle", "waiting")
    assert store.worker_status()["error"] == "out of memory"
    store.beat("idle", "waiting", error=None)
    status = store.worker_status()
    assert (status["state"], status["detail"], status["error"]) == ("idle", "waiting", None)
    assert store.value("select count(*) from worker") == 1


def test_commands_wait_until_they_are_finished(store, anna):
    first = store.add_command("pause", person_id=anna)
    second = store.add_command("publish", {"policy_version": 0})
    assert [c["id"] for c in store.waiting_commands()] == [first, second]
    store.finish_command(first, "paused")
    [waiting] = store.waiting_commands()
    assert (waiting["name"], waiting["argument"]) == ("publish", {"policy_version": 0})
    assert [(c["id"], c["outcome"]) for c in store.commands()] == [(second, None), (first, "paused")]
    with pytest.raises(StoreError, match="explode"):
        store.add_command("explode")


def test_samples_grow_and_half_written_ones_are_written_again(store):
    base, reference = store.add_samples("batch", "hello", [-1, 0])
    store.update_sample(base, text="hel", state="running")
    assert [s["id"] for s in store.waiting_samples()] == [base, reference]
    store.update_sample(base, text="hello", state="done", score=1.5)
    store.update_sample(reference, state="failed", error="no memory")
    assert store.waiting_samples() == []
    shown = [
        (s["policy_version"], s["text"], s["score"], s["state"], s["error"]) for s in store.samples("batch")
    ]
    assert shown == [(-1, "hello", 1.5, "done", None), (0, "", None, "failed", "no memory")]


def test_settings(store):
    assert store.get_setting("missing", 3) == 3
    store.put_setting("config", {"a": [1, 2], "b": float("nan")})
    store.put_setting("config", {"a": [1], "b": float("nan")})
    assert store.get_setting("config") == {"a": [1], "b": None}


def test_status_has_the_facts(store, anna, ben):
    store.put_setting("config", {"rankings_per_round": 4})
    store.put_setting("model", "starter")
    store.put_setting("base", "models/base")
    for i in range(3):
        add_task(store, str(i))
        rank(store, anna if i else ben, f"n{i}")
    add_task(store, "open")
    status = store.status()
    assert (status["rankings"], status["programs"], status["open_tasks"]) == (3, 1, 1)
    assert (status["rankings_per_round"], status["until_next_round"]) == (4, 1)
    assert (status["policy_version"], status["model"], status["starter"], status["base"]) == (
        0,
        "starter",
        True,
        True,
    )
    assert (status["last_round"], status["paused"]) == (None, False)
    assert status["worker"].keys() == {"state", "detail", "error", "seen"}
    version = add_version(store)
    status = store.status()
    assert status["policy_version"] == status["last_round"]["policy_version"] == version
    assert (status["until_next_round"], status["next_policy"]) == (4, version + 1)
    store.publish(0, "back")
    assert store.status()["next_policy"] == version + 1
    store.begin_round({})
    assert store.status()["next_policy"] == version + 2  # the running round makes the one before
