"""Wiring: the blocking half of networks. Makes and unmakes sandboxes, endpoints and rules, and keeps their records.

Everything here runs in one thread (rtnetlink and nftables serialise anyway), so nothing needs a lock. Each operation
is all or nothing: what it acquired is on an `ExitStack` until it succeeded.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from sampan.errors import Conflict, Forbidden, InvalidParameter, SampanError
from sampan.linux import conntrack, netlink
from sampan.linux.netlink import Netlink, NetlinkError
from sampan.linux.nft import Nft, NftError
from sampan.networks import bridges, endpoints, firewall, parents, sandboxes
from sampan.networks.catalog import Catalog
from sampan.networks.dns import Sockets
from sampan.networks.firewall import Rule
from sampan.networks.model import Endpoint, EndpointRequest, Network, PortRequest, PublishedPort, SandboxRecord
from sampan.networks.ports import Held, PortBook, PortTaken
from sampan.networks.sandboxes import Namespace, Sandboxes
from sampan.settings import Settings
from sampan.store import Database, Documents

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Live:
    """A live sandbox: its record, and what of the process belongs to it."""

    record: SandboxRecord
    held: list[Held] = field(default_factory=list)
    namespace: Namespace | None = None
    nameserver: Sockets | None = None
    """Where the embedded nameserver listens; whoever serves it closes it."""
    announced: bool = True
    """Events told of it."""


class Wiring:
    """See the module. Make it in the thread that uses it: its sockets belong to that thread's network namespace."""

    def __init__(self, settings: Settings, database: Database, catalog: Catalog) -> None:
        self.catalog = catalog
        self.kernel = Netlink()
        self.nft = Nft()
        self.sandboxes = Sandboxes(settings.exec_root / "netns")
        self.ports = PortBook(bridges.has_ipv6())
        self.rules = firewall.State(settings.nft_table)
        self.live: dict[str, Live] = {}
        self._relayed = settings.ports_behind_firewall
        self._records: Documents[SandboxRecord] = Documents(database, "sandbox", SandboxRecord)
        self._indexes: dict[str, int] = {}

    # -- networks ----------------------------------------------------------------------------------------------

    def add(self, network: Network) -> None:
        """Makes the network's bridge (or parent interface) and its rules."""
        with ExitStack() as undo:
            undo.callback(self._forget, network)
            self._link(network)
            if network.bridge:
                rules = endpoints.bridge_rules(network)
                self.rules.bridges[network.id] = rules
                self.transact(firewall.bridge_elements("add", self.rules.table, rules))
                bridges.enable_forwarding(network.enable_ipv6)
            undo.pop_all()

    def adopt(self, network: Network) -> None:
        """At start: makes or completes the bridge; its rules come with the whole table (`rebuild`)."""
        try:
            self._link(network)
        except SampanError as error:
            log.error("network %s cannot be used: %s", network.name, error.message)
        if network.bridge:
            self.rules.bridges[network.id] = endpoints.bridge_rules(network)
            bridges.enable_forwarding(network.enable_ipv6)

    def _link(self, network: Network) -> None:
        name = network.bridge or parents.parent(network)
        if not self.kernel.exists(name):
            # Said before it is so: whoever is killed in between must find out that the link is his.
            network = self.catalog.mark_made(network.id, True, [])
        if network.bridge:
            index, added = bridges.ensure(self.kernel, network)
            self.catalog.mark_made(network.id, False, added)
        else:
            index = parents.ensure(self.kernel, network)
        self._indexes[network.id] = index

    def remove(self, network: Network) -> None:
        rules = self.rules.bridges.pop(network.id, None)
        if rules is not None:
            self.transact(firewall.bridge_elements("delete", self.rules.table, rules))
        self._forget(network)

    def _forget(self, network: Network) -> None:
        self.rules.bridges.pop(network.id, None)
        self._indexes.pop(network.id, None)
        self.unlink(network)

    def unlink(self, network: Network) -> None:
        """Takes the bridge or parent interface away, if it is ours. Idempotent."""
        network = self.catalog.get(network.id)
        name = network.bridge or parents.parent(network)
        if network.link_made:
            bridges.remove(self.kernel, name)
        else:
            bridges.remove_addresses(self.kernel, name, network.addresses_made)

    def transact(self, commands: str) -> None:
        """Applies a change of elements. Where the table is not as we left it (someone flushed the ruleset), the whole
        table is put back in one transaction."""
        if not commands:
            return
        try:
            self.nft.run(commands)
        except NftError as error:
            log.warning("nftables table %s is not as we left it, putting it back: %s", self.rules.table, error)
            self.rebuild()

    def rebuild(self) -> None:
        try:
            self.nft.run(firewall.whole(self.rules))
        except NftError as error:
            raise SampanError(f"nftables refuses our table inet {self.rules.table}: {error}") from None

    # -- sandboxes ---------------------------------------------------------------------------------------------

    def up(
        self,
        container_id: str,
        mode: str,
        requests: list[EndpointRequest],
        ports: list[PortRequest],
        sysctls: dict[str, str],
        dns: list[str],
        reserved: Callable[[Live], None] = lambda live: None,
    ) -> Live:
        """`reserved` is told when namespace, addresses and ports are there, and only links and rules are missing."""
        with ExitStack() as undo:
            if mode == "host":
                record = SandboxRecord(container_id=container_id, netns=False, endpoints=[self._nominal("host")])
                live = Live(record)
            else:
                live = self._isolated(container_id, requests, ports, sysctls, undo, reserved)
                live.record.dns = dns
            self._records.put(container_id, live.record)
            self.live[container_id] = live
            undo.pop_all()
        return live

    def _isolated(
        self,
        container_id: str,
        requests: list[EndpointRequest],
        ports: list[PortRequest],
        sysctls: dict[str, str],
        undo: ExitStack,
        reserved: Callable[[Live], None],
    ) -> Live:
        wired = [request for request in requests if self._network(request.network).wired]
        live = Live(SandboxRecord(container_id=container_id))
        for request in wired:
            try:
                live.record.endpoints.append(endpoints.allocate(self.catalog, request, live.record.endpoints, undo))
            except InvalidParameter as error:
                error.message = f"invalid config for network {request.network}: {error.message}"
                raise
        if not wired:
            live.record.endpoints.append(self._nominal("none"))
        self._publish(live, ports, endpoints.name_of(container_id, requests), undo)
        inner = self.sandboxes.create(container_id, undo)
        live.namespace = inner
        reserved(live)
        for endpoint in live.record.endpoints:
            if endpoint.interface:
                self._attach(inner, endpoint, undo)
        for request, endpoint in zip(wired, live.record.endpoints, strict=False):
            endpoints.tune(inner, endpoint, request)
        sandboxes.set_gateways(inner, *endpoints.gateways(live.record.endpoints))
        self.bind_nameserver(live, undo)
        if sysctls:
            sandboxes.apply_sysctls(inner.descriptor, sysctls)
        rules = self.rules_of(live)
        if rules:
            self.rules.rules[container_id] = rules
            undo.callback(self.rules.rules.pop, container_id, None)
            self.transact(firewall.port_elements("add", self.rules.table, rules))
            forget_flows(live.record.ports)
        return live

    def bind_nameserver(self, live: Live, undo: ExitStack) -> None:
        """Binds the nameserver of a sandbox that is on a network with names; once."""
        if live.nameserver is not None or not live.record.named or live.namespace is None:
            return
        try:
            live.nameserver = sandboxes.bind_nameserver(live.namespace, live.record.dns_port)
        except OSError as error:
            raise SampanError(f"cannot start the embedded nameserver: {error}") from error
        undo.callback(live.nameserver.close)
        live.record.dns_port = live.nameserver.port

    def _network(self, ref: str) -> Network:
        """With `--bridge=none` there is no default bridge: a container that asks for nothing else has no network."""
        if ref in ("bridge", "default") and self.catalog.find(ref) is None:
            return self.catalog.get("none")
        return self.catalog.get(ref)

    def _nominal(self, name: str) -> Endpoint:
        """Membership of host or none: an id, and nothing of the kernel."""
        network = self.catalog.get(name)
        return Endpoint(network=network.name, network_id=network.id, endpoint_id=secrets.token_hex(32))

    def _attach(self, inner: Namespace, endpoint: Endpoint, undo: ExitStack) -> None:
        network = self.catalog.get(endpoint.network_id)
        index = self._indexes.get(network.id)
        if index is None:
            raise SampanError(f"network {network.name} has no {'bridge' if network.bridge else 'parent interface'}")
        undo.callback(self._detach, inner, endpoint)
        try:
            if not network.bridge:
                parents.attach(self.kernel, inner, network, endpoint, index)
                return
            sandboxes.attach(
                self.kernel,
                inner,
                endpoint,
                index,
                hairpin=bridges.filters_bridged_packets(),
                isolated=not network.icc,
                mtu=network.mtu,
            )
        except NetlinkError as error:
            raise SampanError(
                f"failed to create endpoint {endpoint.endpoint_id[:12]} on network {network.name}: {error.strerror}"
            ) from error

    def _detach(self, inner: Namespace | None, endpoint: Endpoint) -> None:
        """Removes an endpoint's interface; with a veth pair, both its ends."""
        if endpoint.link:
            self.kernel.run(netlink.delete_link(endpoint.link))
        elif endpoint.interface and inner is not None:
            inner.kernel.run(netlink.delete_link(endpoint.interface))

    def _publish(self, live: Live, ports: list[PortRequest], name: str, undo: ExitStack) -> None:
        undo.callback(self._release, live)
        live.held += self.reserve(live, ports, name)
        live.record.ports = [held.port for held in live.held]

    def on_host(self, live: Live, ports: list[PortRequest]) -> list[PortRequest]:
        """Requests without a host address get their network's own default, if it has one."""
        provider = endpoints.provider(live.record.endpoints)
        binding = self.catalog.get(provider.network_id).host_binding if provider else ""
        return [port if port.host_ip else replace(port, host_ip=binding) for port in ports]

    def reserve(self, live: Live, ports: list[PortRequest], name: str) -> list[Held]:
        """Reserves host ports for the endpoint that provides the gateway; a container without a way out publishes
        nothing. All or nothing."""
        via4, via6 = endpoints.publishers(live.record.endpoints)
        provider = via4 or via6
        if provider is None or not ports:
            return []
        if self._relayed and any(port.protocol == "sctp" for port in ports):
            raise InvalidParameter(
                "sctp ports cannot be published behind the host's firewall (--ports-behind-firewall)"
            )
        addresses = (via4.ipv4 if via4 else "", via6.ipv6 if via6 else "")
        routed = endpoints.routed(self.catalog, live.record.endpoints)
        if self._relayed and any(routed):
            raise InvalidParameter(
                "ports of a routed network cannot be published behind the host's firewall (--ports-behind-firewall)"
            )
        held: list[Held] = []
        try:
            self.ports.reserve(live.record.container_id, self.on_host(live, ports), addresses, held, routed)
        except BaseException as error:
            for one in held:
                self.ports.release(one)
            if not isinstance(error, PortTaken):
                raise
            raise SampanError(
                f"driver failed programming external connectivity on endpoint {name} "
                f"({provider.endpoint_id}): {error.message}"
            ) from None
        return held

    def rules_of(self, live: Live) -> list[Rule]:
        """The translations of a sandbox's ports: none where ports pass the host's firewall, and the daemon relays
        them."""
        if self._relayed:
            return []
        return endpoints.rules_of(live.record, endpoints.routed(self.catalog, live.record.endpoints))

    def _release(self, live: Live) -> None:
        for held in live.held:
            self.ports.release(held)
        live.held.clear()

    def down(self, container_id: str) -> tuple[Live | None, list[str]]:
        """Undoes `up`, but for the removal of links, which is slow: gives their names."""
        live = self.live.pop(container_id, None)
        if live is None:
            self.sandboxes.remove(container_id)
            return None, []
        rules = self.rules.rules.pop(container_id, [])
        self.transact(firewall.port_elements("delete", self.rules.table, rules))
        self._release(live)
        if live.record.netns:
            inner = self.namespace(live)
            for endpoint in live.record.endpoints:
                if inner is not None and endpoint.link:
                    sandboxes.strip_addresses(inner, endpoint)
                elif not endpoint.link:
                    self._detach(inner, endpoint)
                endpoints.give_back(self.catalog, endpoint)
            if inner is not None:
                inner.close()
            self.sandboxes.remove(container_id)
        self._records.delete(container_id)
        return live, [endpoint.link for endpoint in live.record.endpoints if endpoint.link]

    def namespace(self, live: Live) -> Namespace | None:
        """The sandbox's namespace, opened again after a restart of the daemon; None when it is gone."""
        if live.namespace is None:
            try:
                live.namespace = sandboxes.enter(self.sandboxes.path(live.record.container_id))
            except OSError:
                return None
        return live.namespace

    # -- endpoints of a live sandbox -----------------------------------------------------------------------------

    def connect(self, container_id: str, request: EndpointRequest) -> Endpoint:
        live = self.live.get(container_id)
        network = self.catalog.get(request.network)
        if live is None:
            raise Conflict(f"container {container_id} is not running")
        if not live.record.netns or network.driver == "host":
            raise InvalidParameter("container cannot be disconnected from host network or connected to host network")
        if network.driver == "null":
            raise InvalidParameter(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            )
        if any(endpoint.network_id == network.id for endpoint in live.record.endpoints):
            name = endpoints.name_of(container_id, [request])
            raise Forbidden(f"endpoint with name {name} already exists in network {network.name}")
        if any(endpoint.network == "none" for endpoint in live.record.endpoints):
            raise InvalidParameter(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            )
        inner = self.namespace(live)
        if inner is None:
            raise Conflict(f"container {container_id} is not running")
        with ExitStack() as undo:
            endpoint = endpoints.allocate(self.catalog, request, live.record.endpoints, undo)
            self._attach(inner, endpoint, undo)
            endpoints.tune(inner, endpoint, request)
            before = live.record.endpoints
            undo.callback(setattr, live.record, "endpoints", before)
            live.record.endpoints = [*before, endpoint]
            self.bind_nameserver(live, undo)
            self._regard(live, live.record.endpoints)
            undo.pop_all()
        return endpoint

    def disconnect(self, container_id: str, ref: str) -> Endpoint:
        network = self.catalog.get(ref)
        live = self.live.get(container_id)
        present = live.record.endpoints if live else []
        leaving = next((endpoint for endpoint in present if endpoint.network_id == network.id), None)
        if live is None or leaving is None:
            raise SampanError(f"container {container_id} is not connected to network {network.name}")
        if network.driver == "host":
            raise InvalidParameter("container cannot be disconnected from host network or connected to host network")
        self._detach(self.namespace(live), leaving)
        endpoints.give_back(self.catalog, leaving)
        self._regard(live, [endpoint for endpoint in present if endpoint is not leaving])
        return leaving

    def _regard(self, live: Live, present: list[Endpoint]) -> None:
        """Makes `present` the sandbox's endpoints: default routes and published ports follow the one that is now the
        gateway."""
        live.record.endpoints = present
        inner = self.namespace(live)
        if inner is not None:
            sandboxes.set_gateways(inner, *endpoints.gateways(present), replace=True)
        self.retranslate(live)
        self.put(live.record)

    def retranslate(self, live: Live) -> None:
        """Brings the translations of a sandbox's ports up to its record, in one transaction."""
        before = self.rules.rules.pop(live.record.container_id, [])
        after = self.rules_of(live)
        if after:
            self.rules.rules[live.record.container_id] = after
        if before != after:
            table = self.rules.table
            commands = [firewall.port_elements("delete", table, before), firewall.port_elements("add", table, after)]
            self.transact("\n".join(filter(None, commands)))

    def rename(self, container_id: str, old: str, new: str) -> list[Endpoint]:
        """The container's endpoints, with its new name in place of the old."""
        live = self.live.get(container_id)
        if live is None:
            return []
        live.record.endpoints = [
            replace(endpoint, dns_names=[new if name == old else name for name in endpoint.dns_names])
            for endpoint in live.record.endpoints
        ]
        self._records.put(container_id, live.record)
        return live.record.endpoints

    def records(self) -> dict[str, SandboxRecord]:
        """The stored records, by container id."""
        return dict(self._records.all())

    def put(self, record: SandboxRecord) -> None:
        self._records.put(record.container_id, record)

    def forget(self, container_id: str) -> None:
        self._records.delete(container_id)

    def indexes(self) -> set[int]:
        """The interface indexes of our bridges and parent interfaces."""
        return set(self._indexes.values())

    def close(self) -> None:
        for live in self.live.values():
            for held in live.held:
                held.close()
            if live.namespace is not None:
                live.namespace.close()
        self.live.clear()
        self.sandboxes.spares.close()
        self.kernel.close()
        self.nft.close()


def forget_flows(ports: list[PublishedPort]) -> None:
    """Once the rules of udp ports changed: flows that began before must meet the new ones."""
    numbers = {port.host_port for port in ports if port.protocol == "udp" and port.host_port}
    try:
        if numbers:
            conntrack.forget_udp(numbers)
    except OSError as error:
        log.warning("cannot clear the tracked flows of udp ports %s: %s", sorted(numbers), error)
