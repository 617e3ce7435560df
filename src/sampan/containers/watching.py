"""What a container's processes do and use, on the event loop: `docker top`, `docker stats`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sampan.containers import stats, top
from sampan.containers.context import Context
from sampan.containers.life.execs import check_active
from sampan.containers.model import Status
from sampan.containers.roster import Record
from sampan.containers.spec import networking
from sampan.containers.stats import Usage
from sampan.errors import Conflict, SampanError

PERIOD = 1.0
"""Seconds between two samples."""


class Watching:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def top(self, ref: str, ps_args: str = "") -> top.Processes:
        """Raises `Conflict` unless the container runs."""
        container = self._context.roster.find(ref).container
        if container.state.status is not Status.PAUSED:
            check_active(container, ref)
        pids = await self._context.runtime.pids(self._context.bundle(container), container.runtime)
        found = await top.top(pids, ps_args)
        self._context.publish(container, "top")
        return found

    async def stats(self, ref: str, *, stream: bool, one_shot: bool = False) -> AsyncIterator[Usage]:
        """One sample a second until the container is removed; without `stream` one, which takes a second to have a
        predecessor, and with `one_shot` none. A container that does not run has an empty one."""
        record = self._context.roster.find(ref)
        return self._samples(record, stream, one_shot)

    async def _samples(self, record: Record, stream: bool, one_shot: bool) -> AsyncIterator[Usage]:
        before: Usage | None = None
        while self._context.roster.by_id(record.id) is record:
            usage = await self._sample(record)
            if before is not None and usage["read"]:
                usage["preread"], usage["precpu_stats"] = before["read"], before["cpu_stats"]
            running = bool(usage["read"])
            if stream or one_shot or before is not None or not running:
                yield usage
                if not stream:
                    return
            before = usage if running else None
            await asyncio.sleep(PERIOD)

    async def _sample(self, record: Record) -> Usage:
        container = record.container
        nothing = stats.empty(container.id, container.name)
        if not container.state.running or not container.state.pid:
            return nothing
        mode = container.host_config.network_mode
        shares_host = mode == "host"
        if mode.startswith(networking.CONTAINER):
            other = self._context.roster.by_id(mode.removeprefix(networking.CONTAINER))
            shares_host = other is not None and other.container.host_config.network_mode == "host"
        try:
            cgroup = self._context.runtime.cgroup(self._context.bundle(container))
            pid = None if shares_host or mode == "none" else container.state.pid
            return await asyncio.to_thread(stats.sample, container.id, container.name, cgroup, pid)
        except (Conflict, OSError, SampanError):  # it ended meanwhile
            return nothing
