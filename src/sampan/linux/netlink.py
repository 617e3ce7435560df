"""rtnetlink: links, addresses and routes, by pyroute2's message classes over a plain socket.

pyroute2's own sockets (0.9) drive an asyncio loop inside and cost a millisecond a call, and `import pyroute2` pulls in
all of it (12 MiB, 65 ms). A container's start needs five messages; here they cost one `send` a namespace.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import struct
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Any


def _load_messages() -> tuple[Any, Any, Any]:
    """pyroute2's message classes without pyroute2's `__init__`: an empty package stands in while its submodules
    load."""
    absent = "pyroute2" not in sys.modules
    if absent:
        found = importlib.util.find_spec("pyroute2")
        if found is None or found.submodule_search_locations is None:
            raise ImportError("pyroute2 is not installed")
        package = types.ModuleType("pyroute2")
        package.__path__ = list(found.submodule_search_locations)
        package.__spec__ = found
        sys.modules["pyroute2"] = package
    try:
        names = ("ifinfmsg", "ifaddrmsg", "rtmsg")
        classes = [getattr(importlib.import_module(f"pyroute2.netlink.rtnl.{name}"), name) for name in names]
    finally:
        if absent:
            del sys.modules["pyroute2"]
    return classes[0], classes[1], classes[2]


_ifinfmsg, _ifaddrmsg, _rtmsg = _load_messages()

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
_REQUEST, _ACK, _EXCLUDE, _CREATE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x300
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _GETROUTE = 24, 26
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_INFO_KIND = 1, 3, 10, 18, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_IFA_F_NODAD = 0x02
_MAIN_TABLE, _PROTO_BOOT, _UNIVERSE, _LINK_SCOPE, _UNICAST = 254, 3, 0, 253, 1

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class NetlinkError(OSError):
    """The kernel refused a message; `errno` says why, the text carries the kernel's own explanation where it gave
    one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message, ready to be sent by `Netlink.run`. Make one with the functions below."""

    message: Any
    flags: int = 0
    missing_ok: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    master: int
    kind: str
    up: bool


@dataclass(frozen=True, slots=True)
class Route:
    """`destination` is None for a default route."""

    destination: Network | None
    index: int


class Netlink:
    """A NETLINK_ROUTE socket. It belongs to the network namespace of the thread that makes it, for ever."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *requests: Request) -> None:
        """Sends all at once; the kernel works them off in order, and goes on after a failure. Raises the first
        failure."""
        if not requests:
            return
        waiting: dict[int, Request] = {}
        buffer = b""
        for request in requests:
            self._sequence += 1
            waiting[self._sequence] = request
            buffer += _encode(request.message, self._sequence, request.flags | _REQUEST | _ACK)
        self._socket.send(buffer)
        failure: NetlinkError | None = None
        while waiting:
            for kind, sequence, payload in _messages(self._socket.recv(65536)):
                if kind != _ERROR or (done := waiting.pop(sequence, None)) is None:
                    continue
                (code,) = struct.unpack_from("i", payload)
                if code and not (done.missing_ok and -code in _MISSING) and failure is None:
                    failure = NetlinkError(-code, _explanation(-code, payload))
        if failure is not None:
            raise failure

    def index(self, name: str) -> int:
        """The interface's index. Raises `NetlinkError` (ENODEV)."""
        message = _link_message(_GETLINK)
        message["attrs"] = [("IFLA_IFNAME", name)]
        for kind, payload in self._exchange(message, _REQUEST | _ACK):
            if kind == _NEWLINK:
                return int(struct.unpack_from("i", payload, 4)[0])
        raise NetlinkError(19, f"no such interface: {name}")

    def exists(self, name: str) -> bool:
        try:
            self.index(name)
        except NetlinkError:
            return False
        return True

    def links(self) -> list[Link]:
        found = []
        for kind, payload in self._exchange(_link_message(_GETLINK), _REQUEST | _DUMP):
            if kind == _NEWLINK:
                found.append(_link(payload))
        return found

    def addresses(self) -> list[tuple[int, str]]:
        """(interface index, address/prefix) of every address in the namespace."""
        message = _ifaddrmsg()
        message["header"]["type"] = _GETADDR
        found = []
        for kind, payload in self._exchange(message, _REQUEST | _DUMP):
            if kind == _NEWADDR:
                prefix, index = payload[1], struct.unpack_from("I", payload, 4)[0]
                attributes = dict(_attributes(payload[8:]))
                raw = attributes.get(_IFA_LOCAL) or attributes[_IFA_ADDRESS]
                found.append((int(index), f"{socket.inet_ntop(_family(raw), raw)}/{prefix}"))
        return found

    def routes(self) -> list[Route]:
        """The unicast routes of all tables."""
        message = _rtmsg()
        message["header"]["type"] = _GETROUTE
        found = []
        for kind, payload in self._exchange(message, _REQUEST | _DUMP):
            if kind != _NEWROUTE or payload[7] != _UNICAST:
                continue
            attributes = dict(_attributes(payload[12:]))
            out = struct.unpack("I", attributes[_RTA_OIF])[0] if _RTA_OIF in attributes else 0
            raw = attributes.get(_RTA_DST)
            destination = None
            if raw is not None:
                destination = ip_network(f"{socket.inet_ntop(_family(raw), raw)}/{payload[1]}")
            found.append(Route(destination, int(out)))
        return found

    def _exchange(self, message: Any, flags: int) -> Iterator[tuple[int, bytes]]:
        self._sequence += 1
        self._socket.send(_encode(message, self._sequence, flags))
        while True:
            for kind, sequence, payload in _messages(self._socket.recv(1 << 18)):
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    (code,) = struct.unpack_from("i", payload)
                    if code:
                        raise NetlinkError(-code, _explanation(-code, payload))
                    return
                yield kind, payload


