"""Who is called what on which network: the data of the embedded nameserver. Pure.

A container on a user-defined network is found by its name, its short id and its aliases, by every container on that
network; several containers may share an alias (a service), and then all their addresses are given, in changing order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from sampan.networks.model import Endpoint


class Directory:
    """By network: names to endpoints, and addresses to names."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, list[Endpoint]]] = {}
        self._addresses: dict[str, dict[str, Endpoint]] = {}

    def join(self, endpoint: Endpoint) -> None:
        names = self._names.setdefault(endpoint.network_id, {})
        for name in {name.lower() for name in endpoint.dns_names}:
            names.setdefault(name, []).append(endpoint)
        addresses = self._addresses.setdefault(endpoint.network_id, {})
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address and endpoint.dns_names:
                addresses[address] = endpoint

    def leave(self, endpoint: Endpoint) -> None:
        names = self._names.get(endpoint.network_id, {})
        for name in {name.lower() for name in endpoint.dns_names}:
            known = names.get(name, [])
            known[:] = [other for other in known if other.endpoint_id != endpoint.endpoint_id]
            if not known:
                names.pop(name, None)
        if not names:
            self._names.pop(endpoint.network_id, None)
        addresses = self._addresses.get(endpoint.network_id, {})
        for address in (endpoint.ipv4, endpoint.ipv6):
            known_here = addresses.get(address)
            if known_here is not None and known_here.endpoint_id == endpoint.endpoint_id:
                del addresses[address]
        if not addresses:
            self._addresses.pop(endpoint.network_id, None)

    def find(self, viewer: Iterable[Endpoint], name: str) -> list[Endpoint]:
        """The endpoints called `name` (lower case), as seen by a container with the endpoints `viewer`: on the first
        of its networks that knows the name, or on the network that the name ends with ("web.backend")."""
        for mine in viewer:
            names = self._names.get(mine.network_id, {})
            wanted = _linked(mine, name) or name
            found = names.get(wanted)
            if found is None and wanted.endswith("." + mine.network.lower()):
                found = names.get(wanted[: -len(mine.network) - 1])
            if found:
                return random.sample(found, len(found))
        return []

    def name_of(self, viewer: Iterable[Endpoint], address: str) -> str:
        """What a reverse look-up gives: "name.network"; "" for an address that none of the viewer's networks knows."""
        for mine in viewer:
            endpoint = self._addresses.get(mine.network_id, {}).get(address)
            if endpoint is not None:
                return f"{endpoint.dns_names[0]}.{endpoint.network}"
        return ""


def _linked(mine: Endpoint, name: str) -> str:
    """What `--link target:alias` makes of an alias."""
    for link in mine.links:
        target, _, alias = link.partition(":")
        if (alias or target).lower() == name:
            return target.lower()
    return ""
