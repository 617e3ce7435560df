"""The front door of networks: `Networks`, over the blocking `Wiring` in a thread of its own.

The nouns are in `sampan.networks.model`. A network is made (`create`), a container's sandbox comes `up` on one or more
of them with its published ports, may `connect` and `disconnect` while it lives, and goes `down`. At daemon start
`open` takes over what lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sampan.errors import Conflict, Forbidden, SampanError
from sampan.linux import netlink
from sampan.linux.netlink import Netlink
from sampan.networks import bridges, endpoints, firewall, publishing, takeover
from sampan.networks.catalog import Catalog
from sampan.networks.directory import Directory
from sampan.networks.foreign import Foreign
from sampan.networks.model import Endpoint, EndpointRequest, Network, PortRequest, PublishedPort, Sandbox, SandboxRecord
from sampan.networks.serving import Serving
from sampan.networks.wiring import Live, Wiring, forget_flows
from sampan.settings import Settings
from sampan.store import Database, EventLog

log = logging.getLogger(__name__)

_HOLD_AGAIN = 5.0
"""Seconds between attempts to hold a port that was taken meanwhile."""

T = TypeVar("T")


class Networks:
    """Blocking kernel work runs in threads inside; methods are safe to call concurrently."""

    def __init__(self, settings: Settings, database: Database, events: EventLog) -> None:
        self._settings = settings
        self._database = database
        self._events = events
        self._catalog = Catalog(settings, database)
        self._kernel = ThreadPoolExecutor(1, "networks")
        self._later = ThreadPoolExecutor(1, "networks-later")
        self._directory = Directory()
        self._serving = Serving(settings, self._directory)
        self._wiring: Wiring | None = None
        self._foreign: Foreign | None = None
        self._holding: asyncio.Task[None] | None = None

    # -- the daemon's life -------------------------------------------------------------------------------------

    async def open(self, live: dict[str, Sandbox]) -> None:
        """At daemon start: makes the default networks, bridge and nftables table if missing, takes over the sandboxes
        of running containers (`live`: by container id), and removes every netns, veth and rule that belongs to none of
        them."""
        self._wiring = await self._run(functools.partial(self._open, live))
        for sandbox in self._wiring.live.values():
            self._serve(sandbox)
        self._foreign = Foreign(self._run, self._wiring)
        await self._foreign.watch()
        self._refill()
        if takeover.unheld(self._wiring):
            self._holding = asyncio.get_running_loop().create_task(self._hold_again(), name="published ports")

    async def _hold_again(self) -> None:
        """While no daemon held it, an outgoing connection of the host may have got a published port's number as its
        own; some time after that has ended, it is free again."""
        while takeover.unheld(self._opened):
            await asyncio.sleep(_HOLD_AGAIN)
            for live in await self._run(functools.partial(takeover.hold_again, self._opened)):
                self._serving.relay(live)

    def _open(self, live: dict[str, Sandbox]) -> Wiring:
        wiring = Wiring(self._settings, self._database, self._catalog)
        own = [network.bridge for network in self._catalog.bridges()] + [self._settings.bridge]
        self._catalog.predefine(
            bridges.host_subnets(wiring.kernel, but=own),
            bridges.adopt_address(wiring.kernel, self._settings.bridge),
            in_use=bool(live),
        )
        records = wiring.records()
        for container_id, sandbox in live.items():
            record = records.get(container_id) or _record(container_id, sandbox)
            if not takeover.take_over(wiring, record):
                log.error("the network namespace of running container %s is gone", container_id)
        for network in self._catalog.wired():
            wiring.adopt(network)
        wiring.rebuild()
        takeover.sweep(wiring)
        return wiring

    async def close(self, keep: bool) -> None:
        """At daemon stop; `keep` leaves bridges, namespaces and rules for containers that go on running. Without any
        of those nothing is left on the host either way."""
        if self._foreign is not None:
            self._foreign.close()
        if self._holding is not None:
            self._holding.cancel()
        self._serving.close()
        if self._wiring is not None:
            await self._run(functools.partial(self._close, self._wiring, keep))
        self._wiring = None
        self._later.shutdown()
        self._kernel.shutdown()

    def _close(self, wiring: Wiring, keep: bool) -> None:
        if not keep:
            for container_id in tuple(wiring.live):
                _, links = wiring.down(container_id)
                wiring.kernel.run(*map(netlink.delete_link, links))
        if not wiring.live:
            if self._foreign is not None:
                self._foreign.withdraw()
            for network in self._catalog.wired():
                with contextlib.suppress(OSError):
                    wiring.unlink(network)
            wiring.nft.run(firewall.nothing(self._settings.nft_table))
            with contextlib.suppress(OSError):
                wiring.sandboxes.directory.rmdir()
        wiring.close()

    # -- networks ----------------------------------------------------------------------------------------------

    def host_gateway(self) -> str:
        """What `host-gateway` stands for: the default bridge's address, where containers reach the host, or what the
        daemon is told. "" without that bridge."""
        if self._settings.host_gateway_ip:
            return self._settings.host_gateway_ip
        try:
            pools = self.get("bridge").ipam.config
        except SampanError:
            return ""
        return pools[0].gateway.partition("/")[0] if pools else ""

    def get(self, ref: str) -> Network:
        """By name, id or unique id prefix. Raises `NotFound("network … not found")`."""
        return self._catalog.get(ref)

    def all(self) -> list[Network]:
        return self._catalog.all()

    async def create(self, spec: Network) -> tuple[Network, str]:
        """(network, warning). Overlaps, unknown drivers and taken names are refused as Docker words it."""
        network = await self._run(functools.partial(self._create, self._opened, spec))
        self._publish("create", network)
        return network, ""

    def _create(self, wiring: Wiring, spec: Network) -> Network:
        network = self._catalog.create(spec, bridges.host_subnets(wiring.kernel))
        try:
            wiring.add(network)
        except BaseException:
            self._catalog.delete(network.id)
            raise
        if network.bridge and len(wiring.rules.bridges) == 1:
            self._look()
        return self._catalog.get(network.id)

    async def remove(self, ref: str) -> None:
        """Refused while endpoints exist, and for bridge, host, none."""
        network = await self._run(functools.partial(self._remove, self._opened, ref))
        self._publish("destroy", network)

    def _remove(self, wiring: Wiring, ref: str) -> Network:
        network = self._catalog.get(ref)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        if self.endpoints(network.id):
            raise Forbidden(
                f"error while removing network: network {network.name} id {network.id} has active endpoints"
            )
        wiring.remove(network)
        self._catalog.delete(network.id)
        if network.bridge and not wiring.rules.bridges:
            self._look()
        return network

    def _look(self) -> None:
        """The accept rules of other firewalls come with the first bridge and go with the last, in the same
        operation."""
        if self._foreign is not None:
            self._foreign.look()

    async def prune(self, keep: Callable[[Network], bool]) -> list[str]:
        """Removes the user-defined networks that nobody is on and `keep` does not hold back; gives their names."""
        removed = []
        for network in self.all():
            if network.predefined or self.endpoints(network.id) or keep(network):
                continue
            with contextlib.suppress(SampanError):
                await self.remove(network.id)
                removed.append(network.name)
        return removed

    def endpoints(self, network_id: str) -> dict[str, Endpoint]:
        """Live endpoints by container id (`Containers` of `GET /networks/{id}`)."""
        if self._wiring is None:
            return {}
        return {
            container_id: endpoint
            for container_id, live in tuple(self._wiring.live.items())
            for endpoint in live.record.endpoints
            if endpoint.network_id == network_id
        }

    # -- sandboxes ---------------------------------------------------------------------------------------------

    async def up(
        self,
        container_id: str,
        mode: str,
        endpoints: list[EndpointRequest],
        ports: list[PortRequest],
        sysctls: dict[str, str] | None = None,
        dns: Sequence[str] = (),
        reserved: Callable[[Sandbox], None] | None = None,
        quiet: bool = False,
    ) -> Sandbox:
        """Makes a container's sandbox: netns, veths, addresses, routes, DNS names, port rules. `mode` is
        HostConfig.NetworkMode resolved to bridge, none, host or a network's name (`container:ID` never gets here). All
        or nothing: on any failure (port taken, address in use) everything is undone before it raises, with Docker's
        message. `dns` is what the embedded nameserver forwards to (`--dns`) instead of the host's nameservers.

        `reserved` is called, in the event loop, as soon as the namespace can be joined and addresses and ports are
        certain: what the OCI runtime's create needs. The links follow while that works. Not for mode host. `quiet`: no
        events; a build's step is no container."""
        wiring = self._opened
        announce = self._announce(reserved) if reserved is not None else lambda live: None
        if container_id in wiring.live:
            await self.down(container_id)
        live = await self._run(
            functools.partial(wiring.up, container_id, mode, endpoints, ports, sysctls or {}, list(dns), announce)
        )
        live.announced = not quiet
        self._serve(live)
        for endpoint in live.record.endpoints if live.announced else []:
            self._publish("connect", self._catalog.get(endpoint.network_id), container_id)
        self._refill()
        return self._sandbox(live)

    async def down(self, container_id: str) -> None:
        """Undoes `up`. Idempotent."""
        wiring = self._opened
        self._serving.stop(container_id)
        live, links = await self._run(functools.partial(wiring.down, container_id))
        if links:
            self._later.submit(_tidy, links, live.record.ports if live else [])
        for endpoint in live.record.endpoints if live else []:
            self._directory.leave(endpoint)
        if live is not None:
            self._left(container_id, live)

    def leaving(self, container_id: str) -> None:
        """Announces at once what `down`, which follows, would announce when it is through."""
        live = self._opened.live.get(container_id)
        if live is not None:
            self._left(container_id, live)

    def _left(self, container_id: str, live: Live) -> None:
        if live.announced:
            live.announced = False
            for endpoint in live.record.endpoints:
                network = self._catalog.find(endpoint.network_id)
                if network is not None:
                    self._publish("disconnect", network, container_id)

    async def connect(self, container_id: str, request: EndpointRequest) -> Endpoint:
        """Adds an endpoint to a live sandbox."""
        wiring = self._opened
        endpoint = await self._run(functools.partial(wiring.connect, container_id, request))
        self._directory.join(endpoint)
        self._serving.names(wiring.live[container_id], wiring.sandboxes.path(container_id))
        self._publish("connect", self._catalog.get(endpoint.network_id), container_id)
        return endpoint

    def check(self, request: EndpointRequest) -> None:
        """Refuses addresses that the network cannot give, before there is a sandbox. Raises `InvalidParameter`."""
        endpoints.check(self._catalog, request)

    async def disconnect(self, container_id: str, network: str) -> None:
        endpoint = await self._run(functools.partial(self._opened.disconnect, container_id, network))
        self._directory.leave(endpoint)
        self._publish("disconnect", self._catalog.get(endpoint.network_id), container_id)

    async def publish(self, container_id: str, ports: list[PortRequest]) -> list[PublishedPort]:
        """Makes `ports` the published ports of a live sandbox; those that stay never stop answering. All or nothing."""
        wiring = self._opened
        live = wiring.live.get(container_id)
        if live is None:
            raise Conflict(f"container {container_id} is not running")
        change = publishing.plan(wiring, live, ports)
        self._serving.unrelay(container_id, change.drop)
        try:
            await self._run(functools.partial(publishing.carry_out, wiring, live, change))
        finally:
            self._serving.relay(live)
        return list(live.record.ports)

    def can_publish(self, container_id: str) -> bool:
        """Is a live sandbox on a network whose ports can be published?"""
        live = self._opened.live.get(container_id)
        return live is not None and publishing.has_way_out(live)

    async def rename(self, container_id: str, old: str, new: str) -> None:
        """A container has a new name: the nameserver answers for it from now on."""
        wiring = self._opened
        before = wiring.live[container_id].record.endpoints if container_id in wiring.live else []
        after = await self._run(functools.partial(wiring.rename, container_id, old, new))
        for endpoint in before:
            self._directory.leave(endpoint)
        for endpoint in after:
            self._directory.join(endpoint)

    def info(self) -> dict[str, Any]:
        """What `GET /info` says of networking: pools, the FORWARD accept rule if one was added, warnings."""
        added = self._foreign.chains if self._foreign is not None else []
        return {
            "DefaultAddressPools": [{"Base": base, "Size": size} for base, size in self._settings.address_pools],
            "FirewallBackend": {
                "Driver": "nftables",
                "Info": [["Table", f"inet {self._settings.nft_table}"]]
                + [["AcceptRule", f"in {chain}, whose policy is DROP"] for chain in added],
            },
            "Warnings": list(self._foreign.warnings) if self._foreign is not None else [],
        }

    # -- inside ------------------------------------------------------------------------------------------------

    @property
    def _opened(self) -> Wiring:
        if self._wiring is None:
            raise SampanError("networks are not open")
        return self._wiring

    async def _run(self, work: Callable[[], T]) -> T:
        """In the networks' thread, to the end even when the caller is cancelled: half an operation must not be
        abandoned."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._kernel, work))

    def _refill(self) -> None:
        if self._wiring is not None:
            self._later.submit(self._wiring.sandboxes.spares.refill)

    def _announce(self, reserved: Callable[[Sandbox], None]) -> Callable[[Live], None]:
        loop = asyncio.get_running_loop()

        def announce(live: Live) -> None:
            loop.call_soon_threadsafe(reserved, self._sandbox(live))

        return announce

    def _sandbox(self, live: Live) -> Sandbox:
        record = live.record
        path = self._opened.sandboxes.path(record.container_id) if record.netns else None
        return Sandbox(netns=path, endpoints=list(record.endpoints), ports=list(record.ports))

    def _publish(self, action: str, network: Network, container_id: str = "") -> None:
        attributes = {"container": container_id} if container_id else {}
        attributes |= {"name": network.name, "type": network.driver}
        self._events.publish("network", action, network.id, attributes)

    def _serve(self, live: Live) -> None:
        self._serving.start(live, self._opened.sandboxes.path(live.record.container_id))


def _record(container_id: str, sandbox: Sandbox) -> SandboxRecord:
    """For a running container that has no record of ours: what the caller knows of it."""
    return SandboxRecord(
        container_id=container_id,
        netns=sandbox.netns is not None,
        endpoints=list(sandbox.endpoints),
        ports=list(sandbox.ports),
    )


def _tidy(names: list[str], ports: list[PublishedPort]) -> None:
    """What follows a sandbox's end. Slow (the kernel waits for a grace period a link), so nobody waits for it; the
    links' addresses are already gone."""
    forget_flows(ports)
    try:
        with Netlink() as kernel:
            kernel.run(*map(netlink.delete_link, names))
    except OSError as error:
        log.warning("cannot delete links %s: %s", ", ".join(names), error)


__all__ = [
    "Endpoint",
    "EndpointRequest",
    "Network",
    "Networks",
    "PortRequest",
    "PublishedPort",
    "Sandbox",
]
