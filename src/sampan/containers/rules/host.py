"""What this host can limit: read once, asked by validation, adapted defaults and `GET /info`."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from sampan.runtime import cgroups


@dataclass(frozen=True, slots=True)
class Host:
    """Which of Docker's resource options the kernel's cgroups can carry out. `cpus` and `mems` are cpuset lists
    ("0-3,7")."""

    unified: bool = False
    """cgroup v2 only."""
    memory: bool = True
    swap: bool = True
    swappiness: bool = True
    oom_control: bool = True
    kernel_memory_tcp: bool = True
    pids: bool = True
    cpu: bool = True
    cpu_realtime: bool = False
    cpuset: bool = True
    blkio_weight: bool = True
    blkio_weight_device: bool = True
    blkio_throttle: bool = True
    cpu_count: int = 1
    cpus: str = ""
    mems: str = ""


@functools.cache
def host() -> Host:
    unified = cgroups.mode() is cgroups.Mode.V2
    available = cgroups.controllers()

    def file(controller: str, name: str) -> bool:
        tree = cgroups.trees().get(controller)
        return tree is not None and (tree / name).exists()

    if unified:
        swap = oom = swappiness = False
        swap = "memory" in available and _swap_accounted()
        realtime = tcp = False
        weight = weight_device = throttle = "io" in available
    else:
        swap = file("memory", "memory.memsw.limit_in_bytes")
        oom = file("memory", "memory.oom_control")
        swappiness = file("memory", "memory.swappiness")
        realtime = file("cpu", "cpu.rt_period_us")
        tcp = file("memory", "memory.kmem.tcp.limit_in_bytes")
        weight = file("blkio", "blkio.weight") or file("blkio", "blkio.bfq.weight")
        weight_device = file("blkio", "blkio.weight_device") or file("blkio", "blkio.bfq.weight_device")
        throttle = file("blkio", "blkio.throttle.read_bps_device")
    return Host(
        unified=unified,
        memory="memory" in available,
        swap=swap,
        swappiness=swappiness,
        oom_control=oom,
        kernel_memory_tcp=tcp,
        pids="pids" in available,
        cpu="cpu" in available,
        cpu_realtime=realtime,
        cpuset="cpuset" in available,
        blkio_weight=weight,
        blkio_weight_device=weight_device,
        blkio_throttle=throttle,
        cpu_count=os.cpu_count() or 1,
        cpus=_read("/sys/devices/system/cpu/online"),
        mems=_read("/sys/devices/system/node/online") or "0",
    )


def _swap_accounted() -> bool:
    """v2 has `memory.swap.max` in every cgroup but the root, unless booted with swapaccount=0."""
    own = _read("/proc/self/cgroup").rpartition("::")[2]
    for place in (cgroups.ROOT / own.strip("/"), *cgroups.ROOT.glob("*.slice")):
        if (place / "memory.max").exists():
            return (place / "memory.swap.max").exists()
    return True


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
