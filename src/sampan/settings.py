"""The daemon's settings: defaults, then daemon.json, then flags. `configuration` makes them from what the user gave."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Settings(msgspec.Struct, kw_only=True):
    """What the engine is built from. One object for the whole engine: a reload of daemon.json changes what of it may
    change (`configuration.reloaded`), and who reads it at each use sees that."""

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
    runtimes: dict[str, tuple[str, ...]] = {}
    """Program and first arguments, by name."""
    log_level: str = "info"
    log_format: str = "text"
    metrics_addr: str = ""
    """host:port; "" for none."""
    log_driver: str = "json-file"
    """Of containers that name none, and `log_options` of those that end up with it."""
    log_options: dict[str, str] = {}
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    nondistributable_registries: tuple[str, ...] = ()
    """Hosts and networks that layers may be pushed to although they say that they live elsewhere."""
    registry: str = ""
    """host:port of the built-in registry; "" for none."""
    registry_htpasswd: str = ""
    registry_tlscert: str = ""
    registry_tlskey: str = ""
    image_gc: tuple[float, int] | None = None
    """Images nobody uses go after (seconds without use, when all layers take more than these bytes); 0: no such
    limit."""
    labels: tuple[str, ...] = ()
    features: dict[str, bool] = {}
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    """0 means one attempt."""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    builder_gc: tuple[bool, int] = (True, 0)
    """Does the build cache shrink by itself, and to how many bytes; 0: a share of the disk."""
    default_shm_size: int = 64 << 20
    default_ulimits: dict[str, tuple[int, int]] = {}
    """(soft, hard) by name."""
    default_ipc_mode: str = "private"
    default_cgroupns_mode: str = ""
    """"" is private on cgroup v2, host on v1."""
    init: bool = False
    no_new_privileges: bool = False
    seccomp_profile: str = ""
    """A file, "unconfined", or "" (also "builtin") for the default profile."""
    icc: bool = True
    ip: str = "0.0.0.0"
    ip_masq: bool = True
    mtu: int = 1500
    fixed_cidr: str = ""
    ipv6: bool = False
    bip6: str = ""
    fixed_cidr_v6: str = ""
    """These, from `icc` on, are of the default bridge."""
    default_network_options: dict[str, dict[str, str]] = {}
    """Of networks that users make, by driver."""
    host_gateway_ip: str = ""
    """"": the default bridge's own address."""
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
