"""What a container uses, read from its cgroup: the same figures from v1 and v2 (`GET /containers/{id}/stats`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sampan.runtime import cgroups

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNLIMITED = 1 << 62
"""v1 shows "no limit" as the largest multiple of a page."""


@dataclass(slots=True)
class CPU:
    """Nanoseconds; `per_cpu` is empty on v2."""

    total: int = 0
    user: int = 0
    system: int = 0
    per_cpu: list[int] = field(default_factory=list)
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


@dataclass(slots=True)
class Memory:
    """Bytes. `limit` is None without one; `peak` and `failures` are None where the kernel does not count them."""

    usage: int = 0
    limit: int | None = None
    peak: int | None = None
    failures: int | None = None
    details: dict[str, int] = field(default_factory=dict)
    """memory.stat as it is."""


@dataclass(frozen=True, slots=True)
class BlockIO:
    """`operation` is read, write… in lower case; `value` bytes or operations."""

    major: int
    minor: int
    operation: str
    value: int


@dataclass(slots=True)
class Usage:
    cpu: CPU = field(default_factory=CPU)
    memory: Memory = field(default_factory=Memory)
    pids: int = 0
    pids_limit: int | None = None
    io_bytes: list[BlockIO] = field(default_factory=list)
    io_operations: list[BlockIO] = field(default_factory=list)


def read(cgroup: str) -> Usage:
    """Blocks for some twenty small reads of kernel memory. What the host does not count stays 0; a cgroup that is
    gone is all 0."""
    unified = cgroups.mode() is cgroups.Mode.V2

    def place(controller: str) -> Path:
        try:
            return cgroups.directory(cgroup, controller)
        except OSError:
            return Path("/nonexistent")

    usage = Usage(
        cpu=_cpu_v2(place("cpu")) if unified else _cpu_v1(place("cpuacct"), place("cpu")),
        memory=_memory_v2(place("memory")) if unified else _memory_v1(place("memory")),
        pids=_number(place("pids") / "pids.current") or 0,
        pids_limit=_number(place("pids") / "pids.max"),
    )
    if unified:
        _io_v2(place("io"), usage)
    else:
        usage.io_bytes = _io_v1(place("blkio"), "io_service_bytes_recursive")
        usage.io_operations = _io_v1(place("blkio"), "io_serviced_recursive")
    return usage


def _cpu_v1(usage: Path, quota: Path) -> CPU:
    ticks, throttling = _table(usage / "cpuacct.stat"), _table(quota / "cpu.stat")
    return CPU(
        total=_number(usage / "cpuacct.usage") or 0,
        user=ticks.get("user", 0) * _TICK,
        system=ticks.get("system", 0) * _TICK,
        per_cpu=[int(word) for word in _text(usage / "cpuacct.usage_percpu").split()],
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_time=throttling.get("throttled_time", 0),
    )


def _cpu_v2(place: Path) -> CPU:
    table = _table(place / "cpu.stat")
    return CPU(
        total=table.get("usage_usec", 0) * 1000,
        user=table.get("user_usec", 0) * 1000,
        system=table.get("system_usec", 0) * 1000,
        periods=table.get("nr_periods", 0),
        throttled_periods=table.get("nr_throttled", 0),
        throttled_time=table.get("throttled_usec", 0) * 1000,
    )


def _memory_v1(place: Path) -> Memory:
    limit = _number(place / "memory.limit_in_bytes")
    return Memory(
        usage=_number(place / "memory.usage_in_bytes") or 0,
        limit=None if limit is None or limit >= _UNLIMITED else limit,
        peak=_number(place / "memory.max_usage_in_bytes"),
        failures=_number(place / "memory.failcnt"),
        details=_table(place / "memory.stat"),
    )


def _memory_v2(place: Path) -> Memory:
    return Memory(
        usage=_number(place / "memory.current") or 0,
        limit=_number(place / "memory.max"),
        peak=_number(place / "memory.peak"),  # Linux 5.19
        failures=_table(place / "memory.events").get("oom"),
        details=_table(place / "memory.stat"),
    )


def _io_v1(place: Path, name: str) -> list[BlockIO]:
    """CFQ's or BFQ's counters, else those of the throttling layer, which counts under every scheduler."""
    for prefix in ("blkio.", "blkio.bfq.", "blkio.throttle."):
        if found := list(_io_lines(_text(place / (prefix + name)))):
            return found
    return []


def _io_lines(text: str) -> Iterator[BlockIO]:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:  # not the line "Total 123"
            major, _, minor = words[0].partition(":")
            yield BlockIO(int(major), int(minor), words[1].lower(), int(words[2]))


def _io_v2(place: Path, usage: Usage) -> None:
    for line in _text(place / "io.stat").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        counts = dict(pair.split("=", 1) for pair in pairs)
        for rows, read_key, write_key in ((usage.io_bytes, "rbytes", "wbytes"), (usage.io_operations, "rios", "wios")):
            for operation, key in (("read", read_key), ("write", write_key)):
                rows.append(BlockIO(int(major), int(minor), operation, int(counts.get(key, "0"))))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """None for "max" and for what is not there."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
