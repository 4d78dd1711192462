"""`python app.py sft` in a run: asks the worker for a round on demonstrations, and follows it to its end.

Where the run is not served, a worker is started in a child process for this alone; a server cannot be started
meanwhile. Neither this process nor the web process loads torch: what happens is read from the store, as the
lab reads it.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeling.demonstrations import import_demonstrations
from labeling.importing import SourceConfig
from labeling.serve import ServeError, lock_run
from labeling.store import Store, StoreError, open_store
from labeling.supervisor import REFUSED, child_environment, worker_command

EVERY = 0.3  # seconds between two looks at the store
SILENT = 10.0  # seconds without a word of a server's worker, which has one every two seconds when idle
PATIENCE = 2.0  # seconds that the worker has to end in order


@dataclass(frozen=True)
class Ended:
    """How it ended, in one sentence, and the round's figures."""

    published: bool
    sentence: str
    summary: dict[str, Any]


def learn(
    run_dir: Path,
    asked: dict[str, Any],
    data: str | None = None,
    reading: SourceConfig | None = None,
    echo: Callable[[str], None] = print,
) -> Ended:
    """Have the run learn from its demonstrations, among them those of the source `data`, read as `reading`
    says, which are imported before.

    asked: settings of `rlhf.sft.SFTConfig` by name and `from_base`; None: as it is by default. Raises
    StoreError and ValueError with one sentence, and KeyboardInterrupt with one where there is something to
    say of what a person has interrupted.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    if not (run_dir / "labels.db").exists():
        raise StoreError(
            f"There is no run in {run_dir} yet: start one with python app.py, or give --out FOLDER to make a "
            "model of its own."
        )
    with open_store(run_dir, migrate=True) as store:
        config = store.get_setting("config")
        if not config:
            raise StoreError(f"{run_dir} was never served; start it once with python app.py.")
        if data is not None:
            import_demonstrations(store, run_dir, data, reading or SourceConfig(), echo)
        before = next((r.id for r in store.rounds(1)), 0)
        command = store.add_command("sft", asked)
        served = True
        try:
            with ExitStack() as stack:
                try:
                    stack.enter_context(lock_run(run_dir))
                except ServeError:  # a server has it, and a worker
                    child = None
                else:
                    served = False
                    echo("The run is not served, so a worker is started for this alone.")
                    child = stack.enter_context(_worker(run_dir, config))
                ended = _follow(store, command, before, child, echo)
        except KeyboardInterrupt:
            return _interrupted(store, command, before, served)
        if ended is None:
            raise StoreError(_unserved(store, before) if served else _gone(store, command, run_dir))
        return ended


def _follow(
    store: Store, command: int, before: int, child: subprocess.Popen | None, echo: Callable[[str], None]
) -> Ended | None:
    """Say what happens until it has ended; None when the worker, or the server that has it, ended before."""
    said = _words(store) if child else ""  # what the last worker has said is over
    while True:
        over = _nobody_serves(store) if child is None else child.poll() is not None
        ended = _ended(store, command, before)
        if ended or over:
            return ended
        words = _words(store)
        if words != said:
            said = words
            echo(words)
        time.sleep(EVERY)


def _words(store: Store) -> str:
    """What the worker does."""
    worker = store.worker_status()
    return worker["detail"] or worker["state"]


def _ended(store: Store, command: int, before: int) -> Ended | None:
    """What came of it; None while it waits or runs."""
    round_ = _mine(store, before)
    if round_:
        if round_.state == "running":
            return None
        sentence = f"Round {round_.id} {round_.state}: {round_.reason}"
        return Ended(round_.state == "published", sentence, round_.summary or {})
    answer = next((c for c in store.commands(50) if c["id"] == command and c["done_at"]), None)
    return Ended(False, answer["outcome"], {}) if answer else None


def _nobody_serves(store: Store) -> bool:
    """Whether the server that had the run has ended. Tried only when its worker is silent: a server that is
    about to start would be refused at that very moment."""
    if time.time() - (store.worker_status()["seen"] or 0.0) < SILENT:
        return False
    try:
        with lock_run(store.run_dir):
            return True
    except ServeError:
        return False


def _unserved(store: Store, before: int) -> str:
    """What becomes of it then."""
    mine, start = _mine(store, before), "at the next start of python app.py"
    if mine is None:
        return f"Nobody serves the run any more; the round begins {start}."
    return f"Nobody serves the run any more; round {mine.id} is taken up {start}, or of python app.py sft."


def _mine(store: Store, before: int):
    """The first round on demonstrations after this one; None: there is none yet."""
    return next((r for r in reversed(store.rounds(20)) if r.method == "sft" and r.id > before), None)


def _interrupted(store: Store, command: int, before: int, served: bool) -> Ended:
    """What to tell a person who pressed Ctrl-C: how it ended all the same, or, raised, what becomes of it."""
    ended = _ended(store, command, before)
    if ended:
        return ended
    mine, running = _mine(store, before), store.running_round()
    if served and _nobody_serves(store):
        raise KeyboardInterrupt(_unserved(store, before))
    if served:
        what = f"round {mine.id}" if mine else "it"
        raise KeyboardInterrupt(f"The server goes on with {what}; its lab page can stop a round.")
    if not mine:
        store.finish_command(command, "not done: a person stopped it before it began")
    if running:  # mine, or one that had to be taken up first
        again = "python app.py, or of python app.py sft"
        raise KeyboardInterrupt(f"Round {running.id} is taken up at the next start of {again}.")
    raise KeyboardInterrupt("Stopped before the round had begun.")


@contextmanager
def _worker(run_dir: Path, config: dict[str, Any]) -> Iterator[subprocess.Popen]:
    """One that ends when it has done what was asked for, or with us."""
    with (run_dir / "worker.log").open("ab") as log:
        child = subprocess.Popen(
            [*worker_command(run_dir, config), "--once"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(),
            process_group=0 if os.name == "posix" else None,  # Ctrl-C is for us, and we end it in order
        )
        try:
            yield child
            child.wait()  # it answers the round's sample prompts
        finally:
            child.stdin.close()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # it is not as far as to see that
                child.kill()
                child.wait()


def _gone(store: Store, command: int, run_dir: Path) -> str:
    """Why the worker ended before it was done; the store says so too."""
    store.finish_command(command, "not done: the worker ended")
    why = _last_line(run_dir)
    if store.worker_status()["state"] == "starting":
        store.beat("failed", REFUSED, error=why)
    return why


def _last_line(run_dir: Path) -> str:
    """Why the worker ended."""
    lines = (run_dir / "worker.log").read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip() for line in lines[-50:] if line.strip()]
    return said[-1][:500] if said else "The worker ended and said nothing; see worker.log."
