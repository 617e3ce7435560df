"""The body of `POST /containers/create` and `…/update`: decoded, and brought from what an older API version meant to
what the newest one means. Source: the version notes of the Engine API ("API version history")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sampan.api import decoding
from sampan.api.versions import Version
from sampan.containers.life.changes import Changes
from sampan.containers.model import Config, EndpointSettings, HostConfig, Mount, NetworkingConfig
from sampan.errors import InvalidParameter
from sampan.golang import quote

_RESOURCE_NAMES = (
    "CpuShares Memory NanoCpus CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps "
    "BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus "
    "CpusetMems Devices DeviceCgroupRules DeviceRequests KernelMemory KernelMemoryTCP MemoryReservation MemorySwap "
    "MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth"
)
_RESOURCES = frozenset(_RESOURCE_NAMES.split())
_EMBEDDED = dict.fromkeys(_RESOURCES, "Resources")
"""Go's HostConfig embeds `Resources`, whose name shows in errors."""
_SYSCTLS = "com.docker.network.endpoint.sysctls"


@dataclass(slots=True)
class CreateRequest:
    config: Config
    host_config: HostConfig
    networking: NetworkingConfig
    warnings: list[str] = field(default_factory=list)


def decode(body: Any, version: Version) -> CreateRequest:
    """`body` is the parsed JSON."""
    if body is None:
        body = {}
    if not isinstance(body, dict):
        kind = "array" if isinstance(body, list) else "string" if isinstance(body, str) else "number"
        raise InvalidParameter(
            f"invalid JSON: json: cannot unmarshal {kind} into Go value of type container.CreateRequest"
        )
    outer = {str(key).lower(): value for key, value in body.items()}
    inner = {key: value for key, value in body.items() if str(key).lower() not in ("hostconfig", "networkingconfig")}
    config = decoding.convert(inner, Config, "CreateRequest", prefix="Config")
    host_config = decoding.convert(
        outer.get("hostconfig"), HostConfig, "HostConfig", embedded=_EMBEDDED, prefix="HostConfig"
    )
    networking = decoding.convert(
        outer.get("networkingconfig"), NetworkingConfig, "NetworkingConfig", prefix="NetworkingConfig"
    )
    if not inner:
        raise InvalidParameter("config cannot be empty in order to create a container")
    request = CreateRequest(config, host_config, networking)
    _network_mode(request)
    _translate(request, version)
    _mounts(request, version)
    _mac_address(request, version)
    _interface_sysctls(request, version)
    if host_config.pids_limit is not None and host_config.pids_limit <= 0:
        host_config.pids_limit = None
    return request


def _network_mode(request: CreateRequest) -> None:
    """ "default" is how a client that does not know the platform says bridge."""
    host_config, endpoints = request.host_config, dict(request.networking.endpoints_config or {})
    if host_config.network_mode in ("", "default"):
        host_config.network_mode = "bridge"
        if "default" in endpoints:
            endpoints["bridge"] = endpoints.pop("default")
    request.networking.endpoints_config = endpoints


def _translate(request: CreateRequest, version: Version) -> None:
    config, host_config = request.config, request.host_config
    if version < (1, 25):
        host_config.auto_remove = False  # the client removed the container itself
    if version < (1, 40):
        host_config.kernel_memory_tcp = 0
        host_config.ipc_mode = host_config.ipc_mode or "shareable"
    if version < (1, 42):
        host_config.console_size = None
    else:
        host_config.kernel_memory = 0
    if version < (1, 43):
        host_config.annotations = None
    endpoints = request.networking.endpoints_config or {}
    if version < (1, 44):
        if config.healthcheck is not None:
            config.healthcheck.start_interval = 0
        if len(endpoints) > 1:
            raise InvalidParameter(
                f"Container cannot be created with multiple network endpoints: {', '.join(endpoints)}"
            )
    if version < (1, 48):
        for endpoint in endpoints.values():
            if endpoint is not None:
                endpoint.gw_priority = 0


