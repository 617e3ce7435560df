"""HostConfig's limits as the OCI runtime spec's `linux.resources`; also what `update` sends. Pure but for device
numbers."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sampan.containers.model import HostConfig, ThrottleDevice, WeightDevice
from sampan.errors import InvalidParameter

_PERIOD = 100_000
"""Microseconds: the kernel's own CFS period, over which NanoCpus is spread."""


def resources(host: HostConfig) -> dict[str, Any]:
    """Without devices. Sections that would be empty are left out. Sizes are bytes."""
    sections = {"memory": _memory(host), "cpu": _cpu(host), "pids": _pids(host), "blockIO": _block_io(host)}
    return {name: section for name, section in sections.items() if section}


def _memory(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if host.memory > 0:
        found["limit"] = host.memory
    if host.memory_reservation > 0:
        found["reservation"] = host.memory_reservation
    if host.memory_swap > 0 or (host.memory_swap == -1 and host.memory > 0):
        found["swap"] = host.memory_swap
    if host.memory_swappiness is not None and host.memory_swappiness >= 0:
        found["swappiness"] = host.memory_swappiness
    if host.oom_kill_disable:
        found["disableOOMKiller"] = True
    if host.kernel_memory_tcp > 0:
        found["kernelTCP"] = host.kernel_memory_tcp
    return found


def _cpu(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if host.cpu_shares:
        if host.cpu_shares < 0:
            raise InvalidParameter(
                f"shares: invalid argument: the minimum allowed cpu-shares is 2 (got {host.cpu_shares})"
            )
        found["shares"] = host.cpu_shares
    if host.nano_cpus > 0:
        found |= {"period": _PERIOD, "quota": host.nano_cpus * _PERIOD // 10**9}
    if host.cpu_period:
        found["period"] = host.cpu_period
    if host.cpu_quota > 0:  # -1 is none; crun 1.8 cannot write that
        found["quota"] = host.cpu_quota
    if host.cpu_realtime_period:
        found["realtimePeriod"] = host.cpu_realtime_period
    if host.cpu_realtime_runtime:
        found["realtimeRuntime"] = host.cpu_realtime_runtime
    if host.cpuset_cpus:
        found["cpus"] = host.cpuset_cpus
    if host.cpuset_mems:
        found["mems"] = host.cpuset_mems
    return found


def _pids(host: HostConfig) -> dict[str, Any]:
    """0 and "not given" are unlimited, which is the cgroup's own default; -1 says so (an `update` may have to)."""
    return {"limit": host.pids_limit} if host.pids_limit else {}


def _block_io(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if host.blkio_weight:
        found["weight"] = host.blkio_weight
    if host.blkio_weight_device:
        found["weightDevice"] = [_weight(device) for device in host.blkio_weight_device]
    for name, devices in (
        ("throttleReadBpsDevice", host.blkio_device_read_bps),
        ("throttleWriteBpsDevice", host.blkio_device_write_bps),
        ("throttleReadIOPSDevice", host.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", host.blkio_device_write_iops),
    ):
        if devices:
            found[name] = _throttles(devices)
    return found


def _weight(device: WeightDevice) -> dict[str, Any]:
    return {**_number(device.path), "weight": device.weight}


def _throttles(devices: Sequence[ThrottleDevice]) -> list[dict[str, Any]]:
    return [{**_number(device.path), "rate": device.rate} for device in devices]


def _number(path: str) -> dict[str, int]:
    try:
        found = Path(path).stat()
    except OSError as error:
        raise InvalidParameter(f"stat {path}: {(error.strerror or '').lower()}") from None
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidParameter(f"{path}: not a block device")
    return {"major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}
