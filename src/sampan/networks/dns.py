"""The embedded nameserver: one `Resolver` for each container on a user-defined network, at 127.0.0.11 port 53 in its
namespace.

The sockets are bound inside the container's namespace at 127.0.0.11 on a random port, and nftables in that namespace
leads port 53 there: so a container may run a nameserver of its own on 0.0.0.0:53. They are served from the daemon's
event loop. What the directory does not know is forwarded as bytes, from the container's namespace (so that its own
routes and rules hold) or, for a nameserver on the host's loopback, from the host's. A container without a way out gets
no answers from outside either (CVE-2024-29018).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.networks import wire
from sampan.networks.directory import Directory
from sampan.networks.files import INTERNAL_NAMESERVER, Upstream
from sampan.networks.model import Endpoint

log = logging.getLogger(__name__)

_DATAGRAM = 1 << 16
_BATCH = 64
_TIMEOUT = 2.0
"""Seconds for one upstream before the next is asked."""
_PENDING = 256
"""Forwarded questions at a time for one container; more are dropped, and asked again by the client."""
_TCP_IDLE = 10.0
_SPARES = 8

Client = tuple[str, int]


@dataclass(slots=True)
class Sockets:
    """The nameserver's sockets in a container's namespace; both are bound to `port`."""

    udp: socket.socket
    tcp: socket.socket
    port: int

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def bind(port: int = 0) -> Sockets:
    """In the calling thread's network namespace. `port` is tried first, so that a restarted daemon answers the clients
    of the old."""
    for wanted in (port, *([0] * 16)):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            udp.bind((INTERNAL_NAMESERVER, wanted))
            found = int(udp.getsockname()[1])
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((INTERNAL_NAMESERVER, found))
            tcp.listen(64)
        except OSError:
            udp.close()
            tcp.close()
        else:
            return Sockets(udp, tcp, found)
    raise OSError("no free port for the nameserver")


class Resolver:
    """Serves one container until `close`, which closes the sockets."""

    def __init__(
        self,
        sockets: Sockets,
        directory: Directory,
        endpoints: Callable[[], Sequence[Endpoint]],
        upstreams: Callable[[], Sequence[Upstream]],
        open_inside: Callable[[Callable[[], list[socket.socket]]], list[socket.socket]],
    ) -> None:
        """`endpoints` gives the container's own by now, `upstreams` where to forward; `open_inside` runs a function
        that makes sockets inside the container's namespace (blocking, a fraction of a millisecond)."""
        self._sockets = sockets
        self._directory = directory
        self._endpoints = endpoints
        self._upstreams = upstreams
        self._open_inside = open_inside
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spares: dict[_Maker, list[socket.socket]] = {}
        self._loop.add_reader(sockets.udp.fileno(), self._datagrams)
        self._loop.add_reader(sockets.tcp.fileno(), self._connection)

    def close(self) -> None:
        self._loop.remove_reader(self._sockets.udp.fileno())
        self._loop.remove_reader(self._sockets.tcp.fileno())
        self._sockets.close()
        for task in tuple(self._tasks):
            task.cancel()
        for spares in self._spares.values():
            for spare in spares:
                spare.close()

    # -- clients -----------------------------------------------------------------------------------------------

    def _datagrams(self) -> None:
        for _ in range(_BATCH):
            try:
                message, client = self._sockets.udp.recvfrom(_DATAGRAM)
            except OSError:
                return
            response = self._respond(message, udp=True)
            if response is not None:
                self._send(response, client)
            elif len(self._tasks) < _PENDING:
                self._start(self._forward_datagram(message, client))

    def _send(self, response: bytes, client: Client) -> None:
        if not response:
            return
        with contextlib.suppress(OSError):
            self._sockets.udp.sendto(response, client)

    async def _forward_datagram(self, message: bytes, client: Client) -> None:
        self._send(await self._forward(message, socket.SOCK_DGRAM), client)

    def _connection(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._sockets.tcp.accept()
            if len(self._tasks) >= _PENDING:
                connection.close()
                return
            self._start(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        """Questions on one connection, in order (RFC 1035 4.2.2: each with its length in front)."""
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    message = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                response = self._respond(message, udp=False)
                if response is None:
                    response = await self._forward(message, socket.SOCK_STREAM)
                writer.write(len(response).to_bytes(2, "big") + response)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- answers -----------------------------------------------------------------------------------------------

    def _respond(self, message: bytes, udp: bool) -> bytes | None:
        """Our own answer; None when an upstream must be asked."""
        try:
            query = wire.parse(message)
        except wire.Malformed as error:
            return wire.refusal(error.id) if error.id is not None else b""
        endpoints = self._endpoints()
        if query.type == wire.PTR:
            address = wire.reversed_address(query.name)
            name = self._directory.name_of(endpoints, address) if address else ""
            if name:
                return wire.answer(query, [name])
        else:
            found = self._directory.find(endpoints, query.name)
            if found:
                # A name of ours that has no address of the family asked for is an empty answer, never a question to
                # the outside.
                return wire.answer(query, _records(query, found), query.udp_size if udp else None)
        if not any(endpoint.gateway or endpoint.ipv6_gateway for endpoint in endpoints):
            return wire.failure(query, wire.SERVFAIL)
        return None

    # -- forwarding --------------------------------------------------------------------------------------------

    async def _forward(self, message: bytes, kind: int) -> bytes:
        """The first usable answer of the upstreams; SERVFAIL when there is none."""
        for upstream in self._upstreams():
            try:
                async with asyncio.timeout(_TIMEOUT):
                    response = await self._ask(upstream, message, kind)
            except (OSError, TimeoutError):
                continue
            if response[3] & 0xF not in (wire.SERVFAIL, wire.NOTIMP, 5):  # REFUSED
                return response
        return wire.failure(wire.parse(message), wire.SERVFAIL)

    async def _ask(self, upstream: Upstream, message: bytes, kind: int) -> bytes:
        """One exchange on a socket of its own: a random port and a random id, so that nobody can guess an answer's
        place."""
        connection = await self._open(upstream, kind)
        with connection:
            address = (upstream.address.partition("%")[0], 53)
            id = secrets.token_bytes(2)
            await self._loop.sock_connect(connection, address)
            if kind == socket.SOCK_STREAM:
                await self._loop.sock_sendall(connection, len(message).to_bytes(2, "big") + id + message[2:])
                size = int.from_bytes(await self._exactly(connection, 2), "big")
                response = await self._exactly(connection, size)
            else:
                await self._loop.sock_sendall(connection, id + message[2:])
                response = b""
                while not _belongs(response, id, message):
                    response = await self._loop.sock_recv(connection, _DATAGRAM)
        if not _belongs(response, id, message):
            raise OSError("an answer to another question")
        return message[:2] + response[2:]

    async def _open(self, upstream: Upstream, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in upstream.address else socket.AF_INET
        make = _Maker(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if upstream.host:
            return make.one()
        spares = self._spares.setdefault(make, [])
        if not spares:
            spares += await asyncio.to_thread(self._open_inside, make.several)
        return spares.pop()

    async def _exactly(self, connection: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = await self._loop.sock_recv(connection, size - len(data))
            if not part:
                raise OSError("the nameserver closed the connection")
            data += part
        return data


@dataclass(frozen=True, slots=True)
class _Maker:
    family: int
    kind: int

    def one(self) -> socket.socket:
        return socket.socket(self.family, self.kind)

    def several(self) -> list[socket.socket]:
        """Entering a namespace takes a thread: so not for each question."""
        return [self.one() for _ in range(_SPARES)]


def _records(query: wire.Query, found: Sequence[Endpoint]) -> list[str]:
    if query.type == wire.A:
        return [endpoint.ipv4 for endpoint in found if endpoint.ipv4]
    if query.type == wire.AAAA:
        return [endpoint.ipv6 for endpoint in found if endpoint.ipv6]
    return []


def _belongs(response: bytes, id: bytes, message: bytes) -> bool:
    """Is `response` an answer to `message` as it was sent with `id`, repeating its question?"""
    if len(response) < 12 or response[:2] != id or not response[2] & 0x80:
        return False
    try:
        question = wire.parse(message).question
    except wire.Malformed:
        return False
    return response[4:6] == b"\0\0" or response[12 : 12 + len(question)].lower() == question.lower()
