"""The recipes of a data root (see `folding`): which blobs can be made again from their unpacked layers.

Layout: `recipes/<hex of the blob's digest>`; a recipe that exists has been tried and is on the disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from sampan.errors import SampanError

log = logging.getLogger(__name__)

_NEW = ".new"


class Recipes:
    """Of one data root. Nothing here looks at the blobs' files."""

    def __init__(self, data_root: Path) -> None:
        self._room = data_root / "recipes"
        self._room.mkdir(exist_ok=True)
        self.sizes: dict[str, int] = {}
        """Digest: the blob's bytes."""
        self._read()

    def _read(self) -> None:
        with os.scandir(self._room) as entries:
            found = [entry.name for entry in entries]
        if not found:
            return
        from sampan.images.content import folding

        for name in found:
            path = self._room / name
            try:
                if name.endswith(_NEW):
                    raise SampanError("half-made")
                self.sizes[f"sha256:{name}"] = folding.size_of(path)
            except SampanError:
                path.unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        return self._room / digest.partition(":")[2]

    def stored(self, digest: str) -> int:
        """Bytes that a recipe itself takes; 0 when there is none."""
        return self.path(digest).stat().st_size if digest in self.sizes else 0

    def prepare(self, digest: str, blob: int, layer: Path, going_on: Callable[[], bool]) -> Path:
        """Writes the recipe of an open blob and tries it; `keep` what is returned. Blocks, for a second or two per
        hundred MiB. Raises `Unfoldable`, `InterruptedError`, `OSError`.
        """
        from sampan.images.content import folding

        new = self.path(digest).with_suffix(_NEW)
        try:
            with new.open("wb") as file:
                folding.write(blob, file, going_on)
                file.flush()
                os.fsync(file.fileno())
            folding.check(new, layer, digest, going_on)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        return new

    def keep(self, new: Path, digest: str) -> None:
        """Puts a recipe that was tried on the disk, under its name; nobody is told of it yet. Blocks."""
        new.replace(self.path(digest))
        room = os.open(self._room, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(room)
        finally:
            os.close(room)

    def publish(self, digest: str, size: int) -> None:
        """From now on the blob can be made again."""
        self.sizes[digest] = size

    def forget(self, digest: str) -> None:
        """One that was kept and is not published."""
        self.path(digest).unlink(missing_ok=True)

    def drop(self, digest: str) -> bool:
        """False: there was none."""
        if self.sizes.pop(digest, None) is None:
            return False
        self.forget(digest)
        return True
