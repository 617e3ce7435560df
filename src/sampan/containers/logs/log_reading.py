"""`GET /containers/{id}/logs`: conmon's file from a point on, then as it grows.

A log is a file and, when it is rotated, older ones beside it: `container.log.1` (or `container.log.1.gz`) is the last
before the current.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sampan.containers.logs.log_format import Formatter, count_lines, tail_offset
from sampan.containers.streams import LogLine
from sampan.linux import inotify

_BLOCK = 1 << 17
"""Small enough that formatting one block of short lines holds the event loop for about a millisecond."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`since` and `until` are nanoseconds since the epoch (0: unbounded); `tail` None means all. `timestamps` and
    `details` prefix each line, as Docker does."""

    stdout: bool = False
    stderr: bool = False
    follow: bool = False
    since: int = 0
    until: int = 0
    tail: int | None = None
    timestamps: bool = False
    details: bool = False


class Growth:
    """One inotify instance tells every follower of every log that its file has grown, or was replaced."""

    def __init__(self) -> None:
        self._inotify: inotify.Inotify | None = None
        self._events: dict[int, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def of(self, path: Path, event: asyncio.Event) -> Iterator[None]:
        """Sets `event` whenever the file changes, until the block ends."""
        if self._inotify is None:
            self._inotify = inotify.Inotify()
            self._task = asyncio.get_running_loop().create_task(self._follow(self._inotify))
        try:
            number = self._inotify.watch(path, inotify.MODIFY | inotify.MOVE_SELF | inotify.DELETE_SELF)
        except FileNotFoundError:
            yield
            return
        listening = self._events.setdefault(number, set())
        listening.add(event)
        try:
            yield
        finally:
            listening.discard(event)
            if not listening and self._events.get(number) is listening:
                del self._events[number]
                if self._inotify is not None:
                    self._inotify.unwatch(number)

    async def _follow(self, watch: inotify.Inotify) -> None:
        async for change in watch.events():
            for event in self._events.get(change.watch, ()):
                event.set()

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        for events in self._events.values():
            for event in events:
                event.set()


def files(path: Path) -> list[Path]:
    """The log's files, oldest first, without `.gz` where there is one."""
    older = []
    number = 1
    while (rotated := path.with_name(f"{path.name}.{number}")).exists() or _compressed(rotated).exists():
        older.append(rotated)
        number += 1
    return [*reversed(older), path]


def _compressed(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def _open(path: Path) -> BinaryIO:
    """A file that was set aside, unpacked when it is compressed: then this blocks. Raises `FileNotFoundError`."""
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        unpacked = tempfile.TemporaryFile(dir=path.parent, buffering=0)  # noqa: SIM115 (the caller closes it)
        try:
            with gzip.open(_compressed(path)) as packed:
                while block := packed.read(1 << 20):
                    unpacked.write(block)
        except BaseException:
            unpacked.close()
            raise
        unpacked.seek(0)
        return unpacked


async def read(
    path: Path,
    options: LogOptions,
    *,
    details: bytes,
    growth: Growth,
    wake: asyncio.Event,
    live: Callable[[], bool],
) -> AsyncIterator[list[LogLine]]:
    """Batches of output. With `follow`, goes on while `live()`; `wake` is set when that may have changed."""
    formatter = Formatter(
        stdout=options.stdout,
        stderr=options.stderr,
        since=options.since,
        until=options.until,
        timestamps=options.timestamps,
        details=details,
    )
    parts = files(path)
    start = 0
    if options.tail is not None:
        parts, start = await asyncio.to_thread(_tail, parts, options.tail) if parts[1:] else _tail(parts, options.tail)
    for part in parts[:-1]:
        async for lines in _whole(part, start, formatter):
            yield lines
        start = 0
        if formatter.passed_until:
            return
    async for lines in _current(path, start, formatter, options, growth, wake, live):
        yield lines


def _tail(parts: list[Path], lines: int) -> tuple[list[Path], int]:
    """The files that hold the last `lines` lines, and where in the first of them these begin: read from the end."""
    for number in range(len(parts) - 1, -1, -1):
        try:
            with _open(parts[number]) as file:
                offset, lines = _tail_of(file.fileno(), lines, newest=number == len(parts) - 1)
        except FileNotFoundError:
            continue
        if lines == 0:
            return parts[number:], offset
    return parts, 0


def _tail_of(descriptor: int, lines: int, newest: bool) -> tuple[int, int]:
    """(offset of the last `lines` lines, how many are still missing then)."""
    position = os.fstat(descriptor).st_size
    if lines == 0:
        return position, 0
    open_end = newest
    carried = b""
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        block = os.pread(descriptor, step, position) + carried
        cut = 0 if position == 0 else block.find(b"\n") + 1
        if cut == 0 and position > 0:
            carried = block
            continue
        carried, records = block[:cut], block[cut:]
        if not records:
            continue
        found = count_lines(records, open_end)
        # One more than wanted must be seen: the pieces before the first wanted line's end belong to it.
        if found > lines:
            return position + cut + tail_offset(records, lines, open_end), 0
        lines -= found
        open_end = False
    return 0, lines


async def _whole(path: Path, start: int, formatter: Formatter) -> AsyncIterator[list[LogLine]]:
    with contextlib.suppress(FileNotFoundError), await asyncio.to_thread(_open, path) as file:
        file.seek(start)
        while block := _records(file.fileno(), b"")[0]:
            if lines := formatter.format(block):
                yield lines
            if formatter.passed_until:
                return
            await asyncio.sleep(0)


def _records(descriptor: int, rest: bytes) -> tuple[bytes, bytes]:
    """(whole records, the beginning of one); both empty at the end of the file."""
    data = rest
    while True:
        more = os.read(descriptor, _BLOCK)
        data += more
        cut = data.rfind(b"\n") + 1
        if cut or not more:
            return data[:cut], data[cut:]


async def _current(
    path: Path,
    start: int,
    formatter: Formatter,
    options: LogOptions,
    growth: Growth,
    wake: asyncio.Event,
    live: Callable[[], bool],
) -> AsyncIterator[list[LogLine]]:
    """The file that conmon writes to; when it is replaced (rotation), its successor."""
    while True:
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            return
        with file, growth.of(path, wake) if options.follow else contextlib.nullcontext():
            file.seek(start)
            rest = b""
            while True:
                alive = live()
                wake.clear()
                block, rest = _records(file.fileno(), rest)
                if block:
                    if lines := formatter.format(block):
                        yield lines
                    if formatter.passed_until:
                        return
                    await asyncio.sleep(0)
                    continue
                if _replaced(path, file.fileno()):
                    break
                if not options.follow or not alive or not await _grown(wake, options.until):
                    return
        start = 0


def _replaced(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


async def _grown(wake: asyncio.Event, until: int) -> bool:
    """False when `until` came before anything else."""
    if not until:
        return await wake.wait()
    try:
        return await asyncio.wait_for(wake.wait(), max((until - time.time_ns()) / 10**9, 0))
    except TimeoutError:
        return False
