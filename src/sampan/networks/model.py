"""The nouns of networks.

Words: a *network* is a bridge (or host, or none) with its address pools; a *sandbox* is one container's network
namespace; an *endpoint* is a sandbox's membership of one network (a veth pair, addresses, names); a *published port*
maps a host address and port to an endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

PREDEFINED = ("bridge", "host", "none")


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
    """The Linux bridge's name; "" for host and none. Not shown by `inspect`."""
    implied: list[str] = msgspec.field(default_factory=list)
    """Gateways that nobody asked for in subnets that somebody did: `inspect` does not show them, as in Docker."""
    configured: bool = False
    """The user chose the subnets: only then may endpoints ask for addresses (as Docker has it)."""

    link_made: bool = False
    """The bridge (or parent interface) is ours: made by us, so taken away by us. One that was there before stays."""
    addresses_made: list[str] = msgspec.field(default_factory=list)
    """The addresses ("address/prefix") that we gave to a bridge that is not ours."""

    @property
    def wired(self) -> bool:
        """Do its endpoints have interfaces (host and none have not)?"""
        return self.driver not in ("host", "null")

    @property
    def predefined(self) -> bool:
        return self.name in PREDEFINED

    def option(self, key: str, default: bool) -> bool:
        """A boolean `com.docker.network.bridge.…` option."""
        return parse_bool(self.options.get(f"com.docker.network.bridge.{key}", str(default)))

    @property
    def icc(self) -> bool:
        """May its containers talk to each other?"""
        return self.option("enable_icc", True)

    @property
    def masquerade(self) -> bool:
        return self.option("enable_ip_masquerade", True) and not self.internal

    @property
    def inhibit_ipv4(self) -> bool:
        """The bridge itself gets no IPv4 address: the gateway is somebody else."""
        return self.option("inhibit_ipv4", False)

    def gateway_mode(self, version: int) -> str:
        """nat, nat-unprotected (every port is reached from outside), routed (no translation: published ports are open
        on the container's own address) or isolated (the bridge has no address)."""
        return self.options.get(f"com.docker.network.bridge.gateway_mode_ipv{version}", "") or "nat"

    @property
    def host_binding(self) -> str:
        """Where ports are published that name no host address; "" for all addresses."""
        address = self.options.get("com.docker.network.bridge.host_binding_ipv4", "")
        return "" if address == "0.0.0.0" else address

    @property
    def interface_prefix(self) -> str:
        return self.options.get("com.docker.network.container_iface_prefix", "") or "eth"

    def source_address(self, version: int) -> str:
        """What packets to the outside have as their source; "" for the address of the interface they leave by."""
        return self.options.get(f"com.docker.network.host_ipv{version}", "")

    @property
    def mtu(self) -> int:
        """0 leaves the kernel's own."""
        text = self.options.get("com.docker.network.driver.mtu", "")
        return int(text) if text.isdigit() else 0


def parse_bool(text: str) -> bool:
    """Go's strconv.ParseBool; raises ValueError."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(text)


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
    link_local: list[str] = field(default_factory=list)
    """Further addresses of the interface, which no pool knows."""


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
    link: str = ""
    """The host's end of the veth pair."""
    interface: str = ""
    """The container's end: eth0, eth1, …"""
    gw_priority: int = 0
    links: list[str] = field(default_factory=list)
    """`--link` on a user-defined network: "name:alias", names that DNS knows for this container only."""
    link_local: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """`host_port` is 0 where the network is routed: the port is open on the container's own address."""

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


class SandboxRecord(msgspec.Struct, kw_only=True):
    """The stored document of a live sandbox, by container id: what reconciling after a crash starts from."""

    container_id: str
    netns: bool = True
    endpoints: list[Endpoint] = msgspec.field(default_factory=list)
    ports: list[PublishedPort] = msgspec.field(default_factory=list)
    dns: list[str] = msgspec.field(default_factory=list)
    """`--dns`: what the embedded nameserver forwards to instead of the host's."""
    dns_port: int = 0
    """Where the embedded nameserver is bound inside the namespace; 0 without one."""

    @property
    def named(self) -> bool:
        """Is it on a network that has names (a user-defined one)?"""
        return any(endpoint.network not in PREDEFINED for endpoint in self.endpoints)
