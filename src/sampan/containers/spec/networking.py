"""Between a container's document and the networks room: what it asks for, what it got. Pure."""

from __future__ import annotations

import ipaddress
import re

from sampan.containers.model import Config, Container, EndpointSettings, NetworkingConfig, PortBinding
from sampan.containers.rules.validation import parse_port
from sampan.errors import InvalidParameter
from sampan.networks import Endpoint, EndpointRequest, PortRequest, PublishedPort, Sandbox

CONTAINER = "container:"
_NO_PORTS = ("host", "none")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


def wanted(mode: str, given: NetworkingConfig, config: Config) -> dict[str, EndpointSettings]:
    """The endpoints of a container to be, by network, the main one first. Raises `InvalidParameter`."""
    requested = dict(given.endpoints_config or {})
    if "default" in requested and "bridge" not in requested:
        requested["bridge"] = requested.pop("default")
    for name, settings in requested.items():
        if settings is None:
            raise InvalidParameter(f"invalid config for network {name}: EndpointsConfig is nil")
    if mode.startswith(CONTAINER) or config.network_disabled:
        return {}
    endpoints = {}
    if mode in requested or mode in _NO_PORTS or not requested:
        endpoints[mode] = requested.pop(mode, None) or EndpointSettings()
    # Without an endpoint for the mode's network, dockerd joins only the networks that have one.
    endpoints |= {name: settings for name, settings in requested.items() if settings is not None}
    main = endpoints[mode if mode in endpoints else next(iter(endpoints))]
    if config.mac_address and not main.mac_address:
        main.mac_address = config.mac_address
    for name, settings in endpoints.items():
        _check(name, settings)
    return endpoints


def _check(network: str, settings: EndpointSettings) -> None:
    if settings.mac_address and not _MAC.fullmatch(settings.mac_address):
        raise InvalidParameter(f"invalid config for network {network}: invalid MAC address {settings.mac_address}")
    ipam = settings.ipam_config
    wrong: list[str] = []
    for version, address in ((4, ipam.ipv4_address), (6, ipam.ipv6_address)) if ipam else ():
        try:
            fits = not address or ipaddress.ip_address(address).version == version
        except ValueError:
            fits = False
        if not fits:
            wrong.append(f"invalid IPv{version} address: {address}")
    for address in (ipam.link_local_ips or []) if ipam else []:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            wrong.append(f"invalid link-local IP address: {address}")
    if wrong:
        bullet = "* " if len(wrong) > 1 else ""  # Go's multierror
        found = "".join(f"\n{bullet}{entry}" for entry in wrong)
        raise InvalidParameter(f"invalid config for network {network}: invalid endpoint settings:{found}")


def requests(container: Container) -> list[EndpointRequest]:
    return [request(container, name, settings) for name, settings in container.networking.items()]


def request(container: Container, network: str, settings: EndpointSettings) -> EndpointRequest:
    ipam = settings.ipam_config
    return EndpointRequest(
        network=network,
        ipv4=ipam.ipv4_address if ipam else "",
        ipv6=ipam.ipv6_address if ipam else "",
        mac=settings.mac_address,
        aliases=list(settings.aliases or []),
        dns_names=dns_names(container, settings),
        links=list(settings.links or []),
        driver_opts=dict(settings.driver_opts or {}),
        gw_priority=settings.gw_priority,
        link_local=list(ipam.link_local_ips or []) if ipam else [],
    )


def dns_names(container: Container, settings: EndpointSettings) -> list[str]:
    """What a user-defined network's DNS answers for: name, aliases, short id, hostname."""
    names = [container.name, *(settings.aliases or []), container.id[:12], container.config.hostname]
    return list(dict.fromkeys(name for name in names if name))


def port_requests(container: Container) -> list[PortRequest]:
    """What `-p` and `-P` ask for, in port order."""
    host = container.host_config
    if container.config.network_disabled or host.network_mode in _NO_PORTS or host.network_mode.startswith(CONTAINER):
        return []
    bindings = {parse_port(port): bound or [] for port, bound in (host.port_bindings or {}).items()}
    if host.publish_all_ports:
        for port in container.config.exposed_ports or {}:
            if not bindings.get(parse_port(port)):
                bindings[parse_port(port)] = [PortBinding()]
    return [
        PortRequest(number, protocol, binding.host_ip, binding.host_port)
        for (number, protocol), bound in sorted(bindings.items())
        for binding in bound
    ]


def record(container: Container, sandbox: Sandbox) -> None:
    """Writes what the sandbox got into the document."""
    asked = container.networking
    got: dict[str, EndpointSettings] = {}
    remaining = list(sandbox.endpoints)
    for name, settings in asked.items():
        endpoint = next((e for e in remaining if name == e.network or e.network_id.startswith(name)), None)
        if endpoint is None:
            got[name] = settings
            continue
        remaining.remove(endpoint)
        fill(settings, endpoint)
        got[endpoint.network or name] = settings
    container.networking = got
    container.ports = bindings(sandbox.ports)


def fill(settings: EndpointSettings, endpoint: Endpoint) -> None:
    settings.network_id, settings.endpoint_id = endpoint.network_id, endpoint.endpoint_id
    settings.gateway, settings.ip_address, settings.ip_prefix_len = (
        endpoint.gateway,
        endpoint.ipv4,
        endpoint.ipv4_prefix,
    )
    settings.ipv6_gateway, settings.global_ipv6_address = endpoint.ipv6_gateway, endpoint.ipv6
    settings.global_ipv6_prefix_len = endpoint.ipv6_prefix
    settings.dns_names = list(endpoint.dns_names) or None
    settings.given_mac, settings.mac_address = settings.mac_address, endpoint.mac


def clear(container: Container) -> None:
    """The run is over: the result half goes, what was asked for stays."""
    for settings in container.networking.values():
        if not settings.endpoint_id:
            continue
        settings.endpoint_id = settings.gateway = settings.ip_address = settings.ipv6_gateway = ""
        settings.global_ipv6_address = ""
        settings.ip_prefix_len = settings.global_ipv6_prefix_len = 0
        settings.mac_address, settings.given_mac = settings.given_mac, ""
    container.ports = {}


def bindings(ports: list[PublishedPort]) -> dict[str, list[PortBinding]]:
    found: dict[str, list[PortBinding]] = {}
    for port in ports:
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(
            PortBinding(host_ip=port.host_ip, host_port=str(port.host_port or ""))
        )
    return found


def sandbox(container: Container) -> Sandbox:
    """What a running container's document says of its sandbox: for a daemon that takes it over. Networks keep a record
    of their own, which comes first."""
    endpoints = [
        Endpoint(
            network=name,
            network_id=settings.network_id,
            endpoint_id=settings.endpoint_id,
            mac=settings.mac_address,
            ipv4=settings.ip_address,
            ipv4_prefix=settings.ip_prefix_len,
            gateway=settings.gateway,
            ipv6=settings.global_ipv6_address,
            ipv6_prefix=settings.global_ipv6_prefix_len,
            ipv6_gateway=settings.ipv6_gateway,
            dns_names=list(settings.dns_names or []),
        )
        for name, settings in container.networking.items()
        if settings.endpoint_id
    ]
    ports = [
        PublishedPort(*parse_port(port), binding.host_ip, int(binding.host_port or 0))
        for port, bound in container.ports.items()
        for binding in bound
    ]
    from pathlib import Path

    netns = None if container.host_config.network_mode == "host" else Path(f"/proc/{container.state.pid}/ns/net")
    return Sandbox(netns=netns, endpoints=endpoints, ports=ports)
