"""What nftables cannot carry: a client of `[::]:PORT` on the host, and a container that has only IPv4.

The socket that holds the port (see `sampan.networks.ports`) is served from the event loop: bytes for tcp, datagrams
for udp. The container sees the bridge's address as the source, as with Docker's userland proxy, but no process and no
memory is spent on a port that nobody uses this way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

_CHUNK = 1 << 16
_UDP_IDLE = 90.0
"""Seconds after which a silent udp client is forgotten, as Docker's proxy does."""
_UDP_CLIENTS = 1024
_RETRY_ACCEPT = 0.2

_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
"""linux/in.h, linux/in6.h."""
_ANCILLARY = socket.CMSG_SPACE(20)

Target = tuple[str, int]
Ancillary = tuple[int, int, bytes]


class Proxy:
    """Serves one held socket until `close`. The socket stays the caller's."""

    def __init__(self, listener: socket.socket, protocol: str, target: Callable[[], Target | None]) -> None:
        """`target` is asked at each new client: the container's address may change with its networks."""
        self._listener = listener
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: dict[Target, _UdpClient] = {}
        self._loop = asyncio.get_running_loop()
        self._udp = protocol == "udp"
        if self._udp:
            _report_destinations(listener)
        self._loop.add_reader(listener.fileno(), self._receive if self._udp else self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        for task in tuple(self._tasks):
            task.cancel()
        for client in tuple(self._clients.values()):
            client.close()

    # -- tcp ---------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors: the listener stays readable, so look away for a moment instead of spinning.
            log.warning("cannot accept on a published port: %s", error)
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(_RETRY_ACCEPT, self._resume)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    async def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            target = self._target()
            if target is None:
                return
            with socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM) as server:
                server.setblocking(False)
                await self._loop.sock_connect(server, target)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(client, server))
                    both.create_task(self._pump(server, client))

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Copies until the end of `source`, then half-closes `sink`: the other direction may go on."""
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        try:
            while count := await self._loop.sock_recv_into(source, buffer):
                await self._loop.sock_sendall(sink, view[:count])
        except OSError:
            # A reset on one side ends both, as it would without a proxy between.
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    # -- udp ---------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        for _ in range(64):
            try:
                data, ancillary, _, address = self._listener.recvmsg(_CHUNK, _ANCILLARY)
            except OSError:
                return
            client = self._clients.get(address)
            if client is None:
                target = self._target()
                if target is None or len(self._clients) >= _UDP_CLIENTS:
                    continue
                try:
                    client = _UdpClient(
                        self._loop, self._listener, address, _reply_from(ancillary), target, self._clients
                    )
                except OSError:
                    continue
            client.send(data)


class _UdpClient:
    """One udp client of a proxied port: a connected socket towards the container, closed after a silence."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        address: Target,
        ancillary: list[Ancillary],
        target: Target,
        clients: dict[Target, _UdpClient],
    ) -> None:
        self._loop, self._listener, self._address, self._clients = loop, listener, address, clients
        self._ancillary = ancillary
        self._socket = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(target)
        except OSError:
            self._socket.close()
            raise
        self._seen = loop.time()
        self._timer = loop.call_later(_UDP_IDLE, self._tick)
        loop.add_reader(self._socket.fileno(), self._answer)
        clients[address] = self

    def send(self, data: bytes) -> None:
        self._seen = self._loop.time()
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            data = self._socket.recv(_CHUNK)
            self._seen = self._loop.time()
            self._listener.sendmsg([data], self._ancillary, 0, self._address)

    def _tick(self) -> None:
        left = self._seen + _UDP_IDLE - self._loop.time()
        if left <= 0:
            self.close()
        else:
            self._timer = self._loop.call_later(left, self._tick)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._clients.pop(self._address, None)


def _report_destinations(listener: socket.socket) -> None:
    """A host has many addresses, and a client accepts answers from the one that it asked only."""
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _reply_from(ancillary: list[Ancillary]) -> list[Ancillary]:
    """What to send along with an answer, so that it comes from where the question went."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            # struct in6_pktinfo: the address, then the interface; 0 leaves that to the routes, which link-local
            # addresses have not.
            link_local = data[0] == 0xFE and data[1] & 0xC0 == 0x80
            return [(level, kind, data if link_local else data[:16] + bytes(4))]
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            # struct in_pktinfo: interface, local address, the header's destination.
            return [(level, kind, bytes(4) + data[8:12] + bytes(4))]
    return []
