"""The file `labels.db`: opened, checked, and written by several threads of two processes at once.

Rules, each measured with four processes writing (an ordinary `with db.atomic()` lost 503 of 600 inserts):

- A write transaction begins IMMEDIATE. A deferred one starts as a reader, and SQLite refuses at once, timeout
  or not, to turn a reader into a writer while another process writes.
- WAL, so that readers and the one writer do not wait for each other. Turning a new file to it is tried again
  while another process has the file, since for this step SQLite never waits: of 150 new files that four
  processes opened at the same moment, 38 were refused to at least one.
- synchronous=FULL: each commit reaches the disk before it is acknowledged. NORMAL, usual with WAL, may lose
  the last commits when the power goes, and a ranking that was acknowledged is never lost.
- foreign_keys=on at every open; SQLite's default is off and is not kept in the file.
- One connection per thread: a transaction belongs to its connection, and two threads would share it.
- Nothing slow (generating, training, rendering) inside a transaction: the other process waits for its end.
"""

import json
import math
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlite_utils import Database

from labeling.schema import migrations

FILE_NAME = "labels.db"
BUSY_SECONDS = 5.0
OLDEST_SQLITE = (3, 38)  # RETURNING and built-in JSON
T = TypeVar("T")
KEEP = object()
"""Given for a column that an update leaves as it is, where None would mean: set it to NULL."""


class StoreError(Exception):
    """The store cannot do this. The message is one sentence for people."""


