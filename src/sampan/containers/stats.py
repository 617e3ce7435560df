"""`docker stats`: what a container uses, as `GET /containers/{id}/stats` spells it.

Read from the cgroup (v1 and v2 have different files, and Docker answers with different fields for each) and from the
network namespace's interfaces. `read` and `preread` are nanoseconds since the epoch here, 0 for never: the api writes
times.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sampan.runtime import cgroups

Usage = dict[str, Any]

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_NO_LIMIT = 1 << 62
_BLKIO = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


def empty(id: str, name: str) -> Usage:
    """For a container that does not run."""
    return {
        "read": 0,
        "preread": 0,
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(_BLKIO),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _no_cpu(),
        "precpu_stats": _no_cpu(),
        "memory_stats": {},
        "name": f"/{name}",
        "id": id,
    }


def _no_cpu() -> dict[str, Any]:
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def sample(id: str, name: str, cgroup: str, pid: int | None) -> Usage:
    """Now. `pid` is a process in the container's network namespace; None when it has none of its own. Blocks (a dozen
    small reads). A file that is missing (no such controller) leaves its numbers out."""
    usage = empty(id, name)
    usage["read"] = time.time_ns()
    (_sample_v2 if cgroups.mode() is cgroups.Mode.V2 else _sample_v1)(usage, cgroup)
    usage["cpu_stats"]["system_cpu_usage"], usage["cpu_stats"]["online_cpus"] = _host_cpu()
    if limit := usage["memory_stats"].get("limit"):
        usage["memory_stats"]["limit"] = min(limit, _host_memory())
    if pid is not None and (interfaces := _networks(pid)):
        usage["networks"] = interfaces
    return usage


# -- cgroup v1 ---------------------------------------------------------------------------------------


def _sample_v1(usage: Usage, cgroup: str) -> None:
    def read(controller: str, file: str) -> str:
        try:
            return (cgroups.directory(cgroup, controller) / file).read_text()
        except OSError:
            return ""

    cpu = usage["cpu_stats"]
    cpu["cpu_usage"] = {
        "total_usage": _number(read("cpuacct", "cpuacct.usage")),
        "percpu_usage": [int(word) for word in read("cpuacct", "cpuacct.usage_percpu").split()],
        "usage_in_kernelmode": _pairs(read("cpuacct", "cpuacct.stat")).get("system", 0) * _TICK,
        "usage_in_usermode": _pairs(read("cpuacct", "cpuacct.stat")).get("user", 0) * _TICK,
    }
    throttled = _pairs(read("cpu", "cpu.stat"))
    cpu["throttling_data"] = {
        "periods": throttled.get("nr_periods", 0),
        "throttled_periods": throttled.get("nr_throttled", 0),
        "throttled_time": throttled.get("throttled_time", 0),
    }
    usage["pids_stats"] = _pids(lambda file: read("pids", file))
    usage["memory_stats"] = _present(
        usage=_number(read("memory", "memory.usage_in_bytes")),
        max_usage=_number(read("memory", "memory.max_usage_in_bytes")),
        stats=_pairs(read("memory", "memory.stat")),
        failcnt=_number(read("memory", "memory.failcnt")),
        limit=_number(read("memory", "memory.limit_in_bytes")),
    )
    usage["blkio_stats"] = {key: [] for key in _BLKIO}
    for key, files in (
        ("io_service_bytes_recursive", ("io_service_bytes_recursive", "throttle.io_service_bytes_recursive")),
        ("io_serviced_recursive", ("io_serviced_recursive", "throttle.io_serviced_recursive")),
    ):
        for file in files:  # the first only with the CFQ or BFQ scheduler
            if rows := list(blkio_rows(read("blkio", f"blkio.{file}"))):
                usage["blkio_stats"][key] = rows
                break


def blkio_rows(text: str) -> Iterator[dict[str, Any]]:
    """Lines `8:0 Read 4096`; the summary `Total 4096` names no device."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            yield {"major": int(major), "minor": int(minor), "op": words[1], "value": int(words[2])}


# -- cgroup v2 ---------------------------------------------------------------------------------------


def _sample_v2(usage: Usage, cgroup: str) -> None:
    place = cgroups.directory(cgroup, "")

    def read(file: str) -> str:
        try:
            return (place / file).read_text()
        except OSError:
            return ""

    times = _pairs(read("cpu.stat"))
    usage["cpu_stats"] = {
        "cpu_usage": {
            "total_usage": times.get("usage_usec", 0) * 1000,
            "usage_in_kernelmode": times.get("system_usec", 0) * 1000,
            "usage_in_usermode": times.get("user_usec", 0) * 1000,
        },
        "throttling_data": {
            "periods": times.get("nr_periods", 0),
            "throttled_periods": times.get("nr_throttled", 0),
            "throttled_time": times.get("throttled_usec", 0) * 1000,
        },
    }
    usage["pids_stats"] = _pids(read)
    usage["memory_stats"] = _present(
        usage=_number(read("memory.current")),
        stats=_pairs(read("memory.stat")),
        failcnt=_pairs(read("memory.events")).get("oom", 0),
        limit=_number(read("memory.max"), _NO_LIMIT),
    )
    usage["blkio_stats"]["io_service_bytes_recursive"] = list(io_rows(read("io.stat")))


def io_rows(text: str) -> Iterator[dict[str, Any]]:
    """Lines `8:0 rbytes=1 wbytes=2 rios=3 …`; Docker hands out the bytes only."""
    for line in text.splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        values = dict(word.split("=", 1) for word in words if "=" in word)
        for key, operation in (("rbytes", "read"), ("wbytes", "write")):
            if key in values:
                yield {"major": int(major), "minor": int(minor), "op": operation, "value": int(values[key])}


# -- both --------------------------------------------------------------------------------------------


def _pids(read: Callable[[str], str]) -> dict[str, int]:
    return _present(current=_number(read("pids.current")), limit=_number(read("pids.max")))


def _present(**values: Any) -> dict[str, Any]:
    """Without zeros and empties: Go's omitempty."""
    return {key: value for key, value in values.items() if value}


def _number(text: str, without: int = 0) -> int:
    """`max` (no limit) or a missing file give `without`."""
    text = text.strip()
    return int(text) if text.isdecimal() else without if text else 0


def _pairs(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdecimal():
            found[key] = int(value)
    return found


def _host_cpu() -> tuple[int, int]:
    """(nanoseconds all CPUs have run, how many are online), from proc_stat(5)."""
    lines = Path("/proc/stat").read_text().splitlines()
    total = sum(int(word) for word in lines[0].split()[1:8]) * _TICK
    return total, sum(1 for line in lines[1:] if line.startswith("cpu"))


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _networks(pid: int) -> dict[str, dict[str, int]]:
    try:
        return networks(Path(f"/proc/{pid}/net/dev").read_text())
    except OSError:
        return {}


def networks(text: str) -> dict[str, dict[str, int]]:
    """/proc/PID/net/dev without the loopback: eight counters received, eight sent."""
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        name, numbers = name.strip(), [int(word) for word in rest.split()]
        if name == "lo" or len(numbers) < 16:
            continue
        found[name] = {
            f"{way}_{counter}": numbers[start + place]
            for way, start in (("rx", 0), ("tx", 8))
            for place, counter in enumerate(("bytes", "packets", "errors", "dropped"))
        }
    return found
