"""Digests of uploads, counted while they arrive, so that a finished blob need not be read again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

_HASHES = 1000
"""Uploads whose running digest is remembered between requests."""


class Counted:
    """A digest that is counted while bytes arrive, and how many it has seen."""

    __slots__ = ("hash", "size")

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self.hash.hexdigest()}"


class CountedUploads:
    """The running digests of uploads this process sees, between requests; the oldest go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Counted] = OrderedDict()

    def take(self, upload: str, size: int) -> Counted | None:
        """Only when it has seen all `size` bytes."""
        known = self._known.pop(upload, None)
        return known if known is not None and known.size == size else None

    def keep(self, upload: str, counted: Counted | None) -> None:
        if counted is not None:
            self._known[upload] = counted
            if len(self._known) > _HASHES:
                self._known.popitem(last=False)
