"""Bridges: the Linux bridge of a network, made when it is missing, with its addresses. Blocking."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from ipaddress import ip_interface, ip_network
from pathlib import Path

from sampan.errors import SampanError
from sampan.linux import netlink
from sampan.linux.netlink import Netlink, NetlinkError
from sampan.networks.addresses import Subnet, random_mac
from sampan.networks.model import Network

_SYSCTL = Path("/proc/sys/net")


def gateways(network: Network) -> list[str]:
    """The bridge's own addresses, as "address/prefix"."""
    return [
        f"{pool.gateway}/{ip_network(pool.subnet).prefixlen}"
        for pool in network.ipam.config
        if pool.gateway and not (network.inhibit_ipv4 and ":" not in pool.gateway)
        if network.gateway_mode(6 if ":" in pool.gateway else 4) != "isolated"
    ]


def ensure(kernel: Netlink, network: Network) -> tuple[int, list[str]]:
    """Makes the network's bridge, or completes one that is there. Gives its interface index and the addresses that were
    added."""
    try:
        index = kernel.index(network.bridge)
    except NetlinkError:
        kernel.run(netlink.bridge(network.bridge, random_mac(), network.mtu))
        index = kernel.index(network.bridge)
    present = {text for owner, text in kernel.addresses() if owner == index}
    if network.gateway_mode(6) == "isolated":
        _write(f"ipv6/conf/{network.bridge}/disable_ipv6", "1")  # not even a link-local address
    elif network.enable_ipv6:
        _write(f"ipv6/conf/{network.bridge}/disable_ipv6", "0")
        # The kernel stops listening to router advertisements when it forwards; we want neither.
        _write(f"ipv6/conf/{network.bridge}/accept_ra", "0")
    wanted = [text for text in gateways(network) if text not in present]
    try:
        kernel.run(*(netlink.address(index, ip_interface(text)) for text in wanted), netlink.up(index))
    except NetlinkError as error:
        raise SampanError(f"cannot set up bridge {network.bridge}: {error.strerror}") from error
    # 127.0.0.1:PORT on the host is translated to the container: the answer comes back from the bridge to a loopback
    # address. Our raw chain drops what containers send to 127.0.0.0/8 themselves (CVE-2020-8558).
    _write(f"ipv4/conf/{network.bridge}/route_localnet", "1")
    return index, wanted


def remove(kernel: Netlink, name: str) -> None:
    """Idempotent."""
    kernel.run(netlink.delete_link(name))


def remove_addresses(kernel: Netlink, name: str, addresses: Iterable[str]) -> None:
    """Idempotent."""
    with contextlib.suppress(NetlinkError):
        index = kernel.index(name)
        kernel.run(*(netlink.delete_address(index, ip_interface(text)) for text in addresses))


def adopt_address(kernel: Netlink, name: str) -> str:
    """The IPv4 "address/prefix" that an existing bridge has; "" without one (or without the bridge)."""
    with contextlib.suppress(NetlinkError):
        index = kernel.index(name)
        for owner, text in kernel.addresses():
            if owner == index and ":" not in text:
                return text
    return ""


def host_subnets(kernel: Netlink, but: Iterable[str] = ()) -> list[Subnet]:
    """Every subnet that the host routes to or sits in, except through the interfaces named in `but`."""
    names = {link.index: link.name for link in kernel.links()}
    skipped = set(but)
    found: list[Subnet] = []
    for route in kernel.routes():
        if route.destination is not None and names.get(route.index) not in skipped:
            found.append(route.destination)
    for index, text in kernel.addresses():
        if names.get(index) not in skipped:
            found.append(ip_interface(text).network)
    return [subnet for subnet in found if subnet.prefixlen > 0]


def enable_forwarding(ipv6: bool) -> None:
    """Routing between bridges and the outside; set only where it is off."""
    _turn_on("ipv4/ip_forward")
    if ipv6:
        _keep_router_advertisements()
        _turn_on("ipv6/conf/default/forwarding")
        _turn_on("ipv6/conf/all/forwarding")


def _keep_router_advertisements() -> None:
    """A host that forwards ignores router advertisements, and would lose the default route it has from them; accept_ra
    2 says to accept them all the same (Documentation/networking/ip-sysctl.rst)."""
    with contextlib.suppress(OSError):
        if (_SYSCTL / "ipv6/conf/all/forwarding").read_text().strip() != "0":
            return
        for interface in (_SYSCTL / "ipv6/conf").iterdir():
            if interface.name not in ("all", "default", "lo") and (interface / "accept_ra").read_text().strip() == "1":
                (interface / "accept_ra").write_text("2")


def has_ipv6() -> bool:
    """Can the host use IPv6 (is it neither compiled out nor disabled)?"""
    with contextlib.suppress(OSError):
        return (_SYSCTL / "ipv6/conf/lo/disable_ipv6").read_text().strip() == "0"
    return False


def filters_bridged_packets() -> bool:
    """Does br_netfilter send bridged packets through the IP hooks? Then a container reaches its own published port
    only when its bridge port may send a packet back where it came from (hairpin)."""
    with contextlib.suppress(OSError):
        return (_SYSCTL / "bridge/bridge-nf-call-iptables").read_text().strip() == "1"
    return False


def _turn_on(path: str) -> None:
    with contextlib.suppress(OSError):
        if (_SYSCTL / path).read_text().strip() != "0":
            return
    _write(path, "1")


def _write(path: str, value: str) -> None:
    try:
        (_SYSCTL / path).write_text(value)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EROFS):
            raise