class _Own(threading.local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.db: Database | None = None
        self.kept: dict[str, tuple[Any, Any]] = {}


class File:
    """The open database. Each noun's methods are in a subclass; `Store` is all of them together."""

    def __init__(self, run_dir: Path, *, read_only: bool = False) -> None:
        self.run_dir, self.read_only = run_dir, read_only
        self.path = run_dir / FILE_NAME
        self._own = _Own()
        # Weak: web servers end idle threads and start new ones, and a thread's connection ends with it.
        self._open: weakref.WeakSet[Database] = weakref.WeakSet()

    @property
    def db(self) -> Database:
        """This thread's connection, opened when first used."""
        if self._own.db is None:
            self._own.db = self._connect()
        return self._own.db

    def _connect(self) -> Database:
        # mode=rw: a file that somebody deleted under a running server is an error, not a new empty database.
        # To read as well: mode=ro would leave an empty -wal and a -shm behind.
        try:
            conn = self._connection("mode=rw", self._to_read if self.read_only else self._to_write)
        except sqlite3.OperationalError as error:
            shut = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
            if not self.read_only or not shut or _size(self.path.with_name(f"{FILE_NAME}-wal")):
                raise
            # An archive: WAL needs a folder that can be written, unless nobody can change the file.
            conn = self._connection("mode=ro&immutable=1", self._to_read)
        db = Database(conn, execute_plugins=False)
        weakref.finalize(db, conn.close)
        self._open.add(db)
        return db

    def _connection(self, mode: str, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        # isolation_level=None: Python's sqlite3 begins no transactions of its own, `write` below does.
        # check_same_thread=False only so that close() may close them all.
        conn = sqlite3.connect(
            f"{self.path.resolve().as_uri()}?{mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            prepare(conn)
        except BaseException:
            conn.close()
            raise
        return conn

    def _to_write(self, conn: sqlite3.Connection) -> None:
        conn.execute("pragma foreign_keys = on")
        conn.execute("pragma synchronous = full")
        if _use_wal(conn) != "wal":
            raise StoreError(f"{self.path} cannot be shared by two processes there (a network drive?).")

    def _to_read(self, conn: sqlite3.Connection) -> None:
        conn.execute("pragma query_only = on")
        conn.execute("pragma schema_version")  # reads, so what cannot be read is refused here

    def close(self) -> None:
        """Close every thread's connection."""
        for db in list(self._open):
            db.conn.close()
        self._own = _Own()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def write(self) -> Iterator[Database]:
        """One write transaction: everything inside is kept, durably, or nothing is.

        Inside another `write` it is a part of that, kept with it; what it raises takes back this part alone,
        if the other goes on. A full disk or a database that stays locked for five seconds becomes a
        StoreError.
        """
        db, conn = self.db, self.db.conn
        part = conn.in_transaction
        try:
            conn.execute("savepoint part" if part else "begin immediate")
            try:
                yield db
                conn.execute("release part" if part else "commit")
            except BaseException:
                if conn.in_transaction:  # a full disk can make SQLite give up all of it by itself
                    conn.execute("rollback to part" if part else "rollback")
                    if part:
                        conn.execute("release part")
                raise
        except sqlite3.OperationalError as error:
            raise StoreError(f"Not saved, {self.path} could not be written: {error}.") from error

    def rows(self, sql: str, values: Sequence | dict[str, Any] = ()) -> list[dict[str, Any]]:
        """All rows of a query. (sqlite-utils' `query` is lazy and opens a savepoint around each read.)"""
        cursor = self.db.conn.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, sql: str, values: Sequence | dict[str, Any] = ()) -> dict[str, Any] | None:
        """The first row of a query, or None."""
        return next(iter(self.rows(sql, values)), None)

    def value(self, sql: str, values: Sequence | dict[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.db.conn.execute(sql, values).fetchone()
        return found[0] if found else None

    def kept(self, name: str, read: Callable[[], T]) -> T:
        """What `read` returned, read again when anybody has written since: it is always what is on disk.

        SQLite says whether: `data_version` changes with others' commits, `total_changes` with what is written
        here. Inside a `write` it is always read, for that may yet be taken back.
        """
        conn = self.db.conn
        if conn.in_transaction:
            return read()
        stamp = self.value("pragma data_version"), conn.total_changes
        if self._own.kept.get(name, (None,))[0] != stamp:
            self._own.kept[name] = stamp, read()
        return self._own.kept[name][1]

    def insert(self, table: str, **columns: Any) -> int:
        """Insert one row inside `write`; return its id. Names are this code's own, values are anybody's."""
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        sql = f"insert into {table} ({names}) values ({marks})"
        return self.db.conn.execute(sql, list(columns.values())).lastrowid

    # settings: what this run directory was made with

    def get_setting(self, key: str, default: Any = None) -> Any:
        """A setting of this run directory."""
        text = self.value("select value from settings where key = ?", [key])
        return default if text is None else json.loads(text)

    def settings(self) -> dict[str, Any]:
        """All of them."""
        return {row["key"]: json.loads(row["value"]) for row in self.rows("select key, value from settings")}

    def put_setting(self, key: str, value: Any) -> None:
        """Keep a setting (anything JSON can hold)."""
        with self.write() as db:
            db.execute(
                "insert into settings values (?, ?) on conflict (key) do update set value = excluded.value",
                [key, to_json(value)],
            )

    # opening

    def check(self, *, migrate: bool) -> None:
        """Refuse a file that is not ours, damaged, or newer; bring an older one up to date if `migrate`."""
        try:
            known = {migration.name for migration in migrations._migrations}
            applied = {migration.name for migration in migrations.applied(self.db)}
            newer = sorted(applied - known)
            if newer:
                raise StoreError(
                    f"{self.path} was written by a newer Podium ({newer[-1]}); "
                    "update Podium, or choose another --run-dir."
                )
            if not applied and set(self.db.table_names()) - {migrations.migrations_table}:
                raise StoreError(f"{self.path} is a database, but not one of Podium's.")
            if applied < known and not migrate:
                raise StoreError(f"{self.path} is of an older Podium; `python app.py` brings it up to date.")
            if not migrate:
                return
            damage = self.value("pragma quick_check(1)")
            if damage != "ok":
                raise self._damaged(damage.splitlines()[-1])  # the first line is a heading
            # IMMEDIATE and all in one: two processes cannot migrate at once; a kill leaves the old schema.
            with self.write() as db:
                migrations.apply(db)
                # Changes nothing, but writes: a read-only file or a full disk is found now, not at a ranking.
                db.execute("pragma user_version = 1")
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self.path} cannot be used: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, how: object) -> StoreError:
        return StoreError(f"{self.path} is damaged ({how}); restore a copy, or choose another --run-dir.")


def open_file(file: File, *, create: bool, migrate: bool) -> None:
    """Make the run directory and an empty file if asked to, then check what is there. Raises StoreError."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"This Python has SQLite {sqlite3.sqlite_version}; Podium needs {oldest} or newer.")
    try:
        empty = not _size(file.path)
        if create:
            # An empty file is a new run to everybody, and these policies would be nobody's.
            if empty and _has_policies(file.run_dir):
                raise StoreError(
                    f"{file.run_dir} has trained policies, but its {FILE_NAME} is missing or empty; "
                    "restore a copy of it, or choose another --run-dir."
                )
            file.run_dir.mkdir(parents=True, exist_ok=True)
            file.path.touch()
        elif not file.path.is_file():
            raise StoreError(f"There is no run in {file.run_dir} (no {FILE_NAME}).")
        elif empty:
            raise StoreError(f"{file.path} is empty; restore a copy of it, or choose another --run-dir.")
    except OSError as error:
        raise StoreError(f"The run directory {file.run_dir} cannot be written: {error.strerror}.") from error
    try:
        file.check(migrate=migrate)
    except BaseException:
        file.close()
        raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _has_policies(run_dir: Path) -> bool:
    policies = run_dir / "policies"
    return policies.is_dir() and any(path.name.isdecimal() for path in policies.iterdir())


def _use_wal(conn: sqlite3.Connection) -> str:
    """Turn the file to WAL, waiting for others as for any lock; return the mode it is in."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return conn.execute("pragma journal_mode = wal").fetchone()[0]
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the low byte, of any kind of busy
            if not busy or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


def now() -> float:
    """Unix seconds, as every time in the file."""
    return time.time()


def to_json(value: Any) -> str:
    """JSON that browsers can read: NaN and infinity, which a diverged run has, become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def from_json(text: str | None) -> Any:
    """What `to_json` wrote; None for a column that is NULL."""
    return None if text is None else json.loads(text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
