"""Sockets to log servers, with Go's words for what goes wrong: they reach the user in dockerd's messages.

A stream's `send` returns when the other kernel has acknowledged every byte (SIOCOUTQ): what it took is only then
forgotten here, so that a connection that breaks loses nothing on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import ssl
import struct
import termios
from typing import Any

_PATIENCE = 10.0
"""Seconds for a connection to be made."""
_SILENCE = 30_000
"""Milliseconds until what nobody acknowledges is given up (TCP_USER_TIMEOUT)."""


class DialError(Exception):
    """No connection. The message is Go's."""


def words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def resolve(network: str, host: str, port: int, kind: int) -> list[tuple[Any, ...]]:
    """getaddrinfo(3). Raises `DialError`."""
    try:
        return await asyncio.get_running_loop().getaddrinfo(host or "127.0.0.1", port, type=kind)
    except socket.gaierror:
        raise DialError(f"dial {network}: lookup {host}: no such host") from None


class StreamLink:
    """tcp, tls or unix. `address` is (host, port) or a path."""

    def __init__(self, address: tuple[str, int] | str, secure: ssl.SSLContext | None = None) -> None:
        self._address = address
        self._secure = secure
        self._writer: asyncio.StreamWriter | None = None
        self.reader: asyncio.StreamReader | None = None

    @property
    def connected(self) -> bool:
        """False also when the other side has closed."""
        return self._writer is not None and not (self.reader is not None and self.reader.at_eof())

    async def connect(self) -> None:
        """Raises `DialError`."""
        self.close()
        if isinstance(self._address, str):
            await self._dial("unix", self._address, socket.AF_UNIX, self._address)
            return
        host, port = self._address
        failed: DialError | None = None
        for family, _, _, _, place in await resolve("tcp", host, port, socket.SOCK_STREAM):
            shown = f"[{place[0]}]:{place[1]}" if family == socket.AF_INET6 else f"{place[0]}:{place[1]}"
            try:
                await self._dial("tcp", shown, family, place)
                return
            except DialError as error:
                failed = failed or error
        raise failed or DialError(f"dial tcp: lookup {host}: no such host")

    async def _dial(self, network: str, shown: str, family: int, place: Any) -> None:
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            made.setblocking(False)
            if network == "tcp":
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE // 1000)
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(made, place), _PATIENCE)
            except OSError as error:
                timed_out = isinstance(error, TimeoutError)
                raise DialError(f"dial {network} {shown}: {'' if timed_out else 'connect: '}{words(error)}") from None
            name = self._address[0] if self._secure and not isinstance(self._address, str) else None
            try:
                self.reader, writer = await asyncio.wait_for(
                    asyncio.open_connection(sock=made, ssl=self._secure, server_hostname=name), _PATIENCE
                )
            except OSError as error:  # ssl.SSLError is one
                raise DialError(f"tls: {getattr(error, 'reason', None) or words(error)}") from None
        except BaseException:
            made.close()
            raise
        writer.transport.set_write_buffer_limits(high=0)
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Returns when it arrived. Raises `OSError`."""
        if self._writer is None or not self.connected:
            raise ConnectionResetError(errno.ECONNRESET, "connection closed")
        self._writer.write(data)
        await self._writer.drain()
        descriptor = self._writer.get_extra_info("socket").fileno()
        pause = 0.0005
        while descriptor >= 0 and _unacknowledged(descriptor):
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
            if not self.connected:
                raise ConnectionResetError(errno.ECONNRESET, "connection closed")
            descriptor = self._writer.get_extra_info("socket").fileno()

    def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()
            self._writer = self.reader = None


def _unacknowledged(descriptor: int) -> int:
    """Bytes: of tcp not acknowledged, of unix not read."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))[0])


class DatagramLink:
    """udp or a unix datagram socket. A port that nobody listens on loses what it is sent, as everywhere."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    @property
    def connected(self) -> bool:
        return self._socket is not None

    async def connect(self) -> None:
        """Raises `DialError`."""
        self.close()
        family, place, network = socket.AF_UNIX, self._address, "unixgram"
        if not isinstance(self._address, str):
            found = await resolve("udp", *self._address, socket.SOCK_DGRAM)
            family, place, network = found[0][0], found[0][4], "udp"
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        made.setblocking(False)
        try:
            made.connect(place)
        except OSError as error:
            made.close()
            raise DialError(f"dial {network} {self._address}: connect: {words(error)}") from None
        self._socket = made

    async def send(self, data: bytes) -> None:
        """One datagram. Raises `OSError` when a local receiver is gone."""
        if self._socket is None:
            raise ConnectionResetError(errno.ECONNRESET, "connection closed")
        while True:
            try:
                self._socket.send(data)
                return
            except BlockingIOError:
                await _writable(self._socket)
            except ConnectionRefusedError:
                if isinstance(self._address, str):
                    raise
                # An ICMP answer to what was sent before; this datagram has not gone yet.
                with contextlib.suppress(OSError):
                    self._socket.send(data)
                return
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                return  # no datagram can be so long

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def _writable(of: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(of, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_writer(of)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
