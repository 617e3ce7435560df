"""Containers that run, as far as the daemon knows them: enough to act without asking a runtime process.

A container is *held* from its create to its delete. What an earlier daemon started is rediscovered from the pid files
in its bundle, and only believed when conmon's command line names the container and init is conmon's child: pids are
given out again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sampan.errors import Conflict
from sampan.linux import pidfd
from sampan.runtime import cgroups, conmon, exits
from sampan.runtime.bundle import Bundle
from sampan.runtime.exits import Exits

log = logging.getLogger(__name__)

Keep = Callable[[Coroutine[Any, Any, None], str], None]
"""Runs a coroutine in the background, under a name."""


@dataclass(slots=True)
class Held:
    bundle: Bundle
    pid: int
    started: int | None
    """Start time of `pid`, so that a pid that was given out again is never signalled."""
    conmon_pid: int
    cgroup: str
    stdin: bool
    closes_stdin: bool
    """The container's stdin ends with the client that is attached to it."""
    conmon_watch: int = -1
    init: tuple[int, int] | None = None
    """The runtime's program (device, inode), which `pid` is until it becomes the container's."""


class Holding:
    """By container id. When a conmon ends without having written an exit, its container is ended too and that is
    reported."""

    def __init__(self, reports: Exits, keep: Keep) -> None:
        self._reports = reports
        self._keep = keep
        self._held: dict[str, Held] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._held

    def get(self, bundle: Bundle) -> Held | None:
        return self._held.get(bundle.id) or self._rediscover(bundle)

    def find(self, bundle: Bundle) -> Held:
        """Raises `Conflict` when it does not run."""
        held = self.get(bundle)
        if held is None:
            raise Conflict(f"Container {bundle.id} is not running")
        return held

    def hold(self, held: Held) -> None:
        self._held[held.bundle.id] = held
        descriptor = pidfd.open_pidfd(held.conmon_pid)
        if descriptor is None:
            self._ended(held)
            return
        held.conmon_watch = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._ended, held)

    def forget(self, id: str) -> Held | None:
        held = self._held.pop(id, None)
        if held is not None:
            _unwatch(held)
        return held

    def close(self) -> None:
        for held in self._held.values():
            _unwatch(held)

    def _ended(self, held: Held) -> None:
        _unwatch(held)
        self._keep(self._report(held), f"conmon of {held.bundle.id}")

    async def _report(self, held: Held) -> None:
        while self._held.get(held.bundle.id) is held:
            try:
                exit = self._reports.read(held.bundle.id)
                break
            except OSError as error:  # no descriptor is left, say
                log.error("the exit of container %s cannot be read now: %s", held.bundle.id, error.strerror)
                await asyncio.sleep(exits.AGAIN)
        else:
            return
        if exit is None:  # killed: nobody holds the container's streams, nobody will see its end
            await cgroups.kill(held.cgroup)
            exit = exits.lost(held.bundle.id)
        self._reports.put(exit)

    def _rediscover(self, bundle: Bundle) -> Held | None:
        pid, keeper = read_pid(bundle.pidfile), read_pid(bundle.conmon_pidfile)
        if not pid or not conmon.is_conmon_of(keeper, bundle.id) or pidfd.parent(pid) != keeper:
            return None
        arguments = Path(f"/proc/{keeper}/cmdline").read_bytes().split(b"\0")
        held = Held(
            bundle=bundle,
            pid=pid,
            started=pidfd.start_time(pid),
            conmon_pid=keeper,
            cgroup=cgroup_in(bundle.spec),
            stdin=b"-i" in arguments,
            closes_stdin=b"--leave-stdin-open" not in arguments,
        )
        self.hold(held)
        return held


def _unwatch(held: Held) -> None:
    if held.conmon_watch >= 0:
        asyncio.get_running_loop().remove_reader(held.conmon_watch)
        os.close(held.conmon_watch)
        held.conmon_watch = -1


def read_pid(path: Path) -> int:
    """0 when there is none."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


class _SpecLinux(msgspec.Struct, rename="camel"):
    cgroups_path: str = ""


class _SpecPart(msgspec.Struct):
    linux: _SpecLinux = msgspec.field(default_factory=_SpecLinux)


def cgroup_in(spec: Path) -> str:
    """`cgroupsPath` of a config.json; "" when there is none."""
    try:
        return msgspec.json.decode(spec.read_bytes(), type=_SpecPart).linux.cgroups_path
    except (FileNotFoundError, msgspec.DecodeError):
        return ""
