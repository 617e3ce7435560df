"""What the daemon itself serves for live sandboxes: names at 127.0.0.11, and the bytes of ports that nftables cannot
translate. In the event loop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from sampan.linux import namespaces
from sampan.networks import endpoints, files
from sampan.networks.directory import Directory
from sampan.networks.dns import Resolver
from sampan.networks.ports import Held
from sampan.networks.proxies import Proxy, Target
from sampan.networks.wiring import Live
from sampan.settings import Settings


class Serving:
    """By container id. `directory` is what the nameservers answer from."""

    def __init__(self, settings: Settings, directory: Directory) -> None:
        self._settings = settings
        self._directory = directory
        self.proxies: dict[str, list[tuple[Held, Proxy]]] = {}
        self.resolvers: dict[str, Resolver] = {}

    def start(self, live: Live, namespace: Path) -> None:
        """Announces the names and serves what is not served yet. `namespace` is the sandbox's."""
        for endpoint in live.record.endpoints:
            self._directory.join(endpoint)
        self.names(live, namespace)
        self.relay(live)

    def stop(self, container_id: str) -> None:
        for _, proxy in self.proxies.pop(container_id, []):
            proxy.close()
        resolver = self.resolvers.pop(container_id, None)
        if resolver is not None:
            resolver.close()

    def close(self) -> None:
        for container_id in {*self.proxies, *self.resolvers}:
            self.stop(container_id)

    def relay(self, live: Live) -> None:
        """Starts the proxies that are missing, on the sockets that nftables cannot serve: IPv6 ones (`::1`, and
        containers with IPv4 alone), or all of them behind the host's firewall."""
        proxies = self.proxies.get(live.record.container_id, [])
        for held in live.held:
            relayed = ":" in held.port.host_ip or self._settings.ports_behind_firewall
            if held.socket is None or not relayed or held.port.protocol == "sctp":
                continue
            if not any(other is held for other, _ in proxies):
                proxy = Proxy(held.socket, held.port.protocol, functools.partial(_target, live, held))
                proxies.append((held, proxy))
                self.proxies[live.record.container_id] = proxies

    def unrelay(self, container_id: str, going: Sequence[Held]) -> None:
        """Ends the proxies of ports, before their sockets close."""
        kept = []
        for held, proxy in self.proxies.pop(container_id, []):
            if any(other is held for other in going):
                proxy.close()
            else:
                kept.append((held, proxy))
        if kept:
            self.proxies[container_id] = kept

    def names(self, live: Live, namespace: Path) -> None:
        """Starts the nameserver of a sandbox that has one and is not served yet."""
        container_id = live.record.container_id
        if live.nameserver is None or container_id in self.resolvers:
            return
        self.resolvers[container_id] = Resolver(
            live.nameserver,
            self._directory,
            lambda: live.record.endpoints,
            functools.partial(self._upstreams, live),
            functools.partial(namespaces.in_netns, namespace),
        )

    def _upstreams(self, live: Live) -> tuple[files.Upstream, ...]:
        ipv6 = any(endpoint.ipv6_gateway for endpoint in live.record.endpoints)
        resolver = files.override(files.host_resolver(), live.record.dns or self._settings.dns, (), ())
        return files.upstreams(resolver, ipv6)


def _target(live: Live, held: Held) -> Target | None:
    """Where a proxied port leads by now."""
    via4, via6 = endpoints.publishers(live.record.endpoints)
    if via4 is not None and via4.ipv4:
        return via4.ipv4, held.port.container_port
    if via6 is not None and via6.ipv6:
        return via6.ipv6, held.port.container_port
    return None
