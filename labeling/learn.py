"""`python app.py sft` in a run: asks the worker for a round on demonstrations, and follows it to its end.

Where the run is not served, a worker is started in a child process for this alone; a server cannot be started
meanwhile. Neither this process nor the web process loads torch: what happens is read from the store, as the
lab reads it.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.demonstrations import read_demonstrations
from labeling.serve import ServeError, lock_run
from labeling.store import Store, StoreError, open_store
from labeling.supervisor import child_environment, worker_command

EVERY = 0.3  # seconds between two looks at the store


@dataclass(frozen=True)
class Ended:
    """How it ended, in one sentence, and the round's figures."""

    published: bool
    sentence: str
    summary: dict[str, Any]


def learn(run_dir: Path, asked: dict[str, Any], echo: Callable[[str], None] = print) -> Ended:
    """Have the run learn from its demonstrations, and those of the file `asked["data"]`.

    asked: settings of `rlhf.sft.SFTConfig` by name, `from_base`, `data`; None: as it is by default. Raises
    StoreError and ValueError with one sentence.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    if "data" in asked:
        found = read_demonstrations(Path(asked["data"]))
        asked["data"] = str(Path(asked["data"]).resolve())
        echo(f"{len(found)} demonstrations in {asked['data']}")
    if not (run_dir / "labels.db").exists():
        raise StoreError(
            f"There is no run in {run_dir} yet: start one with python app.py, or give --out FOLDER to make a "
            "model of its own."
        )
    with open_store(run_dir, migrate=True) as store, ExitStack() as stack:
        config = store.get_setting("config")
        if not config:
            raise StoreError(f"{run_dir} was never served; start it once with python app.py.")
        before = next((r.id for r in store.rounds(1)), 0)
        command = store.add_command("sft", asked)
        try:
            stack.enter_context(lock_run(run_dir))
        except ServeError:  # a server has it, and a worker
            child = None
        else:
            echo("The run is not served, so a worker is started for this alone.")
            child = stack.enter_context(_worker(run_dir, config))
        said = ""
        while True:
            over = child is not None and child.poll() is not None
            ended = _ended(store, command, before)
            if ended or over:
                break
            worker = store.worker_status()
            words = worker["detail"] or worker["state"]
            if words != said:
                said = words
                echo(words)
            time.sleep(EVERY)
        if ended is None:
            store.finish_command(command, "not done: the worker ended")
            raise StoreError(_last_line(run_dir))
        return ended


def _ended(store: Store, command: int, before: int) -> Ended | None:
    """What came of it; None while it waits or runs."""
    mine = [r for r in store.rounds(20) if r.method == "sft" and r.id > before]
    if mine:
        round_ = mine[-1]  # the oldest of them
        if round_.state == "running":
            return None
        sentence = f"Round {round_.id} {round_.state}: {round_.reason}"
        return Ended(round_.state == "published", sentence, round_.summary or {})
    answer = next((c for c in store.commands(50) if c["id"] == command and c["done_at"]), None)
    return Ended(False, answer["outcome"], {}) if answer else None


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
        )
        try:
            yield child
            child.wait()  # it answers the round's sample prompts
        finally:
            child.stdin.close()
            child.wait()


def _last_line(run_dir: Path) -> str:
    """Why the worker ended."""
    lines = (run_dir / "worker.log").read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip() for line in lines[-50:] if line.strip()]
    return said[-1][:500] if said else "The worker ended and said nothing; see worker.log."
