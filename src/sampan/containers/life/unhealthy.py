"""What follows when a container turns unhealthy: nothing, as in Docker, or what `--health-on-failure` says (Podman's
flag and words).

*kill* ends the run as a crash would, so that the restart policy decides what comes next. *restart* starts the container
anew whatever its policy. *stop* is the user's `stop`: no policy starts it again.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from sampan.containers.context import Context
from sampan.containers.life.stopping import Stopping
from sampan.containers.roster import Record
from sampan.errors import SampanError

log = logging.getLogger(__name__)


class Unhealthy:
    """`restart` stops and starts a container; `service` sets it."""

    def __init__(self, context: Context, stopping: Stopping) -> None:
        self._context = context
        self._stopping = stopping
        self.restart: Callable[[Record], Coroutine[Any, Any, None]]

    async def act(self, record: Record) -> None:
        action, container = record.container.host_config.health_on_failure, record.container
        if action in ("", "none") or not container.state.running or record.stop_requested:
            return
        log.info("container %s is unhealthy: %s", container.id, action)
        try:
            if action == "kill":
                await self._context.runtime.kill(self._context.bundle(container), container.runtime, signal.SIGKILL)
                self._context.publish(container, "kill", signal=str(int(signal.SIGKILL)))
            elif action == "restart":
                record.counted_restarts = container.restart_count + 1
                try:
                    await self.restart(record)
                finally:
                    record.counted_restarts = 0
            else:
                await self._stopping.end(record)
        except SampanError as error:
            log.error("container %s is unhealthy, and %s failed: %s", container.id, action, error.message)
