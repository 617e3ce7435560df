"""Log files that have grown past `max-size` are set aside: `container.log.1` is the youngest of `max-file` - 1 old
ones.

conmon writes, this daemon rotates: while no daemon runs, a log may grow past its limit, and is rotated when one is
back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from sampan.containers import log_drivers
from sampan.containers.context import Context
from sampan.containers.roster import Record
from sampan.errors import SampanError

log = logging.getLogger(__name__)

_INTERVAL = 0.5
"""Seconds between looks; a stat for each running container that has a limit."""


class Rotating:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._limited: set[Record] = set()
        self._task: asyncio.Task[None] | None = None

    def started(self, record: Record) -> None:
        if log_drivers.rotation(record.container.host_config.log_config)[0] and record.container.log_path:
            self._limited.add(record)
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._look(), name="log rotation")

    async def _look(self) -> None:
        while self._limited:
            await asyncio.sleep(_INTERVAL)
            for record in tuple(self._limited):
                if not record.container.state.running:
                    self._limited.discard(record)
                    continue
                try:
                    await self._rotate(record)
                except (OSError, SampanError) as error:
                    log.warning("rotating the log of container %s: %s", record.id, error)

    async def _rotate(self, record: Record) -> None:
        size, count = log_drivers.rotation(record.container.host_config.log_config)
        path = Path(record.container.log_path)
        if path.stat().st_size < size:
            return
        set_aside(path, count)
        await self._context.runtime.reopen_log(self._context.bundle(record.container))
        for _ in range(200):  # conmon makes the new file a moment later
            if path.exists():
                break
            await asyncio.sleep(0.005)
        if count == 1:
            path.with_name(f"{path.name}.1").unlink(missing_ok=True)
        for follower in record.followers:
            follower.set()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


def set_aside(path: Path, count: int) -> None:
    """Moves the log to `.1` and older ones up; of `count` files in all, the oldest goes."""
    for number in range(max(count - 1, 1), 1, -1):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}.{number - 1}").replace(path.with_name(f"{path.name}.{number}"))
    path.replace(path.with_name(f"{path.name}.1"))
