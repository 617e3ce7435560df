"""`GET /containers/{id}/logs`: conmon's file from a point on, then as it grows.

A log is a file and, when it is rotated, older ones beside it (`log_chain`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sampan.containers.logs.log_chain import Chain, Part, newest_first, open_part
from sampan.containers.logs.log_format import Formatter, count_lines, tail_offset
from sampan.containers.streams import LogLine
from sampan.linux import inotify


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
    start: tuple[Part | None, int] = (None, 0)
    if options.tail is not None:
        older = open_part(path, 1)
        if older is not None:
            older.close()
        start = await asyncio.to_thread(_tail, path, options.tail) if older else _tail(path, options.tail)
    with closing(Chain(path, *start)) as chain, contextlib.ExitStack() as watch:
        watched: Part | None = None
        while True:
            alive = live()
            wake.clear()
            block = await chain.records()
            if block:
                if lines := formatter.format(block):
                    yield lines
                if formatter.passed_until:
                    return
                await asyncio.sleep(0)
            elif not options.follow or not alive:
                return
            elif watched is None or watched is not chain.part:
                watch.close()
                watch.enter_context(growth.of(path, wake))
                if chain.part is None and not await _grown(wake, options.until):
                    return
                watched = chain.part
            elif not await _grown(wake, options.until):
                return


def _tail(path: Path, lines: int) -> tuple[Part | None, int]:
    """Blocks where files are compressed. The file in which the last `lines` lines begin, and where: read from the
    end."""
    oldest: Part | None = None
    for part in newest_first(path):
        part.unpack()
        offset, lines = _tail_of(part.fileno(), lines, newest=oldest is None)
        if oldest is not None:
            oldest.close()
        if lines == 0:
            return part, offset
        oldest = part
    return oldest, 0


def _tail_of(descriptor: int, lines: int, newest: bool) -> tuple[int, int]:
    """(offset of the last `lines` lines, how many are still missing then)."""
    position = os.fstat(descriptor).st_size
    if lines == 0:
        return position, 0
    open_end = newest
    carried = b""
    while position > 0:
        step = min(Chain.BLOCK, position)
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


async def _grown(wake: asyncio.Event, until: int) -> bool:
    """False when `until` came before anything else."""
    if not until:
        return await wake.wait()
    try:
        return await asyncio.wait_for(wake.wait(), max((until - time.time_ns()) / 10**9, 0))
    except TimeoutError:
        return False
