"""Containers in Docker's JSON: one in full (`inspect`), one as a row (`list`), and what people read of its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sampan.api.timestamps import rfc3339
from sampan.api.versions import Version
from sampan.api.views import config as shown
from sampan.containers.context import LOG
from sampan.containers.logs import log_drivers
from sampan.containers.model import Container, Exec, Health, Status
from sampan.golang import human_duration

SHORT = 12


def status_text(container: Container, now: int) -> str:
    """`Status` of a row: "Up 5 seconds (healthy)". `now` is nanoseconds since the epoch."""
    state = container.state
    match state.status:
        case Status.RUNNING:
            health = f" ({health_text(state.health)})" if state.health is not None else ""
            return f"Up {human_duration(now - state.started_at)}{health}"
        case Status.PAUSED:
            return f"Up {human_duration(now - state.started_at)} (Paused)"
        case Status.RESTARTING:
            return f"Restarting ({state.exit_code}) {human_duration(now - state.finished_at)} ago"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.DEAD:
            return "Dead"
        case Status.CREATED:
            return "Created"
    if not state.finished_at:
        # Never ran: its start failed.
        return "Created"
    return f"Exited ({state.exit_code}) {human_duration(now - state.finished_at)} ago"


def health_text(health: Health) -> str:
    return "health: starting" if health.status == "starting" else health.status


def command(container: Container) -> str:
    """Path and arguments; those with a space are quoted."""
    return " ".join([container.path, *(f"'{one}'" if " " in one else one for one in container.args)])


def ports(container: Container) -> list[dict[str, Any]]:
    """The row's `Ports`: bindings in force, and ports that are only exposed, while it runs."""
    if not container.state.running:
        return []
    rows: list[dict[str, Any]] = []
    for port, bindings in _port_map(container).items():
        number, _, protocol = port.partition("/")
        if not bindings:
            rows.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
        for one in bindings or ():
            rows.append(
                {
                    "IP": one.host_ip,
                    "PrivatePort": int(number),
                    "PublicPort": int(one.host_port or 0),
                    "Type": protocol or "tcp",
                }
            )
    return rows


def _port_map(container: Container) -> dict[str, Any]:
    """port/protocol → bindings, or None where it is only exposed."""
    found: dict[str, Any] = dict(container.ports)
    mode = container.host_config.network_mode
    if mode != "host" and mode != "none" and not mode.startswith("container:"):
        for port in container.config.exposed_ports or {}:
            found.setdefault(port, None)
    return dict(sorted(found.items(), key=lambda item: (_number(item[0]), item[0])))


def _number(port: str) -> int:
    number = port.partition("/")[0]
    return int(number) if number.isdigit() else 0


