"""macvlan and ipvlan networks: containers as hosts of their own on a parent interface's network. Blocking.

There is no bridge, no NAT and no published port: a container's interface sits beside the parent on the wire. A parent
"eth0.50" that does not exist is made as a VLAN of eth0; a network without a parent gets an interface of its own, so
that its containers reach each other only.
"""

from __future__ import annotations

import errno

from sampan.errors import InvalidParameter, SampanError
from sampan.linux import netlink
from sampan.linux.netlink import Netlink, NetlinkError, Request
from sampan.networks.model import Endpoint, Network
from sampan.networks.sandboxes import Namespace, configure

DRIVERS = ("macvlan", "ipvlan")

# linux/if_link.h
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}


def check(network: Network) -> None:
    """Refuses options that mean nothing, in Docker's words."""
    options = network.options
    mode = options.get(f"{network.driver}_mode", "")
    modes = _MACVLAN_MODES if network.driver == "macvlan" else _IPVLAN_MODES
    if mode and mode not in modes:
        default = "bridge" if network.driver == "macvlan" else "l2"
        raise InvalidParameter(
            f"requested {network.driver} mode '{mode}' is not valid, "
            f"'{default}' mode is the {network.driver} driver default"
        )
    flag = options.get("ipvlan_flag", "")
    if flag and flag not in _IPVLAN_FLAGS:
        raise InvalidParameter(f"requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver default")
    name = parent(network)
    if name == "lo":
        raise InvalidParameter(f"loopback interface is not a valid {network.driver} parent link")
    if len(name.encode()) > 15 or "/" in name:
        raise InvalidParameter(f"invalid parent interface name {name}")


def parent(network: Network) -> str:
    """The parent's name; that of an interface of our own when the user names none (or an internal network)."""
    given = network.options.get("parent", "") or network.options.get(f"com.docker.network.{network.driver}.parent", "")
    return given or f"dm-{network.id[:12]}"


def ensure(kernel: Netlink, network: Network) -> int:
    """The parent's interface index. Raises `InvalidParameter` when it cannot be had."""
    name = parent(network)
    made = network.link_made
    try:
        if not kernel.exists(name):
            _make(kernel, name)
            made = True
        if made:
            for end in (name, _peer(name)):
                if kernel.exists(end):
                    kernel.run(netlink.up(kernel.index(end)))
        return kernel.index(name)
    except NetlinkError as error:
        raise SampanError(f"failed to create the parent interface {name}: {error.strerror}") from error


def _make(kernel: Netlink, name: str) -> None:
    if not name.startswith("dm-"):
        kernel.run(_vlan(kernel, name))
        return
    try:
        kernel.run(netlink.dummy(name))
    except NetlinkError:
        # Not every kernel has dummy interfaces; a veth pair without users serves as well.
        kernel.run(netlink.veth_pair(name, _peer(name)))


def _peer(name: str) -> str:
    return "dp-" + name.removeprefix("dm-")


def _vlan(kernel: Netlink, name: str) -> Request:
    base, dot, tag = name.rpartition(".")
    if not dot or not tag.isdigit() or not 0 < int(tag) < 4095:
        raise InvalidParameter(f"invalid subinterface vlan name {name}, example formatting is eth0.10")
    try:
        return netlink.vlan(name, kernel.index(base), int(tag))
    except NetlinkError:
        raise InvalidParameter(f"parent interface {base} was not found on the host: {name}") from None


def attach(host: Netlink, inner: Namespace, network: Network, endpoint: Endpoint, index: int) -> None:
    """Makes the endpoint's interface on the parent `index`, inside the namespace, with its addresses."""
    options = network.options
    if network.driver == "macvlan":
        mode = _MACVLAN_MODES[options.get("macvlan_mode", "") or "bridge"]
        request = netlink.macvlan(endpoint.interface, index, inner.descriptor, endpoint.mac, mode)
    else:
        mode = _IPVLAN_MODES[options.get("ipvlan_mode", "") or "l2"]
        flag = _IPVLAN_FLAGS[options.get("ipvlan_flag", "") or "bridge"]
        request = netlink.ipvlan(endpoint.interface, index, inner.descriptor, mode, flag)
    try:
        host.run(request)
    except NetlinkError as error:
        if error.errno == errno.EBUSY:
            raise SampanError(f"interface {parent(network)} is in use and cannot be shared") from error
        raise
    configure(inner, endpoint)
