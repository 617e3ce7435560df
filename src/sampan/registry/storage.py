"""What a registry needs of a place to keep things: one small interface, three drivers.

Words: a *blob* is bytes under their digest (layers, configs, manifests alike), stored once for all repositories. A
*record* is a small document under a key (`repositories/a/b/_tags/latest`); it is replaced whole or not at all. An
*upload* is a blob that is still arriving.

`directory` keeps all in a directory of its own, `engine` shares the engine's content store, `objects` keeps all in an
S3-compatible bucket. No driver relies on locks in memory: several processes may serve one place (the engine's
excepted, which has one owner).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One thing in a listing. `modified`: seconds since the epoch."""

    key: str
    size: int
    modified: float


class DigestWrong(Exception):
    """What arrived is not what its digest says."""


class OffsetWrong(Exception):
    """A chunk that does not continue the upload. `size`: what is there."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class UploadUnknown(Exception):
    """No such upload (any more)."""


class UploadBusy(Exception):
    """Another request is writing to this upload."""


class Storage(Protocol):
    # -- records -----------------------------------------------------------------------------------
    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, data: bytes) -> None:
        """Atomic, and lasting when it returns."""

    async def modified(self, key: str) -> float | None:
        """When it was put; None: there is none."""

    async def delete(self, key: str) -> bool:
        """False: there was none."""

    def entries(self, prefix: str) -> AsyncIterator[Entry]:
        """Everything below a prefix that ends in a slash, in any order."""

    # -- blobs -------------------------------------------------------------------------------------
    async def blob_size(self, digest: str) -> int | None: ...

    def blob_path(self, digest: str) -> Path | None:
        """A local file that is the blob, where there is one: it is sent without a copy."""

    def read_blob(self, digest: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes [start, stop)."""

    async def put_blob(self, digest: str, data: bytes) -> None:
        """A small one, verified by the caller."""

    def blobs(self) -> AsyncIterator[Entry]:
        """All of them; `key` is the digest."""

    async def set_aside(self, digest: str) -> str | None:
        """Takes a blob out of sight; returns what `restore` and `purge` take, None when it is gone."""

    async def restore(self, aside: str, digest: str) -> None: ...

    async def purge(self, aside: str) -> None: ...

    async def asides(self, before: float) -> list[tuple[str, str]]:
        """(what `restore` takes, digest) of those that a killed process left."""

    # -- uploads -----------------------------------------------------------------------------------
    async def begin(self, upload: str) -> None: ...

    async def upload_size(self, upload: str) -> int:
        """Bytes that arrived. Raises `UploadUnknown`."""

    async def append(self, upload: str, offset: int | None, chunks: AsyncIterator[bytes]) -> int:
        """Adds at the end; returns the new size. With an `offset` that is not the end: `OffsetWrong`."""

    async def publish(self, upload: str, digest: str) -> int:
        """Verifies the upload and makes it a blob, all at once; returns its size. Raises `DigestWrong`; the upload is
        gone then."""

    async def abandon(self, upload: str) -> None: ...

    async def old_uploads(self, before: float) -> list[str]:
        """Those nobody wrote to since."""

    # -- who shares the place ----------------------------------------------------------------------
    def linked(self, digest: str) -> None:
        """Hears that a repository now has a blob, before that can be seen."""

    async def close(self) -> None: ...
