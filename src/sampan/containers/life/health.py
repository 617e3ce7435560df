"""Healthchecks: a probe run in the container again and again, and the verdict drawn from the last few.

Words: a *probe* is one exec of the check's command; exit code 0 is success, all else (also a timeout, code -1)
failure. A container is *starting* until the first success or until `retries` failures in a row outside its start
period; it is *healthy* after a success, *unhealthy* after that many failures. Durations come in nanoseconds, 0 means
the default. Source: Docker's `daemon/health.go` for what clients observe.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from sampan.containers.context import Context
from sampan.containers.life.execs import Execs
from sampan.containers.model import Container, ExecConfig, Health, HealthcheckConfig, HealthLog, Status
from sampan.containers.roster import Record
from sampan.errors import Conflict, SampanError
from sampan.golang import SECOND, duration_text

log = logging.getLogger(__name__)

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
OUTPUT_LIMIT = 4096
KEPT = 5
TIMED_OUT = -1


@dataclass(frozen=True, slots=True)
class Check:
    """A healthcheck with its defaults filled in; seconds."""

    command: list[str]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int


def check_of(container: Container) -> Check | None:
    """None when the container has no healthcheck or switched the image's off."""
    config = container.config.healthcheck
    command = _command(config, container) if config is not None else None
    if config is None or command is None:
        return None
    return Check(
        command,
        (config.interval or 30 * SECOND) / SECOND,
        (config.timeout or 30 * SECOND) / SECOND,
        config.start_period / SECOND,
        (config.start_interval or 5 * SECOND) / SECOND,
        config.retries or 3,
    )


def _command(config: HealthcheckConfig, container: Container) -> list[str] | None:
    kind, *words = config.test or ["NONE"]
    if kind == "CMD" and words:
        return words
    if kind == "CMD-SHELL" and words:
        shell = container.config.shell
        return [*(shell if isinstance(shell, list) and shell else ["/bin/sh", "-c"]), *words]
    return None


def judge(health: Health, probe: HealthLog, check: Check, started_at: int) -> bool:
    """Enters a probe's result into the record; True when the status changed."""
    before = health.status
    health.log = [*health.log, probe][-KEPT:]
    if probe.exit_code == 0:
        health.failing_streak, health.status = 0, HEALTHY
    elif before != STARTING or probe.start - started_at >= check.start_period * SECOND:
        health.failing_streak += 1
        if health.failing_streak >= check.retries:
            health.status = UNHEALTHY
    return health.status != before


def delay(health: Health, check: Check, started_at: int, now: int) -> float:
    """Seconds until the next probe: the start interval counts while the container is starting in its start period."""
    if health.status == STARTING and now - started_at < check.start_period * SECOND:
        return check.start_interval
    return check.interval


