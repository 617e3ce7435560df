"""The front door of networks.

Words: a *network* is a bridge (or host, or none) with its address pools; a *sandbox* is one container's network namespace; an
*endpoint* is a sandbox's membership of one network (a veth pair, addresses, names); a *published port* maps a host address and
port to an endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


class IPAMPool(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    subnet: str = ""
    ip_range: str = msgspec.field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] | None = None


class IPAM(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IPAMPool] = msgspec.field(default_factory=list)


class Network(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    """The stored document. `created` is nanoseconds since the epoch."""

    id: str = ""
    name: str = ""
    created: int = 0
    scope: str = "local"
    driver: str = "bridge"
    enable_ipv4: bool = msgspec.field(default=True, name="EnableIPv4")
    enable_ipv6: bool = msgspec.field(default=False, name="EnableIPv6")
    ipam: IPAM = msgspec.field(default_factory=IPAM, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    bridge: str = ""


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """What one container wants of one network."""

    network: str
    """Name or id."""
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    aliases: list[str] = field(default_factory=list)
    dns_names: list[str] = field(default_factory=list)
    """Container name, short id, aliases: what DNS on a user-defined network answers for."""
    links: list[str] = field(default_factory=list)
    driver_opts: dict[str, str] = field(default_factory=dict)
    gw_priority: int = 0


@dataclass(frozen=True, slots=True)
class PortRequest:
    """One `-p`. `host_port` is "" (any), a port or a range; `host_ip` is "" for all addresses."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one container got on one network."""

    network: str
    network_id: str
    endpoint_id: str
    mac: str = ""
    ipv4: str = ""
    ipv4_prefix: int = 0
    gateway: str = ""
    ipv6: str = ""
    ipv6_prefix: int = 0
    ipv6_gateway: str = ""
    dns_names: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PublishedPort:
    container_port: int
    protocol: str
    host_ip: str
    host_port: int


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`netns` is a path to hand to the OCI runtime (None: the host's namespace)."""

    netns: Path | None
    endpoints: list[Endpoint] = field(default_factory=list)
    ports: list[PublishedPort] = field(default_factory=list)


class Networks:
    """Blocking kernel work runs in threads inside; methods are safe to call concurrently."""

    async def open(self, live: dict[str, Sandbox]) -> None:
        """At daemon start: makes the default networks, bridge and nftables table if missing, takes over the sandboxes of running
        containers (`live`: by container id), and removes every netns, veth and rule that belongs to none of them."""
        raise NotImplementedError

    async def close(self, keep: bool) -> None:
        """At daemon stop; `keep` leaves bridges, namespaces and rules for containers that go on running."""
        raise NotImplementedError

    def get(self, ref: str) -> Network:
        """By name, id or unique id prefix. Raises `NotFound("network … not found")`."""
        raise NotImplementedError

    def all(self) -> list[Network]:
        raise NotImplementedError

    async def create(self, spec: Network) -> tuple[Network, str]:
        """(network, warning). Overlaps, unknown drivers and taken names are refused as Docker words it."""
        raise NotImplementedError

    async def remove(self, ref: str) -> None:
        """Refused while endpoints exist, and for bridge, host, none."""
        raise NotImplementedError

    def endpoints(self, network_id: str) -> dict[str, Endpoint]:
        """Live endpoints by container id (`Containers` of `GET /networks/{id}`)."""
        raise NotImplementedError

    async def up(
        self,
        container_id: str,
        mode: str,
        endpoints: list[EndpointRequest],
        ports: list[PortRequest],
        sysctls: dict[str, str] | None = None,
    ) -> Sandbox:
        """Makes a container's sandbox: netns, veths, addresses, routes, DNS names, port rules. `mode` is HostConfig.NetworkMode resolved
        to bridge, none, host or a network's name (`container:ID` never gets here). All or nothing: on any failure (port taken, address
        in use) everything is undone before it raises, with Docker's message."""
        raise NotImplementedError

    async def down(self, container_id: str) -> None:
        """Undoes `up`. Idempotent."""
        raise NotImplementedError

    async def connect(self, container_id: str, request: EndpointRequest) -> Endpoint:
        """Adds an endpoint to a live sandbox."""
        raise NotImplementedError

    async def disconnect(self, container_id: str, network: str) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """What `GET /info` says of networking: pools, the FORWARD accept rule if one was added, warnings."""
        raise NotImplementedError
