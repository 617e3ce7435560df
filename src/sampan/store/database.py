"""The SQLite file: opening, migrations, transactions.

One connection serves the whole daemon, guarded by a lock: writes are tens of microseconds, so services may call it
from the event loop. WAL with `synchronous=NORMAL` keeps every acknowledged write across `kill -9`; after a power cut
the last few may be missing, the file stays whole.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sampan.errors import SampanError
from sampan.store.reserve import Reserve

_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE documents (
        kind TEXT NOT NULL,
        id   TEXT NOT NULL,
        name TEXT,
        body BLOB NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX documents_name ON documents (kind, name) WHERE name IS NOT NULL;
    CREATE TABLE events (
        seq  INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX events_time ON events (time);
    """,
)


class DiskFull(SampanError):
    """The state cannot be written."""


class Database:
    """An open state file. Thread-safe; `transaction()` nests."""

    def __init__(self, path: Path | None) -> None:
        """Opens (and creates or migrates) `path`; None gives a database in memory, for tests."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self.reserve = Reserve(path.with_suffix(".reserve") if path is not None else None)
        self._connection = sqlite3.connect(
            str(path) if path is not None else ":memory:", check_same_thread=False, isolation_level=None
        )
        try:
            self._prepare()
        except sqlite3.OperationalError:
            if not self.reserve.spend():
                raise
            self._prepare()
        self.reserve.fill()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA busy_timeout=5000")
        self._migrate()

    def _migrate(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise RuntimeError(
                f"the state file was written by a newer sampan (schema {version}, this one knows {len(_MIGRATIONS)})"
            )
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            self._connection.executescript(f"BEGIN; {script}; PRAGMA user_version={number}; COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block's writes, or none. An inner transaction joins the outer one."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
            except BaseException as error:
                self._depth -= 1
                self._roll_back()
                _explain(error)
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._connection.execute("COMMIT")
                except sqlite3.Error as error:
                    self._roll_back()
                    _explain(error)
                    raise

    def _roll_back(self) -> None:
        """The outermost transaction's end; SQLite may have ended it already, a full disk among the reasons."""
        if self._depth == 0 and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def read(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of one SELECT."""
        with self._lock:
            return self._connection.execute(query, parameters).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _explain(error: BaseException) -> None:
    """A full disk in words that clients know."""
    if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        raise DiskFull("no space left on device: the state cannot be written") from error
