"""Everything one daemon has on the kernel and on the disk, as a set of lines: for tests that compare.

Links and rules are those of the whole network namespace: meant for a daemon in namespaces of its own (`unshare --net
--mount`), where all of them are the daemon's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.daemon import Daemon


def inventory(daemon: Daemon, network: bool = True) -> set[str]:
    """Partial downloads, which a pull resumes, are not in it."""
    found = {
        *_mounts(daemon.root),
        *_files(daemon),
        *_cgroups(daemon.cgroup_parent),
        *_processes(daemon),
    }
    return found | {*_links(), *_rules()} if network else found


def of(found: set[str], kind: str) -> set[str]:
    """What is of one kind, without the kind's name."""
    return {line.partition(" ")[2] for line in found if line.startswith(f"{kind} ")}


def _mounts(root: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place.startswith(f"{root}/"):
            yield f"mount {place.removeprefix(f'{root}/')}"


def _files(daemon: Daemon) -> Iterator[str]:
    places = {
        "bundle": daemon.exec_root / "containers",
        "netns": daemon.exec_root / "netns",
        "exit": daemon.exec_root / "exits",
        "temporary": daemon.exec_root / "tmp",
        "directory": daemon.data_root / "containers",
        "snapshot": daemon.data_root / "snapshots",
        "layer": daemon.data_root / "layers",
        "blob": daemon.data_root / "blobs/sha256",
        "ingest": daemon.data_root / "ingest",
        "volume": daemon.data_root / "volumes",
    }
    for runtime in _names(daemon.exec_root / "runtimes"):
        places[f"state-{runtime}"] = daemon.exec_root / "runtimes" / runtime
    for kind, place in places.items():
        for name in _names(place):
            if not (kind == "ingest" and len(name) == 64):
                yield f"{kind} {name}"


def _names(place: Path) -> list[str]:
    try:
        return os.listdir(place)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def _links() -> Iterator[str]:
    said = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout
    for link in json.loads(said):
        yield f"link {link['ifname']} {link.get('master', '')}"


def _rules() -> Iterator[str]:
    """One line a rule, chain or element of a set."""
    said = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, check=True).stdout
    for entry in json.loads(said)["nftables"]:
        for kind, value in entry.items():
            if kind == "metainfo":
                continue
            elements = value.pop("elem", [])
            yield f"nft {kind} {json.dumps(_lasting(value), sort_keys=True)}"
            for element in elements:
                yield f"nft element {value['name']} {json.dumps(_lasting(element), sort_keys=True)}"


def _lasting(value: Any) -> Any:
    """Without what changes by itself."""
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in ("counter", "handle", "expires")}
    return [_lasting(entry) for entry in value] if isinstance(value, list) else value


def _cgroups(parent: str) -> Iterator[str]:
    root = Path("/sys/fs/cgroup")
    for tree in (root, *(path for path in root.iterdir() if path.is_dir())):
        with contextlib.suppress(OSError):
            for path in (tree / parent.strip("/")).iterdir():
                if path.is_dir():
                    yield f"cgroup {tree.name}/{path.name}"


def _processes(daemon: Daemon) -> Iterator[str]:
    """conmon, the runtime and what else names the daemon's root; what runs in the daemon's cgroups."""
    own = {os.getpid(), daemon.process.pid if daemon.process else 0}
    for path in Path("/proc").glob("[0-9]*"):
        if int(path.name) in own:
            continue
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            cgroups = (path / "cgroup").read_text()
            if not words:
                continue  # a zombie: its parent, perhaps the host's init, has not looked yet
            if f"{daemon.cgroup_parent}/" in cgroups or str(daemon.root) in words:
                yield f"process {path.name} {words[:300]}"
