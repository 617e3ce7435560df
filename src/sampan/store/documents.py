"""Documents: one msgspec struct an object (container, network, volume, exec), keyed by id, named uniquely.

Names are unique because the table says so: two clients creating the same name at once cannot both succeed.
"""

from __future__ import annotations

import sqlite3
from typing import Generic, TypeVar

import msgspec

from sampan.store.database import Database, DiskFull

T = TypeVar("T")


class NameTaken(Exception):
    """Another document of this kind has the name. `owner` is that document's id."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(name)
        self.name = name
        self.owner = owner


class Documents(Generic[T]):
    """All documents of one kind, decoded as `type_`."""

    def __init__(self, database: Database, kind: str, type_: type[T]) -> None:
        self._database = database
        self._kind = kind
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(type_)

    def put(self, id: str, document: T, name: str | None = None) -> None:
        """Inserts or replaces. Raises `NameTaken` when another document of this kind has `name`."""
        body = self._encoder.encode(document)
        with self._database.transaction() as connection:
            try:
                connection.execute(
                    "INSERT INTO documents (kind, id, name, body) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, body = excluded.body",
                    (self._kind, id, name, body),
                )
            except sqlite3.IntegrityError:
                owner = connection.execute(
                    "SELECT id FROM documents WHERE kind = ? AND name = ?", (self._kind, name)
                ).fetchone()
                raise NameTaken(str(name), owner[0] if owner else "") from None

    def get(self, id: str) -> T | None:
        rows = self._database.read("SELECT body FROM documents WHERE kind = ? AND id = ?", (self._kind, id))
        return self._decoder.decode(rows[0][0]) if rows else None

    def named(self, name: str) -> tuple[str, T] | None:
        """The (id, document) that has this name."""
        rows = self._database.read("SELECT id, body FROM documents WHERE kind = ? AND name = ?", (self._kind, name))
        return (str(rows[0][0]), self._decoder.decode(rows[0][1])) if rows else None

    def all(self) -> list[tuple[str, T]]:
        """Every (id, document), in id order."""
        rows = self._database.read("SELECT id, body FROM documents WHERE kind = ? ORDER BY id", (self._kind,))
        return [(str(id), self._decoder.decode(body)) for id, body in rows]

    def delete(self, id: str) -> bool:
        """True when there was one. Works on a full disk too: otherwise nobody could make room."""
        try:
            found = self._delete(id)
        except DiskFull:
            if not self._database.reserve.spend():
                raise
            return self._delete(id)
        self._database.reserve.fill()
        return found

    def _delete(self, id: str) -> bool:
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (self._kind, id)).rowcount > 0
