"""BuildKit's two doors, where buildx knocks: `/grpc` (what it calls) and `/session` (what it offers). What comes behind
the upgrade is `sampan.buildkit`'s, loaded for the first client that needs it.

A daemon whose `/grpc` does not upgrade is one without BuildKit to buildx: it boots a `moby/buildkit` container instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from sampan.api.call import Call
from sampan.api.connection import Connection, Hijacked
from sampan.errors import InvalidParameter, SampanError

if TYPE_CHECKING:
    from sampan.buildkit.service import BuildKit
    from sampan.buildkit.transport import Carried

_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def _door(call: Call) -> BuildKit:
    server = _connection(call).server
    if server.buildkit is None:
        from sampan.buildkit.service import BuildKit

        server.buildkit = BuildKit(call.engine)
    return server.buildkit


async def session(call: Call) -> web.StreamResponse:
    _check(call, InvalidParameter)
    door, connection = _door(call), _connection(call)
    headers = call.request.headers
    offers = headers.getall("X-Docker-Expose-Session-Grpc-Method", [])
    session, carried = await door.session(headers, offers, connection.connection_lost)
    try:
        return await _carry(connection, carried)
    finally:
        door.forget(session)


async def grpc(call: Call) -> web.StreamResponse:
    _check(call, SampanError)  # a 500 in dockerd, too
    connection = _connection(call)
    return await _carry(connection, _door(call).control(connection.connection_lost))


def _check(call: Call, refusal: Callable[[str], SampanError]) -> None:
    protocol = call.request.headers.get("Upgrade", "")
    if not protocol:
        raise refusal("no upgrade proto in request")
    if protocol != "h2c":
        raise refusal(f"protocol {protocol} not supported")


def _connection(call: Call) -> Connection:
    connection = call.request.protocol
    assert isinstance(connection, Connection)
    return connection


async def _carry(connection: Connection, carried: Carried) -> web.StreamResponse:
    def begin(transport: asyncio.Transport) -> asyncio.Protocol:
        transport.write(_UPGRADED)
        carried.begin(transport)
        return carried

    connection.hijack(begin)
    await carried.ended()
    return Hijacked()
