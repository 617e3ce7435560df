"""The engine's own content store as a registry's storage: an image that is here is served without a copy, and what is
pushed here is there for the engine.

Who needs a blob is settled between the two: `linked.Linked` tells the engine's collection which blobs repositories
have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.errors import NotFound
from sampan.images.holdings import Holdings
from sampan.registry.directory import Directory
from sampan.registry.linked import Linked
from sampan.registry.storage import Entry


class EngineStorage(Directory):
    """`linked` is among the keepers of `holdings`."""

    def __init__(self, holdings: Holdings, linked: Linked) -> None:
        super().__init__(holdings.content.root, holdings.content)
        self._holdings, self._linked = holdings, linked

    def linked(self, digest: str) -> None:
        self._linked.add(digest)

    # A blob of the engine's may have no file: its layer has the bytes (`images.content.folding`).
    async def blob_size(self, digest: str) -> int | None:
        if not digest.startswith("sha256:"):
            return await super().blob_size(digest)
        try:
            return self.content.size(digest)
        except NotFound:
            return None

    def blob_path(self, digest: str) -> Path | None:
        path = self._blob(digest)
        return path if path.exists() else None

    def open_blob(self, digest: str) -> int:
        return self.content.open(digest) if digest.startswith("sha256:") else super().open_blob(digest)

    async def blobs(self) -> AsyncIterator[Entry]:
        """The registry's; images' own are not ours to collect."""
        for digest in self._linked():
            size = await self.blob_size(digest)
            if size is not None:
                yield Entry(digest, size, 0.0)

    async def set_aside(self, digest: str) -> str | None:
        """Lets go of a blob; it goes at once, unless an image or an operation of the engine needs it."""
        self._linked.discard(digest)
        if not digest.startswith("sha256:"):  # the engine has none of these
            return await super().set_aside(digest)
        await asyncio.to_thread(self._holdings.collect, [digest], [])
        return None
