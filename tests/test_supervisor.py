"""The supervisor, with tiny workers: started again, told why, never an orphan."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from labeling.store import StoreError, open_store
from labeling.supervisor import SPINS, Supervisor, next_wait
from tests.test_app import alive, until

CHILDREN = {
    "waits": "print('at work', flush=True); sys.stdin.read()",
    "ignores the end of its input": "print('at work', flush=True); time.sleep(600)",
    "raises": "raise RuntimeError('the GPU is on fire')",
    "refuses": "print('There is no such model.', file=sys.stderr); sys.exit(2)",
    "says nothing": "os._exit(3)",
    "is told to refuse": "print('at work', flush=True); sys.stdin.read(6); print('Disk gone.'); sys.exit(2)",
    "is told how": (
        "asked = map(os.environ.get, ('GOMP_SPINCOUNT', 'GLIBC_TUNABLES')); "
        "print('at work', *asked, flush=True); sys.stdin.read()"
    ),
    "refuses the second time": (
        "again = os.path.exists('@'); open('@', 'w').close(); "
        "print('at work', flush=True); again or sys.stdin.read(6); print('No GPU.'); sys.exit(2)"
    ),
}


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        yield store


@pytest.fixture
def supervise(store, tmp_path):
    """Start a supervisor over a child that does what CHILDREN says."""
    started = []

    def start(kind, wait=lambda last, ran: 0.05):
        code = f"import os, sys, time; {CHILDREN[kind]}".replace("@", str(tmp_path / "been here"))
        supervisor = Supervisor(store, [sys.executable, "-S", "-c", code], tmp_path / "worker.log", wait)
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


def at_work(supervisor, times=1):
    until(
        lambda: supervisor.log_path.exists() and supervisor.log_path.read_text().count("at work") == times, 20
    )


def test_waits_grow_to_a_minute_and_health_resets_them():
    waits, wait = [], 0.0
    for _ in range(9):
        wait = next_wait(wait, ran=3.0)
        waits.append(wait)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert next_wait(60.0, ran=61.0) == 1


def test_a_worker_that_is_killed_is_started_again(supervise, store):
    supervisor = supervise("waits")
    at_work(supervisor)
    first = supervisor.process.pid
    until(lambda: store.worker_status()["pid"] == first, 20)  # it may speak before its row is written
    os.kill(first, signal.SIGKILL)
    at_work(supervisor, times=2)
    second = supervisor.process.pid
    assert second != first
    status = until(lambda: (s := store.worker_status())["pid"] == second and s)
    assert status["state"] == "starting"
    assert "SIGKILL" in status["error"]
    supervisor.stop()
    assert not alive(second)


OURS = f"{SPINS} glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:"
AS_ASKED = {
    "nothing": ({}, OURS),
    "to wait awake": ({"OMP_WAIT_POLICY": "active"}, OURS.replace(SPINS, "None")),
    "another wait": ({"GOMP_SPINCOUNT": "7"}, OURS.replace(SPINS, "7")),
    "another allocation": (
        {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=9"},
        f"{SPINS} glibc.malloc.tcache_count=9\n",
    ),
    "that by its older name": ({"MALLOC_TRIM_THRESHOLD_": "100000"}, f"{SPINS} None\n"),
}


@pytest.mark.parametrize(("asked", "told"), AS_ASKED.values(), ids=AS_ASKED)
def test_how_its_threads_wait_and_what_memory_it_keeps_is_ours_to_say_unless_somebody_has(
    supervise, monkeypatch, asked, told
):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    supervisor = supervise("is told how")
    at_work(supervisor)
    assert f"at work {told}" in supervisor.log_path.read_text()


def test_why_it_ended_is_on_the_page_while_it_waits(supervise, store):
    supervise("raises", wait=lambda last, ran: 60.0)
    status = until(lambda: (s := store.worker_status())["state"] == "failed" and s)
    assert status["error"] == "RuntimeError: the GPU is on fire"
    assert status["detail"] == "Starting again in 60 s."


def test_a_silent_end_is_explained_too(supervise, store):
    supervise("says nothing", wait=lambda last, ran: 60.0)
    assert "exit code 3" in until(lambda: store.worker_status()["error"])


def test_settings_that_cannot_be_are_not_tried_again(supervise, store):
    supervisor = supervise("refuses")
    assert until(lambda: supervisor.refusal) == "There is no such model."
    assert (supervisor.log_path).read_text().count("worker started") == 1


def test_after_it_has_worked_exit_code_2_is_a_failure_like_any_other(supervise, store):
    supervisor = supervise("is told to refuse")
    at_work(supervisor)
    store.beat("idle", "as the worker does once its model is loaded")
    supervisor.process.stdin.write(b"refuse")
    supervisor.process.stdin.flush()
    assert until(lambda: store.worker_status()["error"]) == "Disk gone."
    assert supervisor.refusal is None


def test_a_worker_that_had_worked_may_refuse_while_it_starts_again(supervise, store):
    supervisor = supervise("refuses the second time")
    at_work(supervisor)
    store.beat("idle", "as the worker does once its model is loaded")
    supervisor.process.stdin.write(b"refuse")
    supervisor.process.stdin.flush()
    at_work(supervisor, times=3)  # so it was started after it refused as it started, too
    assert supervisor.refusal is None


@pytest.mark.parametrize("kind", ["waits", "ignores the end of its input"])
def test_stopping_ends_the_worker_quickly(supervise, kind):
    supervisor = supervise(kind)
    at_work(supervisor)
    begun = time.monotonic()
    supervisor.stop(patience=0.2)
    assert time.monotonic() - begun < 5
    assert not alive(supervisor.process.pid)
    assert supervisor.log_path.read_text().count("worker started") == 1


def test_stopping_before_or_between_starts_is_fine(supervise, store):
    supervisor = supervise("raises", wait=lambda last, ran: 60.0)
    until(lambda: store.worker_status()["state"] == "failed")
    begun = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - begun < 5


def test_a_full_disk_does_not_end_the_supervisor(supervise, store, monkeypatch):
    def full(*_, **__):
        raise StoreError("Not saved: the disk is full.")

    monkeypatch.setattr(store, "beat", full)
    supervisor = supervise("waits")
    at_work(supervisor)
    os.kill(supervisor.process.pid, signal.SIGKILL)
    at_work(supervisor, times=2)


def test_a_log_that_is_gone_does_not_end_the_supervisor(supervise, store):
    supervisor = supervise("waits")
    at_work(supervisor)
    supervisor.log_path.unlink()
    supervisor.process.stdin.close()
    at_work(supervisor)  # the next one, in a new log
    assert "exit code 0; why is not known" in store.worker_status()["error"]


def test_what_cannot_be_started_or_read_now_is_tried_again(supervise, store, monkeypatch):
    popen, status, failed = subprocess.Popen, store.worker_status, []

    def no_memory(*words, **options):
        if "memory" not in failed:
            failed.append("memory")
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return popen(*words, **options)

    def locked():
        if "locked" not in failed and threading.current_thread().name == "supervisor":
            failed.append("locked")
            raise StoreError("The file is locked.")
        return status()

    reasons = []
    beat = store.beat
    monkeypatch.setattr(store, "beat", lambda *a, **k: (reasons.append(k["error"]), beat(*a, **k)))
    monkeypatch.setattr(subprocess, "Popen", no_memory)
    monkeypatch.setattr(store, "worker_status", locked)
    supervisor = supervise("refuses")  # heard when it can be known that it never worked
    assert until(lambda: supervisor.refusal) == "There is no such model."
    assert failed == ["memory", "locked"]
    told = [reason for reason in reasons if isinstance(reason, str)]
    assert "Cannot allocate memory" in told[0]
    assert told[1:] == ["There is no such model."] * 2  # tried again once, and then refused for good
    assert supervisor.log_path.read_text().count("worker started") == 3


def test_only_a_worker_that_got_to_work_was_healthy(supervise, store):
    ran = []

    def wait(last, seconds):
        ran.append(seconds)
        return 0.05

    supervisor = supervise("is told to refuse", wait)
    for state in ("starting", "idle"):
        at_work(supervisor, times=len(ran) + 1)
        until(lambda: store.worker_status()["detail"] == "starting Python")
        store.beat(state, "as the worker does while it loads its model, and once it has")
        os.kill(supervisor.process.pid, signal.SIGKILL)
        until(lambda state=state: len(ran) == (1 if state == "starting" else 2))
    assert ran[0] == 0
    assert ran[1] > 0


def test_a_long_log_is_put_aside(supervise, tmp_path):
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        file.truncate(21_000_000)
    at_work(supervise("waits"))
    assert log.stat().st_size < 1000
    assert (tmp_path / "worker.log.1").stat().st_size == 21_000_000
