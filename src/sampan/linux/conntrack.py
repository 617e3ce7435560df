"""Forgetting connection tracking entries of udp ports (ctnetlink: linux/netfilter/nfnetlink_conntrack.h).

NAT is decided by a flow's first packet. A client that goes on sending from one port while a container is away keeps
its old entry alive: its packets would never meet the rules of the container's next run, or go on to an address that
somebody else has by then (moby#8795).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Collection, Iterator

_NETLINK_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_TUPLE_ORIG, _FILTER = 1, 25
_TUPLE_PROTO, _PROTO_NUM, _PROTO_DST_PORT = 2, 1, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_FLAG_PROTO_NUM, _FLAG_DST_PORT = 1 << 3, 1 << 5


def forget_udp(ports: Collection[int]) -> int:
    """Deletes the entries of flows whose first packet went to one of `ports`, over IPv4 and IPv6. Gives their number.
    Kernels before 5.8 ignore the filter and give the whole table; it is filtered again here. Raises OSError."""
    forgotten = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        for family in (socket.AF_INET, socket.AF_INET6):
            for port in ports:
                found = [original for original in _dump(kernel, family, port) if _is_udp_to(original, port)]
                for original in found:
                    forgotten += _delete(kernel, family, original)
    return forgotten


def _dump(kernel: socket.socket, family: int, port: int) -> Iterator[bytes]:
    """The original tuples of matching entries, as the kernel spells them."""
    proto = _attribute(_PROTO_NUM, bytes([socket.IPPROTO_UDP])) + _attribute(_PROTO_DST_PORT, struct.pack(">H", port))
    flags = _attribute(_FILTER_ORIG_FLAGS, struct.pack("I", _FLAG_PROTO_NUM | _FLAG_DST_PORT))
    wanted = _nest(_TUPLE_ORIG, _nest(_TUPLE_PROTO, proto)) + _nest(
        _FILTER, flags + _attribute(_FILTER_REPLY_FLAGS, struct.pack("I", 0))
    )
    _send(kernel, _GET, _REQUEST | _DUMP, family, wanted)
    for kind, payload in _answers(kernel):
        if kind == _ERROR:
            _check(payload)
            return
        original = _attributes(payload[4:]).get(_TUPLE_ORIG)
        if original is not None:
            yield original


def _delete(kernel: socket.socket, family: int, original: bytes) -> bool:
    _send(kernel, _DELETE, _REQUEST | _ACK, family, _nest(_TUPLE_ORIG, original))
    with contextlib.suppress(FileNotFoundError):  # it has just expired
        for kind, payload in _answers(kernel):
            if kind == _ERROR:
                _check(payload)
                return True
    return False


def _is_udp_to(original: bytes, port: int) -> bool:
    proto = _attributes(_attributes(original).get(_TUPLE_PROTO, b""))
    return proto.get(_PROTO_NUM) == bytes([socket.IPPROTO_UDP]) and proto.get(_PROTO_DST_PORT) == struct.pack(
        ">H", port
    )


def _send(kernel: socket.socket, kind: int, flags: int, family: int, attributes: bytes) -> None:
    payload = struct.pack(">BBH", family, 0, 0) + attributes
    kernel.send(struct.pack("IHHII", 16 + len(payload), kind, flags, 1, 0) + payload)


def _answers(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        data = kernel.recv(1 << 17)
        offset = 0
        while offset + 16 <= len(data):
            length, kind = struct.unpack_from("IH", data, offset)
            if kind == _DONE:
                return
            yield kind, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3


def _check(payload: bytes) -> None:
    (code,) = struct.unpack_from("i", payload)
    if code:
        raise OSError(-code, "conntrack")


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _nest(kind: int, payload: bytes) -> bytes:
    return _attribute(kind | _NESTED, payload)
