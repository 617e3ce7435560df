"""Resource limits as asked for, checked against Docker's rules and what the host can do. Pure."""

from __future__ import annotations

from sampan.containers.model import HostConfig
from sampan.containers.rules.host import Host
from sampan.errors import InvalidParameter

MINIMUM_MEMORY = 6 << 20


def check(limits: HostConfig, host: Host, update: bool = False) -> list[str]:
    """Warnings. What the host cannot limit is taken out of `limits`, as dockerd does, and warned of; what cannot be
    meant raises `InvalidParameter`."""
    warnings = _memory(limits, host, update)
    warnings += _pids_and_oom(limits, host)
    warnings += _cpu(limits, host)
    warnings += _cpuset(limits, host)
    warnings += _blkio(limits, host)
    return warnings


def _memory(limits: HostConfig, host: Host, update: bool) -> list[str]:
    warnings = []
    if limits.memory_swappiness == -1:
        limits.memory_swappiness = None
    if limits.memory and limits.memory < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if limits.memory > 0 and not host.memory:
        warnings.append(
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
        )
        limits.memory, limits.memory_swap = 0, -1
    if limits.memory > 0 and limits.memory_swap != -1 and not host.swap:
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
            "Memory limited without swap."
        )
        limits.memory_swap = -1
    if 0 < limits.memory_swap < limits.memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not limits.memory and limits.memory_swap > 0 and not update:
        raise InvalidParameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    if limits.memory_swappiness is not None and not host.swappiness:
        warnings.append(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
            "Memory swappiness discarded."
        )
        limits.memory_swappiness = None
    if limits.memory_swappiness is not None and not 0 <= limits.memory_swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {limits.memory_swappiness}, valid memory swappiness range is 0-100")
    if limits.memory_reservation > 0 and not host.memory:
        warnings.append(
            "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. "
            "Limitation discarded."
        )
        limits.memory_reservation = 0
    if 0 < limits.memory_reservation < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if 0 < limits.memory < limits.memory_reservation:
        raise InvalidParameter("Minimum memory limit can not be less than memory reservation limit, see usage")
    if limits.kernel_memory:
        warnings.append("Specifying a kernel memory limit is deprecated and will be removed in a future release.")
        limits.kernel_memory = 0  # the kernel itself dropped it (Linux 6.1)
    return warnings


def _pids_and_oom(limits: HostConfig, host: Host) -> list[str]:
    warnings = []
    if limits.oom_kill_disable is not None and not host.oom_control:
        if limits.oom_kill_disable:
            warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        limits.oom_kill_disable = None
    if limits.oom_kill_disable and not limits.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        )
    if limits.pids_limit is not None and not host.pids:
        if limits.pids_limit > 0:
            warnings.append(
                "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. "
                "PIDs limit discarded."
            )
        limits.pids_limit = None
    return warnings


def _cpu(limits: HostConfig, host: Host) -> list[str]:
    warnings = []
    if limits.nano_cpus > 0 and limits.cpu_period > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if limits.nano_cpus > 0 and limits.cpu_quota > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if limits.nano_cpus > 0 and not host.cpu:
        raise InvalidParameter(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted"
        )
    if limits.nano_cpus and not 0 < limits.nano_cpus <= host.cpu_count * 10**9:
        count = host.cpu_count
        raise InvalidParameter(f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if limits.cpu_shares < 0:
        raise InvalidParameter(f"invalid CPU shares ({limits.cpu_shares}): value must be a positive integer")
    if limits.cpu_shares > 0 and not host.cpu:
        warnings.append("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.")
        limits.cpu_shares = 0
    if (limits.cpu_period or limits.cpu_quota) and not host.cpu:
        warnings.append("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.")
        limits.cpu_period = limits.cpu_quota = 0
    if limits.cpu_period and not 1000 <= limits.cpu_period <= 1000000:
        raise InvalidParameter("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < limits.cpu_quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if limits.cpu_percent > 0:
        warnings.append("linux does not support CPU percent. Percent discarded.")
        limits.cpu_percent = 0
    if (limits.cpu_realtime_period or limits.cpu_realtime_runtime) and not host.cpu_realtime:
        raise InvalidParameter("kernel does not support CPU real-time scheduler")
    if limits.cpu_realtime_period and limits.cpu_realtime_runtime > limits.cpu_realtime_period:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    return warnings


def _cpuset(limits: HostConfig, host: Host) -> list[str]:
    if not limits.cpuset_cpus and not limits.cpuset_mems:
        return []
    if not host.cpuset:
        limits.cpuset_cpus = limits.cpuset_mems = ""
        return ["Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded."]
    for given, available, short, long in (
        (limits.cpuset_cpus, host.cpus, "cpus", "CPUs"),
        (limits.cpuset_mems, host.mems, "mems", "memory nodes"),
    ):
        try:
            wanted = parse_list(given)
        except ValueError as error:
            raise InvalidParameter(f"Invalid value {given} for cpuset {short}: {error}") from None
        if not wanted <= parse_list(available):
            raise InvalidParameter(f"Requested {long} are not available - requested {given}, available: {available}")
    return []


def parse_list(text: str) -> set[int]:
    """A kernel list such as `0-3,7`. Raises `ValueError`."""
    found: set[int] = set()
    for part in text.split(",") if text else []:
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or len(part) > 12:
            raise ValueError(f"failed to parse '{part}'")
        found.update(range(int(low), min(int(high or low), 8192) + 1))
    return found


def _blkio(limits: HostConfig, host: Host) -> list[str]:
    warnings = []
    if limits.blkio_weight and not host.blkio_weight:
        warnings.append("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.")
        limits.blkio_weight = 0
    if limits.blkio_weight and not 10 <= limits.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if limits.io_maximum_bandwidth or limits.io_maximum_iops:
        raise InvalidParameter("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps")
    if limits.blkio_weight_device and not host.blkio_weight_device:
        warnings.append(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
            "Weight-device discarded."
        )
        limits.blkio_weight_device = []
    if not host.blkio_throttle:
        for name, words in (
            ("blkio_device_read_bps", "BPS Block I/O read limit"),
            ("blkio_device_write_bps", "BPS Block I/O write limit"),
            ("blkio_device_read_iops", "IOPS Block read limit"),
            ("blkio_device_write_iops", "IOPS Block write limit"),
        ):
            if getattr(limits, name):
                warnings.append(f"Your kernel does not support {words} or the cgroup is not mounted. Limit discarded.")
                setattr(limits, name, [])
    return warnings
