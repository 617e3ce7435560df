"""What an engine can leave on a host: mounts, links, namespaces, nftables tables, cgroups, processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

MARK = "sampan-"
"""Every path a test daemon uses has this in it (`Daemon.root`, `Daemon.cgroup_parent`)."""


OURS: set[str] = set()
"""Names of what this session's daemons use: roots, bridges, tables, cgroup parents."""


def leftovers() -> set[str]:
    """One line a thing, so that before and after can be compared as sets. In CI all that looks like ours counts;
    elsewhere another suite may run beside this one, so only what bears a name of this session does."""
    found = {*_mounts(), *_links(), *_tables(), *_cgroups(), *_processes()}
    return found if os.environ.get("CI") else {line for line in found if any(name in line for name in OURS)}


def _mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line.split()[4]}" for line in lines if f"/{MARK}" in line.split()[4]]


def _links() -> list[str]:
    return [f"link {path.name}" for path in Path("/sys/class/net").iterdir() if path.name.startswith(("sp", "sv"))]


def _tables() -> list[str]:
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    return [line for line in listed.splitlines() if " sampan_" in line]


def _cgroups() -> list[str]:
    root = Path("/sys/fs/cgroup")
    return [f"cgroup {path}" for depth in ("*", "*/*") for path in root.glob(f"{depth}/") if MARK in path.name]


def _processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/{MARK}" in words and ("conmon" in words or "sampan.daemon" in words):
            found.append(f"process {path.parent.name} {words[:160]}")
    return found