def _mounts(request: CreateRequest, version: Version) -> None:
    host_config = request.host_config
    for mount in host_config.mounts or ():
        bind = mount.bind_options
        if version < (1, 40) and bind is not None:
            bind.non_recursive = False
        if version < (1, 42):
            if bind is not None:
                bind.create_mountpoint = False
            if mount.type != "volume":
                mount.volume_options = None
            if mount.type != "tmpfs":
                mount.tmpfs_options = None
        else:
            _fitting_options(mount)
        if version < (1, 44) and mount.type == "bind":
            if bind is not None and bind.read_only_force_recursive:
                raise InvalidParameter("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
            if mount.read_only:
                _old_read_only(mount)
        if version < (1, 45) and mount.volume_options is not None and mount.volume_options.subpath:
            raise InvalidParameter("VolumeOptions.Subpath needs API v1.45 or newer")
        if version < (1, 48) and mount.type == "image":
            raise InvalidParameter('Mount type "Image" needs API v1.48 or newer')
    if version >= (1, 48) and host_config.volume_driver and any(_undriven(one) for one in host_config.mounts or ()):
        request.warnings.append(
            "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. "
            "Use '--mount type=volume,volume-driver=...' instead"
        )


def _fitting_options(mount: Mount) -> None:
    for name, given, kind in (
        ("VolumeOptions", mount.volume_options, "volume"),
        ("BindOptions", mount.bind_options, "bind"),
        ("TmpfsOptions", mount.tmpfs_options, "tmpfs"),
    ):
        if given is not None and mount.type != kind:
            raise InvalidParameter(f"{name} must not be specified on mount type {quote(mount.type)}")


def _old_read_only(mount: Mount) -> None:
    """Before 1.44 a read-only bind was read-only at its top mount only."""
    from sampan.containers.model import BindOptions

    mount.bind_options = mount.bind_options or BindOptions()
    mount.bind_options.read_only_non_recursive = True


def _undriven(mount: Mount) -> bool:
    if mount.type != "volume":
        return False
    options = mount.volume_options
    return not (options and options.driver_config and options.driver_config.name)


def _bridged(mode: str) -> bool:
    """On a network with endpoints of its own: bridge or user-defined."""
    return mode not in ("host", "none") and not mode.startswith("container:")


def _main_endpoint(request: CreateRequest, version: Version) -> EndpointSettings:
    """The endpoint of the network that `NetworkMode` names, made when there is none."""
    endpoints = request.networking.endpoints_config
    assert endpoints is not None
    mode = request.host_config.network_mode
    if endpoints and version < (1, 44):
        mode = next(iter(endpoints))
    elif endpoints and mode not in endpoints:
        raise InvalidParameter(
            "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"
        )
    endpoint = endpoints.get(mode)
    if endpoint is None:
        endpoint = endpoints[mode] = EndpointSettings()
    return endpoint


def _mac_address(request: CreateRequest, version: Version) -> None:
    """1.44 moved the container's one MAC address to its endpoints."""
    config, mode = request.config, request.host_config.network_mode
    address = config.mac_address
    if version < (1, 44):
        if not address:
            for endpoint in (request.networking.endpoints_config or {}).values():
                if endpoint is not None:
                    endpoint.mac_address = ""
            return
        if not _bridged(mode):
            raise InvalidParameter("conflicting options: mac-address and the network mode")
        _main_endpoint(request, version).mac_address = address
        return
    if not address:
        return
    if _bridged(mode):
        try:
            endpoint = _main_endpoint(request, version)
        except InvalidParameter as error:
            raise InvalidParameter(
                f"unable to migrate container-wide MAC address to a specific network: {error.message}"
            ) from None
        if endpoint.mac_address and endpoint.mac_address != address:
            raise InvalidParameter(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
                "or be left empty"
            )
        endpoint.mac_address = address
    config.mac_address = ""
    request.warnings.append(
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
    )


def _interface_sysctls(request: CreateRequest, version: Version) -> None:
    """`net.….eth0.…` cannot be set before the interface exists, so it becomes an option of the endpoint; 1.48 wants
    it said so."""
    host_config = request.host_config
    if host_config.network_mode == "host" or host_config.network_mode.startswith("container:"):
        return
    moved: dict[str, str] = {}
    for key, value in (host_config.sysctls or {}).items():
        parts = key.split(".", 4)
        if len(parts) != 5 or parts[0] != "net" or not parts[3].startswith("eth"):
            continue
        if version > (1, 47):
            raise InvalidParameter(
                f"interface specific sysctl setting {quote(key)} must be supplied using driver option '{_SYSCTLS}'"
            )
        if parts[3] != "eth0":
            raise InvalidParameter(
                f"unable to determine network endpoint for sysctl {key}, use driver option '{_SYSCTLS}' "
                "to set per-interface sysctls"
            )
        moved[key] = f"net.{parts[1]}.{parts[2]}.IFNAME.{parts[4]}={value}"
    if not moved:
        return
    endpoint = _main_endpoint(request, version)
    options = dict(endpoint.driver_opts or {})
    text = ",".join(moved.values())
    request.warnings.append(
        f"Migrated sysctl {quote(','.join(moved))} to DriverOpts{{{quote(_SYSCTLS)}:{quote(text)}}}."
    )
    options[_SYSCTLS] = ",".join([text, options[_SYSCTLS]] if options.get(_SYSCTLS) else [text])
    endpoint.driver_opts = options
    host_config.sysctls = {key: value for key, value in (host_config.sysctls or {}).items() if key not in moved}


_UPDATABLE = {name.lower() for name in _RESOURCES} | {"restartpolicy"}


def decode_update(body: Any, version: Version) -> tuple[HostConfig, frozenset[str]]:
    """(what an update changes, the lower-case names of the fields it gave)."""
    given = body if isinstance(body, dict) else {}
    fields = {key: value for key, value in given.items() if str(key).lower() in _UPDATABLE and value is not None}
    host_config = decoding.convert(
        fields if isinstance(body, dict) or body is None else body, HostConfig, "UpdateConfig", embedded=_EMBEDDED
    )
    if version < (1, 40):
        host_config.pids_limit = None
    if version >= (1, 42):
        host_config.kernel_memory = 0
    if host_config.pids_limit is not None and host_config.pids_limit <= 0:
        host_config.pids_limit = 0
    return host_config, frozenset(str(key).lower() for key in fields)


_CHANGES = frozenset({"publishadd", "publishrm", "mountadd", "mountrm"})


def decode_changes(body: Any) -> Changes:
    """The fields of an update that Docker does not have (`containers.changes`); Docker's engine skips them."""
    given = body if isinstance(body, dict) else {}
    fields = {key: value for key, value in given.items() if str(key).lower() in _CHANGES and value is not None}
    changes = decoding.convert(fields, Changes, "UpdateConfig")
    for mount in changes.mount_add or ():
        _fitting_options(mount)
    return changes
