"""The `local` driver's options: what `volume create -o type=… -o device=… -o o=…` mounts at a volume's directory.

`type` is a filesystem (tmpfs, nfs, ext4, …; none for a bind), `device` what to mount, `o` its comma-separated mount
options. Source: Docker's volume/local driver, which knows no other keys than these and `size`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.errors import InvalidParameter, SampanError
from sampan.linux import mounts

_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (mounts.RDONLY, 0),
    "rw": (0, mounts.RDONLY),
    "nosuid": (mounts.NOSUID, 0),
    "suid": (0, mounts.NOSUID),
    "nodev": (mounts.NODEV, 0),
    "dev": (0, mounts.NODEV),
    "noexec": (mounts.NOEXEC, 0),
    "exec": (0, mounts.NOEXEC),
    "noatime": (mounts.NOATIME, 0),
    "atime": (0, mounts.NOATIME),
    "nodiratime": (mounts.NODIRATIME, 0),
    "diratime": (0, mounts.NODIRATIME),
    "strictatime": (mounts.STRICTATIME, 0),
    "relatime": (0, 0),
    "defaults": (0, 0),
}
# mount(2)'s flags, which Docker's messages show (linux/mount.h).
_FLAGS = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1 << 10, "nodiratime": 1 << 11, "bind": 1 << 12,
    "rbind": 1 << 12 | 1 << 14, "relatime": 1 << 21, "strictatime": 1 << 24,
}  # fmt: skip
_CLEARS = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "atime": "noatime", "diratime": "nodiratime"}
_PROPAGATION = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"})
_NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3"})


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What to mount on acquire. `attributes` are MOUNT_ATTR_ flags, `data` the filesystem's own options in order."""

    device: str
    type: str
    bind: bool = False
    recursive: bool = False
    attributes: int = 0
    propagation: str = ""
    data: list[tuple[str, str | None]] = field(default_factory=list)
    flags: int = 0
    """The same as `attributes`, `bind` and `recursive`, as mount(2) has it."""

    def __str__(self) -> str:
        """What a message says of it after device and target."""
        data = ",".join(key if value is None else f"{key}={value}" for key, value in self.data)
        return (f", flags: {self.flags:#x}" if self.flags else "") + (f", data: {data}" if data else "")


def parse(options: Mapping[str, str]) -> MountOptions | None:
    """None for a plain directory. Raises `InvalidParameter` in Docker's words."""
    if not options:
        return None
    for key in options:
        if key not in ("type", "device", "o", "size"):
            raise InvalidParameter(f'invalid option: "{key}"')
    if "size" in options:
        raise InvalidParameter("quota size requested but no quota support")
    for key in ("device", "type"):
        if not options.get(key):
            raise InvalidParameter(f'missing required option: "{key}"')
    return _parse_words(options["device"], options["type"], options.get("o", ""))


def _parse_words(device: str, kind: str, words: str) -> MountOptions:
    bind = recursive = False
    attributes, flags, propagation = 0, 0, ""
    data: list[tuple[str, str | None]] = []
    for word in filter(None, words.split(",")):
        key, equals, value = word.partition("=")
        flags = (flags | _FLAGS.get(word, 0)) & ~_FLAGS.get(_CLEARS.get(word, ""), 0)
        if word in ("bind", "rbind"):
            bind, recursive = True, word == "rbind"
        elif word in _ATTRIBUTES:
            on, off = _ATTRIBUTES[word]
            attributes = (attributes | on) & ~off
        elif word in _PROPAGATION:
            propagation = word
        else:
            data.append((key, value if equals else None))
    return MountOptions(device, kind, bind, recursive, attributes, propagation, data, flags)


def mount(options: MountOptions, target: Path) -> None:
    """Mounts at the volume's directory. Raises `SampanError` worded as dockerd words it."""
    try:
        if options.bind:
            _bind(options, target)
        else:
            _new_filesystem(options, target)
    except OSError as error:
        explained = error.strerror or str(error)
        raise SampanError(
            f"error while mounting volume '{target}': failed to mount local volume: "
            f"mount {options.device}:{target}{options}: {explained[:1].lower()}{explained[1:]}"
        ) from None


def _bind(options: MountOptions, target: Path) -> None:
    with mounts.clone(options.device, recursive=options.recursive) as tree:
        if options.attributes:
            tree.set(options.attributes, recursive=options.recursive)
        tree.set(0, recursive=options.recursive, propagation="private")
        tree.attach(target)
    _propagate(options, target)


def _new_filesystem(options: MountOptions, target: Path) -> None:
    data = _with_address(options)
    with mounts.filesystem(options.type, data, source=options.device, attributes=options.attributes) as made:
        made.attach(target)
    _propagate(options, target)


def _propagate(options: MountOptions, target: Path) -> None:
    if options.propagation:
        kind = options.propagation
        plain = kind if kind in ("private", "slave", "shared", "unbindable") else kind[1:]
        mounts.set_propagation(target, plain, recursive=plain != kind)


def _with_address(options: MountOptions) -> list[tuple[str, str | None]]:
    """Network filesystems take numbers in `addr=`; mount.nfs(8), which is not run here, would look the name up."""
    if options.type not in _NETWORKED:
        return options.data
    resolved: list[tuple[str, str | None]] = []
    for key, value in options.data:
        if key == "addr" and value:
            try:
                value = str(socket.getaddrinfo(value, None)[0][4][0])
            except OSError as error:
                raise OSError(
                    errno.EHOSTUNREACH, f"error resolving passed in network volume address: {error}"
                ) from None
        resolved.append((key, value))
    if options.type.startswith("nfs") and not any(key == "addr" for key, _ in resolved):
        host = options.device.rpartition(":")[0].strip("[]")
        if not host:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL) + ": o=addr=HOST is needed")
        resolved.append(("addr", str(socket.getaddrinfo(host, None)[0][4][0])))
    return resolved
