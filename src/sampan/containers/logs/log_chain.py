"""A log's files as one stream of records: `container.log` is the newest, `container.log.1` (or `.1.gz`) the one before.

Rotation renames files, and compressing makes new ones of them, while they are read. So a file is known by what it
begins with: its first record, whose nanoseconds no other file begins with.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from sampan.containers.logs.log_format import moment

_KNOWN_BY = 160
"""Bytes of the first record that are looked at."""


class Part:
    """One open file of a log. `number`: how many are newer, at the time of opening."""

    def __init__(self, file: BinaryIO, packed: bool, number: int) -> None:
        self._file = file
        self._packed = packed
        self.number = number
        self._inode = os.fstat(file.fileno()).st_ino
        self._head = b""

    @property
    def head(self) -> bytes:
        """b"" while it has no record."""
        if not self._head:
            if self._packed:
                with gzip.open(self._file) as unpacked:
                    head = unpacked.read(_KNOWN_BY)
                self._file.seek(0)
            else:
                head = os.pread(self._file.fileno(), _KNOWN_BY, 0)
            first, newline, _ = head.partition(b"\n")
            self._head = first if newline or len(head) == _KNOWN_BY else b""
        return self._head

    def is_(self, other: Part) -> bool:
        return self._inode == other._inode or (self.head != b"" and self.head == other.head)

    def unpack(self) -> None:
        """Blocks. A compressed file becomes an unnamed plain one beside it."""
        if not self._packed:
            return
        place = Path(f"/proc/self/fd/{self._file.fileno()}").readlink().parent
        plain: BinaryIO = tempfile.TemporaryFile(dir=place, buffering=0)  # noqa: SIM115 (closed by close)
        try:
            with gzip.open(self._file) as packed:
                while block := packed.read(1 << 20):
                    plain.write(block)
        except BaseException:
            plain.close()
            raise
        self._file.close()
        self._file, self._packed = plain, False

    @property
    def packed(self) -> bool:
        return self._packed

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


def open_part(path: Path, number: int) -> Part | None:
    """The file that has `number` newer ones; None when there is none (or, for 0, conmon has not made it yet)."""
    plain = path.with_name(f"{path.name}.{number}") if number else path
    for name, packed in ((plain, False), (plain.with_name(f"{plain.name}.gz"), True)):
        try:
            return Part(name.open("rb", buffering=0), packed, number)
        except FileNotFoundError:
            if not number:
                break
    return None


def newest_first(path: Path) -> Iterator[Part]:
    """Every file, open; one that is rotated meanwhile comes once. Whoever takes one closes it."""
    before: Part | None = None
    for number in itertools.count():
        part = open_part(path, number)
        if part is None:
            if number:
                return
            continue
        if before is not None and part.is_(before):
            part.close()
            continue
        before = part
        yield part


def oldest(path: Path) -> Part | None:
    return _last_before(path, lambda part: False)


def successor(path: Path, of: Part) -> Part | None:
    """The file that came after; None when there is none. When `of` was removed, the oldest that is younger."""
    newer: Part | None = None
    for part in newest_first(path):
        if part.is_(of):
            part.close()
            return newer
        if newer is not None:
            newer.close()
        newer = part
    if newer is None or not of.head:
        return newer
    newer.close()
    return younger(path, of.head)


def younger(path: Path, head: bytes) -> Part | None:
    """The oldest file that began after the one with this head; the newest where there is none (a clock was put
    back)."""
    found = _last_before(path, lambda part: _begin(part.head) <= _begin(head))
    return found or open_part(path, 0)


def _begin(head: bytes) -> int:
    """When a file's first record was written. One without records is younger than all."""
    try:
        return moment(head)
    except ValueError:
        return 1 << 63


def with_head(path: Path, head: bytes) -> Part | None:
    """The file that begins so."""
    for part in newest_first(path):
        if part.head == head:
            return part
        part.close()
    return None


def _last_before(path: Path, wanted: Callable[[Part], bool]) -> Part | None:
    newer: Part | None = None
    for part in newest_first(path):
        if wanted(part):
            part.close()
            return newer
        if newer is not None:
            newer.close()
        newer = part
    return newer


class Chain:
    """Reads on from one place in a log, through all files that follow. Use `closing`."""

    BLOCK = 1 << 17
    """Small enough that formatting one block of short lines holds the event loop for about a millisecond."""

    def __init__(self, path: Path, part: Part | None, offset: int = 0, block: int = BLOCK) -> None:
        self._path = path
        self._size = block
        self._part = part
        self._rest = b""
        self._read_to = offset
        """Of the file, including `_rest`."""

    @property
    def part(self) -> Part | None:
        return self._part

    @property
    def offset(self) -> int:
        """Where, in the file, the first record begins that was not handed out."""
        return self._read_to - len(self._rest)

    async def records(self) -> bytes:
        """The next whole records, all of one file; b"" when there are none (yet)."""
        while True:
            if self._part is None:
                self._part = oldest(self._path)
                if self._part is None:
                    return b""
            if self._part.packed:
                await asyncio.to_thread(self._part.unpack)
            if block := self._block():
                return block
            following = successor(self._path, self._part)
            if following is None:
                return b""
            # What conmon wrote between the two looks.
            if block := self._block():
                following.close()
                return block
            self._part.close()
            self._part, self._rest, self._read_to = following, b"", 0

    def _block(self) -> bytes:
        assert self._part is not None
        while True:
            more = os.pread(self._part.fileno(), self._size, self._read_to)
            self._read_to += len(more)
            data = self._rest + more
            cut = data.rfind(b"\n") + 1
            self._rest = data[cut:]
            if cut or not more:
                return data[:cut]

    def unread(self) -> int:
        """About how many bytes follow, compressed files counted as they are."""
        total = 0
        for part in newest_first(self._path):
            with closing(part):
                size = os.fstat(part.fileno()).st_size
                if self._part is not None and part.is_(self._part):
                    return total + max(size - self.offset, 0)
                total += size
        return total

    def close(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None
