"""Hijacked connections: a container's streams on a socket that has left HTTP.

Output goes out in 8-byte frames (stream number, three zeros, length as big-endian 32 bits), or bare when there is a
TTY. Both ends may close their half alone: the client's end of file becomes the process's, and output goes on; when
the output ends, the client's reads end. Nobody reads faster than the other side takes."""

from __future__ import annotations

import asyncio
import contextlib
import select
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from sampan.api.connection import Connection
from sampan.api.detach import Scanner
from sampan.containers.streams import STDERR, STDOUT, Stream

FRAME = struct.Struct(">BxxxI")
"""Stream number, length."""
_INPUT_LIMIT = 1 << 18
"""Bytes of input that wait for the process before the client is no longer read."""
_OUTPUT_LIMIT = 1 << 19
"""Bytes of output that wait for the client before the process is no longer read."""
_TURN = 1 << 20
"""After so many bytes of output other connections get their turn."""
_LINGER = 5.0
"""Seconds a client has to close its end once the output has ended."""


class Channel(Protocol):
    """A client's end: a hijacked socket or a websocket."""

    async def read(self) -> bytes:
        """Input; b"" at its end. Raises `ConnectionError` when the client has gone."""

    def write(self, stream: int, data: bytes) -> bool:
        """Queues output; True when the caller should `drain` before it goes on."""

    async def drain(self) -> None:
        """Returns when there is room again."""

    async def gone(self) -> None:
        """Returns when the client has gone."""

    async def finish(self) -> None:
        """No more output."""

    def release(self) -> None:
        """Nothing more will be read or written."""


class Socket(asyncio.Protocol):
    """The channel on a raw socket."""

    def __init__(self, transport: asyncio.Transport, connection: Connection, framed: bool) -> None:
        self._transport = transport
        self._connection = connection
        self._framed = framed
        self._input: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False
        self._eof = False
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._hangup: select.epoll | None = None
        self._held_open: Any = None
        transport.set_write_buffer_limits(_OUTPUT_LIMIT)

    # -- asyncio's side ----------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        self._input.append(data)
        self._waiting += len(data)
        if self._waiting > _INPUT_LIMIT and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        if self._transport.can_write_eof():
            self._watch_hangup()
            return True
        self._keep_tls_open()
        return False  # has no effect on TLS

    def _keep_tls_open(self) -> None:
        """TLS can close one half too (Go's `CloseWrite` sends close_notify, and the docker CLI does so when its stdin
        ends), but asyncio answers it by closing both, with its protocol's `_start_shutdown`, now and whenever it looks
        for input again. Until `release` that does nothing."""
        protocol = getattr(self._transport, "_ssl_protocol", None)
        if protocol is not None and hasattr(protocol, "_start_shutdown"):
            protocol._start_shutdown = lambda: None
            self._held_open = protocol

    def release(self) -> None:
        """The connection may close again."""
        if self._held_open is not None:
            self._held_open.__dict__.pop("_start_shutdown", None)
            self._held_open = None

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch_hangup()
        if not self._lost.done():
            self._lost.set_result(None)
        self._readable.set()
        self._writable.set()
        self._connection.connection_lost(exc)

    def _watch_hangup(self) -> None:
        """After the client's end of file asyncio reads no more, so a client that then goes away would not be noticed
        until we write. epoll always reports a hang-up (unix sockets: both halves closed), even when asked for no
        event at all."""
        sock = self._transport.get_extra_info("socket")
        if self._hangup is not None or sock is None or self._lost.done():
            return
        self._hangup = select.epoll()
        self._hangup.register(sock.fileno(), 0)
        asyncio.get_running_loop().add_reader(self._hangup.fileno(), self._hung_up)

    def _unwatch_hangup(self) -> None:
        if self._hangup is not None:
            asyncio.get_running_loop().remove_reader(self._hangup.fileno())
            self._hangup.close()
            self._hangup = None

    def _hung_up(self) -> None:
        self._unwatch_hangup()
        self._transport.abort()

    # -- the channel's side ------------------------------------------------------------------------
    async def read(self) -> bytes:
        while not self._input:
            if self._lost.done():
                raise ConnectionResetError("the client has gone")
            if self._eof:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._input) if len(self._input) > 1 else self._input[0]
        self._input.clear()
        self._waiting = 0
        if self._paused:
            self._paused = False
            with contextlib.suppress(RuntimeError):  # closing
                self._transport.resume_reading()
        return data

    def write(self, stream: int, data: bytes) -> bool:
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(FRAME.pack(stream, len(data)) + data if self._framed else data)
        return not self._writable.is_set()

    def raw(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        await self._writable.wait()
        if self._lost.done():
            raise ConnectionResetError("the client has gone")

    async def gone(self) -> None:
        await asyncio.shield(self._lost)

    async def finish(self) -> None:
        """Ends the client's reads, then waits for it to close: closing first, with input unread, would reset the
        connection."""
        self.release()
        if self._lost.done() or not self._transport.can_write_eof():
            return
        with contextlib.suppress(OSError, RuntimeError):
            self._transport.write_eof()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_LINGER):
                while await self.read():
                    pass


