"""How far a log was sent, on disk: what a daemon that was killed goes on from."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from sampan.containers.logs.remote.messages import Unfinished


class Position(msgspec.Struct):
    """`head` is how the file begins (`log_chain.Part.head`), `offset` what of it was sent; `unfinished` are the lines,
    by stream, that began before."""

    head: bytes
    offset: int
    unfinished: dict[int, Unfinished] = {}


class PositionFile:
    """One write(2) a change, so a daemon that is killed leaves the old or the new one. Not synced: after a power cut
    some lines may be sent again."""

    def __init__(self, log: Path) -> None:
        self.path = log.with_name(f"{log.name}.sent")
        self._descriptor = -1

    def load(self) -> Position | None:
        """None when nothing was sent."""
        try:
            return msgspec.json.decode(self.path.read_bytes().partition(b"\n")[0], type=Position)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def store(self, position: Position) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        os.pwrite(self._descriptor, msgspec.json.encode(position) + b"\n", 0)

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
