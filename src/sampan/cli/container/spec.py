"""The body of POST /containers/create from the flags of `run` and `create`, field by field as docker sends it.

Values stay in the shape docker gives them (null where Go has a nil slice, {} where it has an empty map), because
daemons tell "not given" from "empty" by it.
"""

from __future__ import annotations

from sampan.golang import quote_char

from ..errors import CliError
from .environment import as_map, read_pairs
from .limits import device, is_cdi
from .mounts import sort_volumes
from .networks import endpoints
from .publishing import add_exposed, parse_published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ..flags import Flags


def build(flags: Flags, image: str, command: Sequence[str], proxies: Mapping[str, str]) -> dict[str, Any]:
    """The whole body: Config with HostConfig and NetworkingConfig inside. `CliError` for what contradicts itself."""
    _refuse_foreign(flags)
    if flags.text("mac-address"):
        _check_mac(flags.text("mac-address"))
    swappiness = flags.number("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise CliError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    binds, volumes = sort_volumes(flags.many("volume"))
    exposed, bindings = parse_published(flags.many("publish"))
    add_exposed(exposed, flags.many("expose"))
    host = _host_config(flags, binds, bindings)
    body = _config(flags, image, command, volumes, exposed, proxies)
    if flags.yes("rm") and host["RestartPolicy"]["Name"] not in ("", "no"):
        raise CliError("conflicting options: cannot specify both --restart and --rm")
    if flags.changed("health-on-failure"):
        host["HealthOnFailure"] = flags.text("health-on-failure")  # only our engine knows it
    body["HostConfig"] = host
    body["NetworkingConfig"] = {"EndpointsConfig": endpoints(flags)}
    return body


def _refuse_foreign(flags: Flags) -> None:
    if flags.yes("use-api-socket"):
        raise CliError("--use-api-socket is not supported by sampan; mount the socket with -v")


def _check_mac(text: str) -> None:
    from .addresses import is_mac

    if not is_mac(text):
        raise CliError(f"{text} is not a valid mac address")


def _config(
    flags: Flags,
    image: str,
    command: Sequence[str],
    volumes: dict[str, Any],
    exposed: dict[str, Any],
    proxies: Mapping[str, str],
) -> dict[str, Any]:
    attached = flags.many("attach")
    stdin = flags.yes("interactive")
    attach_stdin = "stdin" in attached or stdin
    environment = read_pairs(flags.many("env-file"), _environment(flags.many("env"), proxies), lookup=True)
    labels = read_pairs(flags.many("label-file"), flags.many("label"), lookup=False)
    entrypoint = [flags.text("entrypoint")] if flags.changed("entrypoint") else None
    body: dict[str, Any] = {
        "Hostname": flags.text("hostname"),
        "Domainname": flags.text("domainname"),
        "User": flags.text("user"),
        "AttachStdin": attach_stdin,
        "AttachStdout": "stdout" in attached or not attached,
        "AttachStderr": "stderr" in attached or not attached,
        "Tty": flags.yes("tty"),
        "OpenStdin": stdin,
        # closes the container's stdin when we go away
        "StdinOnce": stdin and attach_stdin,
        "Env": environment or None,
        "Cmd": list(command) or None,
        "Image": image,
        "Volumes": volumes,
        "WorkingDir": flags.text("workdir"),
        "Entrypoint": entrypoint,
        "OnBuild": None,
        "Labels": as_map(labels),
    }
    if exposed:
        body["ExposedPorts"] = exposed
    health = _health(flags)
    if health is not None:
        body["Healthcheck"] = health
    if flags.text("stop-signal"):
        body["StopSignal"] = flags.text("stop-signal")
    if flags.changed("stop-timeout"):
        body["StopTimeout"] = flags.number("stop-timeout")
    return body


def _environment(given: Sequence[str], proxies: Mapping[str, str]) -> list[str]:
    """The `-e` values, one a name, and the configured proxies that none of them overrides."""
    found: dict[str, str] = {}
    for pair in given:
        found[pair.partition("=")[0]] = pair
    for name, value in proxies.items():
        found.setdefault(name, f"{name}={value}")
    return list(found.values())


def _health(flags: Flags) -> dict[str, Any] | None:
    durations = {
        "Interval": "health-interval",
        "Timeout": "health-timeout",
        "StartPeriod": "health-start-period",
        "StartInterval": "health-start-interval",
        "Retries": "health-retries",
    }
    given = {field: flags.number(name) for field, name in durations.items() if flags.number(name)}
    command = flags.text("health-cmd")
    if flags.yes("no-healthcheck"):
        if command or given:
            raise CliError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not command and not given:
        return None
    for field in ("Interval", "Timeout", "Retries", "StartPeriod", "StartInterval"):
        if given.get(field, 0) < 0:
            raise CliError(f"--{durations[field]} cannot be negative")
    return ({"Test": ["CMD-SHELL", command]} if command else {}) | given


def _capabilities(names: Sequence[str]) -> list[str] | None:
    """Spelled CAP_…, sorted, each once."""
    return sorted({_capability(name) for name in names}) or None


def _capability(name: str) -> str:
    name = name.strip().upper()
    return name if name in ("ALL", "RESET") or name.startswith("CAP_") else f"CAP_{name}"


def _mode(flags: Flags, name: str, valid: Callable[[str], bool], kind: str) -> str:
    value = flags.text(name)
    if not valid(value):
        raise CliError(f"--{name}: invalid {kind} mode")
    return value


def _is_pid_mode(value: str) -> bool:
    kind, colon, rest = value.partition(":")
    return value in ("", "host") or (kind == "container" and bool(colon) and bool(rest))


def _host_config(flags: Flags, binds: list[str], bindings: dict[str, Any]) -> dict[str, Any]:
    networks = flags.many("network")
    security, masked, read_only = _security(flags.many("security-opt"))
    host: dict[str, Any] = {
        "Binds": binds or None,
        "ContainerIDFile": flags.text("cidfile"),
        "LogConfig": {"Type": flags.text("log-driver"), "Config": _log_options(flags)},
        "NetworkMode": networks[0].target if networks else "default",
        "PortBindings": bindings,
        "RestartPolicy": restart_policy(flags.text("restart")),
        "AutoRemove": flags.yes("rm"),
        "VolumeDriver": flags.text("volume-driver"),
        "VolumesFrom": flags.many("volumes-from") or None,
        "ConsoleSize": [0, 0],
        "CapAdd": _capabilities(flags.many("cap-add")),
        "CapDrop": _capabilities(flags.many("cap-drop")),
        "CgroupnsMode": _mode(flags, "cgroupns", lambda value: value in ("", "host", "private"), "CGROUP"),
        "Dns": flags.many("dns"),
        "DnsOptions": flags.many("dns-option"),
        "DnsSearch": flags.many("dns-search"),
        "ExtraHosts": flags.many("add-host") or None,
        "GroupAdd": flags.many("group-add") or None,
        "IpcMode": flags.text("ipc"),
        "Cgroup": "",
        "Links": flags.many("link") or None,
        "OomScoreAdj": flags.number("oom-score-adj"),
        "PidMode": _mode(flags, "pid", _is_pid_mode, "PID"),
        "Privileged": flags.yes("privileged"),
        "PublishAllPorts": flags.yes("publish-all"),
        "ReadonlyRootfs": flags.yes("read-only"),
        "SecurityOpt": security or None,
        "UTSMode": _mode(flags, "uts", lambda value: value in ("", "host"), "UTS"),
        "UsernsMode": _mode(flags, "userns", lambda value: value in ("", "host"), "USER"),
        "ShmSize": flags.number("shm-size"),
        "Isolation": flags.text("isolation"),
        "MaskedPaths": masked,
        "ReadonlyPaths": read_only,
    }
    host |= _resources(flags)
    host |= _when_given(flags)
    return host


def _when_given(flags: Flags) -> dict[str, Any]:
    """The fields that Go leaves out when they are empty."""
    tmpfs = {path: options for path, _, options in (text.partition(":") for text in flags.many("tmpfs"))}
    found: dict[str, Any] = {
        "StorageOpt": _storage_options(flags.many("storage-opt")),
        "Tmpfs": tmpfs,
        "Sysctls": as_map(flags.many("sysctl")),
        "Annotations": as_map(flags.many("annotation")),
        "Runtime": flags.text("runtime"),
        "Mounts": flags.many("mount"),
    }
    found = {name: value for name, value in found.items() if value}
    if flags.changed("init"):
        found["Init"] = flags.yes("init")
    return found


def _resources(flags: Flags) -> dict[str, Any]:
    devices = flags.many("device")
    requests: list[Any] = flags.many("gpus")
    cdi = [name for name in devices if is_cdi(name)]
    if cdi:
        requests.append({"Driver": "cdi", "Count": 0, "DeviceIDs": cdi, "Capabilities": None, "Options": None})
    limits = {limit["Name"]: limit for limit in flags.many("ulimit")}
    found: dict[str, Any] = {
        "CpuShares": flags.number("cpu-shares"),
        "Memory": flags.number("memory"),
        "NanoCpus": flags.number("cpus"),
        "CgroupParent": flags.text("cgroup-parent"),
        "BlkioWeight": flags.number("blkio-weight"),
        "BlkioWeightDevice": flags.many("blkio-weight-device"),
        "BlkioDeviceReadBps": flags.many("device-read-bps"),
        "BlkioDeviceWriteBps": flags.many("device-write-bps"),
        "BlkioDeviceReadIOps": flags.many("device-read-iops"),
        "BlkioDeviceWriteIOps": flags.many("device-write-iops"),
        "CpuPeriod": flags.number("cpu-period"),
        "CpuQuota": flags.number("cpu-quota"),
        "CpuRealtimePeriod": flags.number("cpu-rt-period"),
        "CpuRealtimeRuntime": flags.number("cpu-rt-runtime"),
        "CpusetCpus": flags.text("cpuset-cpus"),
        "CpusetMems": flags.text("cpuset-mems"),
        "Devices": [device(name) for name in devices if name not in cdi],
        "DeviceCgroupRules": flags.many("device-cgroup-rule") or None,
        "DeviceRequests": requests or None,
        "MemoryReservation": flags.number("memory-reservation"),
        "MemorySwap": flags.number("memory-swap"),
        "MemorySwappiness": flags.number("memory-swappiness"),
        "OomKillDisable": flags.yes("oom-kill-disable"),
        "PidsLimit": flags.number("pids-limit"),
        "Ulimits": [limits[name] for name in sorted(limits)],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }
    return found


def restart_policy(text: str) -> dict[str, Any]:
    """`on-failure:3` as a RestartPolicy."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise CliError("invalid restart policy format: no policy provided before colon")
    number = 0
    if count:
        try:
            number = int(count)
        except ValueError:
            raise CliError("invalid restart policy format: maximum retry count must be an integer") from None
    return {"Name": name, "MaximumRetryCount": number}


def _log_options(flags: Flags) -> dict[str, str]:
    given = flags.many("log-opt")
    if flags.text("log-driver") == "none" and given:
        raise CliError("invalid logging opts for driver none")
    return as_map(given)


def _storage_options(given: Sequence[str]) -> dict[str, str]:
    if any("=" not in option for option in given):
        raise CliError("invalid storage option")
    return as_map(given)


def _security(given: Sequence[str]) -> tuple[list[str], list[str] | None, list[str] | None]:
    """(options, MaskedPaths, ReadonlyPaths): seccomp profiles are read here, `systempaths` never reaches the daemon."""
    found: list[str] = []
    open_paths = False
    for option in given:
        name, separator, value = option.partition("=")
        if not separator and name != "no-new-privileges":
            name, separator, value = option.partition(":")
        if (not separator or not value) and name != "no-new-privileges":
            raise CliError(f'Invalid --security-opt: "{option}"')
        if option == "systempaths=unconfined":
            open_paths = True
        elif name == "seccomp" and value not in ("builtin", "unconfined"):
            found.append(f"seccomp={_profile(value)}")
        else:
            found.append(option)
    return (found, [], []) if open_paths else (found, None, None)


def _profile(path: str) -> str:
    """A seccomp profile's JSON on one line."""
    import json

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        reason = f"open {path}: {(error.strerror or '').lower()}"
        raise CliError(f"opening seccomp profile ({path}) failed: {reason}") from None
    try:
        return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    except json.JSONDecodeError as error:
        found = text[error.pos : error.pos + 1]
        reason = f"invalid character {quote_char(found)} looking for beginning of value"
        if not found:
            reason = "unexpected end of JSON input"
        raise CliError(f"compacting json for seccomp profile ({path}) failed: {reason}") from None