def summary(
    container: Container,
    version: Version,
    now: int,
    image: str,
    sizes: tuple[int, int] | None = None,
    descriptor: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One row of `GET /containers/json`. `image` is the reference, or the id where the reference has moved on;
    `sizes` is (writable layer, whole root) when asked for."""
    host_config: dict[str, Any] = {"NetworkMode": container.host_config.network_mode}
    if version >= (1, 46) and container.host_config.annotations:
        host_config["Annotations"] = container.host_config.annotations
    networks = {}
    for name, endpoint in container.networking.items():
        one = shown.endpoint(endpoint, version >= (1, 48))
        # The row leaves out what only matters to the container itself.
        one["Links"] = one["Aliases"] = one["DriverOpts"] = one["DNSNames"] = None
        networks[name] = one
    row: dict[str, Any] = {
        "Id": container.id,
        "Names": [f"/{container.name}"] if container.name else [],
        "Image": image,
        "ImageID": container.image_id,
    }
    if version >= (1, 48) and descriptor is not None:
        row["ImageManifestDescriptor"] = descriptor
    row |= {
        "Command": command(container),
        "Created": container.created // 1_000_000_000,
        "Ports": ports(container),
    }
    if sizes is not None:
        # Go omits zeroes here.
        row |= {key: size for key, size in zip(("SizeRw", "SizeRootFs"), sizes, strict=True) if size}
    return row | {
        "Labels": container.config.labels or {},
        "State": container.state.status,
        "Status": status_text(container, now),
        "HostConfig": host_config,
        "NetworkSettings": {"Networks": networks},
        "Mounts": [shown.mount_point(mount) for mount in container.mounts],
    }


def state(container: Container) -> dict[str, Any]:
    value = container.state
    view: dict[str, Any] = {
        "Status": value.status,
        "Running": value.running,
        "Paused": value.status == Status.PAUSED,
        "Restarting": value.status == Status.RESTARTING,
        "OOMKilled": value.oom_killed,
        "Dead": value.status == Status.DEAD,
        "Pid": value.pid if value.running else 0,
        "ExitCode": value.exit_code,
        "Error": value.error,
        "StartedAt": rfc3339(value.started_at),
        "FinishedAt": rfc3339(value.finished_at),
    }
    if value.health is not None:
        view["Health"] = {
            "Status": value.health.status,
            "FailingStreak": value.health.failing_streak,
            "Log": [
                {
                    "Start": rfc3339(probe.start),
                    "End": rfc3339(probe.end),
                    "ExitCode": probe.exit_code,
                    "Output": probe.output,
                }
                for probe in value.health.log
            ],
        }
    return view


def network_settings(container: Container, version: Version, sandbox_key: str) -> dict[str, Any]:
    """`NetworkSettings`. `sandbox_key` is the path of the network namespace, "" when there is none."""
    default = container.networking.get("bridge")
    port_map = _port_map(container) if container.state.running else {}
    view: dict[str, Any] = {
        "Bridge": "",
        "SandboxID": container.id if sandbox_key else "",
        "SandboxKey": sandbox_key,
        "Ports": {port: None if bound is None else shown.bindings(bound) for port, bound in port_map.items()},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": default.endpoint_id if default else "",
        "Gateway": default.gateway if default else "",
        "GlobalIPv6Address": default.global_ipv6_address if default else "",
        "GlobalIPv6PrefixLen": default.global_ipv6_prefix_len if default else 0,
        "IPAddress": default.ip_address if default else "",
        "IPPrefixLen": default.ip_prefix_len if default else 0,
        "IPv6Gateway": default.ipv6_gateway if default else "",
        "MacAddress": default.mac_address if default else "",
    }
    networks = {}
    for name, endpoint in container.networking.items():
        one = shown.endpoint(endpoint, version >= (1, 48))
        if version < (1, 45) and name not in ("bridge", "host", "none", "default"):
            # Before 1.45 the short id and the host name counted as aliases.
            names = [*(endpoint.aliases or []), container.id[:SHORT], container.config.hostname]
            one["Aliases"] = list(dict.fromkeys(name for name in names if name))
        networks[name] = one
    view["Networks"] = networks
    return view


def inspect(
    container: Container,
    version: Version,
    *,
    files: Path,
    sandbox_key: str = "",
    sizes: tuple[int, int] | None = None,
    graph: dict[str, str] | None = None,
    descriptor: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """`GET /containers/{id}/json`. `files` is the directory of its resolv.conf, hostname and hosts; `graph` the
    overlay's directories."""
    view: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created),
        "Path": container.path,
        "Args": container.args,
        "State": state(container),
        "Image": container.image_id,
        "ResolvConfPath": f"{files}/resolv.conf",
        "HostnamePath": f"{files}/hostname",
        "HostsPath": f"{files}/hosts",
        "LogPath": f"{files}/{LOG}" if log_drivers.shown_path(container.host_config.log_config) else "",
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": container.platform.partition("/")[0] or "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": container.exec_ids or None,
        "HostConfig": shown.host_config(container.host_config),
        "GraphDriver": {"Data": graph, "Name": "overlay2"},
    }
    if version >= (1, 48) and descriptor is not None:
        view["ImageManifestDescriptor"] = descriptor
    if sizes is not None:
        view["SizeRw"], view["SizeRootFs"] = sizes
    return view | {
        "Mounts": [shown.mount_point(mount) for mount in container.mounts],
        "Config": shown.config(container.config),
        "NetworkSettings": network_settings(container, version, sandbox_key),
    }


def exec_inspect(value: Exec) -> dict[str, Any]:
    """`GET /exec/{id}/json`."""
    config = value.config
    command = config.cmd if isinstance(config.cmd, list) else []
    process: dict[str, Any] = {
        "tty": config.tty,
        "entrypoint": command[0] if command else "",
        "arguments": command[1:],
        "privileged": config.privileged,
    }
    if config.user:
        process["user"] = config.user
    return {
        "ID": value.id,
        "Running": value.running,
        "ExitCode": value.exit_code,
        "ProcessConfig": process,
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": not value.running and value.exit_code is not None,
        "ContainerID": value.container_id,
        "DetachKeys": "",
        "Pid": value.pid,
    }
