"""Usage figures from cgroup files of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.runtime import cgroups, stats
from sampan.runtime.stats import BlockIO

V1 = {
    "cpuacct.usage": "5000",
    "cpuacct.usage_percpu": "2000 3000 ",
    "cpuacct.stat": "user 2\nsystem 1",
    "cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 700",
    "memory.usage_in_bytes": "4096",
    "memory.limit_in_bytes": "9223372036854771712",
    "memory.max_usage_in_bytes": "8192",
    "memory.failcnt": "1",
    "memory.stat": "cache 1\nrss 2",
    "pids.current": "3",
    "pids.max": "max",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\nTotal 30",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\nTotal 3",
}
V2 = {
    "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 10\nnr_throttled 3\nthrottled_usec 7",
    "memory.current": "4096",
    "memory.max": "65536",
    "memory.stat": "anon 1\nfile 2",
    "memory.events": "low 0\noom 4\noom_kill 4",
    "pids.current": "3",
    "pids.max": "50",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0",
}


def read(place: Path, files: dict[str, str], mode: cgroups.Mode, monkeypatch: pytest.MonkeyPatch) -> stats.Usage:
    for name, text in files.items():
        (place / name).write_text(text + "\n")
    monkeypatch.setattr(cgroups, "mode", lambda: mode)
    monkeypatch.setattr(cgroups, "directory", lambda cgroup, controller: place)
    return stats.read("/x")


IO = ([BlockIO(8, 0, "read", 10), BlockIO(8, 0, "write", 20)], [BlockIO(8, 0, "read", 1), BlockIO(8, 0, "write", 2)])


def test_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = read(tmp_path, V1, cgroups.Mode.HYBRID, monkeypatch)
    assert (usage.cpu.total, usage.cpu.per_cpu, usage.cpu.user) == (5000, [2000, 3000], 2 * usage.cpu.system)
    assert (usage.cpu.periods, usage.cpu.throttled_periods, usage.cpu.throttled_time) == (10, 3, 700)
    assert (usage.memory.usage, usage.memory.limit, usage.memory.peak, usage.memory.failures) == (4096, None, 8192, 1)
    assert (usage.memory.details, usage.pids, usage.pids_limit) == ({"cache": 1, "rss": 2}, 3, None)
    assert (usage.io_bytes, usage.io_operations) == IO


def test_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = read(tmp_path, V2, cgroups.Mode.V2, monkeypatch)
    assert (usage.cpu.total, usage.cpu.user, usage.cpu.system, usage.cpu.throttled_time) == (5000, 3000, 2000, 7000)
    assert (usage.memory.usage, usage.memory.limit, usage.memory.peak, usage.memory.failures) == (4096, 65536, None, 4)
    assert (usage.pids, usage.pids_limit) == (3, 50)
    assert (usage.io_bytes, usage.io_operations) == IO


def test_a_cgroup_that_is_gone_uses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tmp_path, {}, cgroups.Mode.V2, monkeypatch) == stats.Usage()
