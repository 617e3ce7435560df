"""How a process ended: the files conmon leaves, and a watch for those it can no longer leave.

A container's exit code is in `<exec-root>/exits/<container id>`; an exec's in the file `exit` of the exec's own
directory. conmon writes them by rename, whether or not a daemon listens, so that none is lost while the daemon is
away. A live exec's code also comes through conmon's sync pipe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from sampan.linux import inotify

KILLED = 137
"""The code recorded when conmon was killed and nobody saw the process end: 128 + SIGKILL, as dockerd records for a
dead shim."""

AGAIN = 1.0
"""Seconds until an exit that could not be read is looked at again."""

_ID = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exit:
    """`exec_id` is None when the container itself ended. `time` is nanoseconds since the epoch."""

    id: str
    exec_id: str | None
    exit_code: int
    time: int
    oom_killed: bool = False


class Exits:
    """The one stream of exits. `oom` tells whether a container met the OOM killer."""

    def __init__(self, directory: Path, oom: Callable[[str], bool]) -> None:
        self._directory = directory
        self._oom = oom
        self._queue: asyncio.Queue[Exit] = asyncio.Queue()
        self._seen: set[str] = set()
        self._watch: inotify.Inotify | None = None
        self._execs: dict[int, Callable[[], bool]] = {}
        """Watches on directories of execs that began under an earlier daemon."""
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Begins: first what is there already, then live. Idempotent."""
        if self._watch is not None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        self._watch = inotify.Inotify()
        self._containers = self._watch.watch(self._directory, inotify.MOVED_TO | inotify.ONLYDIR)
        self._scan()
        self._task = asyncio.get_running_loop().create_task(self._follow(self._watch), name="exits")

    def read(self, id: str) -> Exit | None:
        """The exit that conmon wrote for a container, if it did."""
        path = self._directory / id
        try:
            return Exit(id, None, int(path.read_text()), path.stat().st_mtime_ns, self._oom(id))
        except FileNotFoundError:
            return None
        except ValueError:  # torn by a full or crashed tmpfs
            return Exit(id, None, KILLED, path.stat().st_mtime_ns, self._oom(id))

    def write(self, exit: Exit) -> None:
        """As conmon would have, but in place: the watch, which waits for renames, does not see it."""
        path = self._directory / exit.id
        path.write_text(str(exit.exit_code))
        os.utime(path, ns=(exit.time, exit.time))

    def put(self, exit: Exit) -> None:
        """Adds one that was learnt in another way; a container's second report is dropped."""
        if exit.exec_id is None:
            if exit.id in self._seen:
                return
            self._seen.add(exit.id)
        self._queue.put_nowait(exit)

    def forget(self, id: str) -> None:
        """Before a container's next run: its old exit is history."""
        (self._directory / id).unlink(missing_ok=True)
        self._seen.discard(id)

    def watch_directory(self, directory: Path, found: Callable[[], bool]) -> None:
        """Calls `found` whenever something is renamed into `directory`, until it returns True."""
        self.listen()
        assert self._watch is not None
        number = self._watch.watch(directory, inotify.MOVED_TO | inotify.ONLYDIR)
        self._execs[number] = found
        if found():  # it may have come before the watch
            self._unwatch(number)

    def _unwatch(self, number: int) -> None:
        if self._execs.pop(number, None) is not None and self._watch is not None:
            self._watch.unwatch(number)

    def _scan(self) -> None:
        for path in self._directory.iterdir():
            self._report(path.name)

    def _report(self, name: str) -> None:
        if not _ID.fullmatch(name) or name in self._seen:
            return
        try:
            exit = self.read(name)
        except OSError as error:  # no descriptor is left, say: an exit is told once, and must not be lost for that
            log.error("the exit of container %s cannot be read now: %s", name, error.strerror)
            asyncio.get_running_loop().call_later(AGAIN, self._report, name)
            return
        if exit is not None:
            self.put(exit)

    def _look(self, number: int) -> None:
        """Is what an exec's directory is watched for there?"""
        found = self._execs.get(number)
        try:
            if found is not None and found():
                self._unwatch(number)
        except OSError as error:
            log.error("the exit of an exec cannot be read now: %s", error.strerror)
            asyncio.get_running_loop().call_later(AGAIN, self._look, number)

    async def _follow(self, watch: inotify.Inotify) -> None:
        async for event in watch.events():
            if event.mask & inotify.OVERFLOW:
                self._scan()
                for number in list(self._execs):
                    self._look(number)
            elif event.watch == self._containers:
                self._report(event.name)
            elif event.mask & inotify.IGNORED:
                self._unwatch(event.watch)
            else:
                self._look(event.watch)

    async def stream(self) -> AsyncIterator[Exit]:
        self.listen()
        while True:
            yield await self._queue.get()

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def exec_exit(id: str, exec_id: str, directory: Path) -> Exit | None:
    """The exit that conmon wrote for an exec, if it did."""
    path = directory / "exit"
    try:
        code = int(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        code = KILLED
    return Exit(id, exec_id, code, path.stat().st_mtime_ns)


def lost(id: str, exec_id: str | None = None) -> Exit:
    """The exit of a process whose conmon was killed."""
    return Exit(id, exec_id, KILLED, time.time_ns())
