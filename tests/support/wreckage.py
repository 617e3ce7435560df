"""What is left of a test's daemon that hung or died: cleared by force, so that one failure does not become many.

Only what bears the daemon's own names is touched, and only after the daemon itself is dead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from support.leftovers import OURS

CGROUPS = Path("/sys/fs/cgroup")


def clear(root: Path, bridge: str, table: str, cgroup_parent: str) -> None:
    """Kills what runs for these names, unmounts lazily what is mounted below `root`, removes bridge, table, cgroups."""
    assert {str(root), bridge, table, cgroup_parent} <= OURS, "names that this session did not make"
    _kill(root, cgroup_parent)
    unmount_below(root)
    for words in (["ip", "link", "del", bridge], ["nft", "delete", "table", "inet", table]):
        subprocess.run(words, capture_output=True, check=False)
    for parent in _cgroups(cgroup_parent):
        for place, _, _ in os.walk(parent, topdown=False):
            with contextlib.suppress(OSError):
                Path(place).rmdir()


def _kill(root: Path, cgroup_parent: str) -> None:
    for _ in range(50):
        found = set(_processes(root, cgroup_parent))
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.1)


def _processes(root: Path, cgroup_parent: str) -> Iterator[int]:
    """Those of the containers, and the conmons (and a runtime in the middle of something) that name the root."""
    for path in Path("/proc").glob("[0-9]*"):
        if int(path.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            program = Path(os.fsdecode(words[0])).name
            contained = f"{cgroup_parent}/" in (path / "cgroup").read_text()
            keeps = program in ("conmon", "crun", "runc") and str(root).encode() in b"\0".join(words)
            if words[0] and (contained or keeps):
                yield int(path.name)


def unmount_below(root: Path) -> list[str]:
    """Deepest first; the names of what was mounted."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left = [mount for mount in mounts if mount.startswith(f"{root}/")]
    for mount in reversed(left):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
    return left


def _cgroups(parent: str) -> list[Path]:
    trees = [CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir())]
    return [place for tree in trees if (place := tree / parent.strip("/")).is_dir()]
