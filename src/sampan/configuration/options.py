"""The table of what can be set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.configuration import accepted

DEFAULT_FILE = Path("/etc/sampan/daemon.json")
LEVELS = ("debug", "info", "warn", "error", "fatal")

Given = dict[str, Any]
"""What a source sets, by flag name."""


class ConfigurationError(Exception):
    """The configuration cannot be meant. `hint`: the reader should look at --help."""

    def __init__(self, message: str, hint: bool = False) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Option:
    """One thing to set. `kind` is string, list, bool, int, size, map, maps, flags, ulimits, runtimes, pools, limits,
    proxies or gc; without a `key` it is a flag only, without an `attribute` it is not part of `Settings`, without a
    `help` --help leaves it out. `refuse` says why a value is not taken; "" when it is."""

    flag: str
    kind: str
    help: str = ""
    key: str = ""
    attribute: str = ""
    short: str = ""
    refuse: Callable[[Any], str] | None = None
    in_file_only: bool = False

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.flag}" if self.short else f"--{self.flag}"


def _both(name: str, kind: str, help: str, attribute: str = "", key: str = "", short: str = "") -> Option:
    return Option(name, kind, help, key or name, attribute or name.replace("-", "_"), short)


_SET: tuple[Option, ...] = (
    _both("add-runtime", "runtimes", "Register an additional OCI runtime, name=path", "runtimes", "runtimes"),
    _both("allow-insecure-tcp", "bool", "Listen on tcp:// without TLS: whoever reaches it is root here"),
    _both(
        "allow-nondistributable-artifacts",
        "list",
        "Registry, or network of registries, to push foreign layers to",
        "nondistributable_registries",
    ),
    _both("bip", "string", "Address of the default bridge, as CIDR"),
    _both("bip6", "string", "The same for IPv6"),
    _both("bridge", "string", 'Name of the default bridge; "none" for no bridge', short="b"),
    Option("builder-gc", "gc", key="builder", attribute="builder_gc", in_file_only=True),
    _both("cgroup-parent", "string", "Parent cgroup of all containers"),
    Option("config-file", "string", f"Daemon configuration file (default {DEFAULT_FILE})"),
    _both("data-root", "string", "Directory of persistent state"),
    _both("debug", "bool", "Enable debug mode", short="D"),
    _both(
        "default-address-pool",
        "pools",
        "Address pool for networks, base=CIDR,size=PREFIX",
        "address_pools",
        "default-address-pools",
    ),
    _both("default-cgroupns-mode", "string", "Cgroup namespace of containers: host or private"),
    _both("default-ipc-mode", "string", "IPC mode of containers: shareable or private"),
    _both(
        "default-network-opt",
        "maps",
        "Default options of networks, driver=option=value",
        "default_network_options",
        "default-network-opts",
    ),
    _both("default-runtime", "string", "OCI runtime for containers that name none"),
    _both("default-shm-size", "size", "Size of /dev/shm of containers"),
    _both(
        "default-ulimit",
        "ulimits",
        "Ulimit of containers, name=soft[:hard]",
        "default_ulimits",
        "default-ulimits",
    ),
    _both("dns", "list", "DNS server for containers"),
    _both("dns-opt", "list", "DNS option for containers", "dns_options", "dns-opts"),
    _both("dns-search", "list", "DNS search domain for containers"),
    _both("exec-root", "string", "Directory of state that ends with the machine's run"),
    Option("features", "flags", key="features", attribute="features", in_file_only=True, refuse=accepted.features),
    _both("fixed-cidr", "string", "Range of the default bridge's subnet that containers get addresses from"),
    _both("fixed-cidr-v6", "string", "The same for IPv6; without bip6 it is the subnet", "fixed_cidr_v6"),
    _both("group", "string", "Group of the unix socket", short="G"),
    Option("help", "bool", "Print usage"),
    _both("host", "list", "Where to listen: unix://PATH, tcp://HOST:PORT or fd:// (systemd)", "hosts", "hosts", "H"),
    _both("host-gateway-ip", "string", "Address that host-gateway of --add-host stands for"),
    Option(
        "host-gateway-ips",
        "list",
        key="host-gateway-ips",
        in_file_only=True,
        refuse=lambda value: "one address" if len(value) > 1 else "",
    ),
    Option("http-proxy", "string", "Proxy for what the daemon fetches over http", attribute="http_proxy"),
    Option("https-proxy", "string", "The same over https", attribute="https_proxy"),
    _both("icc", "bool", "Containers on the default bridge reach each other"),
    _both(
        "image-gc",
        "limits",
        "Remove images nobody uses: unused=720h, size=50GB (of all layers), or both with a comma",
    ),
    _both("init", "bool", "Run an init in containers that do not say otherwise"),
    _both(
        "insecure-registry",
        "list",
        "Registry, or network of registries, to talk to without TLS",
        "insecure_registries",
        "insecure-registries",
    ),
    _both("ip", "string", "Host address of published ports that name none"),
    _both("ip-masq", "bool", "Masquerade what containers on the default bridge send out"),
    _both("ipv6", "bool", "The default bridge has IPv6 too"),
    _both("label", "list", "Label of this daemon, key=value", "labels", "labels"),
    _both(
        "log-driver",
        "string",
        "Log driver of containers that name none: json-file, local, none, syslog, fluentd, gelf, journald",
    ),
    _both("log-format", "string", "Format of the daemon's log: text or json"),
    _both("log-level", "string", f"Logging level: {', '.join(LEVELS)}", short="l"),
    _both("log-opt", "map", "Log option of containers with that driver, key=value", "log_options", "log-opts"),
    _both("max-concurrent-downloads", "int", "Layers pulled at once"),
    _both("max-concurrent-uploads", "int", "Layers pushed at once"),
    _both("max-download-attempts", "int", "Attempts for each layer of a pull"),
    _both("metrics-addr", "string", "Serve metrics for Prometheus at HOST:PORT/metrics"),
    _both("mtu", "int", "MTU of the default bridge"),
    _both("nft-table", "string", "Name of the daemon's own nftables table"),
    _both("no-new-privileges", "bool", "Containers cannot gain privileges, unless they say otherwise"),
    Option("no-proxy", "string", "Hosts that need no proxy, comma-separated", attribute="no_proxy"),
    _both("pidfile", "string", "Where to write the daemon's process id", short="p"),
    _both(
        "ports-behind-firewall",
        "bool",
        "Published ports obey the host's firewall (INPUT): relayed by the daemon, which hides the clients' addresses",
    ),
    Option("proxies", "proxies", key="proxies", in_file_only=True),
    _both("registry", "string", "Serve a registry of the daemon's own images at HOST:PORT"),
    _both("registry-htpasswd", "string", "Its users, a file of bcrypt entries"),
    _both("registry-mirror", "list", "Mirror of Docker Hub to ask first", "registry_mirrors", "registry-mirrors"),
    _both("registry-tlscert", "string", "Its TLS certificate"),
    _both("registry-tlskey", "string", "Its TLS key"),
    _both("seccomp-profile", "string", 'Seccomp profile of containers: a file, "builtin" or "unconfined"'),
    _both("shutdown-timeout", "int", "Seconds that running requests get at shutdown"),
    _both("tls", "bool", "Use TLS on tcp://; implied by --tlsverify"),
    _both("tlscacert", "string", "Trust clients signed by this CA"),
    _both("tlscert", "string", "Path to the TLS certificate"),
    _both("tlskey", "string", "Path to the TLS key"),
    _both("tlsverify", "bool", "Use TLS and verify the client"),
    Option("validate", "bool", "Check the configuration and exit"),
    Option("version", "bool", "Print the version and exit", short="v"),
)

OPTIONS: tuple[Option, ...] = tuple(
    sorted(
        (*_SET, *(Option(flag, kind, "", key, refuse=refuse) for flag, kind, key, refuse in accepted.TABLE)),
        key=lambda option: option.flag,
    )
)
BY_FLAG = {option.flag: option for option in OPTIONS}
