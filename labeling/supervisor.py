"""Keeps the worker running: starts it, notices when it ends, says why, starts it again.

The worker's standard input is a pipe whose other end only this process holds. When this process ends, however
it ends, the kernel closes the pipe and the worker sees it and exits: no orphan keeps the GPU or writes into
the database. What the worker prints goes to `worker.log`, and the last line it printed is why it ended.
"""

import contextlib
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from labeling.store import KEEP, Store

ROOT = Path(__file__).resolve().parent.parent
LONGEST_WAIT = 60.0
HEALTHY_SECONDS = 60.0
WORKER_NICENESS = 10
LARGEST_LOG = 20_000_000
CONFIGURATION_ERROR = 2  # the worker's exit code when asking again would not help
REFUSED = "The start was refused."  # detail of the worker's state, beside the reason
MODULE = ("-P", "-m")  # run a module of ours; -P: not one of the same name in the current folder
log = logging.getLogger(__name__)


def worker_command(run_dir: Path, config: dict[str, Any]) -> list[str]:
    """How the worker is started."""
    options = ["--run-dir", str(run_dir), "--config", json.dumps(config), "--supervised"]
    return [sys.executable, *MODULE, "rlhf.worker", *options]


# How long torch's threads (GNU OpenMP) wait for each other wide awake. By default so long that beside a busy
# browser they wait through their own turns: forward and backward of 24 responses of 40 tokens through the
# starter, two threads on two cores, took 63 ms, and 484 to 1,140 ms beside one busy process. With this 64 and
# 213 ms; had they slept at once, 102 and 121 ms.
SPINS = "10000"

# What torch frees, glibc keeps, and asks for in huge pages. By default much of it goes back to the system,
# and each page of it is cleared anew a moment later: forward and backward of 64 responses through a Llama of
# 5.9M parameters in bf16 took 334 to 350 ms, with this 291 to 296, and no more memory (medians of 15, three
# runs in turn, two cores); whole updates of PPO take 3 to 15 % more of it. After a round, and once models are
# loaded, the worker gives it back (`rlhf/memory.py`).
ALLOCATOR = {"hugetlb": 1, "mmap_threshold": 1 << 30, "trim_threshold": 1 << 34}  # bytes


def for_torch() -> dict[str, str]:
    """Our environment, with what makes torch faster on a CPU where nobody has said otherwise."""
    ours = {}
    if "OMP_WAIT_POLICY" not in os.environ:
        ours["GOMP_SPINCOUNT"] = SPINS
    asked = any(name.startswith("MALLOC_") for name in os.environ)  # the tunables' older names
    if not asked and _glibc() >= (2, 35):  # the first that can ask for huge pages
        ours["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{name}={value}" for name, value in ALLOCATOR.items())
    return ours | os.environ


def _glibc() -> tuple[int, ...]:
    """Its version; (0,) for another C library."""
    name, version = platform.libc_ver()
    return tuple(map(int, version.split(".")[:2])) if name == "glibc" else (0,)


def child_environment() -> dict[str, str]:
    """Ours, so that `-m` finds the packages without an installation, and with nothing that phones home."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return for_torch() | ours


def next_wait(last: float, ran: float) -> float:
    """Seconds until the next start: 1, 2, 4 ... 60, and 1 again after a minute of health.

    `ran`: how long it ran, if it got to work; one that loads for a minute and dies was never healthy.
    """
    return 1.0 if ran >= HEALTHY_SECONDS or last == 0 else min(2 * last, LONGEST_WAIT)


class Supervisor:
    """One child process, kept alive by one thread.

    `refusal` is set, and nothing is started again, when the worker says before its first work that its
    settings cannot be: a model that does not exist will not exist in four seconds either. Once it has worked
    under this supervisor they can be, and it is started again whatever it says. `worked` is settled when the
    worker ends.
    """

    def __init__(
        self,
        store: Store,
        command: Sequence[str],
        log_path: Path,
        wait: Callable[[float, float], float] = next_wait,
    ) -> None:
        self.store, self.command, self.log_path, self.next_wait = store, list(command), log_path, wait
        self.refusal: str | None = None
        self.process: subprocess.Popen | None = None
        self.worked = False  # at least once, under this supervisor
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the worker and watch it from now on."""
        self._thread.start()

    def stop(self, patience: float = 1.0) -> None:
        """End the worker: politely by closing its input, and after `patience` seconds not politely."""
        self._stopping.set()
        with self._starting:
            process = self.process
        if process is not None:
            process.stdin.close()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        wait = 0.0
        while not self._stopping.is_set():
            started, why, worked = time.monotonic(), "", False
            try:
                code, why = self._run_once()
                worked = bool(why) and self._got_to_work()  # else it was not started
            except Exception as error:  # no memory, a full disk, a locked file: later it may be well again
                code, why = 1, why or f"Starting or watching the worker failed: {_one_line(error)}."
                log.error("%s", why)
            self.worked = self.worked or worked
            if self._stopping.is_set():
                return
            if code == CONFIGURATION_ERROR and not self.worked:
                self._beat("failed", REFUSED, why)
                self.refusal = why
                return
            wait = self.next_wait(wait, time.monotonic() - started if worked else 0.0)
            self._beat("failed", f"Starting again in {wait:.0f} s.", why)
            self._stopping.wait(wait)

    def _run_once(self) -> tuple[int, str]:
        """Start the worker, wait for its end; return the exit code and, in a sentence, why it ended.

        Raises only while no worker runs: two must never write into one run.
        """
        with self._open_log() as log_file:
            begin = log_file.tell()
            with self._starting:
                if self._stopping.is_set():
                    return 0, ""
                # A group of its own: Ctrl-C in the terminal is for us, and we end the worker in order. Not a
                # session of its own: Linux shares processor time out by session first (autogroup), and
                # niceness would count for nothing between two sessions.
                self.process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    env=child_environment(),
                    process_group=0 if os.name == "posix" else None,
                )
                if os.name == "posix":  # from its first import on, the web process answers first
                    with contextlib.suppress(OSError):
                        os.setpriority(os.PRIO_PROCESS, self.process.pid, WORKER_NICENESS)
            self._beat("starting", "starting Python", pid=self.process.pid)
            code = self.process.wait()
            return code, self._why(code, begin)

    def _open_log(self):
        if self.log_path.exists() and self.log_path.stat().st_size > LARGEST_LOG:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        log_file = self.log_path.open("ab")
        log_file.write(f"--- worker started {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log_file.flush()
        return log_file

    def _why(self, code: int, begin: int) -> str:
        if code == -signal.SIGKILL:
            return "The worker was killed (SIGKILL), perhaps because memory ran out."
        if code < 0:
            return f"The worker was ended by {signal.Signals(-code).name}."
        try:
            with self.log_path.open("rb") as log_file:
                log_file.seek(begin)
                lines = [line.strip() for line in log_file.read().decode(errors="replace").splitlines()]
        except OSError as error:  # somebody tidied up
            return f"The worker ended with exit code {code}; why is not known ({_one_line(error)})."
        said = [line for line in lines if line][-1:]
        return said[0][:500] if said else f"The worker ended with exit code {code} and said nothing."

    def _got_to_work(self) -> bool:
        """Whether the worker that just ended had more to say than that it starts, as we say for it."""
        return self.store.worker_status()["state"] != "starting"

    def _beat(self, state: str, detail: str, error: Any = KEEP, pid: int | None = None) -> None:
        try:
            self.store.beat(state, detail, error=error, pid=pid)
        except Exception as reason:  # a full disk must not end the supervisor as well
            log.error("%s", reason)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
