"""Networks in Docker's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.api.timestamps import rfc3339
from sampan.api.versions import Version
from sampan.networks import Endpoint, Network


def _pools(network: Network) -> list[dict[str, Any]] | None:
    if network.driver in ("host", "null"):
        return None
    pools = []
    for pool in network.ipam.config:
        view: dict[str, Any] = {"Subnet": pool.subnet}
        if pool.ip_range:
            view["IPRange"] = pool.ip_range
        if pool.gateway and pool.gateway not in network.implied:
            view["Gateway"] = pool.gateway
        if pool.auxiliary_addresses:
            view["AuxiliaryAddresses"] = pool.auxiliary_addresses
        pools.append(view)
    return pools


def inspect(
    network: Network,
    version: Version,
    endpoints: Mapping[str, Endpoint] | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """`GET /networks/{id}`, and (without `endpoints`) one row of the list. `names` are the containers' names by id."""
    view: dict[str, Any] = {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created),
        "Scope": network.scope,
        "Driver": network.driver,
    }
    if version >= (1, 47):
        view["EnableIPv4"] = network.enable_ipv4
    return view | {
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {"Driver": network.ipam.driver, "Options": network.ipam.options, "Config": _pools(network)},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": network.ingress,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            container: {
                "Name": (names or {}).get(container, ""),
                "EndpointID": endpoint.endpoint_id,
                "MacAddress": endpoint.mac,
                "IPv4Address": f"{endpoint.ipv4}/{endpoint.ipv4_prefix}" if endpoint.ipv4 else "",
                "IPv6Address": f"{endpoint.ipv6}/{endpoint.ipv6_prefix}" if endpoint.ipv6 else "",
            }
            for container, endpoint in (endpoints or {}).items()
        },
        "Options": network.options,
        "Labels": network.labels,
    }
