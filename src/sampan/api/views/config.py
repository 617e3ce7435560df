"""`Config` and `HostConfig` as Go prints them: every key, zero values and nulls included, except where Go omits empty
ones."""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.containers.model import (
    Config,
    EndpointSettings,
    HealthcheckConfig,
    HostConfig,
    Mount,
    MountPoint,
    PortBinding,
)
from sampan.runtime import paths

_CONFIG_OMITTED = frozenset(
    {
        "ExposedPorts",
        "Healthcheck",
        "ArgsEscaped",
        "NetworkDisabled",
        "MacAddress",
        "StopSignal",
        "StopTimeout",
        "Shell",
    }
)
_HOST_OMITTED = frozenset(
    {
        *("Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Runtime", "KernelMemory", "KernelMemoryTCP", "Mounts"),
        *("Init", "HealthOnFailure"),
    }
)
_HOST_ORDER = (
    "Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom "
    "ConsoleSize Annotations CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup "
    "Links OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt StorageOpt Tmpfs UTSMode "
    "UsernsMode ShmSize Sysctls Runtime Isolation CpuShares Memory NanoCpus CgroupParent BlkioWeight "
    "BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod "
    "CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules DeviceRequests "
    "KernelMemory KernelMemoryTCP MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits "
    "CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth Mounts MaskedPaths ReadonlyPaths Init HealthOnFailure"
)


def _table(type_: type[msgspec.Struct], order: list[str] | None = None) -> list[tuple[str, str]]:
    """(JSON key, attribute) in Go's order of fields."""
    names = {field.encode_name: field.name for field in msgspec.structs.fields(type_)}
    return [(key, names[key]) for key in (order or names)]


_CONFIG = _table(Config)
_HOST = _table(HostConfig, _HOST_ORDER.split())


def config(value: Config) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, attribute in _CONFIG:
        field = getattr(value, attribute)
        if key in _CONFIG_OMITTED and not field and not (key == "StopTimeout" and field is not None):
            continue
        shown[key] = healthcheck(field) if isinstance(field, HealthcheckConfig) else field
    shown["Volumes"] = value.volumes or None
    return shown


def healthcheck(value: HealthcheckConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, attribute in (
        ("Test", "test"),
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "start_period"),
        ("StartInterval", "start_interval"),
        ("Retries", "retries"),
    ):
        if field := getattr(value, attribute):
            shown[key] = field
    return shown


def host_config(value: HostConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, attribute in _HOST:
        field = getattr(value, attribute)
        if key in _HOST_OMITTED and not field and not (key == "Init" and field is not None):
            continue
        shown[key] = field
    shown["LogConfig"] = {
        "Type": (value.log_config.type if value.log_config else "") or "json-file",
        "Config": (value.log_config.config if value.log_config else None) or {},
    }
    policy = value.restart_policy
    shown["RestartPolicy"] = {
        "Name": policy.name if policy else "",
        "MaximumRetryCount": policy.maximum_retry_count if policy else 0,
    }
    shown["PortBindings"] = (
        None
        if value.port_bindings is None
        else {port: None if bound is None else bindings(bound) for port, bound in value.port_bindings.items()}
    )
    shown["ConsoleSize"] = value.console_size or [0, 0]
    shown["Links"] = value.links
    for key, names in (
        ("BlkioWeightDevice", ("Path", "Weight")),
        ("BlkioDeviceReadBps", ("Path", "Rate")),
        ("BlkioDeviceWriteBps", ("Path", "Rate")),
        ("BlkioDeviceReadIOps", ("Path", "Rate")),
        ("BlkioDeviceWriteIOps", ("Path", "Rate")),
        ("Devices", ("PathOnHost", "PathInContainer", "CgroupPermissions")),
        ("DeviceRequests", ("Driver", "Count", "DeviceIDs", "Capabilities", "Options")),
        ("Ulimits", ("Name", "Hard", "Soft")),
    ):
        if shown[key]:
            shown[key] = [_filled(one, names) for one in shown[key]]
    if value.mounts:
        shown["Mounts"] = [_mount(one) for one in value.mounts]
    if not value.privileged:
        # None given: the engine's own (`containers.spec.oci` puts the same into the OCI spec).
        shown["MaskedPaths"] = list(paths.masked()) if value.masked_paths is None else value.masked_paths
        shown["ReadonlyPaths"] = list(paths.READONLY) if value.readonly_paths is None else value.readonly_paths
    return shown


def _mount(mount: Mount) -> dict[str, Any]:
    """Set fields only, in Go's order: type, source, target, then the rest."""
    given: dict[str, Any] = msgspec.to_builtins(mount)
    first: dict[str, Any] = {key: given[key] for key in ("Type", "Source", "Target") if key in given}
    return {**first, **given}


def _filled(value: msgspec.Struct, names: tuple[str, ...]) -> dict[str, Any]:
    """All of a small struct's fields, in Go's order."""
    attributes = {field.encode_name: field.name for field in msgspec.structs.fields(value)}
    return {name: getattr(value, attributes[name]) for name in names}


def bindings(bound: list[PortBinding]) -> list[dict[str, str]]:
    return [{"HostIp": one.host_ip, "HostPort": one.host_port} for one in bound]


def mount_point(mount: MountPoint) -> dict[str, Any]:
    shown: dict[str, Any] = {"Type": mount.type}
    if mount.name:
        shown["Name"] = mount.name
    shown["Source"] = mount.source
    shown["Destination"] = mount.destination
    if mount.driver:
        shown["Driver"] = mount.driver
    shown["Mode"] = mount.mode
    shown["RW"] = mount.rw
    shown["Propagation"] = mount.propagation
    return shown


def endpoint(value: EndpointSettings, gw_priority: bool = True) -> dict[str, Any]:
    """`GwPriority` came with 1.48."""
    shown: dict[str, Any] = {
        "IPAMConfig": None if value.ipam_config is None else msgspec.to_builtins(value.ipam_config),
        "Links": value.links,
        "Aliases": value.aliases,
        "MacAddress": value.mac_address,
        "DriverOpts": value.driver_opts,
    }
    if gw_priority:
        shown["GwPriority"] = value.gw_priority
    shown |= {
        "NetworkID": value.network_id,
        "EndpointID": value.endpoint_id,
        "Gateway": value.gateway,
        "IPAddress": value.ip_address,
        "IPPrefixLen": value.ip_prefix_len,
        "IPv6Gateway": value.ipv6_gateway,
        "GlobalIPv6Address": value.global_ipv6_address,
        "GlobalIPv6PrefixLen": value.global_ipv6_prefix_len,
        "DNSNames": value.dns_names,
    }
    return shown
