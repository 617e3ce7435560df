"""journald's native protocol: one datagram a message, fields as `NAME=value` or, with newlines, length and bytes."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence

from sampan.containers.logs.remote.destination import Pauses
from sampan.containers.logs.remote.identity import Identity
from sampan.containers.logs.remote.links import DatagramLink, DialError
from sampan.containers.logs.remote.messages import Message
from sampan.containers.logs.remote.times import rfc3339
from sampan.containers.streams import STDERR

SOCKET = "/run/systemd/journal/socket"
OPTIONS = frozenset({"tag", "labels", "labels-regex", "env", "env-regex"})
_ERR, _INFO = "3", "6"


def check(options: dict[str, str]) -> None:
    """Any value of its options will do."""


class Journald:
    eager = True
    batch = 128

    def __init__(self, identity: Identity) -> None:
        self.pauses = Pauses()
        self._link = DatagramLink(SOCKET)
        tag = identity.tag()
        self._fields = field_bytes(
            {
                "CONTAINER_ID": identity.id[:12],
                "CONTAINER_ID_FULL": identity.id,
                "CONTAINER_NAME": identity.name,
                "CONTAINER_TAG": tag,
                "IMAGE_NAME": identity.image_name,
                "SYSLOG_IDENTIFIER": tag,
                **identity.extra(_name),
            }
        )
        self._epoch = secrets.token_hex(32)
        self._ordinal = 0

    @property
    def connected(self) -> bool:
        return self._link.connected

    async def connect(self) -> None:
        try:
            await self._link.connect()
        except DialError:
            raise DialError("journald is not enabled on this host") from None

    async def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self._link.send(self._one(message))

    def _one(self, message: Message) -> bytes:
        self._ordinal += 1
        fields = {
            "PRIORITY": _ERR if message.stream == STDERR else _INFO,
            "SYSLOG_TIMESTAMP": rfc3339(message.time),
            "CONTAINER_LOG_EPOCH": self._epoch,
            "CONTAINER_LOG_ORDINAL": str(self._ordinal),
        }
        if (partial := message.partial) is not None:
            fields |= {
                "CONTAINER_PARTIAL_ID": partial.id,
                "CONTAINER_PARTIAL_ORDINAL": str(partial.ordinal),
                "CONTAINER_PARTIAL_LAST": str(partial.last).lower(),
            }
            if not partial.last:
                fields["CONTAINER_PARTIAL_MESSAGE"] = "true"
        return field_bytes({"MESSAGE": message.text}) + self._fields + field_bytes(fields)

    def close(self) -> None:
        self._link.close()


def _name(key: str) -> str:
    """A journal field's name: upper case letters, digits, underscores, none at the beginning."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in key).upper().lstrip("_")


def field_bytes(fields: dict[str, str] | dict[str, bytes]) -> bytes:
    """As systemd's journal-file protocol has them."""
    found = []
    for name, value in fields.items():
        data = value if isinstance(value, bytes) else value.encode(errors="surrogateescape")
        if b"\n" in data:
            found.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            found.append(name.encode() + b"=" + data + b"\n")
    return b"".join(found)
