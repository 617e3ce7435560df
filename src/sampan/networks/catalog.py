"""The networks there are: their documents, names and address pools; what may be created and removed."""

from __future__ import annotations

import secrets
import time
from ipaddress import ip_address, ip_interface, ip_network

import msgspec

from sampan.errors import Conflict, Forbidden, InvalidParameter, NotFound, Unavailable
from sampan.networks import parents
from sampan.networks.addresses import (
    Pool,
    Subnet,
    check_config,
    choose_subnet,
    first_address,
    overlaps,
    refuse_overlap,
)
from sampan.networks.model import IPAM, IPAMPool, Network, parse_bool
from sampan.settings import Settings
from sampan.store import Database, Documents, NameTaken

_BRIDGE_OPTION = "com.docker.network.bridge."
_GATEWAY_MODES = ("nat", "nat-unprotected", "routed", "isolated")
_BOOLEANS = ("enable_icc", "enable_ip_masquerade", "inhibit_ipv4", "default_bridge")


class Catalog:
    """All networks, in memory, mirrored in the database. Used from one thread, but for reading."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._documents: Documents[Network] = Documents(database, "network", Network)
        self._networks: dict[str, Network] = dict(self._documents.all())
        self._pools: dict[str, list[Pool]] = {}
        for network in self._networks.values():
            self._fill_pools(network)

    # -- finding -----------------------------------------------------------------------------------------------

    def all(self) -> list[Network]:
        return list(self._networks.values())

    def get(self, ref: str) -> Network:
        """By full id, name, unique id prefix. Raises `NotFound`, `InvalidParameter` when the prefix is ambiguous."""
        if ref in self._networks:
            return self._networks[ref]
        ref = "bridge" if ref == "default" else ref
        networks = list(self._networks.values())
        for network in networks:
            if network.name == ref:
                return network
        matches = [network for network in networks if ref and network.id.startswith(ref)]
        if len(matches) > 1:
            raise InvalidParameter(f"network {ref} is ambiguous ({len(matches)} matches found based on ID prefix)")
        if not matches:
            raise NotFound(f"network {ref} not found")
        return matches[0]

    def find(self, ref: str) -> Network | None:
        try:
            return self.get(ref)
        except NotFound:
            return None

    def bridges(self) -> list[Network]:
        return [network for network in self._networks.values() if network.bridge]

    def wired(self) -> list[Network]:
        return [network for network in self._networks.values() if network.wired]

    def pools(self, network: Network) -> list[Pool]:
        return self._pools.get(network.id, [])

    def subnets(self, but: str = "") -> list[Subnet]:
        """The subnets of all networks, except of the one with the id `but`."""
        return [
            ip_network(pool.subnet)
            for network in self._networks.values()
            if network.id != but
            for pool in network.ipam.config
            if pool.subnet
        ]

    # -- making ------------------------------------------------------------------------------------------------

    def predefine(self, host_subnets: list[Subnet], bridge_address: str, in_use: bool) -> None:
        """Makes sure that bridge, host and none exist. `host_subnets` is what the host routes to elsewhere,
        `bridge_address` the "address/prefix" that the default bridge already has; `in_use` forbids moving it to
        another subnet."""
        for name, driver in (("host", "host"), ("none", "null")):
            if self.find(name) is None:
                self._put(Network(id=secrets.token_hex(32), name=name, driver=driver, created=time.time_ns()))
        known = self.find("bridge")
        if self._settings.bridge == "none":
            if known is not None and not in_use:
                self.delete(known.id)
            return
        if known is None or not in_use:
            self._put(self._default_bridge(known, host_subnets, bridge_address))

    def _default_bridge(self, known: Network | None, host_subnets: list[Subnet], bridge_address: str) -> Network:
        address = self._settings.bip or bridge_address
        taken = host_subnets + self.subnets(but=known.id if known else "")
        if not address and known is not None:
            pool = known.ipam.config[0]
            subnet = ip_network(pool.subnet)
            if not overlaps(subnet, host_subnets):
                address = f"{pool.gateway}/{subnet.prefixlen}"
        if not address:
            subnet = choose_subnet(self._settings.address_pools, 4, taken)
            address = f"{first_address(subnet)}/{subnet.prefixlen}"
        interface = ip_interface(address)
        options = {
            _BRIDGE_OPTION + "default_bridge": "true",
            _BRIDGE_OPTION + "enable_icc": str(self._settings.icc).lower(),
            _BRIDGE_OPTION + "enable_ip_masquerade": str(self._settings.ip_masq).lower(),
            _BRIDGE_OPTION + "host_binding_ipv4": self._settings.ip,
            _BRIDGE_OPTION + "name": self._settings.bridge,
            "com.docker.network.driver.mtu": str(self._settings.mtu),
        }
        pools = [IPAMPool(subnet=str(interface.network), gateway=str(interface.ip), ip_range=self._settings.fixed_cidr)]
        if self._settings.ipv6:
            pools.append(self._default_ipv6(known, taken))
        return Network(
            id=known.id if known else secrets.token_hex(32),
            name="bridge",
            created=known.created if known else time.time_ns(),
            enable_ipv6=self._settings.ipv6,
            ipam=IPAM(config=pools),
            options=options,
            bridge=self._settings.bridge,
            link_made=bool(known and known.link_made and known.bridge == self._settings.bridge),
            addresses_made=known.addresses_made if known and known.bridge == self._settings.bridge else [],
        )

    def _default_ipv6(self, known: Network | None, taken: list[Subnet]) -> IPAMPool:
        """bip6 is address and subnet, and fixed-cidr-v6 a range of that; alone, it is the subnet. Without both, the one
        that the bridge had, or a free one."""
        if self._settings.bip6:
            interface = ip_interface(self._settings.bip6)
            return IPAMPool(
                subnet=str(interface.network), gateway=str(interface.ip), ip_range=self._settings.fixed_cidr_v6
            )
        had = next((pool for pool in (known.ipam.config if known else []) if ":" in pool.subnet), None)
        if self._settings.fixed_cidr_v6:
            subnet: Subnet = ip_network(self._settings.fixed_cidr_v6)
        elif had is not None and not overlaps(ip_network(had.subnet), taken):
            return had
        else:
            subnet = choose_subnet(self._settings.address_pools, 6, taken)
        return IPAMPool(subnet=str(subnet), gateway=first_address(subnet))

    def create(self, spec: Network, host_subnets: list[Subnet]) -> Network:
        """Checks a user's wish as Docker does, completes it with subnets, gateways and a bridge name, and stores it."""
        defaults = self._settings.default_network_options.get(spec.driver or "bridge", {})
        spec = msgspec.structs.replace(spec, options={**defaults, **spec.options})
        self._check(spec)
        id = secrets.token_hex(32)
        bridge = ""
        if spec.driver in ("", "bridge"):
            bridge = spec.options.get(_BRIDGE_OPTION + "name", "") or f"br-{id[:12]}"
        for other in self.bridges():
            if other.bridge == bridge:
                raise Forbidden(
                    f"cannot create network {id} ({bridge}): conflicts with network {other.id} ({bridge}): "
                    "networks have same bridge name"
                )
        ipam = self._complete(spec, host_subnets)
        network = msgspec.structs.replace(
            spec,
            id=id,
            created=time.time_ns(),
            driver=spec.driver or "bridge",
            scope="local",
            bridge=bridge,
            configured=any(pool.subnet for pool in spec.ipam.config),
            ipam=ipam,
            implied=[
                made.gateway for asked, made in zip(spec.ipam.config, ipam.config, strict=False) if not asked.gateway
            ],
        )
        self._put(network)
        return network

    def _check(self, spec: Network) -> None:
        if not spec.name.strip():
            raise InvalidParameter(f"invalid name: {spec.name}")
        if spec.predefined:
            raise Forbidden(f"operation is not permitted on predefined {spec.name} network ")
        if any(network.name == spec.name for network in self._networks.values()):
            raise Conflict(f"network with name {spec.name} already exists")
        driver = spec.driver or "bridge"
        if driver in ("host", "null"):
            raise Forbidden(f'only one instance of "{driver}" network is allowed')
        if driver == "overlay" or spec.ingress or spec.scope == "swarm":
            raise Unavailable(
                'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node '
                "to swarm and try again."
            )
        if driver in parents.DRIVERS:
            parents.check(spec)
        elif driver != "bridge":
            raise NotFound(f'plugin "{driver}" not found')
        if spec.ipam.driver not in ("", "default"):
            raise NotFound(f'plugin "{spec.ipam.driver}" not found')
        check_config(spec.ipam.config)
        self._check_options(spec)

    @staticmethod
    def _check_options(spec: Network) -> None:
        for name in _BOOLEANS:
            key = _BRIDGE_OPTION + name
            value = spec.options.get(key)
            if value is not None:
                try:
                    parse_bool(value)
                except ValueError:
                    raise InvalidParameter(
                        f'failed to parse {key} value: {value} (strconv.ParseBool: parsing "{value}": invalid syntax)'
                    ) from None
        for version in (4, 6):
            key = f"{_BRIDGE_OPTION}gateway_mode_ipv{version}"
            mode = spec.options.get(key)
            if mode is not None and mode not in _GATEWAY_MODES:
                raise InvalidParameter(f"failed to parse {key} value: {mode} (unknown gateway mode {mode})")
            if mode == "isolated" and not spec.internal:
                raise InvalidParameter("gateway mode 'isolated' can only be used for an internal network")
        for key in (_BRIDGE_OPTION + "host_binding_ipv4", *(f"com.docker.network.host_ipv{n}" for n in (4, 6))):
            _check_address(key, spec.options.get(key, ""))
        mtu = spec.options.get("com.docker.network.driver.mtu", "0")
        if not mtu.isdigit():
            raise InvalidParameter(
                f"failed to parse com.docker.network.driver.mtu value: {mtu} "
                f'(strconv.Atoi: parsing "{mtu}": invalid syntax)'
            )
        bridge = spec.options.get(_BRIDGE_OPTION + "name", "")
        if len(bridge.encode()) > 15 or "/" in bridge:  # IFNAMSIZ
            raise InvalidParameter(
                f"invalid bridge name {bridge}: a network interface's name has at most 15 characters"
            )

    def _complete(self, spec: Network, host_subnets: list[Subnet]) -> IPAM:
        """The IPAM configuration with a subnet for each enabled family and a gateway for each subnet."""
        ours = self.subnets()
        config: list[IPAMPool] = []
        versions = [ip_network(pool.subnet).version for pool in spec.ipam.config]
        if spec.driver in ("", "bridge") and len(versions) != len(set(versions)):
            raise Forbidden("bridge driver doesn't support multiple subnets")
        for pool in spec.ipam.config:
            subnet = ip_network(pool.subnet)
            refuse_overlap(subnet, ours + [ip_network(other.subnet) for other in config])
            isolated = spec.gateway_mode(subnet.version) == "isolated"
            gateway = pool.gateway or ("" if isolated else first_address(subnet, pool.ip_range))
            if pool.gateway == "" and gateway in (pool.auxiliary_addresses or {}).values():
                gateway = _unreserved(subnet, set((pool.auxiliary_addresses or {}).values()))
            config.append(msgspec.structs.replace(pool, gateway=gateway))
        for version, wanted in ((4, spec.enable_ipv4), (6, spec.enable_ipv6)):
            if wanted and not any(ip_network(pool.subnet).version == version for pool in config):
                subnet = choose_subnet(self._settings.address_pools, version, ours + host_subnets)
                isolated = spec.gateway_mode(version) == "isolated"
                config.append(IPAMPool(subnet=str(subnet), gateway="" if isolated else first_address(subnet)))
        driver = spec.ipam.driver or "default"
        return IPAM(driver=driver, options=spec.ipam.options, config=config)

    def mark_made(self, id: str, link: bool, addresses: list[str]) -> Network:
        """The network's bridge or parent interface was made by us, or these of its addresses. Gives the changed
        document."""
        network = self._networks[id]
        made = sorted({*network.addresses_made, *addresses}) if not (link or network.link_made) else []
        changed = msgspec.structs.replace(network, link_made=link or network.link_made, addresses_made=made)
        if changed != network:
            self._put(changed)
        return self._networks[id]

    def delete(self, id: str) -> None:
        self._documents.delete(id)
        self._networks.pop(id, None)
        self._pools.pop(id, None)

    def _put(self, network: Network) -> None:
        try:
            self._documents.put(network.id, network, network.name)
        except NameTaken:
            raise Conflict(f"network with name {network.name} already exists") from None
        self._networks[network.id] = network
        self._fill_pools(network)

    def _fill_pools(self, network: Network) -> None:
        pools = [Pool(config) for config in network.ipam.config if config.subnet]
        enabled = {4: network.enable_ipv4, 6: network.enable_ipv6}
        self._pools[network.id] = [pool for pool in pools if enabled[pool.subnet.version]]


def _check_address(key: str, text: str) -> None:
    try:
        if text:
            ip_address(text)
    except ValueError:
        raise InvalidParameter(f"failed to parse {key} value: {text} (invalid IP address)") from None


def _unreserved(subnet: Subnet, taken: set[str]) -> str:
    for address in subnet.hosts():
        if str(address) not in taken:
            return str(address)
    raise InvalidParameter(f"invalid network config:\nno address of {subnet} is left for the gateway")
