"""What `update` may change of a container's ports and mounts, running or not: Sampan's own fields of
`POST /containers/{id}/update`, beside Docker's limits. Pure.

    {"PublishAdd": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},   as HostConfig.PortBindings
     "PublishRm":  {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},   "" for any address, any port
     "MountAdd":   [{"Type": "volume", "Source": "data", "Target": "/data"}],   as HostConfig.Mounts
     "MountRm":    ["/data"]}

What goes, goes first: one request may put another mount in the place of one that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import msgspec

from sampan.containers.model import Container, HostConfig, Mount, MountPoint, PortBinding
from sampan.containers.mountpoints.mount_syntax import clean, parse_bind, parse_mount
from sampan.containers.mountpoints.mounts import guard_daemon_root, in_mount_order
from sampan.containers.rules import validation
from sampan.containers.spec import networking
from sampan.errors import Conflict, InvalidParameter
from sampan.networks import PortRequest, PublishedPort, assign


class Changes(msgspec.Struct, rename="pascal", kw_only=True):
    """See the module."""

    publish_add: dict[str, list[PortBinding] | None] | None = None
    publish_rm: dict[str, list[PortBinding] | None] | None = None
    mount_add: list[Mount] | None = None
    mount_rm: list[str] | None = None

    @property
    def of_ports(self) -> bool:
        return bool(self.publish_add or self.publish_rm)

    @property
    def of_mounts(self) -> bool:
        return bool(self.mount_add or self.mount_rm)


@dataclass(slots=True)
class MountPlan:
    """`points` is what the container has afterwards; `removed` and `added` are in the order of mounting."""

    points: list[MountPoint]
    removed: list[MountPoint] = field(default_factory=list)
    added: list[MountPoint] = field(default_factory=list)


# -- ports -----------------------------------------------------------------------------------------


def ports(container: Container, updated: HostConfig, changes: Changes) -> None:
    """Writes the new PortBindings into `updated`, a copy of the container's HostConfig. Raises `InvalidParameter`,
    `Conflict`."""
    _check_mode(container)
    validation.check_port_bindings(changes.publish_add or {})
    validation.check_port_bindings(changes.publish_rm or {})
    requests = networking.port_requests(container)
    updated.publish_all_ports = False  # it is said port by port from now on: else what goes would come back
    for port, going in (changes.publish_rm or {}).items():
        for binding in going or [PortBinding()]:
            requests = _without(container, requests, port, binding)
    for port, coming in (changes.publish_add or {}).items():
        number, protocol = validation.parse_port(port)
        for binding in coming or [PortBinding()]:
            requests.append(PortRequest(number, protocol, binding.host_ip, binding.host_port))
    updated.port_bindings = _bindings(requests)


def _check_mode(container: Container) -> None:
    mode = container.host_config.network_mode
    if mode.startswith(networking.CONTAINER):
        raise InvalidParameter("conflicting options: port publishing and the container type network mode")
    if mode in ("host", "none"):
        raise Conflict(f"cannot publish ports of container {container.name}: it uses the network mode {mode}")


def _without(container: Container, requests: list[PortRequest], port: str, binding: PortBinding) -> list[PortRequest]:
    number, protocol = validation.parse_port(port)
    owned = assign(requests, published(container))
    going = [
        index
        for index, request in enumerate(requests)
        if (request.container_port, request.protocol) == (number, protocol) and _named(binding, request, owned[index])
    ]
    if not going:
        shown = ":".join(filter(None, (binding.host_ip, binding.host_port, port)))
        raise InvalidParameter(f"port {shown} is not published by container {container.name}")
    return [request for index, request in enumerate(requests) if index not in going]


def _named(binding: PortBinding, request: PortRequest, owned: Sequence[PublishedPort]) -> bool:
    """Does `binding` mean this request: by its own words, or by the host port it has at present?"""
    address = not binding.host_ip or _address(binding.host_ip) in (
        _address(request.host_ip),
        *(port.host_ip for port in owned),
    )
    number = binding.host_port in ("", request.host_port) or any(
        str(port.host_port) == binding.host_port for port in owned
    )
    return address and number


def _address(text: str) -> str:
    return str(ip_address(text)) if text else "0.0.0.0"


def published(container: Container) -> list[PublishedPort]:
    """What is in force."""
    return networking.sandbox(container).ports


def _bindings(requests: Sequence[PortRequest]) -> dict[str, list[PortBinding] | None]:
    found: dict[str, list[PortBinding] | None] = {}
    for request in requests:
        port = f"{request.container_port}/{request.protocol}"
        found[port] = [*(found.get(port) or []), PortBinding(host_ip=request.host_ip, host_port=request.host_port)]
    return found


# -- mounts ----------------------------------------------------------------------------------------


def mounts(container: Container, updated: HostConfig, changes: Changes, daemon_root: str) -> MountPlan:
    """Writes the new Binds, Mounts and Tmpfs into `updated`, a copy of the container's HostConfig. Raises
    `InvalidParameter`."""
    plan = MountPlan(list(container.mounts))
    updated.binds, updated.mounts = list(updated.binds or []), list(updated.mounts or [])
    updated.tmpfs = dict(updated.tmpfs or {})
    for path in dict.fromkeys(map(clean, changes.mount_rm or [])):
        _take(container, updated, plan, path)
    for mount in changes.mount_add or []:
        _add(updated, plan, mount, daemon_root)
    plan.points = in_mount_order(plan.points)
    plan.removed, plan.added = in_mount_order(plan.removed), in_mount_order(plan.added)
    updated.binds, updated.mounts = updated.binds or None, updated.mounts or None
    updated.tmpfs = updated.tmpfs or None
    return plan


def _take(container: Container, updated: HostConfig, plan: MountPlan, path: str) -> None:
    going = [point for point in plan.points if point.destination == path]
    assert updated.binds is not None and updated.mounts is not None and updated.tmpfs is not None
    memory = [key for key in updated.tmpfs if clean(key) == path]
    if not going and not memory:
        raise InvalidParameter(f"container {container.name} has no mount at {path}")
    plan.points = [point for point in plan.points if point.destination != path]
    # What --tmpfs covers was never mounted.
    plan.removed += [MountPoint(type="tmpfs", destination=path)] if memory else going
    updated.binds = [bind for bind in updated.binds if parse_bind(bind).destination != path]
    updated.mounts = [mount for mount in updated.mounts if clean(mount.target) != path]
    updated.tmpfs = {key: words for key, words in updated.tmpfs.items() if key not in memory}


def _add(updated: HostConfig, plan: MountPlan, mount: Mount, daemon_root: str) -> None:
    point = parse_mount(mount)
    assert updated.mounts is not None and updated.tmpfs is not None
    taken = {other.destination for other in plan.points} | {clean(path) for path in updated.tmpfs}
    if point.destination in taken:
        raise InvalidParameter(f"Duplicate mount point: {mount.target}")
    if point.destination == "/proc" or point.destination.startswith("/proc/"):
        raise InvalidParameter(f"invalid mount config: nothing can be mounted inside /proc: {mount.target}")
    guard_daemon_root(point, daemon_root)
    plan.points.append(point)
    plan.added.append(point)
    updated.mounts = [*updated.mounts, mount]
