"""Leading a port of a local address elsewhere, in the calling thread's network namespace: one nf_tables batch, by hand.

libnftables is not used here, because it waits with select(2): in a process with more than 1,024 open descriptors a
context whose socket has a number beyond that aborts the process (glibc's FD_SET check). The engine's one long-lived
context is opened at its start, with a low number; a daemon with hundreds of containers makes these sockets late.
(Layout: linux/netfilter/nf_tables.h, nfnetlink.h.)
"""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES = 10
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = (_NFTABLES << 8 | number for number in (0, 2, 3, 6))
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_ERROR = 2
_NESTED = 0x8000
_HOOK_OUTPUT, _PRIORITY_DNAT, _ACCEPT = 3, -100, 1
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META_L4PROTO = 16
_DESTINATION_NAT = 1
_REGISTER_1, _REGISTER_2 = 1, 2


def redirect(table: str, address: str, port: int, to: int, *, replace: bool) -> None:
    """What this namespace sends to `address` at `port` (tcp and udp) arrives at the same address at port `to`. The
    rules are a table of their own; `replace` removes an older one first, in the same transaction (the kernel then
    waits for a grace period, tens of milliseconds). Raises OSError."""
    name = _text(1, table)
    messages = [_message(_NEWTABLE, name, _CREATE)]
    if replace:
        messages += [_message(_DELTABLE, name, 0), _message(_NEWTABLE, name, _CREATE)]
    hook = _number(1, _HOOK_OUTPUT) + _number(2, _PRIORITY_DNAT)
    chain = name + _text(3, "output") + _nest(4, hook) + _number(5, _ACCEPT) + _text(7, "nat")
    messages.append(_message(_NEWCHAIN, chain, _CREATE))
    for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
        rule = name + _text(2, "output") + _nest(4, _rule(address, port, to, protocol))
        messages.append(_message(_NEWRULE, rule, _CREATE | _APPEND))
    _transact(messages)


def _rule(address: str, port: int, to: int, protocol: int) -> bytes:
    """ip daddr ADDRESS meta l4proto PROTOCOL th dport PORT dnat to ADDRESS:TO"""
    packed = socket.inet_aton(address)
    return (
        _load(_NETWORK_HEADER, 16, 4)
        + _equals(packed)
        + _expression("meta", _number(1, _REGISTER_1) + _number(2, _META_L4PROTO))
        + _equals(bytes([protocol]))
        + _load(_TRANSPORT_HEADER, 2, 2)
        + _equals(struct.pack(">H", port))
        + _expression("immediate", _number(1, _REGISTER_1) + _nest(2, _attribute(1, packed)))
        + _expression("immediate", _number(1, _REGISTER_2) + _nest(2, _attribute(1, struct.pack(">H", to))))
        + _expression(
            "nat",
            _number(1, _DESTINATION_NAT)
            + _number(2, socket.AF_INET)
            + _number(3, _REGISTER_1)
            + _number(5, _REGISTER_2),
        )
    )


def _load(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _number(1, _REGISTER_1) + _number(2, base) + _number(3, offset) + _number(4, length))


def _equals(value: bytes) -> bytes:
    return _expression("cmp", _number(1, _REGISTER_1) + _number(2, 0) + _nest(3, _attribute(1, value)))


def _expression(name: str, data: bytes) -> bytes:
    return _nest(1, _text(1, name) + _nest(2, data))


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _nest(kind: int, payload: bytes) -> bytes:
    return _attribute(kind | _NESTED, payload)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">i", value))


def _message(kind: int, attributes: bytes, flags: int) -> tuple[int, bytes, int]:
    return kind, struct.pack(">BBH", socket.AF_INET, 0, 0) + attributes, flags | _ACK


def _transact(messages: list[tuple[int, bytes, int]]) -> None:
    edge = struct.pack(">BBH", 0, 0, _NFTABLES)
    batch = [(_BATCH_BEGIN, edge, 0), *messages, (_BATCH_END, edge, 0)]
    data = b"".join(
        struct.pack("IHHII", 16 + len(payload), kind, flags | _REQUEST, number, 0) + payload
        for number, (kind, payload, flags) in enumerate(batch)
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        kernel.send(data)
        acknowledged = 0
        while acknowledged < len(messages):
            answer = kernel.recv(1 << 16)
            offset = 0
            while offset + 20 <= len(answer):
                length, kind = struct.unpack_from("IH", answer, offset)
                (code,) = struct.unpack_from("i", answer, offset + 16)
                if kind == _ERROR and code:
                    raise OSError(-code, f"nf_tables: {os.strerror(-code)}")
                acknowledged += kind == _ERROR
                offset += (length + 3) & ~3
