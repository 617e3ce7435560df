"""Published ports: which host ports a container gets, and holding them.

A port is held by a socket that is really bound (and listens), so that no other program takes it unnoticed while the
packets themselves go through nftables and never reach the socket. What nftables cannot carry (`[::]` on the host to a
container that has only IPv4) arrives at that socket, and `sampan.networks.proxies` serves it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from sampan.errors import InvalidParameter, SampanError
from sampan.networks.model import PortRequest, PublishedPort

_IPPROTO_SCTP = 132
_FALLBACK_RANGE = (49153, 65535)
_BACKLOG = 4096

Key = tuple[str, str, int]
"""(protocol, host address, host port)."""


class PortTaken(SampanError):
    """Someone else has the port; the message is Docker's."""


@dataclass(slots=True)
class Held:
    """One published port and the socket that holds it (None where the kernel has no such protocol)."""

    port: PublishedPort
    socket: socket.socket | None = field(default=None, compare=False)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


class PortBook:
    """Who holds which host port, in this engine."""

    def __init__(self, ipv6: bool) -> None:
        """`ipv6`: the host has IPv6, so a port for all addresses means `[::]` too."""
        self.ipv6 = ipv6
        self._taken: dict[tuple[str, int], dict[str, str]] = {}
        self._random = 0

    def reserve(
        self,
        owner: str,
        requests: list[PortRequest],
        container_ips: tuple[str, str],
        held: list[Held],
        routed: tuple[bool, bool] = (False, False),
    ) -> None:
        """Reserves all of `requests` for the container `owner`, appending to `held` as it goes; whoever calls undoes
        `held` on failure. `container_ips` is its (IPv4, IPv6), "" where it has none. Where a family is `routed` no host
        port is taken. Raises `PortTaken`."""
        for request in requests:
            addresses = self._addresses(request, container_ips)
            translated = [address for address in addresses if not routed[":" in address]]
            if routed[0] and not container_ips[1]:
                translated = []  # there would be nothing but [::], relayed
            if translated:
                held += self._reserve_one(owner, request, translated, container_ips)
            for address in addresses:
                if routed[":" in address]:
                    everywhere = "::" if ":" in address else "0.0.0.0"
                    held.append(Held(PublishedPort(request.container_port, request.protocol, everywhere, 0)))

    def hold_again(self, owner: str, port: PublishedPort) -> Held:
        """Takes over a port of a container that ran on while the daemon was away. The socket is None when somebody else
        bound the port meanwhile: the nftables rules still work."""
        if not port.host_port:
            return Held(port)
        self._taken.setdefault((port.protocol, port.host_port), {})[port.host_ip] = owner
        try:
            return Held(port, _bind(port.protocol, port.host_ip, port.host_port))
        except OSError:
            return Held(port)

    def hold_later(self, held: Held) -> bool:
        """Once more for one that `hold_again` could not bind; is it held now?"""
        with contextlib.suppress(OSError):
            held.socket = _bind(held.port.protocol, held.port.host_ip, held.port.host_port)
        return held.socket is not None

    def release(self, held: Held) -> None:
        held.close()
        key = (held.port.protocol, held.port.host_port)
        addresses = self._taken.get(key, {})
        addresses.pop(held.port.host_ip, None)
        if not addresses:
            self._taken.pop(key, None)

    def _addresses(self, request: PortRequest, container_ips: tuple[str, str]) -> list[str]:
        if request.host_ip:
            try:
                return [str(ip_address(request.host_ip))]
            except ValueError:
                raise InvalidParameter(f"invalid IP address: {request.host_ip}") from None
        ipv4, ipv6 = container_ips
        # sctp cannot be proxied: only addresses of the container's own families.
        both = self.ipv6 and (bool(ipv6) or request.protocol != "sctp")
        found = ["0.0.0.0"] if ipv4 else []
        return found + (["::"] if both else [])

    def _reserve_one(
        self, owner: str, request: PortRequest, addresses: list[str], container_ips: tuple[str, str]
    ) -> list[Held]:
        """All of `addresses` at one port number, the first of the candidates that is free everywhere."""
        failure: SampanError | None = None
        for number in self._candidates(request.host_port):
            taken: list[Held] = []
            try:
                for address in addresses:
                    taken.append(self._take(owner, request, address, number, container_ips))
            except PortTaken as error:
                failure = failure or error
                for held in taken:
                    self.release(held)
            else:
                return taken
        raise failure or PortTaken("all ports are allocated")

    def _take(
        self, owner: str, request: PortRequest, address: str, number: int, container_ips: tuple[str, str]
    ) -> Held:
        shown = f"[{address}]" if ":" in address else address
        holders = self._taken.get((request.protocol, number), {})
        if any(_collide(address, other) for other in holders):
            raise PortTaken(
                f"Bind for {shown if ':' not in address else address}:{number} failed: port is already allocated"
            )
        try:
            bound = _bind(request.protocol, address, number)
        except OSError as error:
            target = container_ips[1] if ":" in address and container_ips[1] else container_ips[0]
            shown_target = f"[{target}]" if ":" in target else target
            raise PortTaken(
                f"failed to bind host port for {shown}:{number}:"
                f"{shown_target}:{request.container_port}/{request.protocol}: " + os.strerror(error.errno or 0).lower()
            ) from None
        self._taken.setdefault((request.protocol, number), {})[address] = owner
        return Held(PublishedPort(request.container_port, request.protocol, address, number), bound)

    def _candidates(self, text: str) -> Iterator[int]:
        if text and text != "0":
            first, _, last = text.partition("-")
            yield from range(int(first), int(last or first) + 1)
            return
        low, high = local_port_range()
        count = high - low + 1
        for _ in range(count):
            number = low + self._random % count
            self._random += 1
            yield number


def local_port_range(path: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> tuple[int, int]:
    """Where Docker takes random host ports from."""
    with contextlib.suppress(OSError, ValueError):
        low, high = path.read_text().split()
        return int(low), int(high)
    return _FALLBACK_RANGE


def _collide(one: str, other: str) -> bool:
    """Two addresses of one family, equal or one of them all addresses."""
    if (":" in one) != (":" in other):
        return False
    return one == other or one in ("0.0.0.0", "::") or other in ("0.0.0.0", "::")


def _bind(protocol: str, address: str, number: int) -> socket.socket | None:
    """Binds and, where the protocol has it, listens. None where the kernel lacks the protocol (sctp is a module)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind, number_of = {
        "tcp": (socket.SOCK_STREAM, 0),
        "udp": (socket.SOCK_DGRAM, 0),
        "sctp": (socket.SOCK_STREAM, _IPPROTO_SCTP),
    }[protocol]
    try:
        bound = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, number_of)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT):
            return None
        raise
    try:
        if protocol != "udp":
            # A listener that was just closed must not block the port through connections in TIME_WAIT.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, number))
        if protocol != "udp":
            bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound
