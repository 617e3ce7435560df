"""conmon's log file (the k8s-file format), as the bytes that `GET /containers/{id}/logs` sends. Pure.

One record a line: `2006-01-02T15:04:05.999999999+00:00 stdout F text`. The head has a fixed width. F ends a line of the
container's output, P is a piece of one that is longer than conmon's buffer, or that the container has not ended (yet).

Speed is why this works on blocks of whole records and not on lines: a log of 16 MiB may have two million lines.
"""

from __future__ import annotations

import calendar
import re
import time

from sampan.containers.streams import STDERR, STDOUT, LogLine

HEAD = 45
"""Bytes before a record's text: 35 of time, stream, kind, and three spaces."""
_KIND = slice(36, 45)
_OUT, _ERR = b"stdout F ", b"stderr F "
_PLAIN_HEADS = {STDOUT: re.compile(rb"^.{36}stdout F ", re.M), STDERR: re.compile(rb"^.{36}stderr F ", re.M)}
_UTC_HEADS = {
    STDOUT: re.compile(rb"^(.{29})\+00:00 stdout F ", re.M),
    STDERR: re.compile(rb"^(.{29})\+00:00 stderr F ", re.M),
}
_STREAMS = {_OUT: STDOUT, b"stdout P ": STDOUT, _ERR: STDERR, b"stderr P ": STDERR}


def stamp(nanoseconds: int) -> bytes:
    """The first 29 bytes of a record of that moment, in UTC: they sort as time does."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09d" % rest


def moment(record: bytes) -> int:
    """Nanoseconds since the epoch of a record's time, in whatever zone conmon wrote it. Raises `ValueError`."""
    text = record[:35].decode()
    seconds = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    offset = (int(text[30:32]) * 60 + int(text[33:35])) * 60
    seconds -= offset if text[29] == "+" else -offset
    return seconds * 10**9 + int(text[20:29])


def in_utc(record: bytes) -> bytes:
    """The record with its time in UTC. conmon writes local time."""
    return record if record[29:35] == b"+00:00" else stamp(moment(record)) + b"+00:00" + record[35:]


class Formatter:
    """Turns blocks of records into output. Keeps what must be known from one block to the next: unfinished lines.

    `since` and `until` are nanoseconds (0: unbounded); `timestamps` and `details` prefix every line, as Docker does.
    """

    def __init__(
        self,
        *,
        stdout: bool,
        stderr: bool,
        since: int = 0,
        until: int = 0,
        timestamps: bool = False,
        details: bytes = b"",
    ) -> None:
        self._wanted = {STDOUT: stdout, STDERR: stderr}
        self._since = stamp(since) if since else b""
        self._until = stamp(until) + b"\xff" if until else b""
        self._timestamps = timestamps
        self._details = details
        self._plain = not (timestamps or details)
        self._heads = _UTC_HEADS if timestamps else _PLAIN_HEADS
        self._replacement = rb"\1Z " * timestamps + details.replace(b"\\", rb"\\")
        self._in_line = {STDOUT: False, STDERR: False}
        self.passed_until = False

    def format(self, block: bytes) -> list[LogLine]:
        """`block` is whole records. Neighbours of one stream come back as one `LogLine`."""
        if not (self._since or self._until) and (lines := self._uniform(block)) is not None:
            return lines
        records = block.split(b"\n")
        if not records[-1]:
            records.pop()
        if any(record[29:35] != b"+00:00" for record in (records[0], records[-1]) if record):
            records = [in_utc(record) for record in records]
        if self._since or self._until:
            records = self._within(records)
        return self._mixed(records)

    def _uniform(self, block: bytes) -> list[LogLine] | None:
        """What most blocks are: whole lines of one stream, in UTC. One substitution, in C; None for any other block."""
        stream = STDOUT if block[36:45] == _OUT else STDERR
        if not self._plain and self._in_line[stream]:
            return None
        data, count = self._heads[stream].subn(self._replacement, block)
        if count != block.count(b"\n"):
            return None
        self._in_line[stream] = False
        return [LogLine(stream, 0, data)] if self._wanted[stream] else []

    def _within(self, records: list[bytes]) -> list[bytes]:
        """Those between since and until. Records are in the order of their writing; a clock may jump, so each is
        looked at."""
        kept = records
        if self._since:
            kept = [record for record in kept if record[:29] >= self._since]
        if self._until:
            before = [record for record in kept if record[:29] <= self._until]
            self.passed_until = self.passed_until or len(before) < len(kept)
            kept = before
        return kept

    def _mixed(self, records: list[bytes]) -> list[LogLine]:
        lines: list[LogLine] = []
        parts: list[bytes] = []
        current = 0
        for record in records:
            kind = record[_KIND]
            stream = _STREAMS.get(kind)
            if stream is None or not self._wanted[stream]:
                continue  # torn by a power cut, or not asked for
            if stream != current:
                if parts:
                    lines.append(LogLine(current, 0, b"".join(parts)))
                current, parts = stream, []
            if not self._plain and not self._in_line[stream]:
                parts.append(self._prefix(record))
            ends = kind[7:8] == b"F"
            parts.append(record[HEAD:] + b"\n" if ends else record[HEAD:])
            self._in_line[stream] = not ends
        if parts:
            lines.append(LogLine(current, 0, b"".join(parts)))
        return lines

    def _prefix(self, record: bytes) -> bytes:
        time = record[:29] + b"Z " if self._timestamps else b""
        return time + self._details


def count_lines(block: bytes, open_end: bool = False) -> int:
    """Lines of output that end in these whole records. `open_end`: a piece that comes last is a line too."""
    records = block.split(b"\n")
    if not records[-1]:
        records.pop()
    found = sum(record[43:44] == b"F" for record in records)
    return found + (open_end and bool(records) and records[-1][43:44] == b"P")


def tail_offset(block: bytes, lines: int, open_end: bool = False) -> int:
    """Where the last `lines` lines of output begin in these whole records. Pieces before a line's end belong to it."""
    records = block.split(b"\n")
    if not records[-1]:
        records.pop()
    offset = len(block)
    for number in range(len(records) - 1, -1, -1):
        if records[number][43:44] == b"F" or (open_end and number == len(records) - 1):
            if lines == 0:
                return offset
            lines -= 1
        offset -= len(records[number]) + 1
    return max(offset, 0)
