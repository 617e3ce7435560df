"""A connection to conmon's attach socket.

The socket is SOCK_SEQPACKET. Output comes as packets whose first byte is the stream (2 stdout, 3 stderr; with a TTY
all is 2); input is raw bytes, and conmon reads 32 KiB of a packet at most. conmon writes to its clients with blocking
sends: a client that does not read stops conmon, its log and so the container's output. That is the back-pressure;
nothing is dropped. Once the process has ended conmon must not be stopped, or it would not report the end: what is still
on its way is then kept here.

When *any* client of a container whose stdin is closed with its client (stdin_once) goes away, conmon closes the
container's stdin. An attachment that only listened must not do that: it is then not closed but left to `_Drain`,
which reads and forgets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sampan.linux import pidfd

STDOUT, STDERR = 1, 2
_STREAMS = {2: STDOUT, 3: STDERR}
_PACKET = 32769  # conmon reads its pipes in 8 KiB pieces; newer ones may take more
_BATCH = 65536
_INPUT = 16384  # below conmon's CONN_SOCK_BUF_SIZE: the rest of a longer packet would be lost
_SUN_PATH = 107
_PATIENCE = 0.5
"""Seconds a client has after the end of the process before what it does not read is kept for it."""
_KEPT = 4 << 20
"""Bytes kept: a pipe and a socket hold far less, unless another process goes on writing."""


class Attachment:
    """A `containers.streams.Stream`, structurally.

    `stdin` False: input is dropped here, because conmon without a stdin would keep it and stop reading.
    `closes_stdin`: conmon takes the end of this connection as the end of the container's stdin."""

    def __init__(self, connection: socket.socket, *, tty: bool, stdin: bool, closes_stdin: bool) -> None:
        self.tty = tty
        self._socket = connection
        self._stdin = stdin
        self._drain_when_closed = closes_stdin and not stdin
        self._pending: tuple[int, bytes] | None = None
        self._ended = False
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._process = -1
        self._kept: deque[bytes] | None = None
        self._keeping = 0

    def follow(self, pid: int) -> None:
        """Names the process whose output this is."""
        descriptor = pidfd.open_pidfd(pid)
        if descriptor is None:
            self._loop.call_later(_PATIENCE, self._keep)
        else:
            self._process = descriptor
            self._loop.add_reader(descriptor, self._process_ended)

    def _process_ended(self) -> None:
        self._unfollow()
        self._loop.call_later(_PATIENCE, self._keep)

    def _unfollow(self) -> None:
        if self._process >= 0:
            self._loop.remove_reader(self._process)
            os.close(self._process)
            self._process = -1

    def _keep(self) -> None:
        """From now on conmon never waits for the client."""
        if self._ended or self._closed:
            return
        self._kept, self._stdin = deque(), False
        self._loop.remove_writer(self._socket)
        self._loop.add_reader(self._socket, self._take)
        self._take()

    def _take(self) -> None:
        assert self._kept is not None
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while True:
                try:
                    packet = self._socket.recv(_PACKET)
                except ConnectionError:
                    packet = b""
                self._keeping += len(packet)
                self._kept.append(packet if self._keeping < _KEPT else b"")
                if not self._kept[-1]:
                    self._loop.remove_reader(self._socket)
                    self._socket.shutdown(socket.SHUT_RDWR)
                    break
        for ready in self._waiting:
            _set(ready)

    def _next(self) -> bytes:
        """Raises `BlockingIOError` when there is nothing yet."""
        if self._kept is None:
            return self._socket.recv(_PACKET)
        if not self._kept:
            raise BlockingIOError
        return self._kept.popleft()

    async def read(self) -> tuple[int, bytes] | None:
        """The next output: as much of one stream as is there, up to 64 KiB."""
        if self._pending is not None:
            stream, data = self._pending
            self._pending = None
        else:
            packet = await self._receive()
            if not packet:
                return None
            stream, data = _STREAMS.get(packet[0], STDOUT), packet[1:]
        parts, size = [data], len(data)
        while size < _BATCH and not self._ended:
            packet = self._receive_now()
            if not packet:
                break
            following = _STREAMS.get(packet[0], STDOUT)
            if following != stream:
                self._pending = (following, packet[1:])
                break
            parts.append(packet[1:])
            size += len(packet) - 1
        return stream, data if len(parts) == 1 else b"".join(parts)

    async def _receive(self) -> bytes:
        while not self._ended and not self._closed:
            try:
                packet = self._next()
            except (BlockingIOError, InterruptedError):
                await self._until(self._loop.add_reader, self._loop.remove_reader)
                continue
            except OSError:  # reset: conmon was killed
                packet = b""
            self._ended = not packet
            return packet
        return b""

    async def _until(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        """Waits until the socket is ready, or closed by another task. Nothing is read here, so cancelling loses
        nothing."""
        ready: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(ready)
        descriptor = self._socket.fileno()
        if self._kept is None:
            add(descriptor, _set, ready)
        try:
            await ready
        finally:
            self._waiting.discard(ready)
            if not self._closed and self._kept is None:
                remove(descriptor)

    def _receive_now(self) -> bytes:
        try:
            packet = self._next()
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            packet = b""
        self._ended = not packet
        return packet

    async def write(self, data: bytes) -> None:
        if not self._stdin or self._closed:
            return
        view = memoryview(data)
        for start in range(0, len(view), _INPUT):
            if not await self._send(view[start : start + _INPUT]):
                self._stdin = False
                return

    async def _send(self, packet: memoryview) -> bool:
        """False when the container ended: there is nobody to read it."""
        while not self._closed and self._kept is None:
            try:
                self._socket.send(packet)
                return True
            except (BlockingIOError, InterruptedError):
                await self._until(self._loop.add_writer, self._loop.remove_writer)
            except OSError:
                break
        return False

    async def close_input(self) -> None:
        """Half-close. conmon closes the container's stdin unless the container was made to outlive its clients (no
        stdin_once)."""
        if self._stdin and not self._closed:
            self._stdin = False
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._release()
        if self._drain_when_closed and not self._ended:
            _Drain(self._socket)
            return
        self._socket.close()

    def _release(self) -> None:
        """Lets go of the event loop, and wakes tasks that read or write."""
        self._unfollow()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        for ready in self._waiting:
            _set(ready)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class _Drain:
    """Keeps a connection open and reads it empty until conmon ends it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._discard)

    def _discard(self) -> None:
        try:
            for _ in range(64):
                if not self._socket.recv(_PACKET):
                    break
            else:
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._loop.remove_reader(self._socket)
        self._socket.close()


async def connect(path: Path, *, tty: bool, stdin: bool, closes_stdin: bool, acceptor: int | None = None) -> Attachment:
    """Connects to a conmon attach socket. Raises `OSError` (ENOENT, ECONNREFUSED) when conmon is gone.

    `acceptor`: conmon's pid; then this waits until it has accepted. A connection that is still in the backlog when a
    short-lived container prints gets nothing: conmon accepts one connection a turn of its loop, and reads output in the
    same turn."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        before = _descriptors(acceptor) if acceptor is not None else 0
        await _connect(connection, path)
        if acceptor is not None:
            await _accepted(acceptor, before)
    except BaseException:
        connection.close()
        raise
    return Attachment(connection, tty=tty, stdin=stdin, closes_stdin=closes_stdin)


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def _accepted(pid: int, before: int) -> None:
    """The kernel tells a client nothing of accept(2); before the container starts, conmon opens nothing else."""
    for turn in range(500):
        if _descriptors(pid) > before:
            return
        await asyncio.sleep(0 if turn < 3 else 0.002)


async def _connect(connection: socket.socket, path: Path) -> None:
    name = os.fsencode(path)
    if len(name) <= _SUN_PATH:
        return await _patient(connection, name)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await _patient(connection, os.fsencode(f"/proc/self/fd/{directory}/{path.name}"))
    finally:
        os.close(directory)


async def _patient(connection: socket.socket, name: bytes) -> None:
    """A full backlog (conmon's is 10) gives EAGAIN on a unix socket, and no event when it has room again."""
    for _ in range(200):
        try:
            connection.connect(name)
        except BlockingIOError:
            await asyncio.sleep(0.005)
        else:
            return
    connection.connect(name)
