"""Sandboxes: a container's network namespace and its ends of veth pairs. Blocking.

A named namespace is a file under `<exec-root>/netns/` on which the namespace is bound; the OCI runtime joins it by
that path, and it lives until it is unbound and its last process ended. Making one costs a millisecond and unmaking
tens, so a few spare ones are kept ready. A spare namespace is only an open descriptor: `kill -9` of the daemon ends
it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import TypeVar

from sampan.linux import mounts, namespaces, netlink
from sampan.linux.netlink import Netlink
from sampan.linux.nfredirect import redirect
from sampan.networks import dns
from sampan.networks.dns import Sockets
from sampan.networks.files import INTERNAL_NAMESERVER
from sampan.networks.model import Endpoint

_SPARES = 3
_LOOPBACK = 1
"""lo is always the first interface of a namespace."""

T = TypeVar("T")


@dataclass(slots=True)
class Namespace:
    """An open network namespace: its descriptor and a netlink socket inside it."""

    descriptor: int
    kernel: Netlink

    def close(self) -> None:
        self.kernel.close()
        os.close(self.descriptor)


def make() -> Namespace:
    """A new namespace with its loopback up and IPv6 off for interfaces to come (endpoints with IPv6 turn it on, as
    Docker does)."""

    def inside() -> Namespace:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        made = Namespace(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), Netlink())
        made.kernel.run(netlink.up(_LOOPBACK))
        return made

    return namespaces.in_thread(inside)


def enter(path: Path) -> Namespace:
    """A named namespace, opened."""

    def inside() -> Namespace:
        return Namespace(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), Netlink())

    return namespaces.in_netns(path, inside)


class Spares:
    """Namespaces made ahead of their containers."""

    def __init__(self, count: int = _SPARES) -> None:
        self._count = count
        self._ready: list[Namespace] = []
        self._lock = threading.Lock()
        self._filling = False
        self._closed = False

    def take(self) -> Namespace:
        with self._lock:
            found = self._ready.pop() if self._ready else None
        return found or make()

    def refill(self) -> None:
        """Makes what is missing; call it where nobody waits."""
        while True:
            with self._lock:
                if self._closed or len(self._ready) >= self._count:
                    return
            made = make()
            with self._lock:
                if not self._closed:
                    self._ready.append(made)
                    continue
            made.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            ready, self._ready = self._ready, []
        for namespace in ready:
            namespace.close()


class Sandboxes:
    """The named namespaces of one engine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spares = Spares()

    def path(self, container_id: str) -> Path:
        return self.directory / container_id

    def create(self, container_id: str, undo: ExitStack) -> Namespace:
        """A new namespace bound to the container's path, left open for whoever keeps it; gone again when `undo`
        unwinds."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.path(container_id)
        self.remove(container_id)
        namespace = self.spares.take()
        undo.callback(namespace.close)
        path.touch(mode=0o444)
        undo.callback(self.remove, container_id)
        mounts.bind(f"/proc/self/fd/{namespace.descriptor}", path, recursive=False)
        return namespace

    def exists(self, container_id: str) -> bool:
        return namespaces.is_namespace(self.path(container_id))

    def remove(self, container_id: str) -> None:
        """Idempotent. The namespace itself ends with its last process."""
        namespaces.remove_netns(self.path(container_id))

    def names(self) -> list[str]:
        """Container ids that have a file here."""
        with contextlib.suppress(FileNotFoundError):
            return [entry.name for entry in self.directory.iterdir()]
        return []

    def inside(self, container_id: str, work: Callable[[], T]) -> T:
        return namespaces.in_netns(self.path(container_id), work)


def attach(
    host: Netlink, inner: Namespace, endpoint: Endpoint, bridge: int, *, hairpin: bool, isolated: bool, mtu: int
) -> None:
    """Makes the veth pair of an endpoint and sets its addresses."""
    pair = netlink.veth(endpoint.link, bridge, endpoint.interface, inner.descriptor, endpoint.mac, mtu)
    if hairpin or isolated:
        host.run(pair, netlink.bridge_port(endpoint.link, hairpin=hairpin, isolated=isolated))
    else:
        host.run(pair)
    configure(inner, endpoint)


def configure(inner: Namespace, endpoint: Endpoint) -> None:
    """Gives the endpoint's interface its addresses, and sets it up."""
    index = inner.kernel.index(endpoint.interface)
    if endpoint.ipv6 or any(":" in text for text in endpoint.link_local):
        namespaces.in_thread(lambda: _enable_ipv6(inner.descriptor, endpoint.interface))
    requests = []
    if endpoint.ipv4:
        requests.append(netlink.address(index, ip_interface(f"{endpoint.ipv4}/{endpoint.ipv4_prefix}")))
    if endpoint.ipv6:
        requests.append(netlink.address(index, ip_interface(f"{endpoint.ipv6}/{endpoint.ipv6_prefix}")))
    for text in endpoint.link_local:
        prefix = 64 if ":" in text else 16  # whatever the address, as in Docker
        requests.append(netlink.address(index, ip_interface(f"{text}/{prefix}")))
    inner.kernel.run(*requests, netlink.up(index))


