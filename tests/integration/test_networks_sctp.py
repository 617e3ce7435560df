"""A published sctp port carries packets. Made by hand on raw sockets: it is about the translation, and kernels without
SCTP sockets of their own still track and translate it for others."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path

import pytest

from sampan.networks import EndpointRequest, PortRequest
from support import netlab
from support.netlab import Lab

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(
        not Path("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established").exists(),
        reason="this kernel tracks no sctp",
    ),
]

IPPROTO_SCTP = 132
CLIENT = 40000
INIT, INIT_ACK = 1, 2


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def chunk(kind: int, source: int, destination: int, tag: int) -> bytes:
    """A packet with one INIT or INIT ACK chunk (RFC 9260, sections 3.1 and 3.3.2)."""
    body = struct.pack(">BBHIIHHI", kind, 0, 20, 77, 65536, 1, 1, 1)
    head = struct.pack(">HHI", source, destination, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + body)) + body


def raw() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_SCTP)
    made.settimeout(3)
    return made


def received(listener: socket.socket) -> tuple[str, int, int, int]:
    """(source address, source port, destination port, kind of chunk) of the next packet."""
    packet, (address, _) = listener.recvfrom(2048)
    packet = packet[(packet[0] & 15) * 4 :]
    source, destination = struct.unpack_from(">HH", packet)
    assert crc32c(packet[:8] + bytes(4) + packet[12:]) == struct.unpack_from("<I", packet, 8)[0]
    return address, source, destination, packet[12]


def test_sctp_is_translated_both_ways(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        port = PortRequest(3868, "sctp", host_port="3900")
        one = await lab.networks.up("1" * 64, "bridge", [EndpointRequest(network="bridge")], [port])
        with lab.outside(raw) as client, lab.inside(one, raw) as server:
            client.sendto(chunk(INIT, CLIENT, 3900, 0), (netlab.HOST, 0))
            seen = await asyncio.to_thread(received, server)
            assert seen == (netlab.OUTSIDE, CLIENT, 3868, INIT), "the client's own address, the container's port"
            server.sendto(chunk(INIT_ACK, 3868, CLIENT, 77), (netlab.OUTSIDE, 0))
            assert await asyncio.to_thread(received, client) == (netlab.HOST, 3900, CLIENT, INIT_ACK)
            await lab.networks.publish("1" * 64, [])
            client.sendto(chunk(INIT, CLIENT + 1, 3900, 0), (netlab.HOST, 0))
            server.settimeout(0.5)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(received, server)

    netlab.run(tmp_path, scenario)
