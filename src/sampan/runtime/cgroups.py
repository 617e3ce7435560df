"""Control groups, as far as the engine touches them itself: pids, freezing, killing, sweeping up. Limits are the OCI
runtime's work.

Words: a *cgroup* here is the OCI `cgroupsPath` ("/sampan/<container id>"); the host's *mode* is v2 (one unified
tree), v1 (a tree a controller) or hybrid (v1 controllers, and a v2 tree beside them). A container's cgroup exists
once in every tree."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import signal
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from sampan.linux import mounts, pidfd

ROOT = Path("/sys/fs/cgroup")


class Mode(StrEnum):
    V1 = "v1"
    HYBRID = "hybrid"
    V2 = "v2"


@functools.cache
def mode() -> Mode:
    if (ROOT / "cgroup.controllers").exists():
        return Mode.V2
    return Mode.HYBRID if (ROOT / "unified" / "cgroup.controllers").exists() else Mode.V1


def crun_refuses_host() -> bool:
    """crun has no hybrid mode: it stops where the v2 tree beside v1 holds controllers of its own (crun's
    detect_cgroup_mode)."""
    if mode() is not Mode.HYBRID:
        return False
    return bool((ROOT / "unified" / "cgroup.controllers").read_text().strip())


@functools.cache
def trees() -> dict[str, Path]:
    """Where each tree is mounted: by v1 controller name ("memory", "name=systemd"…), and "" for a v2 tree."""
    found: dict[str, Path] = {}
    for mount in mounts.mountinfo():
        if mount.fstype == "cgroup2":
            found.setdefault("", Path(mount.mount_point))
        elif mount.fstype == "cgroup":
            for option in mount.super_options:
                if option not in ("rw", "ro", "noprefix", "clone_children", "xattr"):
                    found.setdefault(option, Path(mount.mount_point))
    return found


def directory(cgroup: str, controller: str) -> Path:
    """The cgroup's directory in the tree that holds `controller`."""
    tree = trees().get("" if mode() is Mode.V2 else controller)
    if tree is None:
        raise OSError(errno.ENODEV, f"this host has no {controller} cgroup controller")
    return tree / cgroup.strip("/")


def directories(cgroup: str) -> list[Path]:
    """The cgroup's directories in all trees; existing ones only."""
    inside = cgroup.strip("/")
    if not inside:
        raise ValueError("the root cgroup is not a container's")
    unique = dict.fromkeys(tree / inside for tree in trees().values())
    return [path for path in unique if path.is_dir()]


def lift_cpu_quota(cgroup: str) -> None:
    """Runtimes leave what a change does not name, and crun 1.8 cannot write -1."""
    if "cpu" not in controllers():
        return
    place = directory(cgroup, "cpu")
    for file, unlimited in ((place / "cpu.cfs_quota_us", "-1"), (place / "cpu.max", "max")):
        if file.exists():
            file.write_text(unlimited)


def controllers() -> frozenset[str]:
    """The resource controllers that containers can be limited by."""
    if mode() is Mode.V2:
        return frozenset((ROOT / "cgroup.controllers").read_text().split())
    return frozenset(name for name in trees() if name and not name.startswith("name="))


def pids(cgroup: str) -> list[int]:
    """Every process in the cgroup and below, in the order the kernel lists them; none when it is gone."""
    place = _process_tree(cgroup)
    return [] if place is None else list(_pids_below(place))


def _process_tree(cgroup: str) -> Path | None:
    found = directories(cgroup)
    preferred = {"" if mode() is Mode.V2 else "pids", "devices", "memory", "freezer"}
    for tree in (path for name, path in trees().items() if name in preferred):
        if (place := tree / cgroup.strip("/")) in found:
            return place
    return found[0] if found else None


def _pids_below(place: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):  # gone, or a threaded cgroup (EOPNOTSUPP)
        yield from map(int, (place / "cgroup.procs").read_text().split())
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(place):
            if entry.is_dir(follow_symlinks=False):
                yield from _pids_below(Path(entry.path))


async def freeze(cgroup: str, frozen: bool) -> None:
    """Stops or resumes every process, as runc and crun do it, so that their `state` agrees. Waits until the kernel is
    done."""
    if mode() is Mode.V2:
        place = directory(cgroup, "freezer")
        (place / "cgroup.freeze").write_text("1" if frozen else "0")
        wanted = f"frozen {int(frozen)}"
        for _ in range(2000):
            if wanted in (place / "cgroup.events").read_text().splitlines():
                return
            await asyncio.sleep(0.001)
    else:
        wanted = "FROZEN" if frozen else "THAWED"
        state = directory(cgroup, "freezer") / "freezer.state"
        for attempt in range(2000):
            # A v1 cgroup stays FREEZING when a process forks at the wrong moment: write again, and thaw now and then
            # (runc#2774).
            if frozen and attempt % 50 == 49:
                state.write_text("THAWED")
            state.write_text(wanted)
            if state.read_text().strip() == wanted:
                return
            await asyncio.sleep(0.001)
        if frozen:
            state.write_text("THAWED")
    raise TimeoutError(f"the cgroup {cgroup} did not become {'frozen' if frozen else 'thawed'} within two seconds")


def is_frozen(cgroup: str) -> bool:
    try:
        if mode() is Mode.V2:
            return (directory(cgroup, "freezer") / "cgroup.freeze").read_text().strip() == "1"
        return (directory(cgroup, "freezer") / "freezer.state").read_text().strip() != "THAWED"
    except OSError:
        return False


def signal_all(cgroup: str, number: int) -> int:
    """Signals every process in the cgroup; returns how many. SIGKILL on v2 uses cgroup.kill (Linux 5.14), which no
    fork outruns."""
    listed = pids(cgroup)
    if number == signal.SIGKILL and mode() is Mode.V2:
        with contextlib.suppress(OSError):
            (directory(cgroup, "pids") / "cgroup.kill").write_text("1")
            return len(listed)
    return sum(pidfd.send_signal(pid, number) for pid in listed)


async def kill(cgroup: str, timeout: float = 10) -> bool:
    """SIGKILLs until nothing is left (new forks too); False when something outlives the timeout (uninterruptible
    sleep)."""
    for _ in range(int(timeout * 200)):
        if not signal_all(cgroup, signal.SIGKILL):
            return True
        if is_frozen(cgroup):  # a v1 freezer holds back even SIGKILL
            with contextlib.suppress(OSError, TimeoutError):
                await freeze(cgroup, False)
        await asyncio.sleep(0.005)
    return not pids(cgroup)


async def remove(cgroup: str) -> None:
    """Removes an empty cgroup from every tree, children first. Idempotent. EBUSY (a process still being reaped) is
    tried again."""
    for attempt in range(200):
        left = [path for path in directories(cgroup) if not _remove_tree(path)]
        if not left:
            return
        await asyncio.sleep(0.001 if attempt < 20 else 0.01)
    raise OSError(errno.EBUSY, "cgroup still has processes", str(left[0]))


def _remove_tree(place: Path) -> bool:
    try:
        place.rmdir()
        return True
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(place):
            if entry.is_dir(follow_symlinks=False) and not _remove_tree(Path(entry.path)):
                return False
    try:
        place.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
