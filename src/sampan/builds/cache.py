"""The build cache: what a step made, by a key that says all that went into it.

A *key* is the digest of the parent step's key and of the step's own inputs: the instruction with its variables
replaced, and for files their content, mode and owner (never their times). A base image's key is its id. A *record*
says what came out: the layer, if there is one, and when. Records are documents, so the cache outlives the daemon, and
every build shares it; `kept` keeps their layers from being collected.

Two builds that need one step at the same time do it once: the second waits in `alone`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import msgspec

from sampan.images.building import SealedLayer
from sampan.images.digests import digest
from sampan.store import Database, Documents

_FORM = 2
"""Part of every key: another number when a step's result would be another for the same inputs."""
_USED_AGAIN = 60 * 10**9
"""Nanoseconds. A record's use is written down at most this often: a cached rebuild should not write the disk."""


class StoredLayer(msgspec.Struct, omit_defaults=True):
    blob: str
    diff_id: str
    media_type: str
    chain_id: str
    size: int


class CacheRecord(msgspec.Struct, omit_defaults=True):
    """Times are nanoseconds since the epoch."""

    key: str
    parent: str
    text: str
    """The step's line in the image's history."""
    layer: StoredLayer | None = None
    below: str | None = None
    """The chainID that the layer stands on."""
    created: str = ""
    """RFC 3339, as the history has it."""
    made: int = 0
    used: int = 0
    uses: int = 0

    @property
    def sealed(self) -> SealedLayer | None:
        layer = self.layer
        if layer is None:
            return None
        return SealedLayer(layer.blob, layer.diff_id, layer.media_type, layer.chain_id, layer.size)

    @property
    def size(self) -> int:
        return self.layer.size if self.layer else 0


def key_of(parent: str, *inputs: Any) -> str:
    """`inputs` are anything JSON."""
    return digest(msgspec.json.encode([_FORM, parent, inputs]))


class BuildCache:
    """Made before `Images`, which must hear of `kept` when it first collects. `holds` tells what is here (set by
    `service`). Everything runs on the event loop but `kept`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._documents = Documents(database, "build-cache", CacheRecord)
        self._records: dict[str, CacheRecord] = dict(self._documents.all())
        self._under_way: dict[str, asyncio.Lock] = {}
        self._in_use: dict[str, int] = {}
        self.holds: Callable[[CacheRecord], bool] = lambda record: True

    def kept(self) -> Iterator[str]:
        """Blobs and chainIDs that records name."""
        for record in tuple(self._records.values()):
            if record.layer is not None:
                yield record.layer.blob
                yield record.layer.chain_id

    def find(self, key: str, below: str | None) -> CacheRecord | None:
        """The record, when what it names is still here and stands on the chain `below`."""
        record = self._records.get(key)
        if record is None or (record.layer is not None and record.below != below) or not self.holds(record):
            return None
        now = time.time_ns()
        record.uses += 1
        if now - record.used > _USED_AGAIN:
            record.used = now
            self._documents.put(key, record)
        return record

    def known(self, key: str) -> CacheRecord | None:
        """Whether or not it can be used: for explaining."""
        return self._records.get(key)

    def add(
        self, key: str, parent: str, text: str, layer: SealedLayer | None, below: str | None, created: str
    ) -> CacheRecord:
        stored = None
        if layer is not None:
            stored = StoredLayer(layer.blob, layer.diff_id, layer.media_type, layer.chain_id, layer.size)
        now = time.time_ns()
        record = CacheRecord(key, parent, text, stored, below, created, now, now)
        self._documents.put(key, record)
        self._records[key] = record
        return record

    @contextlib.asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """One at a time for each key; also keeps the record from being pruned meanwhile."""
        lock = self._under_way.setdefault(key, asyncio.Lock())
        self._in_use[key] = self._in_use.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._in_use[key] -= 1
            if not self._in_use[key]:
                del self._in_use[key]
                self._under_way.pop(key, None)

    # -- looking, pruning --------------------------------------------------------------------------
    def all(self) -> list[CacheRecord]:
        """The least recently used first."""
        return sorted(self._records.values(), key=lambda record: record.used)

    def in_use(self, record: CacheRecord) -> bool:
        return record.key in self._in_use

    def remove(self, records: Iterable[CacheRecord]) -> list[CacheRecord]:
        """Forgets those that no build has in hand. What they named is the caller's to collect."""
        gone = [record for record in records if not self.in_use(record)]
        for record in gone:
            self._documents.delete(record.key)
            self._records.pop(record.key, None)
        return gone


def kept(total: int, free: int, reserved: int, most: int = 0, least_free: int = 0) -> int:
    """Bytes of a cache of `total` bytes that may stay, by BuildKit's rule: at most `most`, less where the disk has not
    `least_free` bytes free, but no less than `reserved`. 0: nothing stays."""
    keep = most
    if (lacking := least_free - free) > 0:
        keep = min(most or total, total - lacking)
    elif least_free and not (most or reserved):
        keep = total
    return max(keep, reserved, 0)
