"""The daemon's settings: defaults, then daemon.json, then flags. `configuration` makes them from what the user gave."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is built from."""

    data_root: Path = Path("/var/lib/sampan")
    exec_root: Path = Path("/run/sampan")
    pidfile: Path = Path("/run/sampan/sampand.pid")
    hosts: tuple[str, ...] = ("unix:///run/sampan/sampan.sock",)
    group: str = "sampan"
    bridge: str = "sampan0"
    """The default bridge's name; "none" disables it."""
    bip: str = ""
    """Address of the default bridge, CIDR; "" picks a free one from the pools."""
    ports_behind_firewall: bool = False
    """Published ports pass the host's INPUT rules: the daemon relays them, instead of nftables translating them past
    the firewall."""
    nft_table: str = "sampan"
    """Name of our own table in the inet family, so that engines run side by side."""
    cgroup_parent: str = "/sampan"
    address_pools: tuple[tuple[str, int], ...] = (("172.30.0.0/16", 24), ("10.201.0.0/16", 24))
    """(base CIDR, prefix length of each network)."""
    default_runtime: str = "crun"
    runtimes: dict[str, str] = {}
    log_level: str = "info"
    log_driver: str = "json-file"
    """Of containers that name none, and `log_options` of those that end up with it."""
    log_options: dict[str, str] = {}
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    registry: str = ""
    """host:port of the built-in registry; "" for none."""
    registry_htpasswd: str = ""
    registry_tlscert: str = ""
    registry_tlskey: str = ""
    image_gc: tuple[float, int] | None = None
    """Images nobody uses go after (seconds without use, when all layers take more than these bytes); 0: no such
    limit."""
    labels: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    debug: bool = False
    tls: bool = False
    tlsverify: bool = False
    tlscacert: str = ""
    tlscert: str = ""
    tlskey: str = ""
    allow_insecure_tcp: bool = False
    """The explicit flag that tcp:// without TLS needs."""
    shutdown_timeout: int = 15

    @property
    def encrypted(self) -> bool:
        """TLS on tcp://: `--tlsverify` implies it."""
        return self.tls or self.tlsverify