def hijack(connection: Connection, framed: bool) -> Socket:
    """Takes the connection from HTTP; the caller writes the response's head with `raw`."""
    made: list[Socket] = []

    def make(transport: asyncio.Transport) -> Socket:
        made.append(Socket(transport, connection, framed))
        return made[0]

    connection.hijack(make)
    return made[0]


class Detached(Exception):
    """The detach keys were typed."""


async def carry(
    channel: Channel,
    stream: Stream,
    *,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    detach: bytes | None,
    on_detach: Callable[[], None],
) -> None:
    """Copies both ways until the output ends, the client goes, or the detach keys are typed (then calls
    `on_detach`). Closes the stream."""
    output = asyncio.ensure_future(_output(channel, stream, stdout, stderr))
    input_ = asyncio.ensure_future(_input(channel, stream, detach) if stdin else _ignore(channel))
    gone = asyncio.ensure_future(channel.gone())
    tasks = {output, input_, gone}
    detached = False
    try:
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if input_ in done and isinstance(error := input_.exception(), Detached):
                detached = True
                break
            if output in done or gone in done:
                break
            if input_ in done and error is not None and not isinstance(error, ConnectionError):
                raise error
        failure = output.exception() if output.done() and not output.cancelled() else None
        if failure is not None and not isinstance(failure, ConnectionError):
            raise failure
    finally:
        for task in (output, input_, gone):
            task.cancel()
        await asyncio.gather(output, input_, gone, return_exceptions=True)
        channel.release()
        await stream.close()
    if detached:
        on_detach()
    await channel.finish()


async def _output(channel: Channel, stream: Stream, stdout: bool, stderr: bool) -> None:
    wanted = {STDOUT: stdout, STDERR: stderr}
    turn = 0
    while (item := await stream.read()) is not None:
        kind, data = item
        if not wanted.get(kind):
            continue
        turn += len(data)
        if channel.write(kind, data):
            await channel.drain()
            turn = 0
        elif turn > _TURN:
            turn = 0
            await asyncio.sleep(0)


async def _input(channel: Channel, stream: Stream, detach: bytes | None) -> None:
    scanner = Scanner(detach) if detach else None
    while data := await channel.read():
        if scanner is not None:
            data, complete = scanner.feed(data)
            if data:
                await stream.write(data)
            if complete:
                raise Detached
        else:
            await stream.write(data)
    await stream.close_input()


async def _ignore(channel: Channel) -> None:
    while await channel.read():
        pass


class WebSocket:
    """The channel on a websocket (`attach/ws`): bare output, binary messages since API 1.28, text before."""

    def __init__(self, response: Any, binary: bool) -> None:
        self._response = response
        self._binary = binary
        self._pending: list[bytes] = []
        self._gone = asyncio.Event()

    async def read(self) -> bytes:
        from aiohttp import WSMsgType

        while True:
            message = await self._response.receive()
            if message.type == WSMsgType.TEXT:
                data = message.data.encode()
            elif message.type == WSMsgType.BINARY:
                data = message.data
            else:
                self._gone.set()
                return b""
            if data:
                return bytes(data)

    def write(self, stream: int, data: bytes) -> bool:
        self._pending.append(data)
        return True

    async def drain(self) -> None:
        data, self._pending = b"".join(self._pending), []
        if self._binary:
            await self._response.send_bytes(data)
        else:
            await self._response.send_str(data.decode("utf-8", "replace"))

    async def gone(self) -> None:
        await self._gone.wait()

    async def finish(self) -> None:
        await self._response.close()

    def release(self) -> None:
        pass
