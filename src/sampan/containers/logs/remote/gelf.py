"""GELF 1.1 (Graylog): JSON over udp, compressed and in chunks, or over tcp, each ended by a zero byte."""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from sampan.containers.logs.remote.destination import Pauses
from sampan.containers.logs.remote.identity import Identity
from sampan.containers.logs.remote.links import DatagramLink, DialError, StreamLink
from sampan.containers.logs.remote.messages import Message
from sampan.containers.logs.remote.times import rfc3339
from sampan.containers.streams import STDERR
from sampan.errors import InvalidParameter

log = logging.getLogger(__name__)

OPTIONS = frozenset(
    {
        "gelf-address",
        "gelf-compression-type",
        "gelf-compression-level",
        "gelf-tcp-max-reconnect",
        "gelf-tcp-reconnect-delay",
        "tag",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
    }
)
CHUNK, _HEADER, _CHUNKS = 1420, 12, 128
"""Bytes of a datagram, of a chunk's head, and how many chunks a message may have."""
_ERR, _INFO = 3, 6


def check(options: dict[str, str]) -> None:
    """Raises `InvalidParameter`."""
    scheme, _ = _address(options.get("gelf-address", ""))
    for name in ("gelf-compression-type", "gelf-compression-level"):
        if name not in options:
            continue
        if scheme != "udp":
            raise InvalidParameter("compression is only supported on UDP")
        value = options[name]
        known = ("gzip", "zlib", "none") if name.endswith("type") else tuple(map(str, range(-1, 10)))
        if value not in known:
            raise InvalidParameter(f'unknown value "{value}" for log opt "{name}" for gelf log driver')
    for name in ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"):
        if name not in options:
            continue
        if scheme != "tcp":
            raise InvalidParameter(f'"{name}" is only valid for TCP')
        if not options[name].isdecimal():
            raise InvalidParameter(f'"{name}" must be a positive integer')


def _address(text: str) -> tuple[str, tuple[str, int]]:
    if not text:
        raise InvalidParameter("gelf-address is a required parameter")
    url = urlsplit(text)
    if url.scheme not in ("udp", "tcp"):
        raise InvalidParameter("gelf: endpoint needs to be TCP or UDP")
    try:
        port = url.port
    except ValueError:
        port = None
    if port is None:
        raise InvalidParameter("gelf: please provide gelf-address as proto://host:port")
    return url.scheme, (url.hostname or "", port)


class Gelf:
    eager = True
    batch = 64

    def __init__(self, identity: Identity) -> None:
        options = identity.options
        scheme, self._address = _address(options.get("gelf-address", ""))
        self._link = StreamLink(self._address) if scheme == "tcp" else DatagramLink(self._address)
        delay = float(options.get("gelf-tcp-reconnect-delay", "1"))
        self.pauses = Pauses(delay, 1.0, delay, int(options.get("gelf-tcp-max-reconnect", "3")))
        self._compression = options.get("gelf-compression-type", "gzip")
        self._level = int(options.get("gelf-compression-level", "1"))
        self._host = identity.host
        own = {
            "_container_id": identity.id,
            "_container_name": identity.name,
            "_image_id": identity.image_id,
            "_image_name": identity.image_name,
            "_command": identity.command,
            "_tag": identity.tag(),
            "_created": rfc3339(identity.created),
        }
        self._extra = dict(sorted((own | identity.extra(lambda name: name if name[:1] == "_" else f"_{name}")).items()))

    @property
    def connected(self) -> bool:
        return self._link.connected

    async def connect(self) -> None:
        try:
            await self._link.connect()
        except DialError as error:
            host, port = self._address
            raise DialError(f"gelf: cannot connect to GELF endpoint: {host}:{port} {error}") from None

    async def send(self, messages: Sequence[Message]) -> None:
        written = [self._one(message) for message in messages if message.text]
        if isinstance(self._link, StreamLink):
            if written:
                await self._link.send(b"".join(one + b"\0" for one in written))
            return
        for one in written:
            for datagram in chunks(self._compressed(one)):
                await self._link.send(datagram)

    def _one(self, message: Message) -> bytes:
        return msgspec.json.encode(
            {
                "version": "1.1",
                "host": self._host,
                "short_message": message.line,
                "timestamp": message.time // 10**6 / 1000,
                "level": _ERR if message.stream == STDERR else _INFO,
                **self._extra,
            }
        )

    def _compressed(self, data: bytes) -> bytes:
        match self._compression:
            case "gzip":
                return gzip.compress(data, 6 if self._level < 0 else self._level, mtime=0)
            case "zlib":
                return zlib.compress(data, self._level)
        return data

    def close(self) -> None:
        self._link.close()


def chunks(data: bytes) -> Iterator[bytes]:
    """The datagrams of one message. What has more than 128 chunks cannot be sent."""
    if len(data) <= CHUNK:
        yield data
        return
    size = CHUNK - _HEADER
    count = -(-len(data) // size)
    if count > _CHUNKS:
        log.warning("gelf: a message of %d bytes is longer than %d chunks and cannot be sent", len(data), _CHUNKS)
        return
    id = os.urandom(8)
    for number in range(count):
        yield b"\x1e\x0f" + id + bytes((number, count)) + data[number * size : (number + 1) * size]
