"""Contents of contexts that were received before: what a client tells of a file (size, time, mode) is compared, and
only what changed is asked for again.

They are kept for a while, as descriptors of files that have no name any more: a killed daemon leaves nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass

from sampan.builds.indexing import Index

_SECONDS = 600.0
_MOST = 4
"""Contexts that are kept."""
_LARGEST = 1 << 30
_WASTE = 64 << 20
"""Bytes that a context's file may have in excess of twice what is still in use."""

Told = tuple[int, int, int]
"""Size, mtime in nanoseconds, mode."""


@dataclass(slots=True)
class Content:
    """Where a file's bytes are, and their sha256."""

    told: Told
    offset: int
    digest: bytes


@dataclass(slots=True, eq=False)
class Contents:
    """`data` is a descriptor, `end` where the next file's bytes go."""

    data: int
    end: int
    files: Mapping[str, Content]

    def close(self) -> None:
        os.close(self.data)


class Earlier:
    """One daemon's. Lives on the event loop."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Contents] = {}

    def take(self, key: tuple[str, str]) -> Contents | None:
        """For one build alone: it writes behind what is there. The caller closes it, or hands it to an index."""
        return self._kept.pop(key, None)

    def keep(self, key: tuple[str, str], index: Index, files: Mapping[str, Content]) -> None:
        used = sum(content.told[0] for content in files.values())
        if not key[0] or index.end > min(2 * used + _WASTE, _LARGEST):
            return
        self._drop(key)
        while len(self._kept) >= _MOST:
            self._drop(next(iter(self._kept)))
        contents = self._kept[key] = Contents(os.dup(index.data), index.end, files)
        asyncio.get_running_loop().call_later(_SECONDS, self._expire, key, contents)

    def _expire(self, key: tuple[str, str], contents: Contents) -> None:
        if self._kept.get(key) is contents:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        if (contents := self._kept.pop(key, None)) is not None:
            contents.close()
