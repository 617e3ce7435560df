"""fluentd's forward protocol 1: msgpack over tcp, TLS or unix, with acknowledgements if asked for."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from sampan.containers.logs.log_values import boolean, memory, unsigned
from sampan.containers.logs.remote.destination import Pauses
from sampan.containers.logs.remote.identity import Identity
from sampan.containers.logs.remote.links import StreamLink
from sampan.containers.logs.remote.messages import Message
from sampan.containers.logs.remote.times import duration
from sampan.containers.streams import STDERR
from sampan.errors import InvalidParameter

OPTIONS = frozenset(
    {
        "fluentd-address",
        "fluentd-async",
        "fluentd-async-reconnect-interval",
        "fluentd-buffer-limit",
        "fluentd-max-retries",
        "fluentd-read-timeout",
        "fluentd-request-ack",
        "fluentd-retry-wait",
        "fluentd-sub-second-precision",
        "fluentd-write-timeout",
        "tag",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
    }
)
_BATCH = 128
_ACKNOWLEDGED_WITHIN = 30.0
"""Seconds."""


def check(options: dict[str, str]) -> None:
    """Raises `InvalidParameter`."""
    for name in ("fluentd-async", "fluentd-request-ack", "fluentd-sub-second-precision"):
        boolean(options.get(name, "false"))
    if "fluentd-buffer-limit" in options:
        memory(options["fluentd-buffer-limit"])
    if "fluentd-max-retries" in options:
        unsigned(options["fluentd-max-retries"])
    _seconds(options, "fluentd-retry-wait", "")
    for name in ("fluentd-read-timeout", "fluentd-write-timeout"):
        _seconds(options, name, f"invalid value for {name}: ")
    _interval(options)
    _address(options.get("fluentd-address", ""))


def _seconds(options: dict[str, str], name: str, prefix: str) -> float | None:
    if name not in options:
        return None
    try:
        return duration(options[name])
    except ValueError as error:
        raise InvalidParameter(f"{prefix}{error}") from None


def _interval(options: dict[str, str]) -> float | None:
    """fluentd-async-reconnect-interval, in seconds."""
    name = "fluentd-async-reconnect-interval"
    prefix = f"invalid value for {name}: "
    value = _seconds(options, name, prefix)
    if value and not 0.1 <= value <= 10:
        raise InvalidParameter(f'{prefix}value ("{options[name]}") must be between 100ms and 10s')
    return value or None


def _address(text: str) -> tuple[str, tuple[str, int] | str]:
    """(scheme, host and port or path)."""

    def wrong(why: str) -> InvalidParameter:
        return InvalidParameter(f"invalid fluentd-address ({text}): {why}")

    url = urlsplit(text if "://" in text else f"tcp://{text}")
    if url.scheme == "unix":
        if not url.path.strip("/"):
            raise wrong("path is empty")
        return url.scheme, url.path
    if url.scheme not in ("tcp", "tls"):
        raise wrong(f"unsupported scheme: '{url.scheme}'")
    if url.path:
        raise wrong("should not contain a path element")
    try:
        return url.scheme, (url.hostname or "127.0.0.1", url.port or 24224)
    except ValueError:
        port = url.netloc.rpartition(":")[2]
        why = "value out of range" if port.isdecimal() else "invalid syntax"
        raise wrong(f'invalid port: strconv.ParseUint: parsing "{port}": {why}') from None


class Fluentd:
    def __init__(self, identity: Identity) -> None:
        options = identity.options
        scheme, address = _address(options.get("fluentd-address", ""))
        self._link = StreamLink(address, ssl.create_default_context() if scheme == "tls" else None)
        self._async = boolean(options.get("fluentd-async", "false"))
        self.eager = not self._async
        wait = _seconds(options, "fluentd-retry-wait", "")
        tries = unsigned(options.get("fluentd-max-retries", str((1 << 31) - 1)))
        self.pauses = Pauses(1.0 if wait is None else wait, 1.5, 60.0, tries, 60.0)
        self.batch = max(min(memory(options.get("fluentd-buffer-limit", "1m")), _BATCH), 1)
        self._writing = _seconds(options, "fluentd-write-timeout", "") or None
        self._reading = _seconds(options, "fluentd-read-timeout", "") or _ACKNOWLEDGED_WITHIN
        self._interval = _interval(options) if self._async else None
        self._since = 0.0
        self._acknowledge = boolean(options.get("fluentd-request-ack", "false"))
        self._exact = boolean(options.get("fluentd-sub-second-precision", "false"))
        self._tag = identity.tag()
        self._own = {"container_id": identity.id, "container_name": f"/{identity.name}"}
        self._extra = identity.extra()

    @property
    def connected(self) -> bool:
        """Made anew every fluentd-async-reconnect-interval: the name may mean another machine by then."""
        if self._interval is not None and time.monotonic() - self._since > self._interval:
            return False
        return self._link.connected

    async def connect(self) -> None:
        await self._link.connect()
        self._since = time.monotonic()

    async def send(self, messages: Sequence[Message]) -> None:
        wanted = [base64.b64encode(os.urandom(16)).decode() if self._acknowledge else "" for _ in messages]
        data = b"".join(map(self._one, messages, wanted))
        await asyncio.wait_for(self._link.send(data), self._writing)
        if self._acknowledge:
            await asyncio.wait_for(self._answers(wanted), self._reading)

    def _one(self, message: Message, chunk: str) -> bytes:
        record = {
            **self._own,
            "source": "stderr" if message.stream == STDERR else "stdout",
            "log": message.line,
            **self._extra,
        }
        if message.partial is not None:
            record |= {
                "partial_message": "true",
                "partial_id": message.partial.id,
                "partial_ordinal": str(message.partial.ordinal),
                "partial_last": str(message.partial.last).lower(),
            }
        seconds, rest = divmod(message.time, 10**9)
        moment: int | msgspec.msgpack.Ext = seconds
        if self._exact:  # EventTime
            moment = msgspec.msgpack.Ext(0, seconds.to_bytes(4, "big") + rest.to_bytes(4, "big"))
        return msgspec.msgpack.encode((self._tag, moment, record, {"chunk": chunk} if chunk else {}))

    async def _answers(self, wanted: list[str]) -> None:
        """One `{"ack": chunk}` a message, in whatever pieces they come."""
        missing = set(wanted)
        received = b""
        assert self._link.reader is not None
        while missing:
            more = await self._link.reader.read(65536)
            if not more:
                raise ConnectionResetError(errno.ECONNRESET, "connection closed before its acknowledgement")
            received += more
            missing -= {chunk for chunk in missing if chunk.encode() in received}

    def close(self) -> None:
        self._link.close()