class Checking:
    """Runs the probes: one task a container, from start to end. `unhealthy` is told of each that turns unhealthy;
    `service` sets it."""

    def __init__(self, context: Context, execs: Execs) -> None:
        self._context = context
        self._execs = execs
        self.unhealthy: Callable[[Record], Coroutine[Any, Any, None]]

    def started(self, record: Record) -> None:
        """A run began."""
        check = check_of(record.container)
        if check is None:
            record.container.state.health = None
            return
        record.container.state.health = Health()
        self._context.save(record)
        self._begin(record, check)

    def recovered(self, record: Record) -> None:
        """At daemon start: a container that goes on running keeps its verdict."""
        check = check_of(record.container)
        if check is not None:
            record.container.state.health = record.container.state.health or Health()
            self._begin(record, check)

    def _begin(self, record: Record, check: Check) -> None:
        self._stop(record)
        record.health = asyncio.get_running_loop().create_task(self._watch(record, check), name=f"health {record.id}")

    def ended(self, record: Record) -> None:
        """The run is over. A container that does not run counts as unhealthy, as in Docker; the caller saves."""
        self._stop(record)
        health = record.container.state.health
        if health is not None:
            health.status = UNHEALTHY

    async def wait(self, record: Record) -> tuple[int, str | None]:
        """(0, None) when it is healthy; (exit code, why) when it ends before. Raises `Conflict` without a check."""
        state = record.container.state
        if state.running and check_of(record.container) is None:
            raise Conflict(f"container {record.container.name} has no healthcheck")
        if not state.running:
            return state.exit_code, f"container {record.container.name} is not running"
        if state.health is not None and state.health.status == HEALTHY:
            return 0, None
        healthy, ended = record.healthy(), record.exit()
        try:
            await asyncio.wait({healthy, ended}, return_when=asyncio.FIRST_COMPLETED)
            if healthy.done():
                return healthy.result()
            code, error = ended.result()
            return code, error or f"container {record.container.name} ended before it was healthy"
        finally:
            healthy.cancel()
            ended.cancel()

    def close(self, record: Record) -> None:
        """The daemon ends; the verdict stays."""
        self._stop(record)

    def _stop(self, record: Record) -> None:
        if record.health is not None:
            record.health.cancel()
            record.health = None

    async def _watch(self, record: Record, check: Check) -> None:
        state = record.container.state
        while (health := state.health) is not None:
            await asyncio.sleep(delay(health, check, state.started_at, time.time_ns()))
            if state.status is Status.PAUSED:
                continue
            if not state.running:
                return
            try:
                probe = await self._probe(record, check)
            except SampanError as error:
                now = time.time_ns()
                probe = HealthLog(start=now, end=now, exit_code=TIMED_OUT, output=error.message)
            except Exception:
                log.exception("probing the health of container %s", record.id)
                continue
            if not state.running or state.health is not health:
                return
            changed = judge(health, probe, check, state.started_at)
            self._context.save(record)
            if changed:
                self._context.publish(record.container, f"health_status: {health.status}")
                if health.status == HEALTHY:
                    record.wake_healthy()
                elif health.status == UNHEALTHY:
                    # A task of its own: what it does ends this one.
                    self._context.keep(self.unhealthy(record))

    async def _probe(self, record: Record, check: Check) -> HealthLog:
        """One exec. At the timeout it is killed, and what it said by then is kept."""
        container = record.container
        config = ExecConfig(cmd=check.command, attach_stdout=True, attach_stderr=True)
        start = time.time_ns()
        id = self._execs.create(record, container.id, config)
        output = bytearray()
        try:
            await asyncio.wait_for(self._run(id, output), check.timeout)
        except TimeoutError:
            await self._context.runtime.kill_exec(self._context.bundle(container), id, signal.SIGKILL)
            message = f"Health check exceeded timeout ({duration_text(round(check.timeout * SECOND))})"
            said = _text(output)
            return HealthLog(
                start=start,
                end=time.time_ns(),
                exit_code=TIMED_OUT,
                output=f"{message}: {said}" if said else message,
            )
        except asyncio.CancelledError:
            # The container ends (its processes with it), or the daemon does: then nobody would read the probe's pipe.
            self._context.keep(self._kill(container, id))
            raise
        code = self._execs.get(id).exit_code
        self._execs.forget(id)
        return HealthLog(
            start=start, end=time.time_ns(), exit_code=TIMED_OUT if code is None else code, output=_text(output)
        )

    async def _kill(self, container: Container, id: str) -> None:
        try:
            await self._context.runtime.kill_exec(self._context.bundle(container), id, signal.SIGKILL)
        except (SampanError, OSError):
            log.debug("probe %s of container %s is gone already", id, container.id)

    async def _run(self, id: str, output: bytearray) -> None:
        stream = await self._execs.start(id, False, None)
        if stream is None:
            return
        try:
            while (piece := await stream.read()) is not None:
                room = OUTPUT_LIMIT + 1 - len(output)
                output += piece[1][: max(room, 0)]
        finally:
            await stream.close()


def _text(output: bytearray) -> str:
    shown = bytes(output[:OUTPUT_LIMIT]).decode(errors="replace")
    return shown + "..." if len(output) > OUTPUT_LIMIT else shown
