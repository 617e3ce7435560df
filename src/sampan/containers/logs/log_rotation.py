"""Log files that have grown past `max-size` are set aside: `container.log.1` is the youngest of `max-file` - 1 old
ones, `container.log.1.gz` when they are compressed.

conmon writes, this daemon rotates: while no daemon runs, a log may grow past its limit, and is rotated when one is
back. conmon's own limit (--log-size-max) is no help: in 2.1.6 it counts what was written before a reopen
too, and empties files that are far below.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import shutil
from pathlib import Path

from sampan.containers.context import Context
from sampan.containers.logs import log_drivers
from sampan.containers.roster import Record
from sampan.errors import SampanError

log = logging.getLogger(__name__)

_INTERVAL, _RARE_INTERVAL = 0.5, 5.0
"""Seconds between looks, a stat for each running container; the longer for limits that take a while to reach."""
_LARGE = 50_000_000


class Rotating:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._limited: set[Record] = set()
        self._task: asyncio.Task[None] | None = None
        self._added = asyncio.Event()

    def started(self, record: Record) -> None:
        if log_drivers.rotation(record.container.host_config.log_config)[0] and record.container.log_path:
            self._limited.add(record)
            self._added.set()
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._look(), name="log rotation")

    async def _look(self) -> None:
        clock = asyncio.get_running_loop().time
        looked = clock()
        while self._limited:
            left = looked + min(map(_interval, self._limited)) - clock()
            if left > 0:
                self._added.clear()
                with contextlib.suppress(TimeoutError):  # one that is added may have to be looked at sooner
                    await asyncio.wait_for(self._added.wait(), left)
                continue
            looked = clock()
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
        elif log_drivers.compresses(record.container.host_config.log_config):
            await asyncio.to_thread(compress, path)
        for follower in record.followers:
            follower.set()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _interval(record: Record) -> float:
    size, _ = log_drivers.rotation(record.container.host_config.log_config)
    return _INTERVAL if size < _LARGE else _RARE_INTERVAL


def set_aside(path: Path, count: int) -> None:
    """Moves the log to `.1` and older ones up; of `count` files in all, the oldest goes."""
    for number in range(max(count - 1, 1), 1, -1):
        for suffix in ("", ".gz"):
            older = path.with_name(f"{path.name}.{number}{suffix}")
            try:
                path.with_name(f"{path.name}.{number - 1}{suffix}").replace(older)
            except FileNotFoundError:
                older.unlink(missing_ok=True)
    path.with_name(f"{path.name}.1.gz").unlink(missing_ok=True)
    path.replace(path.with_name(f"{path.name}.1"))


def compress(path: Path) -> None:
    """Blocks. Whatever was set aside and is not compressed yet; a reader finds either, at any time."""
    number = 1
    while (plain := path.with_name(f"{path.name}.{number}")).exists() or plain.with_name(f"{plain.name}.gz").exists():
        number += 1
        if not plain.exists():
            continue
        making = plain.with_name(f"{plain.name}.gz.new")
        with plain.open("rb") as source, gzip.open(making, "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        making.replace(plain.with_name(f"{plain.name}.gz"))
        plain.unlink()
