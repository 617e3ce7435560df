"""`sampan update`: new limits, a new restart policy, other ports and mounts for existing containers."""

from __future__ import annotations

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..http import quote
from ..values import swap_size
from .mounts import mount
from .publishing import parse_published
from .spec import restart_policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _update(cli: Cli, flags: Flags, names: list[str]) -> int:
    if not any(flags.changed(flag.name) for flag in _FLAGS):
        raise CliError("you must provide one or more flags when using this command")
    body = _body(flags)
    if given := [f"--{name}" for name in _LIVE if flags.changed(name)]:
        cli.client.require_sampan(", ".join(given))
    warnings: list[str] = []
    problems: list[str] = []
    for name in names:
        try:
            answer = cli.client.post(f"/containers/{quote(name)}/update", None, body)
        except ApiError as error:
            problems.append(error.message)
            continue
        cli.out(f"{name}\n")
        warnings.extend((answer or {}).get("Warnings") or ())
    if warnings:
        cli.out("\n".join(warnings) + "\n")
    if problems:
        raise CliError("\n".join(problems))
    return 0


def _body(flags: Flags) -> dict[str, Any]:
    numbers = {
        "CpuShares": "cpu-shares",
        "Memory": "memory",
        "NanoCpus": "cpus",
        "BlkioWeight": "blkio-weight",
        "CpuPeriod": "cpu-period",
        "CpuQuota": "cpu-quota",
        "CpuRealtimePeriod": "cpu-rt-period",
        "CpuRealtimeRuntime": "cpu-rt-runtime",
        "MemoryReservation": "memory-reservation",
        "MemorySwap": "memory-swap",
    }
    body: dict[str, Any] = {field: flags.number(name) for field, name in numbers.items()}
    body["CpusetCpus"] = flags.text("cpuset-cpus")
    body["CpusetMems"] = flags.text("cpuset-mems")
    body |= _NOT_UPDATED
    body["PidsLimit"] = flags.number("pids-limit") if flags.changed("pids-limit") else None
    given = flags.text("restart")
    body["RestartPolicy"] = restart_policy(given) if given else {"Name": "", "MaximumRetryCount": 0}
    return body | _live(flags)


def _live(flags: Flags) -> dict[str, Any]:
    """Ports and mounts that come and go: fields that only Sampan's engine knows, so they are sent only when given."""
    found: dict[str, Any] = {}
    for field, flag in (("PublishAdd", "publish-add"), ("PublishRm", "publish-rm")):
        if flags.many(flag):
            found[field] = parse_published(flags.many(flag))[1]
    if flags.many("mount-add"):
        found["MountAdd"] = flags.many("mount-add")
    if flags.many("mount-rm"):
        found["MountRm"] = flags.many("mount-rm")
    return found


_LIVE = ("publish-add", "publish-rm", "mount-add", "mount-rm")

# docker sends the whole struct; null and zero leave a limit as it is
_NOT_UPDATED: dict[str, Any] = {
    "CgroupParent": "",
    "BlkioWeightDevice": None,
    "BlkioDeviceReadBps": None,
    "BlkioDeviceWriteBps": None,
    "BlkioDeviceReadIOps": None,
    "BlkioDeviceWriteIOps": None,
    "Devices": None,
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemorySwappiness": None,
    "OomKillDisable": None,
    "Ulimits": None,
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
}

_FLAGS = (
    Flag(
        "blkio-weight",
        "uint16",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
    ),
    Flag("cpu-period", "int", "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag("cpu-quota", "int", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag("cpu-rt-period", "int", "Limit the CPU real-time period in microseconds"),
    Flag("cpu-rt-runtime", "int", "Limit the CPU real-time runtime in microseconds"),
    Flag("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", "string", "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("cpu-shares", "int", "CPU shares (relative weight)", short="c"),
    Flag("memory", "bytes", "Memory limit", short="m"),
    Flag("memory-reservation", "bytes", "Memory soft limit"),
    Flag(
        "memory-swap",
        "bytes",
        "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
        parse=swap_size,
    ),
    Flag("restart", "string", "Restart policy to apply when a container exits"),
    Flag("pids-limit", "int", "Tune container pids limit (set -1 for unlimited)"),
    Flag("cpus", "decimal", "Number of CPUs"),
    Flag("publish-add", "list", "Publish a port of the container to the host, also while it runs"),
    Flag("publish-rm", "list", "Publish a port no longer, also while the container runs"),
    Flag("mount-add", "mount", "Attach a filesystem mount to the container, also while it runs", parse=mount),
    Flag("mount-rm", "list", "Take away the mount at a path in the container, also while it runs"),
)

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _update,
    flags=_FLAGS,
    least=1,
    aliases=("container update", "update"),
)
