"""Endpoints: what a container gets on a network (addresses, a MAC, an interface's name), and what follows from all
that it got (default routes, translations of its published ports). No kernel, but for `tune`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

from sampan.errors import InvalidParameter, SampanError
from sampan.networks import sandboxes
from sampan.networks.addresses import Pool, check_wanted, mac_of, random_mac
from sampan.networks.catalog import Catalog
from sampan.networks.firewall import BridgeRules, Rule
from sampan.networks.model import Endpoint, EndpointRequest, Network, SandboxRecord
from sampan.networks.sandboxes import Namespace


def allocate(catalog: Catalog, request: EndpointRequest, others: list[Endpoint], undo: ExitStack) -> Endpoint:
    """The endpoint's addresses, taken from the network's pools; given back when `undo` unwinds. `others` are the
    sandbox's endpoints so far."""
    network = catalog.get(request.network)
    pools = catalog.pools(network)
    check_wanted(request.ipv4, request.ipv6, pools, network.configured, network.name)
    found: dict[int, tuple[str, int, str]] = {4: ("", 0, ""), 6: ("", 0, "")}
    for version, wanted in ((4, request.ipv4), (6, request.ipv6)):
        family = [pool for pool in pools if pool.subnet.version == version and (not wanted or wanted in pool)]
        if family:
            pool = family[0]
            try:
                address = pool.take(wanted)
            except SampanError as error:
                if wanted:
                    raise
                raise SampanError(f"{error.message}: {network.name} ({network.id})") from None
            undo.callback(pool.release, address)
            gateway = "" if network.internal else pool.gateway
            found[version] = (address, pool.subnet.prefixlen, gateway)
    return Endpoint(
        network=network.name,
        network_id=network.id,
        endpoint_id=secrets.token_hex(32),
        mac=request.mac or (mac_of(found[4][0]) if found[4][0] else random_mac()),
        ipv4=found[4][0],
        ipv4_prefix=found[4][1],
        gateway=found[4][2],
        ipv6=found[6][0],
        ipv6_prefix=found[6][1],
        ipv6_gateway=found[6][2],
        dns_names=[] if network.predefined else list(request.dns_names),
        links=[] if network.predefined else list(request.links),
        link="veth" + secrets.token_hex(4)[:7] if network.bridge else "",
        interface=_interface(network, request, others),
        gw_priority=request.gw_priority,
        link_local=list(request.link_local),
    )


def check(catalog: Catalog, request: EndpointRequest) -> None:
    """Can the network give the addresses that are asked for (taken or not)? Raises `InvalidParameter`."""
    network = catalog.get(request.network)
    check_wanted(request.ipv4, request.ipv6, catalog.pools(network), network.configured, network.name)


def hold(catalog: Catalog, endpoint: Endpoint) -> None:
    """Marks the addresses of an endpoint that lived on while the daemon was away."""
    for pool, address in _pooled(catalog, endpoint):
        pool.hold(address)


def give_back(catalog: Catalog, endpoint: Endpoint) -> None:
    """The endpoint's addresses may go to someone else."""
    for pool, address in _pooled(catalog, endpoint):
        pool.release(address)


def _pooled(catalog: Catalog, endpoint: Endpoint) -> Iterator[tuple[Pool, str]]:
    network = catalog.find(endpoint.network_id)
    for pool in catalog.pools(network) if network else []:
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address and address in pool:
                yield pool, address


def gateways(endpoints: list[Endpoint]) -> tuple[Endpoint | None, Endpoint | None]:
    """The endpoints that carry the default routes, IPv4 and IPv6: highest priority first, then by network name
    (Docker's order)."""
    order = sorted(endpoints, key=lambda endpoint: (-endpoint.gw_priority, endpoint.network))
    via4 = next((endpoint for endpoint in order if endpoint.gateway), None)
    via6 = next((endpoint for endpoint in order if endpoint.ipv6_gateway), None)
    return via4, via6


