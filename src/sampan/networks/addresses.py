"""Addresses: which subnet a network gets, which address an endpoint gets. Pure: no kernel, no state file.

Pools live in memory and are filled again from the live sandboxes at daemon start, so `kill -9` can leak no address.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from sampan.errors import Forbidden, InvalidParameter, SampanError
from sampan.networks.model import PREDEFINED, IPAMPool

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network


class Pool:
    """The addresses of one subnet. `take` gives the lowest free one, as Docker's bridge networks do."""

    def __init__(self, config: IPAMPool) -> None:
        """`config.subnet` must be set and valid; `ip_range` narrows what is handed out by itself."""
        self.subnet: Subnet = ip_network(config.subnet)
        self.gateway: str = config.gateway
        self._range: Subnet = ip_network(config.ip_range) if config.ip_range else self.subnet
        self._used: set[int] = set()
        self._reserved = {int(self.subnet.network_address)}
        if self.subnet.version == 4 and self.subnet.prefixlen < 31:
            self._reserved.add(int(self.subnet.broadcast_address))
        if config.gateway:
            self._reserved.add(int(ip_address(config.gateway)))
        for text in (config.auxiliary_addresses or {}).values():
            self._reserved.add(int(ip_address(text)))
        self._next = int(self._range.network_address)

    def __contains__(self, address: str) -> bool:
        return ip_address(address) in self.subnet

    def take(self, wanted: str = "") -> str:
        """An address that is now used. Raises `Forbidden("Address already in use")`, or `SampanError` when none is
        left."""
        if wanted:
            number = int(ip_address(wanted))
            if number in self._used or number in self._reserved:
                raise Forbidden("Address already in use")
        else:
            number = self._lowest_free()
        self._used.add(number)
        return str(self._address(number))

    def _lowest_free(self) -> int:
        last = int(self._range.network_address) + self._range.num_addresses - 1
        for number in range(self._next, last + 1):
            if number not in self._used and number not in self._reserved:
                self._next = number + 1
                return number
        raise SampanError(f"no available IPv{self.subnet.version} addresses on this network's address pools")

    def hold(self, address: str) -> None:
        """Marks an address that a live sandbox already has."""
        self._used.add(int(ip_address(address)))

    def release(self, address: str) -> None:
        number = int(ip_address(address))
        self._used.discard(number)
        if number in range(int(self._range.network_address), self._next):
            self._next = number

    def _address(self, number: int) -> Address:
        return IPv4Address(number) if self.subnet.version == 4 else IPv6Address(number)


