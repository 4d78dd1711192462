"""The store: everything the loop knows, in one SQLite file, used by the web process and the worker alike.

It is the only code with SQL. Reads top to bottom, one noun to a file, each built on the one before:

    database.py   the file: opened, checked, one write transaction at a time
    people.py     who ranks
    tasks.py      prompts, responses, tasks and their leases
    imports.py    prompts, demonstrations and rankings made elsewhere
    rankings.py   rankings, and undoing them
    rounds.py     policies, rounds, curves
    worker.py     heartbeat, commands, samples, status
    instructions.py   guidelines and their versions, the form
    reports.py    what the reports on rankings are made from, and what was taken back
    judges.py     models that rank by a constitution, and its versions
    exports.py    everything that was said, for who takes it along

Nothing here is slow and nothing is cached: what a method returns is what is on disk.
"""

from pathlib import Path

from labeling.form import Form
from labeling.ranking import Better, InvalidRanking, Mark, Remarks
from labeling.store.database import FILE_NAME, KEEP, StoreError, open_file
from labeling.store.exports import Exports
from labeling.store.imports import Import, Imports
from labeling.store.instructions import Guidelines
from labeling.store.judges import Constitution, Judges
from labeling.store.people import Person
from labeling.store.rankings import NonceReused, RankedTask, Ranking
from labeling.store.reports import ArenaRanking, RankingFacts, TakenBack
from labeling.store.rounds import NewPolicy, Policy, Round
from labeling.store.tasks import NewResponse, Prompt, Task, TaskClosed, TaskLeased, TaskUnknown

__all__ = [
    "FILE_NAME", "KEEP", "ArenaRanking", "Better", "Constitution", "Form", "Guidelines", "Import",
    "InvalidRanking", "Mark", "NewPolicy", "NewResponse", "NonceReused", "Person", "Policy", "Prompt",
    "RankedTask", "Ranking", "RankingFacts", "Remarks", "Round", "Store", "StoreError", "TakenBack", "Task",
    "TaskClosed", "TaskLeased", "TaskUnknown", "open_store",
]  # fmt: skip


class Store(Judges, Imports, Exports):
    """One run directory's `labels.db`. Safe to share between threads."""


def open_store(
    run_dir: Path | str, *, create: bool = False, migrate: bool = False, read_only: bool = False
) -> Store:
    """Open the store of a run directory. Raises StoreError, in one sentence, if that cannot be.

    Only `app.py` creates and migrates, once, before it starts the worker. With `read_only` an archive that
    cannot be written can be opened too, and nothing can be written.
    """
    store = Store(Path(run_dir), read_only=read_only)
    open_file(store, create=create, migrate=migrate)
    return store
