"""Paths that the host's kernel shows and a container should not see or write (moby's oci.DefaultSpec)."""

from __future__ import annotations

import functools
from pathlib import Path

_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)

READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@functools.cache
def masked() -> tuple[str, ...]:
    """With this host's thermal_throttle directories (a side channel, like powercap)."""
    throttles = sorted(Path("/sys/devices/system/cpu").glob("cpu*/thermal_throttle"))
    return (*_MASKED, *map(str, throttles))
