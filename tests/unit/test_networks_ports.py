"""Which host ports a container gets. Ports are really bound, on the loopback where it can be."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sampan.errors import InvalidParameter
from sampan.networks.model import PortRequest, PublishedPort
from sampan.networks.ports import Held, PortBook, PortTaken, local_port_range

IPS = ("10.0.0.2", "")


@pytest.fixture
def book() -> Iterator[PortBook]:
    held: list[Held] = []
    book = PortBook(ipv6=False)
    reserve = book.reserve
    book.reserve = lambda owner, requests, ips, got: (reserve(owner, requests, ips, got), held.extend(got))[0]  # type: ignore[method-assign]
    yield book
    for one in held:
        one.close()


def take(book: PortBook, *requests: PortRequest, owner: str = "a") -> list[Held]:
    held: list[Held] = []
    book.reserve(owner, list(requests), IPS, held)
    return held


def local(host_port: str = "", protocol: str = "tcp") -> PortRequest:
    return PortRequest(80, protocol, "127.0.0.1", host_port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_random_port_comes_from_the_local_range(book: PortBook) -> None:
    low, high = local_port_range()
    one, two = (take(book, local())[0].port.host_port for _ in range(2))
    assert low <= one <= high and one != two


def test_a_held_port_is_really_bound_and_released(book: PortBook) -> None:
    (held,) = take(book, local(str(free_port())))
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", held.port.host_port)).close()
    book.release(held)
    socket.create_server(("127.0.0.1", held.port.host_port)).close()
    take(book, local(str(held.port.host_port)))


def test_a_port_of_another_container_is_already_allocated(book: PortBook) -> None:
    port = take(book, local(str(free_port())))[0].port.host_port
    with pytest.raises(PortTaken, match=f"^Bind for 127.0.0.1:{port} failed: port is already allocated$"):
        take(book, local(str(port)), owner="b")
    take(book, local(str(port), "udp"), owner="b")


def test_a_port_of_a_host_process_is_already_in_use(book: PortBook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        message = f"^failed to bind host port for 127.0.0.1:{port}:10.0.0.2:80/tcp: address already in use$"
        with pytest.raises(PortTaken, match=message):
            take(book, local(str(port)))


def test_all_addresses_and_one_address_collide(book: PortBook) -> None:
    port = take(book, local(str(free_port())))[0].port.host_port
    with pytest.raises(PortTaken, match=f"^Bind for 0.0.0.0:{port} failed"):
        take(book, PortRequest(80, "tcp", "", str(port)), owner="b")


def test_a_range_gives_its_first_free_port(book: PortBook) -> None:
    start = free_port()
    text = f"{start}-{start + 20}"
    first, second = (take(book, local(text))[0].port.host_port for _ in range(2))
    assert start <= first < second <= start + 20


def test_all_addresses_mean_both_families_at_one_port() -> None:
    book = PortBook(ipv6=socket.has_ipv6)
    held = take(book, PortRequest(80))
    assert {one.port.host_ip for one in held} == ({"0.0.0.0", "::"} if socket.has_ipv6 else {"0.0.0.0"})
    assert len({one.port.host_port for one in held}) == 1
    for one in held:
        one.close()


def test_sctp_is_on_the_addresses_of_the_containers_own_families() -> None:
    book = PortBook(ipv6=True)
    held = take(book, PortRequest(80, "sctp", "", "9899"))
    assert [one.port.host_ip for one in held] == ["0.0.0.0"]


def test_a_bad_host_address_is_refused(book: PortBook) -> None:
    with pytest.raises(InvalidParameter, match="invalid IP address: nowhere"):
        take(book, PortRequest(80, "tcp", "nowhere", "80"))


def test_a_port_taken_meanwhile_is_kept_without_a_socket(book: PortBook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = PublishedPort(80, "tcp", "127.0.0.1", server.getsockname()[1])
        assert book.hold_again("a", port).socket is None
        with pytest.raises(PortTaken, match="already allocated"):
            take(book, local(str(port.host_port)), owner="b")