_MISSING = (19, 3, 99, 2)  # ENODEV, ESRCH, EADDRNOTAVAIL, ENOENT


# -- messages --------------------------------------------------------------------------------------------------


def bridge(name: str, mac: str, mtu: int = 0) -> Request:
    """A new bridge, up."""
    message = _link_message(_NEWLINK, up=True)
    message["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", mac),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
    ]
    if mtu:
        message["attrs"].append(("IFLA_MTU", mtu))
    return Request(message, _CREATE | _EXCLUDE)


def veth(name: str, master: int, peer: str, peer_netns: int, peer_mac: str, mtu: int = 0) -> Request:
    """A new pair: `name` here, up, in bridge `master`; `peer` born inside the namespace of the descriptor
    `peer_netns`, down."""
    ends: list[tuple[str, Any]] = [("IFLA_IFNAME", peer), ("IFLA_NET_NS_FD", peer_netns)]
    if peer_mac:
        ends.append(("IFLA_ADDRESS", peer_mac))
    if mtu:
        ends.append(("IFLA_MTU", mtu))
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": ends})]})]
    message = _link_message(_NEWLINK, up=True)
    message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_MASTER", master), ("IFLA_LINKINFO", {"attrs": info})]
    if mtu:
        message["attrs"].append(("IFLA_MTU", mtu))
    return Request(message, _CREATE | _EXCLUDE)


def dummy(name: str) -> Request:
    return _new_link(name, "dummy", {})


def veth_pair(name: str, peer: str) -> Request:
    """Both ends here, down, in no bridge."""
    return _new_link(name, "veth", {"attrs": [("VETH_INFO_PEER", {"attrs": [("IFLA_IFNAME", peer)]})]})


def vlan(name: str, parent: int, tag: int) -> Request:
    return _new_link(name, "vlan", {"attrs": [("IFLA_VLAN_ID", tag)]}, ("IFLA_LINK", parent))


def macvlan(name: str, parent: int, netns: int, mac: str, mode: int) -> Request:
    """A macvlan of the interface `parent`, born inside the namespace of the descriptor `netns`, down. `mode` as in
    linux/if_link.h."""
    info = {"attrs": [("IFLA_MACVLAN_MODE", mode)]}
    where = (("IFLA_LINK", parent), ("IFLA_NET_NS_FD", netns), ("IFLA_ADDRESS", mac))
    return _new_link(name, "macvlan", info, *where)


def ipvlan(name: str, parent: int, netns: int, mode: int, flag: int) -> Request:
    """An ipvlan of `parent`, likewise. It shares its parent's MAC address."""
    info = {"attrs": [("IFLA_IPVLAN_MODE", mode), ("IFLA_IPVLAN_FLAGS", flag)]}
    return _new_link(name, "ipvlan", info, ("IFLA_LINK", parent), ("IFLA_NET_NS_FD", netns))


def _new_link(name: str, kind: str, data: dict[str, Any], *attributes: tuple[str, Any]) -> Request:
    info: list[tuple[str, Any]] = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", data))
    message = _link_message(_NEWLINK)
    message["attrs"] = [("IFLA_IFNAME", name), *attributes, ("IFLA_LINKINFO", {"attrs": info})]
    return Request(message, _CREATE | _EXCLUDE)


