"""Attached streams: what the api copies between a client's hijacked connection and a container or exec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

STDIN, STDOUT, STDERR = 0, 1, 2
"""Stream numbers, as in the 8-byte frames of `POST /containers/{id}/attach`."""


class Stream(Protocol):
    """A live attachment. Back-pressure is kept: `write` waits while the process does not read, and the process waits
    while nobody calls `read`."""

    tty: bool
    """With a TTY everything is STDOUT and the api sends it unframed."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next output as (STDOUT or STDERR, bytes); None at the end."""

    async def write(self, data: bytes) -> None:
        """Input for the process; ignored once it no longer reads."""

    async def close_input(self) -> None:
        """Half-close: the process sees end of file on stdin."""

    async def close(self) -> None:
        """Detaches; the process goes on."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One log record. `time` is nanoseconds since the epoch; `data` ends with a newline unless the line was cut."""

    stream: int
    time: int
    data: bytes
