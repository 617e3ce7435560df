"""Which subnet a network gets, which address an endpoint gets."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import Forbidden, InvalidParameter, SampanError
from sampan.networks.addresses import (
    Pool,
    check_config,
    check_wanted,
    choose_subnet,
    first_address,
    mac_of,
    refuse_overlap,
)
from sampan.networks.model import IPAMPool


def pool(subnet: str = "10.0.0.0/29", **rest: object) -> Pool:
    return Pool(IPAMPool(subnet=subnet, gateway=first_address(ip_network(subnet)), **rest))  # type: ignore[arg-type]


def test_the_lowest_free_address_is_given_and_reused() -> None:
    addresses = pool()
    assert [addresses.take() for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    addresses.release("10.0.0.3")
    assert addresses.take() == "10.0.0.3"


def test_network_broadcast_gateway_and_auxiliary_addresses_are_never_given() -> None:
    addresses = pool(auxiliary_addresses={"router": "10.0.0.4"})
    taken = []
    with pytest.raises(SampanError, match="no available IPv4 addresses on this network's address pools"):
        while True:
            taken.append(addresses.take())
    assert taken == ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]
    for address in ("10.0.0.0", "10.0.0.1", "10.0.0.4", "10.0.0.7", "10.0.0.2"):
        with pytest.raises(Forbidden, match="Address already in use"):
            addresses.take(address)


def test_an_ip_range_narrows_what_is_given_but_not_what_may_be_asked() -> None:
    addresses = pool("10.0.0.0/24", ip_range="10.0.0.64/26")
    assert addresses.take() == "10.0.0.64"
    assert addresses.take("10.0.0.9") == "10.0.0.9"


def test_addresses_of_live_sandboxes_are_held() -> None:
    addresses = pool()
    addresses.hold("10.0.0.2")
    assert addresses.take() == "10.0.0.3"


def test_an_ipv6_pool_of_any_size_is_cheap() -> None:
    addresses = pool("fd00::/64")
    assert [addresses.take(), addresses.take()] == ["fd00::2", "fd00::3"]


@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=60))
def test_no_address_is_given_twice(steps: list[int | None]) -> None:
    addresses = pool("10.0.0.0/26")
    used: list[str] = []
    for step in steps:
        if step is None or not used:
            taken = addresses.take()
            assert taken not in used
            used.append(taken)
        else:
            addresses.release(used.pop(step % len(used)))


def test_a_subnet_is_the_first_that_nobody_has() -> None:
    taken = [ip_network("10.0.0.0/24"), ip_network("10.0.1.128/25"), ip_network("fd00::/8")]
    assert str(choose_subnet([("10.0.0.0/16", 24)], 4, taken)) == "10.0.2.0/24"
    with pytest.raises(SampanError, match="all predefined address pools have been fully subnetted"):
        choose_subnet([("10.0.0.0/24", 24)], 4, taken)
    assert choose_subnet([("10.0.0.0/16", 24)], 6, []).subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]


def test_overlapping_subnets_are_refused_in_dockers_words() -> None:
    with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
        refuse_overlap(ip_network("10.0.0.0/25"), [ip_network("10.0.0.0/24")])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (IPAMPool(subnet="10.78.0.5"), "invalid subnet 10.78.0.5: invalid CIDR block notation"),
        (IPAMPool(gateway="10.78.0.1"), "invalid subnet : invalid CIDR block notation"),
        (IPAMPool(subnet="10.78.0.5/24"), "invalid subnet 10.78.0.5/24: it should be 10.78.0.0/24"),
        (
            IPAMPool(subnet="10.78.0.0/24", gateway="10.79.0.1"),
            "invalid gateway 10.79.0.1: parent subnet 10.78.0.0/24 doesn't contain this address",
        ),
        (
            IPAMPool(subnet="10.78.0.0/24", ip_range="10.79.0.0/25"),
            "invalid ip-range 10.79.0.0/25: parent subnet 10.78.0.0/24 doesn't contain ip-range",
        ),
        (
            IPAMPool(subnet="10.71.0.0/24", auxiliary_addresses={"a": "10.71.1.1"}),
            "invalid auxiliary address a: parent subnet 10.71.0.0/24 doesn't contain this address",
        ),
    ],
)
def test_a_bad_ipam_configuration_is_named_as_docker_names_it(config: IPAMPool, message: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        check_config([config])
    assert error.value.message == "invalid network config:\n" + message


def test_an_address_may_be_asked_for_only_where_the_user_chose_the_subnet() -> None:
    with pytest.raises(InvalidParameter, match="supported on user defined networks only"):
        check_wanted("10.0.0.5", "", [pool()], False, "bridge")
    with pytest.raises(InvalidParameter, match="only when connecting to networks with user configured subnets"):
        check_wanted("10.0.0.5", "", [pool()], False, "net")
    check_wanted("10.0.0.5", "", [pool()], True, "net")


def test_the_mac_follows_the_address() -> None:
    assert mac_of("172.17.0.2") == "02:42:ac:11:00:02"
