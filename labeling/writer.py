"""One thread writes for all who rank; what waits together is committed together.

Nobody is answered before the disk has what they said, and the disk takes its time: 0.5 ms a commit here, 3 ms
and more while others use it. So while one transaction is written, what arrives waits, and is the next one:
the more there is to do, the fewer commits it takes. Who comes alone does not wait for company.

A transaction each, in threads of a pool, was 100 rankings a second and some refused: SQLite's lock is waited
for by looking again now and then, and at every statement each thread waits for its turn at the interpreter.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from labeling.store import Store


@dataclass
class _Job:
    write: Callable[[], Any]
    then: Callable[[Any], Any]
    answer: asyncio.Future
    result: Any = None
    error: Exception | None = None


class Writer:
    """Of one store, for one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "writer")
        self._waiting: list[_Job] = []
        self._busy: asyncio.Task | None = None

    async def run(self, write: Callable[[], Any], then: Callable[[Any], Any] = lambda result: result) -> Any:
        """Run `write` in a transaction and, once that is on the disk, answer with `then` of what it returned.

        What `write` raises is raised here, and takes back what it wrote itself. `then` is for what the worker
        need not wait for: reading, rendering. Both run in the writer's thread.
        """
        job = _Job(write, then, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._busy is None:
            self._busy = asyncio.create_task(self._run_all())
        return await job.answer

    async def _run_all(self) -> None:
        try:
            while self._waiting:
                jobs, self._waiting = self._waiting, []
                await asyncio.get_running_loop().run_in_executor(self._thread, self._run, jobs)
                for job in jobs:
                    if job.answer.done():  # cancelled: nobody waits for it any more
                        continue
                    if job.error is not None:
                        job.answer.set_exception(job.error)
                    else:
                        job.answer.set_result(job.result)
        finally:
            self._busy = None

    def _run(self, jobs: list[_Job]) -> None:
        try:
            with self._store.write() as db:
                for job in jobs:
                    job.result, job.error = _tried(self._part, job.write)
                    if not db.conn.in_transaction:  # a full disk: SQLite has given up what all had written
                        raise job.error
        except Exception as error:  # none of it is kept
            for job in jobs:
                job.error = error
        for job in jobs:
            if job.error is None:
                job.result, job.error = _tried(job.then, job.result)

    def _part(self, write: Callable[[], Any]) -> Any:
        with self._store.write():  # within the other
            return write()


def _tried(step: Callable[..., Any], *given: Any) -> tuple[Any, Exception | None]:
    try:
        return step(*given), None
    except Exception as error:
        return None, error
