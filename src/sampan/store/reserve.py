"""Room kept on the disk for the day it is full, so that things can still be deleted: deleting is writing, for
SQLite."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SIZE = 1 << 20


class Reserve:
    """A file of nothing beside the state. `path` None: there is none (a database in memory)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._spent = path is not None and not path.exists()

    def fill(self) -> None:
        """Makes it if it is not there, and the disk has room again."""
        if self._path is None or not self._spent:
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, SIZE)
                self._spent = False
            except OSError:
                self._path.unlink()
            finally:
                os.close(descriptor)

    def spend(self) -> bool:
        """Gives its room back; False when there is none."""
        if self._path is None or self._spent:
            return False
        self._spent = True
        self._path.unlink(missing_ok=True)
        return True
