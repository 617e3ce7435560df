"""Device nodes and the rules that let a container use them.

The runtime makes null, zero, full, random, urandom, tty, ptmx and console itself; this adds `--device`, a privileged
container's devices, and the cgroup's allow list."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.errors import SampanError

_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
_DENY_ALL: dict[str, Any] = {"allow": False, "access": "rwm"}
_ALLOW_ALL: dict[str, Any] = {"allow": True, "access": "rwm"}
_DEFAULT = ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))
"""zero, null, urandom, random, tty, console."""
_SKIPPED_DIRECTORIES = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})


@dataclass(frozen=True, slots=True)
class Device:
    """`kind` is c, b or p; `access` a cgroup permission ("rwm")."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str = "rwm"

    def node(self) -> dict[str, Any]:
        """One of `linux.devices`."""
        return {
            "path": self.path,
            "type": self.kind,
            "major": self.major,
            "minor": self.minor,
            "fileMode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
        }

    def rule(self) -> dict[str, Any]:
        """One of `linux.resources.devices`."""
        return {"allow": True, "type": self.kind, "major": self.major, "minor": self.minor, "access": self.access}


def from_host(source: str, target: str, access: str) -> list[Device]:
    """`--device source:target:access`: a node, or every node below a directory. Raises `SampanError` in Docker's
    words."""
    target, access = target or source, access or "rwm"
    words = f'error gathering device information while adding custom device "{source}": '
    try:
        real = Path(source).resolve(strict=True)
        device = _read(real, target, access)
        if device is not None:
            return [device]
        found = []
        if real.is_dir():
            for path in _below(real):
                if device := _read(path, target.rstrip("/") + str(path)[len(str(real)) :], access):
                    found.append(device)
    except FileNotFoundError:
        raise SampanError(words + "no such file or directory") from None
    except OSError as error:
        raise SampanError(words + (error.strerror or "").lower()) from None
    if not found:
        raise SampanError(words + "not a device node")
    return found


def all_of_host() -> list[Device]:
    """What a privileged container finds in its /dev."""
    return [device for path in _below(Path("/dev")) if (device := _read(path, str(path), "rwm"))]


def _below(directory: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _SKIPPED_DIRECTORIES:
                yield from _below(Path(entry.path))
        elif entry.name != "console" and not entry.is_symlink():
            yield Path(entry.path)


def _read(path: Path, target: str, access: str) -> Device | None:
    """None for what is not a device node."""
    found = path.stat(follow_symlinks=False)
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
    if not kind:
        return None
    return Device(
        path=target,
        kind=kind,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        access=access,
    )


def parse_rule(text: str) -> dict[str, Any]:
    """`--device-cgroup-rule` "c 42:* rwm"."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise SampanError(f"invalid device cgroup rule format: '{text}'")
    rule: dict[str, Any] = {"allow": True, "type": match[1], "access": match[4]}
    for field, number in (("major", match[2]), ("minor", match[3])):
        rule[field] = -1 if number == "*" else int(number)
    return rule


def rules(devices: Sequence[Device], extra: Sequence[str], privileged: bool) -> list[dict[str, Any]]:
    """`linux.resources.devices`: everything denied but the default ones, `--device` and `--device-cgroup-rule`."""
    own = [parse_rule(text) for text in extra]
    if privileged:
        return [_ALLOW_ALL, *own]
    default = [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in _DEFAULT
    ]
    return [_DENY_ALL, *default, *(device.rule() for device in devices), *own]
