"""Attaching: clients' streams to a container's or an exec's process.

A client may attach before the start; its stream then waits, and begins with the first byte, because the connection to
conmon is made between the runtime's create and its start. Each client has a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from sampan.containers.context import Context
from sampan.containers.model import Container, Status
from sampan.containers.roster import Record
from sampan.containers.streams import STDERR, STDOUT, LogLine
from sampan.errors import Conflict
from sampan.runtime import Attachment, Bundle


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """`logs` replays what was printed so far; without `stream` nothing follows."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    logs: bool = False
    stream: bool = True


class ClientStream:
    """A `containers.streams.Stream`. `source` is None until the container starts."""

    def __init__(
        self,
        options: AttachOptions,
        *,
        tty: bool,
        stdin: bool,
        backlog: AsyncIterator[list[LogLine]] | None = None,
        ended: Callable[[], Awaitable[object]] | None = None,
        raw: bool | None = None,
    ) -> None:
        """`stdin`: the process has one. `ended` is waited for at the end of the output, so that who sees the end can
        ask for the exit code."""
        self.tty = tty if raw is None else raw
        self._has_tty = tty
        self.options = options
        self._stdin = stdin and options.stdin
        self._shown = {STDOUT: options.stdout, STDERR: options.stderr}
        self._source: asyncio.Future[Attachment | None] = asyncio.get_running_loop().create_future()
        self._backlog = backlog
        self._lines: list[LogLine] = []
        self._ended = ended
        self.on_close: Callable[[], None] | None = None

    def connect(self, source: Attachment | None) -> None:
        """None: there will be no output."""
        if not self._source.done():
            self._source.set_result(source)
        elif source is not None:
            asyncio.get_running_loop().create_task(source.close())  # the client went away meanwhile

    async def read(self) -> tuple[int, bytes] | None:
        if self._backlog is not None:
            if line := await self._replay():
                return line
            self._backlog = None
        if not self.options.stream:
            return None
        source = await asyncio.shield(self._source)
        while source is not None and (chunk := await source.read()) is not None:
            if self._has_tty or self._shown.get(chunk[0]):
                return chunk
        if self._ended is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended(), 5)
        return None

    async def _replay(self) -> tuple[int, bytes] | None:
        assert self._backlog is not None
        while not self._lines:
            try:
                self._lines = await anext(self._backlog)
            except StopAsyncIteration:
                return None
        line = self._lines.pop(0)
        return line.stream, line.data

    async def write(self, data: bytes) -> None:
        if self._stdin and (source := await asyncio.shield(self._source)) is not None:
            await source.write(data)

    async def close_input(self) -> None:
        """A TTY's input ends with the TTY, not with a client."""
        if self._stdin and not self._has_tty and (source := await asyncio.shield(self._source)) is not None:
            await source.close_input()

    async def close(self) -> None:
        if self.on_close is not None:
            self.on_close()
        if not self._source.done():
            self._source.set_result(None)
        elif (source := self._source.result()) is not None:
            await source.close()


class Attaching:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def attach(
        self, record: Record, ref: str, options: AttachOptions, backlog: AsyncIterator[list[LogLine]] | None
    ) -> ClientStream:
        """Raises `Conflict` for a paused or restarting container."""
        container = record.container
        if container.state.status is Status.PAUSED:
            raise Conflict(f"container {ref} is paused, unpause the container before attach")
        if container.state.status is Status.RESTARTING:
            raise Conflict(f"container {ref} is restarting, wait until the container is running")
        stream = ClientStream(options, tty=container.config.tty, stdin=container.config.open_stdin, backlog=backlog)
        if options.stream:
            # A start that is under way connects those that wait when it gets there; one that got past there runs.
            if container.state.status is Status.RUNNING:
                await self._connect(stream, container)
            else:
                record.attaching.add(stream)
                stream.on_close = lambda: record.attaching.discard(stream)
        self._context.publish(container, "attach")
        return stream

    async def connect_waiting(self, record: Record, bundle: Bundle) -> None:
        """Between create and start: nothing that is printed is missed."""
        waiting, record.attaching = record.attaching, set()
        for stream in waiting:
            await self._connect(stream, record.container, before_start=True)

    async def _connect(self, stream: ClientStream, container: Container, before_start: bool = False) -> None:
        try:
            source = await self._context.runtime.attach(
                self._context.bundle(container),
                tty=container.config.tty,
                stdin=stream.options.stdin,
                before_start=before_start,
            )
        except Conflict:  # it has just ended
            source = None
        stream.connect(source)

    @staticmethod
    def let_go(record: Record) -> None:
        """The start failed, or the container was removed: those who wait see the end."""
        waiting, record.attaching = record.attaching, set()
        for stream in waiting:
            stream.connect(None)
