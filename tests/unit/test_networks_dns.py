"""The embedded nameserver's messages and directory."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.networks import wire
from sampan.networks.directory import Directory
from sampan.networks.model import Endpoint


def query(name: str, type: int = wire.A, tail: bytes = b"", additional: int = 0) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack(">6H", 7, 0x0100, 1, 0, 0, additional)
    return header + labels + b"\0" + struct.pack(">2H", type, 1) + tail


def endpoint(name: str, address: str, network: str = "net", **rest: object) -> Endpoint:
    return Endpoint(
        network=network,
        network_id=network,
        endpoint_id=f"{network}-{name}",
        ipv4=address,
        dns_names=[name, "service"],
        **rest,  # type: ignore[arg-type]
    )


def test_a_question_is_read_and_answered() -> None:
    parsed = wire.parse(query("Web.Net"))
    assert (parsed.name, parsed.type, parsed.udp_size) == ("web.net", wire.A, 512)
    answer = wire.answer(parsed, ["10.0.0.2", "10.0.0.3"])
    assert struct.unpack_from(">6H", answer) == (7, 0x8180, 1, 2, 0, 0)
    assert answer.endswith(bytes([10, 0, 0, 3]))


def test_an_answer_that_is_too_long_for_udp_says_so() -> None:
    many = [f"10.0.0.{number}" for number in range(200)]
    parsed = wire.parse(query("all"))
    answer = wire.answer(parsed, many, parsed.udp_size)
    assert len(answer) <= 512 and struct.unpack_from(">H", answer, 2)[0] & 0x0200
    opt = b"\0\0\x29" + struct.pack(">H", 4096) + bytes(6)
    larger = wire.parse(query("all", tail=opt, additional=1))
    assert larger.udp_size == 4096
    assert struct.unpack_from(">6H", wire.answer(larger, many, larger.udp_size))[3] == 200


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(message: bytes) -> None:
    with contextlib.suppress(wire.Malformed):
        wire.parse(message)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.17.172.in-addr.arpa", "172.17.0.2"),
        ("2." + "0." * 29 + "d.f.ip6.arpa", "fd00::2"),
        ("x.0.17.172.in-addr.arpa", ""),
        ("example.org", ""),
    ],
)
def test_reverse_names(name: str, address: str) -> None:
    assert wire.reversed_address(name) == address


def test_a_name_is_seen_on_the_viewers_networks_only() -> None:
    directory = Directory()
    web, db, other = endpoint("web", "10.0.0.2"), endpoint("db", "10.0.0.3"), endpoint("db", "10.1.0.3", "far")
    for one in (web, db, other):
        directory.join(one)
    assert directory.find([web], "db") == [db]
    assert directory.find([web], "db.net") == [db]
    assert directory.find([web], "db.far") == []
    assert directory.find([web, endpoint("web", "10.1.0.2", "far")], "db.far") == [other]
    assert sorted(one.ipv4 for one in directory.find([web], "service")) == ["10.0.0.2", "10.0.0.3"]
    assert directory.name_of([web], "10.0.0.3") == "db.net"
    assert directory.name_of([web], "10.1.0.3") == ""


def test_who_left_is_not_found() -> None:
    directory = Directory()
    web, db = endpoint("web", "10.0.0.2"), endpoint("db", "10.0.0.3")
    directory.join(web)
    directory.join(db)
    directory.leave(db)
    assert directory.find([web], "db") == []
    assert directory.find([web], "service") == [web]
    assert directory.name_of([web], "10.0.0.3") == ""


def test_a_links_alias_is_seen_by_its_container_only() -> None:
    directory = Directory()
    db = endpoint("db", "10.0.0.3")
    web = endpoint("web", "10.0.0.2", links=["db:postgres"])
    directory.join(db)
    directory.join(web)
    assert directory.find([web], "postgres") == [db]
    assert directory.find([db], "postgres") == []
