"""A small inotify watcher for asyncio: no thread, no polling."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from typing import NamedTuple

from sampan.linux.libc import failure, libc

MODIFY = 0x2
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
OVERFLOW = 0x4000
"""The kernel's queue was full: look at everything again."""
IGNORED = 0x8000
ONLYDIR = 0x1000000

_HEADER = struct.Struct("iIII")


class Event(NamedTuple):
    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance. Iterate over `events()` in one task; `close` ends the iteration."""

    def __init__(self) -> None:
        self._descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise failure(message="inotify_init1; see /proc/sys/fs/inotify/max_user_instances")
        self._ready = asyncio.Event()
        self._listening = False

    def watch(self, path: str | os.PathLike[str], mask: int) -> int:
        """Returns the watch's number, which is in every event of it."""
        watch: int = libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask)
        if watch < 0:
            raise failure(path)
        return watch

    def unwatch(self, watch: int) -> None:
        """Idempotent."""
        libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> list[Event]:
        """What has happened; empty when nothing has. Never waits."""
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return []
        events, offset = [], 0
        while offset < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            events.append(Event(watch, mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))))
            offset += length
        return events

    async def wait(self) -> list[Event]:
        """The next events; empty once closed."""
        while self._descriptor >= 0:
            if not self._listening:
                asyncio.get_running_loop().add_reader(self._descriptor, self._ready.set)
                self._listening = True
            if events := self.read():
                return events
            self._ready.clear()
            await self._ready.wait()
        return []

    async def events(self) -> AsyncIterator[Event]:
        while events := await self.wait():
            for event in events:
                yield event

    def close(self) -> None:
        if self._descriptor >= 0:
            if self._listening:
                asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._ready.set()
