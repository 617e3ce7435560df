"""The DNS messages that the embedded nameserver itself reads and writes (RFC 1035, section 4). Pure.

Only questions and answers of our own names pass here; what is forwarded stays bytes. So these few functions do, at a
few microseconds a message, and the general library need not be loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

A, PTR, AAAA, OPT = 1, 12, 28, 41
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 0, 1, 2, 3, 4
UDP_SIZE = 512
TTL = 600
"""Seconds; Docker's."""

_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080


class Malformed(ValueError):
    """Not a query that can be answered; `id` is None when it is not even one that can be refused."""

    def __init__(self, id: int | None) -> None:
        super().__init__("malformed query")
        self.id = id


@dataclass(frozen=True, slots=True)
class Query:
    """`name` is lower case and without the last dot; `question` are the bytes to repeat in the answer."""

    id: int
    name: str
    type: int
    recursion: bool
    question: bytes
    udp_size: int


def parse(message: bytes) -> Query:
    """One standard query with one question. Raises `Malformed`."""
    if len(message) < 12:
        raise Malformed(None)
    id, flags, questions, answers, authorities, additional = struct.unpack_from(">6H", message)
    if flags & _QR:
        raise Malformed(None)
    if flags & 0x7800 or questions != 1:
        raise Malformed(id)
    labels = []
    offset = 12
    try:
        while length := message[offset]:
            if length > 63 or offset > 12 + 255:
                raise Malformed(id)
            labels.append(message[offset + 1 : offset + 1 + length])
            offset += 1 + length
        type, class_ = struct.unpack_from(">2H", message, offset + 1)
    except (IndexError, struct.error):
        raise Malformed(id) from None
    if class_ != IN:
        raise Malformed(id)
    end = offset + 5
    size = UDP_SIZE
    if (
        additional
        and not answers
        and not authorities
        and message[end : end + 3] == b"\0\0\x29"
        and len(message) >= end + 5
    ):
        # EDNS (RFC 6891): the OPT record's class is the size that the client takes.
        size = max(UDP_SIZE, struct.unpack_from(">H", message, end + 3)[0])
    name = b".".join(labels).decode("latin-1").lower()
    return Query(id, name, type, bool(flags & _RD), message[12:end], size)


def answer(query: Query, records: Sequence[str], limit: int | None = None) -> bytes:
    """The answer with these records: addresses for A and AAAA, names for PTR. With `limit` (udp) the rest is left out
    and the message marked as truncated."""
    body = b""
    count = 0
    truncated = 0
    for record in records:
        data = _name(record) if query.type == PTR else ip_address(record).packed
        encoded = b"\xc0\x0c" + struct.pack(">2HIH", query.type, IN, TTL, len(data)) + data
        if limit is not None and 12 + len(query.question) + len(body) + len(encoded) > limit:
            truncated = _TC
            break
        body += encoded
        count += 1
    return _header(query, NOERROR, count, truncated) + query.question + body


def failure(query: Query, code: int) -> bytes:
    return _header(query, code, 0, 0) + query.question


def refusal(id: int, code: int = FORMERR) -> bytes:
    """To a query whose question cannot be repeated."""
    return struct.pack(">6H", id, _QR | code, 0, 0, 0, 0)


def reversed_address(name: str) -> str:
    """The address that a PTR name asks for (RFC 1035 3.5, RFC 3596 2.5); "" when it is none."""
    labels = name.split(".")
    try:
        if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
            return str(ip_address(".".join(reversed(labels[:4]))))
        if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
            return str(ip_address(int("".join(reversed(labels[:32])), 16).to_bytes(16, "big")))
    except ValueError:
        pass
    return ""


def _header(query: Query, code: int, answers: int, flags: int) -> bytes:
    flags |= _QR | _RA | code | (_RD if query.recursion else 0)
    return struct.pack(">6H", query.id, flags, 1, answers, 0, 0)


def _name(text: str) -> bytes:
    labels = [label.encode("latin-1", "replace")[:63] for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