def set_gateways(inner: Namespace, ipv4: Endpoint | None, ipv6: Endpoint | None, *, replace: bool = False) -> None:
    """Default routes through the endpoints that provide them; with `replace`, instead of the ones that are there."""
    if replace:
        inner.kernel.run(netlink.delete_default_routes(socket.AF_INET), netlink.delete_default_routes(socket.AF_INET6))
    requests = []
    if ipv4 is not None and ipv4.gateway:
        requests.append(netlink.default_route(ipv4.gateway, inner.kernel.index(ipv4.interface)))
    if ipv6 is not None and ipv6.ipv6_gateway:
        requests.append(netlink.default_route(ipv6.ipv6_gateway, inner.kernel.index(ipv6.interface)))
    if requests:
        inner.kernel.run(*requests)


def strip_addresses(inner: Namespace, endpoint: Endpoint) -> None:
    """Takes an endpoint's addresses away at once, so that they can be given to someone else while the slow removal of
    the link (tens of milliseconds) happens behind."""
    try:
        index = inner.kernel.index(endpoint.interface)
    except OSError:
        return
    texts = [f"{endpoint.ipv4}/{endpoint.ipv4_prefix}"] if endpoint.ipv4 else []
    texts += [f"{endpoint.ipv6}/{endpoint.ipv6_prefix}"] if endpoint.ipv6 else []
    if texts:
        inner.kernel.run(*(netlink.delete_address(index, ip_interface(text)) for text in texts))


def bind_nameserver(inner: Namespace, port: int) -> Sockets:
    """The embedded nameserver's sockets inside the namespace, with port 53 led to them (a rule in the namespace,
    written only when the port is another than before). `port` is where they were before, 0 if never."""

    def inside() -> Sockets:
        namespaces.setns(inner.descriptor, namespaces.CLONE_NEWNET)
        sockets = dns.bind(port)
        try:
            if sockets.port != port:
                redirect("sampan_dns", INTERNAL_NAMESERVER, 53, sockets.port, replace=port != 0)
        except BaseException:
            sockets.close()
            raise
        return sockets

    return namespaces.in_thread(inside)


def _enable_ipv6(descriptor: int, interface: str) -> None:
    namespaces.setns(descriptor, namespaces.CLONE_NEWNET)
    conf = Path("/proc/sys/net/ipv6/conf") / interface
    (conf / "disable_ipv6").write_text("0")
    with contextlib.suppress(OSError):
        (conf / "accept_ra").write_text("0")


def apply_sysctls(descriptor: int, sysctls: dict[str, str]) -> None:
    """Writes `net.*` sysctls in the namespace; names have dots, or slashes where an interface's own name has a dot."""

    def inside() -> None:
        namespaces.setns(descriptor, namespaces.CLONE_NEWNET)
        for name, value in sysctls.items():
            path = name if "/" in name else name.replace(".", "/")
            (Path("/proc/sys") / path).write_text(value)

    namespaces.in_thread(inside)