def mac_of(ipv4: str) -> str:
    """Docker's MAC for an address: 02:42 and the four bytes, so that an address that moves takes its ARP entry
    along."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in IPv4Address(ipv4).packed)


def random_mac() -> str:
    return "02:42:" + secrets.token_bytes(4).hex(":")


def overlaps(candidate: Subnet, taken: Iterable[Subnet]) -> bool:
    return any(candidate.version == other.version and candidate.overlaps(other) for other in taken)


def choose_subnet(pools: Iterable[tuple[str, int]], version: int, taken: list[Subnet]) -> Subnet:
    """The first subnet of the address pools that overlaps none of `taken` (networks, the host's routes)."""
    for base, length in pools:
        for candidate in _subnets(ip_network(base), length, version):
            if not overlaps(candidate, taken):
                return candidate
    if version == 6:
        return _unique_local(taken)
    raise SampanError("all predefined address pools have been fully subnetted")


def _subnets(base: Subnet, length: int, version: int) -> Iterator[Subnet]:
    if base.version == version:
        yield from base.subnets(new_prefix=max(length, base.prefixlen))


def _unique_local(taken: list[Subnet]) -> Subnet:
    """A random /64 of fd00::/8 (RFC 4193), for when no IPv6 pool is configured."""
    while True:
        prefix = (0xFD << 120) | (secrets.randbits(56) << 64)
        candidate = IPv6Network((prefix, 64))
        if not overlaps(candidate, taken):
            return candidate


def first_address(subnet: Subnet, ip_range: str = "") -> str:
    """The gateway that a network gets when the user names none."""
    if subnet.num_addresses == 1:
        return str(subnet.network_address)
    base = ip_network(ip_range) if ip_range else subnet
    start = base.network_address
    return str(start + 1 if start == subnet.network_address else start)


def check_config(pools: list[IPAMPool]) -> None:
    """Raises `InvalidParameter` with all of Docker's complaints about a user's IPAM configuration at once."""
    complaints: list[str] = []
    for pool in pools:
        complaints += _complaints(pool)
    if complaints:
        listed = complaints if len(complaints) == 1 else [f"* {line}" for line in complaints]
        raise InvalidParameter("invalid network config:\n" + "\n".join(listed))


def _complaints(pool: IPAMPool) -> Iterator[str]:
    try:
        subnet = ip_network(pool.subnet, strict=False)
        if "/" not in pool.subnet:
            raise ValueError
    except ValueError:
        yield f"invalid subnet {pool.subnet}: invalid CIDR block notation"
        return
    if str(subnet) != pool.subnet and subnet != _strict(pool.subnet):
        yield f"invalid subnet {pool.subnet}: it should be {subnet}"
    if pool.ip_range:
        yield from _range_complaints(pool.ip_range, subnet)
    if pool.gateway:
        yield from _member_complaints("gateway", pool.gateway, pool.gateway, subnet)
    for name, address in (pool.auxiliary_addresses or {}).items():
        yield from _member_complaints("auxiliary address", name, address, subnet)


def _strict(text: str) -> Subnet | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _range_complaints(text: str, subnet: Subnet) -> Iterator[str]:
    try:
        range_ = ip_network(text, strict=False)
        if "/" not in text:
            raise ValueError
    except ValueError:
        yield f"invalid ip-range {text}: invalid CIDR block notation"
        return
    if _strict(text) is None:
        yield f"invalid ip-range {text}: it should be {range_}"
    elif range_.version != subnet.version:
        yield f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"
    elif not range_.subnet_of(subnet):  # type: ignore[arg-type]
        yield f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"


def _member_complaints(what: str, name: str, text: str, subnet: Subnet) -> Iterator[str]:
    try:
        address = ip_address(text)
    except ValueError:
        yield f"invalid {what} {name}: invalid address"
        return
    if address.version != subnet.version:
        yield f"invalid {what} {name}: parent subnet is an IPv{subnet.version} block"
    elif address not in subnet:
        yield f"invalid {what} {name}: parent subnet {subnet} doesn't contain this address"


def check_wanted(ipv4: str, ipv6: str, pools: list[Pool], configured: bool, network: str) -> None:
    """Refuses a `--ip` or `--ip6` that this network cannot give, in Docker's words: all of the complaints at once."""
    found = []
    if network in PREDEFINED and (ipv4 or ipv6):
        found.append("user specified IP address is supported on user defined networks only")
    for version, wanted in ((4, ipv4), (6, ipv6)):
        if wanted and not _is_address(wanted, version):
            found.append(f"invalid IPv{version} address: {wanted}")
    for version, wanted in ((4, ipv4), (6, ipv6)):
        subnets = [pool.subnet for pool in pools if pool.subnet.version == version]
        if not wanted:
            continue
        if not subnets or not (configured or network == "bridge"):
            found.append(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
        elif not _is_address(wanted, version) or not any(ip_address(wanted) in subnet for subnet in subnets):
            found.append(f"no configured subnet or ip-range contain the IP address {wanted}")
    if found:
        shown = found[0] if len(found) == 1 else "\n".join(f"* {one}" for one in found)
        raise InvalidParameter(f"invalid endpoint settings:\n{shown}")


def _is_address(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def refuse_overlap(candidate: Subnet, taken: Iterable[Subnet]) -> None:
    """Raises Docker's refusal when a network of ours already has a part of `candidate`."""
    if overlaps(candidate, taken):
        raise Forbidden("invalid pool request: Pool overlaps with other one on this address space")


__all__ = [
    "Pool",
    "check_config",
    "check_wanted",
    "choose_subnet",
    "first_address",
    "mac_of",
    "overlaps",
    "random_mac",
    "refuse_overlap",
]
