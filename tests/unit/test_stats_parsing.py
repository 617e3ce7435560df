"""The kernel's text turned into Docker's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.containers import stats
from sampan.runtime import cgroups

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:     746       7    1    2    0     0          0         0       42       3    4    5    0     0       0          0
"""  # noqa: E501


def test_interfaces_but_the_loopback() -> None:
    assert stats.networks(NET_DEV) == {
        "eth0": {
            "rx_bytes": 746,
            "rx_packets": 7,
            "rx_errors": 1,
            "rx_dropped": 2,
            "tx_bytes": 42,
            "tx_packets": 3,
            "tx_errors": 4,
            "tx_dropped": 5,
        }
    }


def test_block_io_of_both_kinds_of_cgroup() -> None:
    rows = list(stats.blkio_rows("8:0 Read 4096\n8:0 Write 1\n8:0 Total 4097\nTotal 4097\n"))
    assert rows[0] == {"major": 8, "minor": 0, "op": "Read", "value": 4096}
    assert len(rows) == 3
    assert list(stats.io_rows("254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n")) == [
        {"major": 254, "minor": 0, "op": "read", "value": 10},
        {"major": 254, "minor": 0, "op": "write", "value": 20},
    ]


def write(place: Path, files: dict[str, str]) -> None:
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)


def test_a_v2_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "c",
        {
            "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 1\nthrottled_usec 4\n",
            "memory.current": "4096\n",
            "memory.max": "max\n",
            "memory.stat": "anon 1\nfile 2\n",
            "pids.current": "2\n",
            "pids.max": "64\n",
            "io.stat": "8:0 rbytes=1 wbytes=2\n",
        },
    )
    monkeypatch.setattr(cgroups, "mode", lambda: cgroups.Mode.V2)
    monkeypatch.setattr(cgroups, "directory", lambda cgroup, controller: tmp_path / cgroup)
    found = stats.sample("id", "box", "c", None)
    assert found["cpu_stats"]["cpu_usage"] == {
        "total_usage": 5000,
        "usage_in_kernelmode": 2000,
        "usage_in_usermode": 3000,
    }
    assert found["cpu_stats"]["throttling_data"] == {"periods": 7, "throttled_periods": 1, "throttled_time": 4000}
    assert found["cpu_stats"]["online_cpus"] >= 1
    assert found["memory_stats"]["usage"] == 4096
    assert found["memory_stats"]["stats"] == {"anon": 1, "file": 2}
    assert found["memory_stats"]["limit"] == stats._host_memory()
    assert found["pids_stats"] == {"current": 2, "limit": 64}
    assert (found["name"], "networks" in found) == ("/box", False)


def test_a_v1_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for controller, files in {
        "cpuacct": {
            "cpuacct.usage": "30\n",
            "cpuacct.usage_percpu": "10 20 \n",
            "cpuacct.stat": "user 2\nsystem 1\n",
        },
        "memory": {
            "memory.usage_in_bytes": "10\n",
            "memory.limit_in_bytes": "4096\n",
            "memory.stat": "cache 1\ntotal_inactive_file 2\n",
        },
        "blkio": {"blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\nTotal 4096\n"},
        "pids": {"pids.current": "1\n", "pids.max": "max\n"},
    }.items():
        write(tmp_path / controller / "c", files)
    monkeypatch.setattr(cgroups, "mode", lambda: cgroups.Mode.V1)
    monkeypatch.setattr(cgroups, "directory", lambda cgroup, controller: tmp_path / controller / cgroup)
    found = stats.sample("id", "box", "c", None)
    assert found["cpu_stats"]["cpu_usage"]["percpu_usage"] == [10, 20]
    assert found["cpu_stats"]["cpu_usage"]["usage_in_usermode"] == 2 * stats._TICK
    assert found["memory_stats"]["limit"] == 4096
    assert found["pids_stats"] == {"current": 1}
    assert found["blkio_stats"]["io_service_bytes_recursive"][0]["value"] == 4096
    assert found["blkio_stats"]["io_serviced_recursive"] == []
