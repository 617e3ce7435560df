"""Records of conmon's log as messages: lines, or pieces of 16 KiB of longer ones, as dockerd cuts them. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from sampan.containers.logs.log_format import HEAD, moment
from sampan.containers.streams import STDERR, STDOUT

LONGEST = 16384
"""dockerd's defaultBufSize (daemon/logger/copier.go)."""


class Partial(msgspec.Struct, frozen=True):
    """One piece of a line. `ordinal` counts from 1."""

    id: str
    ordinal: int
    last: bool


@dataclass(frozen=True, slots=True)
class Message:
    """`time` is nanoseconds since the epoch."""

    stream: int
    time: int
    text: bytes
    partial: Partial | None = None

    @property
    def line(self) -> str:
        return self.text.decode(errors="replace")


class Unfinished(msgspec.Struct):
    """A line that has not ended. `ordinal` pieces of it were sent."""

    time: int
    text: bytes
    id: str = ""
    ordinal: int = 0


class Assembler:
    """What must be known from one block of records to the next. `unfinished` is by stream."""

    def __init__(self, unfinished: dict[int, Unfinished] | None = None) -> None:
        self.unfinished = unfinished or {}

    def feed(self, block: bytes) -> list[Message]:
        """`block` is whole records."""
        found: list[Message] = []
        for record in block.split(b"\n"):
            kind = record[36:44]
            stream = {b"stdout F": STDOUT, b"stdout P": STDOUT, b"stderr F": STDERR, b"stderr P": STDERR}.get(kind)
            if stream is None:
                continue  # torn by a power cut
            time = _moment(record[:35])
            if kind[7:] == b"P":
                found += self._more(stream, time, record[HEAD:])
            else:
                found += self._end(stream, time, record[HEAD:])
        return found

    def finish(self) -> list[Message]:
        """At the container's end: lines without one."""
        return [message for stream in tuple(self.unfinished) for message in self._end(stream, 0, b"")]

    def _more(self, stream: int, time: int, text: bytes) -> Iterator[Message]:
        line = self.unfinished.setdefault(stream, Unfinished(time, b""))
        line.text += text
        while len(line.text) > LONGEST:
            line.id = line.id or secrets.token_hex(32)
            line.ordinal += 1
            yield Message(stream, line.time, line.text[:LONGEST], Partial(line.id, line.ordinal, False))
            line.text = line.text[LONGEST:]

    def _end(self, stream: int, time: int, text: bytes) -> Iterator[Message]:
        if stream not in self.unfinished and len(text) <= LONGEST:
            yield Message(stream, time, text)
            return
        yield from self._more(stream, time, text)
        line = self.unfinished.pop(stream)
        partial = Partial(line.id, line.ordinal + 1, True) if line.ordinal else None
        yield Message(stream, line.time, line.text, partial)


def _moment(head: bytes) -> int:
    return _second(head[:20] + b"000000000" + head[29:]) + int(head[20:29])


@lru_cache(4)
def _second(head: bytes) -> int:
    return moment(head)
