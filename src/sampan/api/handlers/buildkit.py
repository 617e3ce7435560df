"""BuildKit's two doors, which buildx knocks at: `/grpc` (its control API) and `/session` (what the client shares).

They are not supported yet, and how that is said matters. The docker CLI gives `docker build` to buildx wherever that is
installed; buildx takes a daemon whose `/grpc` does not upgrade for one without BuildKit and silently boots a
`moby/buildkit` container instead, whose result `docker build` then leaves behind in there. So the connection is
accepted, and every call on it is answered UNIMPLEMENTED with a text that buildx shows: HTTP/2 (RFC 9113) and gRPC's
"Trailers-Only" reply, both in their smallest form."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from urllib.parse import quote

from aiohttp import web

from sampan.api import hijack
from sampan.api.call import Call
from sampan.api.connection import Connection, Hijacked
from sampan.errors import InvalidParameter, NotSupported, SampanError

REASON = "this daemon does not speak BuildKit's protocol yet: set DOCKER_BUILDKIT=0"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS, _PING = 1, 4, 6
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_UNIMPLEMENTED = "12"
_LARGEST_FRAME = 1 << 14
"""What a client may send that was not allowed more (RFC 9113, 4.2)."""


async def session(call: Call) -> web.StreamResponse:
    if "Upgrade" not in call.request.headers:
        raise InvalidParameter("no upgrade proto in request")
    raise NotSupported(REASON)


async def grpc(call: Call) -> web.StreamResponse:
    if "Upgrade" not in call.request.headers:
        raise SampanError("no upgrade proto in request")  # a 500 in dockerd, too
    connection = call.request.protocol
    assert isinstance(connection, Connection)
    channel = hijack.hijack(connection, framed=False)
    channel.raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(60):
            await _refuse(channel)
    await channel.finish()
    return Hijacked()


async def _refuse(channel: hijack.Socket) -> None:
    """Until the client goes."""
    channel.raw(_frame(_SETTINGS, 0, 0))
    buffer, greeted = bytearray(), False
    while data := await channel.read():
        buffer += data
        if not greeted:
            if len(buffer) < len(_PREFACE):
                continue
            if not buffer.startswith(_PREFACE):
                return
            del buffer[: len(_PREFACE)]
            greeted = True
        while len(buffer) >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", buffer)
            size = (high << 16) + low
            if size > _LARGEST_FRAME:
                return
            if len(buffer) < 9 + size:
                break
            payload = bytes(buffer[9 : 9 + size])
            del buffer[: 9 + size]
            if kind == _HEADERS:
                channel.raw(_frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, _trailers()))
            elif kind == _SETTINGS and not flags & _ACK:
                channel.raw(_frame(_SETTINGS, _ACK, 0))
            elif kind == _PING and not flags & _ACK:
                channel.raw(_frame(_PING, _ACK, 0, payload))


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _trailers() -> bytes:
    """HPACK (RFC 7541): `:status: 200` by its index, the others as literals that are not remembered."""
    status = b"\x88"
    fields = {
        "content-type": "application/grpc",
        "grpc-status": _UNIMPLEMENTED,
        "grpc-message": quote(REASON, " ':=/_"),
    }
    return status + b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields.items())


def _string(text: str) -> bytes:
    """Up to 126 bytes, not Huffman-coded."""
    return bytes([len(text)]) + text.encode()
