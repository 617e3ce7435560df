"""The end of a run: recorded, announced, taken down, and what follows from it (restart policy, `--rm`)."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine
from typing import Any

from sampan.containers.attaching import Attaching
from sampan.containers.context import Context
from sampan.containers.life import restarts, transitions
from sampan.containers.life.starting import Starting
from sampan.containers.model import Status
from sampan.containers.roster import Record
from sampan.containers.spec import networking
from sampan.runtime import Exit
from sampan.store import DiskFull

log = logging.getLogger(__name__)


class Ending:
    """`remove` takes an AutoRemove container down and away, under its lock; `exec_ended` is told of execs' exits,
    `ended` of each run's end. `service` sets them."""

    def __init__(self, context: Context, starting: Starting, attaching: Attaching) -> None:
        self._context = context
        self._starting = starting
        self._attaching = attaching
        self.remove: Callable[[Record], Coroutine[Any, Any, None]]
        self.exec_ended: Callable[[Exit], None]
        self.ended: Callable[[Record], None]

    async def watch(self) -> None:
        """For as long as the daemon runs: each exit has a task of its own, so that no container waits for another."""
        async for exit in self._context.runtime.exits():
            if exit.exec_id is not None:
                try:
                    self.exec_ended(exit)
                except (DiskFull, sqlite3.Error) as error:
                    log.error("the exit of exec %s is not saved: %s", exit.exec_id, error)
                self._context.runtime.acknowledge(exit)
            else:
                self._context.keep(self._exited(exit))

    async def _exited(self, exit: Exit) -> None:
        record = self._context.roster.by_id(exit.id)
        if record is None:
            self._context.runtime.acknowledge(exit)
            return
        try:
            async with record.lock:
                if record.container.state.status not in (Status.RUNNING, Status.PAUSED):
                    self._context.runtime.acknowledge(exit)  # of a start that failed
                    return
                again, died = await self._record(record, exit)
                self._context.networks.leaving(record.id)  # in Docker's order: disconnect, unmount, die, destroy
                if (
                    not again
                    and record.container.host_config.auto_remove
                    and not (record.restarting_by_hand or record.removing)
                ):
                    died()
                    await self.remove(record)
                else:
                    await self._starting.undo(record.container, self._context.bundle(record.container))
                    died()
                if again:
                    record.restart_pending = self._context.keep(self._restart_later(record))
                if record in self._context.unsaved:
                    self._context.runtime.remember(exit)
        except Exception:
            log.exception("recording the exit of container %s", exit.id)

    async def _record(self, record: Record, exit: Exit) -> tuple[bool, Callable[[], None]]:
        """Under the lock; is it to be restarted, and what announces the end. The state is written and the waiters are
        woken before the slow taking down, which the lock keeps others from seeing half done; but ports and addresses
        are free again by then. The event comes after it, as Docker's does: an attached `compose up` on Ctrl-C takes
        the last `die` for the end of its own `stop` request too, and panics when that is not answered by then."""
        context, container = self._context, record.container
        state = container.state
        finished_at = max(exit.time, state.started_at)  # a file's time comes from a coarser clock
        ran = (finished_at - state.started_at) / 10**9
        self.ended(record)
        again = not record.stop_requested and restarts.wanted(
            container.host_config.restart_policy, exit.exit_code, state.manually_stopped, record.restarts
        )
        if container.ports or any(settings.ipam_config for settings in container.networking.values()):
            await context.networks.down(container.id)
        transitions.ended(
            state, Status.RESTARTING if again else Status.EXITED, exit.exit_code, finished_at, exit.oom_killed
        )
        if again:
            record.restarts += 1
            container.restart_count += 1
            record.restart_delay = restarts.next_delay(record.restart_delay, ran)
        networking.clear(container)
        context.save_what_happened(record)  # the exit file goes with the bundle
        if exit.oom_killed:
            context.publish(container, "oom")
        record.wake_exit((exit.exit_code, state.error or None))
        said = {"exitCode": str(exit.exit_code), "execDuration": str(int(ran))}
        return again, lambda: context.publish(container, "die", **said)

    async def _restart_later(self, record: Record) -> None:
        await asyncio.sleep(record.restart_delay)
        async with record.lock:
            record.restart_pending = None
            if record.container.state.status is not Status.RESTARTING:
                return
            try:
                await self._starting.run(record)
            except Exception as error:
                # Docker gives up too when the start itself fails; `failed_to_start` has made it exited.
                log.error("restarting container %s: %s", record.id, error)
                record.wake_exit((record.container.state.exit_code, record.container.state.error or None))

    def cancel_restart(self, record: Record) -> bool:
        """A container that waits for its restart is stopped instead; False when it does not wait."""
        if record.container.state.status is not Status.RESTARTING or record.lock.locked():
            return False
        if record.restart_pending is not None:
            record.restart_pending.cancel()
            record.restart_pending = None
        state = record.container.state
        transitions.ended(state, Status.EXITED, state.exit_code, state.finished_at or time.time_ns())
        self._context.save(record)
        record.wake_exit((state.exit_code, None))
        return True
