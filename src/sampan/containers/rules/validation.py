"""What `POST /containers/create` may ask for, in Docker's words. Pure.

Limits are in `resources`, mounts in `mounts`, log drivers in `log_drivers`.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Mapping

from sampan.containers.model import Config, HealthcheckConfig, HostConfig, PortBinding, RestartPolicy
from sampan.containers.rules import signals
from sampan.errors import InvalidParameter, SampanError

_MAX_HOSTNAME = 64
"""HOST_NAME_MAX of include/uapi/linux/limits.h."""
_RLIMITS = frozenset(
    {
        *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"),
        *("rttime", "sigpending", "stack"),
    }
)
_PORT = re.compile(r"(?P<low>\d{1,5})(-(?P<high>\d{1,5}))?\Z")


def check_config(config: Config) -> None:
    """Normalises `working_dir`. Raises `InvalidParameter`."""
    if config.working_dir:
        if not config.working_dir.startswith("/"):
            raise InvalidParameter(
                f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
            )
        config.working_dir = "/" + posixpath.normpath(config.working_dir).lstrip("/")
    if config.stop_signal:
        signals.parse(config.stop_signal)
    for entry in config.env or []:
        if not entry.partition("=")[0]:
            raise InvalidParameter(f"invalid environment variable: {entry}")
        if "\0" in entry:
            raise InvalidParameter("invalid environment variable: it contains a null byte")
    if len(config.hostname.encode()) > _MAX_HOSTNAME:
        raise InvalidParameter(f'hostname "{config.hostname}" is too long (maximum {_MAX_HOSTNAME} bytes)')
    for port in config.exposed_ports or {}:
        parse_port(port)
    _check_healthcheck(config.healthcheck)


def _check_healthcheck(check: HealthcheckConfig | None) -> None:
    if check is None:
        return
    for name in ("interval", "timeout", "start_period", "start_interval"):
        if getattr(check, name) and getattr(check, name) < 1_000_000:
            spelled = name.title().replace("_", "")
            raise InvalidParameter(f"{spelled} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidParameter(f"Unknown healthcheck type '{check.test[0]}' (expected 'CMD')")


def check_host_config(host: HostConfig, config: Config) -> list[str]:
    """Warnings. Raises `InvalidParameter`."""
    warnings = []
    policy = host.restart_policy or RestartPolicy()
    if host.auto_remove and policy.name not in ("", "no"):
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")
    check_restart_policy(policy)
    if host.health_on_failure not in ("", "none", "kill", "restart", "stop"):
        raise InvalidParameter(
            f"invalid health-on-failure action '{host.health_on_failure}'; "
            "use one of 'none', 'kill', 'restart', or 'stop'"
        )
    for extra in host.extra_hosts or []:
        _check_extra_host(extra)
    check_port_bindings(host.port_bindings or {})
    if host.isolation.lower() not in ("", "default"):
        raise InvalidParameter(f"invalid isolation '{host.isolation}' on linux")
    if "" in (host.annotations or {}):
        raise InvalidParameter("invalid Annotations: the empty string is not permitted as an annotation key")
    for limit in host.ulimits or []:
        if limit.name not in _RLIMITS:
            raise InvalidParameter(f"invalid ulimit type: {limit.name}")
        if limit.soft > limit.hard != -1:
            raise InvalidParameter(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )
    if host.storage_opt:
        if unknown := next((name for name in host.storage_opt if name.lower() != "size"), None):
            raise InvalidParameter(f"Unknown option {unknown}")
        raise SampanError("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    if host.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidParameter(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    _check_modes(host, config)
    if host.network_mode == "host" and host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    for device in host.devices or []:
        if device.cgroup_permissions.strip("rwm"):
            raise InvalidParameter(f"invalid device mode: {device.cgroup_permissions}")
    return warnings


def check_restart_policy(policy: RestartPolicy) -> None:
    match policy.name:
        case "":
            return
        case "always" | "unless-stopped" | "no":
            if policy.maximum_retry_count:
                negative = " and cannot be negative" if policy.maximum_retry_count < 0 else ""
                raise InvalidParameter(
                    f"invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
                )
        case "on-failure":
            if policy.maximum_retry_count < 0:
                raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
        case _:
            raise InvalidParameter(
                f"invalid restart policy: unknown policy '{policy.name}'; "
                "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )


def _check_extra_host(word: str) -> None:
    name, colon, address = word.partition(":")
    if not colon or not name:
        raise InvalidParameter(f'bad format for add-host: "{word}"')
    if address == "host-gateway":
        return
    try:
        ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidParameter(f'invalid IP address in add-host: "{address}"') from None


def parse_port(word: str) -> tuple[int, str]:
    """(80, "tcp") of `80/tcp` or `80`. Raises `InvalidParameter`."""
    number, slash, protocol = word.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise InvalidParameter(f'invalid port specification: "{word}"')
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidParameter(f"invalid proto: {protocol}")
    return int(number), protocol


def check_port_bindings(given: Mapping[str, list[PortBinding] | None]) -> None:
    """Raises `InvalidParameter`."""
    for port, bindings in given.items():
        parse_port(port)
        for binding in bindings or []:
            if binding.host_port:
                check_host_port(binding.host_port)
            if binding.host_ip:
                try:
                    ipaddress.ip_address(binding.host_ip)
                except ValueError:
                    raise InvalidParameter(f"invalid IP address: {binding.host_ip}") from None


def check_host_port(word: str) -> tuple[int, int]:
    """(first, last) of a port or a range. Raises `InvalidParameter`."""
    match = _PORT.match(word.partition("/")[0])
    low, high = (int(match["low"]), int(match["high"] or match["low"])) if match else (1, 0)
    if low > high or high > 65535:
        raise InvalidParameter(f'invalid port specification: "{word}"')
    return low, high


def _check_modes(host: HostConfig, config: Config) -> None:
    """Namespaces shared with the host or another container, and what contradicts them."""
    for mode, kind, allowed in (
        (host.ipc_mode, "IPC", ("", "none", "private", "shareable", "host")),
        (host.pid_mode, "PID", ("", "host")),
        (host.uts_mode, "UTS", ("", "host")),
        (host.cgroupns_mode, "cgroup namespace", ("", "private", "host")),
        (host.userns_mode, "user namespace", ("", "host")),
    ):
        shareable = kind in ("IPC", "PID") and mode.startswith("container:") and len(mode) > len("container:")
        if mode not in allowed and not shareable:
            raise InvalidParameter(f"invalid {kind} mode: {mode}")
    if host.uts_mode == "host" and config.hostname:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if host.network_mode == "host" and host.links:
        raise InvalidParameter(
            "conflicting options: host type networking can't be used with links. "
            "This would result in undefined behavior"
        )
    if host.network_mode == "container" or host.network_mode.startswith("container:"):
        _check_container_network(host, config)


def _check_container_network(host: HostConfig, config: Config) -> None:
    if host.network_mode in ("container", "container:"):
        raise InvalidParameter("invalid network mode: invalid container format container:<name|id>")
    for wrong, message in (
        (config.hostname, "hostname and the network mode"),
        (host.links, "container type network can't be used with links. This would result in undefined behavior"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (config.mac_address, "mac-address and the network mode"),
        (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
        (config.exposed_ports, "port exposing and the container type network mode"),
    ):
        if wrong:
            raise InvalidParameter(f"conflicting options: {message}")