def bridge_port(name: str, *, hairpin: bool = False, isolated: bool = False) -> Request:
    """Settings of a bridge's port. Isolated ports reach the bridge, not each other (Linux 4.18)."""
    settings = [("IFLA_BRPORT_MODE", int(hairpin)), ("IFLA_BRPORT_ISOLATED", int(isolated))]
    message = _link_message(_NEWLINK)
    message["attrs"] = [
        ("IFLA_IFNAME", name),
        (
            "IFLA_LINKINFO",
            {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": settings})]},
        ),
    ]
    return Request(message)


def up(index: int) -> Request:
    return Request(_link_message(_NEWLINK, index=index, up=True))


def delete_link(name: str) -> Request:
    message = _link_message(_DELLINK)
    message["attrs"] = [("IFLA_IFNAME", name)]
    return Request(message, missing_ok=True)


def address(index: int, interface: Interface) -> Request:
    """Adds an address. IPv6 ones skip duplicate detection: the engine hands each out once, and a second's wait would
    be felt."""
    return Request(_address_message(_NEWADDR, index, interface), _CREATE | _EXCLUDE)


def delete_address(index: int, interface: Interface) -> Request:
    return Request(_address_message(_DELADDR, index, interface), missing_ok=True)


def default_route(gateway: str, index: int) -> Request:
    message = _route_message(socket.AF_INET6 if ":" in gateway else socket.AF_INET, _UNIVERSE)
    message["attrs"] = [("RTA_GATEWAY", gateway), ("RTA_OIF", index)]
    return Request(message, _CREATE | _EXCLUDE)


def delete_default_routes(family: int) -> Request:
    message = _route_message(family, _UNIVERSE)
    message["header"]["type"] = _NEWROUTE + 1
    return Request(message, missing_ok=True)


def _link_message(kind: int, index: int = 0, up: bool = False) -> Any:
    message = _ifinfmsg()
    message["header"]["type"] = kind
    message["index"] = index
    if up:
        message["flags"] = message["change"] = _IFF_UP
    message["attrs"] = []
    return message


def _address_message(kind: int, index: int, interface: Interface) -> Any:
    message = _ifaddrmsg()
    message["header"]["type"] = kind
    message["index"] = index
    message["prefixlen"] = interface.network.prefixlen
    message["family"] = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    message["attrs"] = [("IFA_LOCAL", str(interface.ip)), ("IFA_ADDRESS", str(interface.ip))]
    if interface.version == 6:
        message["attrs"] = [("IFA_ADDRESS", str(interface.ip)), ("IFA_FLAGS", _IFA_F_NODAD)]
    elif interface.network.prefixlen < 31:
        message["attrs"].append(("IFA_BROADCAST", str(interface.network.broadcast_address)))
    return message


def _route_message(family: int, scope: int) -> Any:
    message = _rtmsg()
    message["header"]["type"] = _NEWROUTE
    message["family"] = family
    message["table"] = _MAIN_TABLE
    message["proto"] = _PROTO_BOOT
    message["scope"] = scope
    message["type"] = _UNICAST
    message["attrs"] = []
    return message


# -- wire ------------------------------------------------------------------------------------------------------


def _encode(message: Any, sequence: int, flags: int) -> bytes:
    message["header"]["sequence_number"] = sequence
    message["header"]["flags"] = flags
    message.encode()
    return bytes(message.data)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, payload) of each message in a datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("IHHII", data, offset)
        yield kind, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _explanation(code: int, payload: bytes) -> str:
    """errno's text, and the kernel's own message from the extended acknowledgement (after the 4-byte code and 16-byte
    header)."""
    text = os.strerror(code)
    for kind, value in _attributes(payload[20:]):
        if kind == 1:
            text += ": " + value.rstrip(b"\0").decode(errors="replace")
    return text


def _family(raw: bytes) -> int:
    return socket.AF_INET if len(raw) == 4 else socket.AF_INET6


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("BxHiII", payload)
    name, master, kind = "", 0, ""
    for attribute, value in _attributes(payload[16:]):
        if attribute == _IFLA_IFNAME:
            name = value.rstrip(b"\0").decode()
        elif attribute == _IFLA_MASTER:
            (master,) = struct.unpack("I", value)
        elif attribute == _IFLA_LINKINFO:
            kind = dict(_attributes(value)).get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    return Link(index, name, master, kind, bool(flags & _IFF_UP))