def publishers(endpoints: list[Endpoint]) -> tuple[Endpoint | None, Endpoint | None]:
    """The endpoints that ports are published on: the gateways among those on bridges."""
    return gateways([endpoint for endpoint in endpoints if endpoint.link])


def provider(endpoints: list[Endpoint]) -> Endpoint | None:
    """The endpoint that published ports belong to; None for a container without a way out."""
    via4, via6 = publishers(endpoints)
    return via4 or via6


def routed(catalog: Catalog, endpoints: list[Endpoint]) -> tuple[bool, bool]:
    """Are published ports open on the container's own address, for IPv4 and IPv6, rather than translated?"""
    via4, via6 = publishers(endpoints)
    return _is_routed(catalog, via4, 4), _is_routed(catalog, via6, 6)


def _is_routed(catalog: Catalog, via: Endpoint | None, version: int) -> bool:
    network = catalog.find(via.network_id) if via else None
    return network is not None and network.gateway_mode(version) == "routed"


def rules_of(record: SandboxRecord, routed: tuple[bool, bool]) -> list[Rule]:
    """The rules for a sandbox's published ports. A port on an IPv6 host address of a container without IPv6 has
    none: `proxies` serves it."""
    via4, via6 = publishers(record.endpoints)
    rules = []
    for port in record.ports:
        six = ":" in port.host_ip
        target = (via6.ipv6 if via6 else "") if six else (via4.ipv4 if via4 else "")
        number = 0 if routed[six] else port.host_port
        if target and (number or routed[six]):
            rules.append(Rule(port.protocol, port.host_ip, number, target, port.container_port))
    return rules


def bridge_rules(network: Network) -> BridgeRules:
    subnets = tuple(pool.subnet for pool in network.ipam.config if pool.subnet)
    return BridgeRules(
        network.bridge,
        subnets,
        network.masquerade,
        network.source_address(4),
        network.source_address(6),
        network.icc,
        network.internal,
        tuple(version for version in (4, 6) if network.gateway_mode(version) == "routed"),
        tuple(version for version in (4, 6) if network.gateway_mode(version) == "nat-unprotected"),
    )


def _interface(network: Network, request: EndpointRequest, others: list[Endpoint]) -> str:
    """The endpoint's interface in the container: as asked for, or the lowest free of eth0, eth1, …"""
    used = {endpoint.interface for endpoint in others}
    wanted = request.driver_opts.get("com.docker.network.endpoint.ifname", "")
    if wanted:
        if wanted in used or wanted == "lo" or len(wanted.encode()) > 15 or "/" in wanted:
            raise InvalidParameter(f"invalid endpoint settings:\ninvalid interface name {wanted}")
        return wanted
    return next(name for number in range(256) if (name := f"{network.interface_prefix}{number}") not in used)


def tune(inner: Namespace, endpoint: Endpoint, request: EndpointRequest) -> None:
    """`--driver-opt com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,…`."""
    wanted = request.driver_opts.get("com.docker.network.endpoint.sysctls", "")
    sysctls = {}
    for assignment in filter(None, wanted.split(",")):
        name, equals, value = assignment.partition("=")
        parts = name.split(".")
        if not equals or len(parts) != 5 or parts[0] != "net" or parts[3] != "IFNAME":
            raise InvalidParameter(f"invalid endpoint settings:\ninvalid sysctl setting: {assignment}")
        sysctls["/".join((*parts[:3], endpoint.interface, parts[4]))] = value
    if sysctls:
        try:
            sandboxes.apply_sysctls(inner.descriptor, sysctls)
        except OSError as error:
            raise InvalidParameter(
                f"invalid endpoint settings:\ncannot set {error.filename}: {error.strerror}"
            ) from None


def name_of(container_id: str, requests: list[EndpointRequest]) -> str:
    """The container's name, as messages show it."""
    return next((name for request in requests for name in request.dns_names), container_id[:12])
