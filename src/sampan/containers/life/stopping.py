"""Signals to running containers: stop, kill, pause, unpause.

Nothing here holds the container's lock while it waits for a process to end: other requests, a second stop or a kill
among them, are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal as signal_numbers

from sampan.containers.context import Context, not_running
from sampan.containers.life import transitions
from sampan.containers.life.ending import Ending
from sampan.containers.model import Container, Status
from sampan.containers.roster import Record
from sampan.containers.rules import signals
from sampan.errors import Conflict, NotModified, SampanError

DEFAULT_TIMEOUT = 10
_KILL_TIMEOUT = 10


class Stopping:
    def __init__(self, context: Context, ending: Ending) -> None:
        self._context = context
        self._ending = ending

    async def stop(self, record: Record, ref: str, timeout: int | None, signal: str | None) -> None:
        """Raises `NotModified` when it does not run. `timeout` in seconds, negative: wait for ever."""
        if not record.container.state.running:
            raise NotModified("container is already stopped")
        try:
            await self._context.whole(self.end(record, timeout, signal))
        except SampanError as error:
            error.message = f"cannot stop container: {ref}: {error.message}"
            raise

    async def end(self, record: Record, timeout: int | None = None, signal: str | None = None) -> None:
        """Signal, wait, kill; then the `stop` event. Returns when the end is recorded and taken down."""
        container = record.container
        number = signals.parse_deliverable(signal) if signal else stop_signal(container)
        if timeout is None:
            timeout = container.config.stop_timeout if container.config.stop_timeout is not None else DEFAULT_TIMEOUT
        ended = record.exit()
        try:
            if not await self._signal_or_cancel(record, number) and not await _within(ended, timeout):
                await self.kill(record)
        finally:
            ended.cancel()
        async with record.lock:  # what was started meanwhile is not our business, what ended is taken down
            self._context.publish(container, "stop")

    async def _signal_or_cancel(self, record: Record, number: int) -> bool:
        """True when there is nothing to wait for: it had ended already, or only waited for a restart."""
        if record.container.state.status is Status.RESTARTING:
            record.stop_requested = record.container.state.manually_stopped = True
            if self._ending.cancel_restart(record):
                return True
            async with record.lock:  # the restart is under way: it is stopped once it runs
                pass
        if not record.container.state.running:
            return True
        await self.signal(record, number)
        return False

    async def signal(self, record: Record, number: int) -> None:
        """Sends one signal. Raises `Conflict` when it does not run."""
        context, container = self._context, record.container
        state = container.state
        if not state.running:
            raise not_running(container.id)
        final = number == signal_numbers.SIGKILL or not container.config.stop_signal
        final = final or number == signals.parse(container.config.stop_signal)
        record.stop_requested = record.stop_requested or final
        state.manually_stopped = True
        context.save_what_happened(record)
        if state.status is Status.RESTARTING:
            if final:
                self._ending.cancel_restart(record)
            return
        bundle = context.bundle(container)
        with contextlib.suppress(Conflict):  # it has ended by itself, and its exit is on its way
            await context.runtime.kill(bundle, container.runtime, number)
        if final and state.status is Status.PAUSED:
            with contextlib.suppress(SampanError):
                await context.runtime.resume(bundle, container.runtime)
            if state.status is Status.PAUSED:
                transitions.change(state, Status.RUNNING)
                context.save_what_happened(record)
                context.publish(container, "unpause")
        context.publish(container, "kill", signal=str(number))

    async def kill(self, record: Record) -> None:
        """SIGKILL, and waits for the end. Raises `Conflict` when it does not run, `SampanError` when it does not
        die."""
        ended = record.exit()
        try:
            await self.signal(record, signal_numbers.SIGKILL)
            if not record.container.state.running or await _within(ended, _KILL_TIMEOUT):
                return
            bundle = self._context.bundle(record.container)
            with contextlib.suppress(Conflict):
                await self._context.runtime.kill(bundle, record.container.runtime, signal_numbers.SIGKILL, all=True)
            if not await _within(ended, 2):
                raise SampanError("tried to kill container, but did not receive an exit event")
        finally:
            ended.cancel()

    async def pause(self, record: Record) -> None:
        context, container = self._context, record.container
        async with record.lock:
            match container.state.status:
                case Status.PAUSED:
                    raise Conflict(f"container {container.id} is already paused")
                case Status.RESTARTING:
                    raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
                case Status.RUNNING:
                    pass
                case _:
                    raise not_running(container.id)
            await context.runtime.pause(context.bundle(container), container.runtime)
            if container.state.status is not Status.RUNNING:
                return
            transitions.change(container.state, Status.PAUSED)
            context.save_what_happened(record)
            context.publish(container, "pause")

    async def unpause(self, record: Record) -> None:
        context, container = self._context, record.container
        async with record.lock:
            if container.state.status is not Status.PAUSED:
                raise SampanError(f"Container {container.id} is not paused")
            await context.runtime.resume(context.bundle(container), container.runtime)
            transitions.change(container.state, Status.RUNNING)
            context.save_what_happened(record)
            context.publish(container, "unpause")


def stop_signal(container: Container) -> int:
    return signals.parse(container.config.stop_signal) if container.config.stop_signal else signal_numbers.SIGTERM


async def _within(ended: asyncio.Future[tuple[int, str | None]], timeout: float) -> bool:
    """Did it end in time? Negative: there is no limit."""
    try:
        await asyncio.wait_for(asyncio.shield(ended), timeout if timeout >= 0 else None)
    except TimeoutError:
        return ended.done()
    return True
