"""Values that no flag could check alone. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from sampan.configuration.options import LEVELS, ConfigurationError
from sampan.settings import Settings


def check(settings: Settings) -> None:
    """Values that no flag could check alone."""
    if settings.log_level not in LEVELS:
        raise ConfigurationError(f"invalid logging level: {settings.log_level}")
    if settings.log_format not in ("text", "json"):
        raise ConfigurationError(f"invalid log format: {settings.log_format}")
    _check_numbers(settings)
    _check_containers(settings)
    if settings.default_runtime not in ("crun", "runc", *settings.runtimes):
        raise ConfigurationError(f"specified default runtime '{settings.default_runtime}' does not exist")
    for label in settings.labels:
        if "=" not in label.strip("="):
            raise ConfigurationError(f"bad attribute format: {label}")
    for address in (*settings.dns, settings.ip, settings.host_gateway_ip):
        try:
            ip_address(address or "::")
        except ValueError:
            raise ConfigurationError(f"invalid IP address: {address}") from None
    if settings.bip:
        try:
            ip_interface(settings.bip if "/" in settings.bip else "")
        except ValueError:
            raise ConfigurationError(f"invalid CIDR address: {settings.bip}") from None
    _check_range(settings)
    for base, size in settings.address_pools:
        try:
            network = ip_network(base)
        except ValueError:
            raise ConfigurationError(f"invalid base pool {base!r}: not a network") from None
        if not network.prefixlen <= size <= network.max_prefixlen:
            raise ConfigurationError(f"the requested size {size} does not fit into the base pool {base}")
    for mirror in settings.registry_mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise ConfigurationError(f'invalid mirror: unsupported scheme in "{mirror}": use http:// or https://')
    for registry in settings.insecure_registries:
        _check_insecure(registry)
    _check_registry(settings)
    _check_hosts(settings)


def _check_numbers(settings: Settings) -> None:
    for what, value in (
        ("max concurrent downloads", settings.max_concurrent_downloads),
        ("max concurrent uploads", settings.max_concurrent_uploads),
        ("max download attempts", settings.max_download_attempts),
        ("default MTU", settings.mtu),
    ):
        if value < 0:
            raise ConfigurationError(f"invalid {what}: {value}")
    if settings.shutdown_timeout < 0:
        raise ConfigurationError(f"invalid shutdown timeout: {settings.shutdown_timeout}: must not be negative")
    if settings.metrics_addr:
        _check_address("metrics-addr", settings.metrics_addr)


def _check_containers(settings: Settings) -> None:
    if settings.default_ipc_mode not in ("shareable", "private"):
        raise ConfigurationError(
            f'default IPC mode setting ({settings.default_ipc_mode}) is invalid; use "shareable" or "private"'
        )
    if settings.default_cgroupns_mode not in ("", "host", "private"):
        raise ConfigurationError(
            f'default cgroup namespace mode ({settings.default_cgroupns_mode}) is invalid; use "host" or "private"'
        )
    for driver in settings.default_network_options:
        if driver not in ("bridge", "macvlan", "ipvlan"):
            raise ConfigurationError(f"default-network-opts: no network driver is named {driver}")


def _check_range(settings: Settings) -> None:
    for range, address, names in (
        (settings.fixed_cidr, settings.bip, ("fixed-cidr", "bip")),
        (settings.fixed_cidr_v6, settings.bip6, ("fixed-cidr-v6", "bip6")),
    ):
        try:
            within = ip_network(range) if range else None
            around = ip_interface(address if "/" in address else "x").network if address else None
        except ValueError:
            raise ConfigurationError(f"invalid CIDR address: {range or address}") from None
        if within is None or (around is None and within.version == 6):
            continue
        if around is None:
            raise ConfigurationError("fixed-cidr needs bip: the subnet that it is a range of")
        if around.version != within.version or not within.subnet_of(around):  # type: ignore[arg-type]
            raise ConfigurationError(f"{names[0]} {range} is no range of {names[1]}'s network, {address}")


def _check_address(what: str, address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or "/" in host:
        raise ConfigurationError(f"invalid {what} {address!r}: use HOST:PORT")


def _check_insecure(registry: str) -> None:
    """HOST, HOST:PORT or a network as CIDR."""
    host, _, port = registry.partition(":") if registry.count(":") == 1 else (registry, "", "")
    if "/" in registry:
        try:
            ip_network(registry, strict=False)
            return
        except ValueError:
            pass
    elif host and (not port or (port.isdigit() and int(port) <= 65535)) and not registry.startswith("-"):
        return
    raise ConfigurationError(f'insecure registry {registry} is not valid: invalid host "{registry}"')


def _check_registry(settings: Settings) -> None:
    others = (settings.registry_htpasswd, settings.registry_tlscert, settings.registry_tlskey)
    if not settings.registry:
        if any(others):
            raise ConfigurationError("--registry-htpasswd, --registry-tlscert and --registry-tlskey need --registry")
        return
    _check_address("registry address", settings.registry)
    if bool(settings.registry_tlscert) != bool(settings.registry_tlskey):
        raise ConfigurationError("--registry-tlscert and --registry-tlskey belong together")


def _check_hosts(settings: Settings) -> None:
    for host in settings.hosts:
        scheme, separator, rest = host.partition("://")
        if not separator or scheme not in ("unix", "tcp", "fd"):
            raise ConfigurationError(f"invalid bind address ({host}): use unix://PATH, tcp://HOST:PORT or fd://")
        if scheme == "unix" and not rest:
            raise ConfigurationError(f"invalid bind address ({host}): the socket's path is missing")
        port = rest.rpartition(":")[2]
        if scheme == "tcp" and port.isdigit() and int(port) > 65535:
            raise ConfigurationError(f"invalid bind address ({host}): invalid port {port}")
        if scheme == "tcp" and not settings.encrypted and not settings.allow_insecure_tcp:
            raise ConfigurationError(
                f"refusing to listen on {host} without TLS: whoever reaches that port is root on this machine. "
                "Give --tlsverify with --tlscacert, --tlscert and --tlskey, or say --allow-insecure-tcp if you mean it"
            )
    if settings.encrypted:
        missing = [
            f"--{name}" for name, value in (("tlscert", settings.tlscert), ("tlskey", settings.tlskey)) if not value
        ]
        if settings.tlsverify and not settings.tlscacert:
            missing.append("--tlscacert")
        if missing:
            raise ConfigurationError(f"TLS needs {', '.join(missing)}")
