"""What files are, as one digest: type, mode, owner, content, link target and capabilities; never times.

That is what COPY and ADD are cached by: a checkout or an upload gives files new times, but the same digest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sampan.builds.indexing import Node
from sampan.linux import openat2

_CHUNK = 1 << 20
_FOLLOW_NOT = os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Member:
    """One file of what is copied. `path` is relative to what is copied; "" is that itself."""

    path: str
    digest: str


def members(parent: int, name: str, skip: Callable[[str, bool], bool], *, owner: bool, mode: bool) -> Iterator[Member]:
    """All of what `name` is in the open directory `parent`, in order. `skip` says which relative paths are left out;
    `owner`, `mode`: whether those count (COPY --chown and --chmod replace them). Blocks."""
    waiting: list[tuple[int, str, str]] = [(parent, name, "")]
    try:
        while waiting:
            directory, base, path = waiting.pop()
            if not base:  # all of an open directory has been seen
                os.close(directory)
                continue
            found = os.stat(base, dir_fd=directory, follow_symlinks=False)
            is_directory = stat.S_ISDIR(found.st_mode)
            if path and skip(path, is_directory):
                continue
            yield Member(path, _digest(directory, base, found, owner, mode))
            if is_directory:
                opened = os.open(base, os.O_RDONLY | os.O_DIRECTORY | _FOLLOW_NOT, dir_fd=directory)
                waiting.append((opened, "", ""))
                with os.scandir(opened) as entries:
                    names = sorted((entry.name for entry in entries), reverse=True)
                waiting.extend((opened, inner, f"{path}/{inner}" if path else inner) for inner in names)
    finally:
        for directory, base, _ in waiting:
            if not base:
                os.close(directory)


def _digest(directory: int, base: str, found: os.stat_result, owner: bool, mode: bool) -> str:
    kind = stat.S_IFMT(found.st_mode)
    what = capability = b""
    if kind == stat.S_IFLNK:
        what = os.fsencode(os.readlink(base, dir_fd=directory))
    elif kind == stat.S_IFREG:
        what, capability = _content(directory, base)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        what = b"%d" % found.st_rdev
    return digest_of(found.st_mode, (found.st_uid, found.st_gid) if owner else None, what, capability, mode=mode)


def digest_of(st_mode: int, owner: tuple[int, int] | None, what: bytes, capability: bytes, *, mode: bool) -> str:
    """`what`: the sha256 of a regular file's content, a symlink's target, a device's number."""
    head = (stat.S_IFMT(st_mode), stat.S_IMODE(st_mode) if mode and not stat.S_ISLNK(st_mode) else 0, owner)
    return hashlib.sha256(repr(head).encode() + capability + b"\0" + what).hexdigest()


def indexed(node: Node, skip: Callable[[str, bool], bool], *, owner: bool, mode: bool) -> Iterator[Member]:
    """As `members`, of what is not unpacked."""
    waiting = [(node, "")]
    while waiting:
        one, path = waiting.pop()
        if path and skip(path, one.is_directory):
            continue
        what = one.content or os.fsencode(one.link) or (b"%d" % one.device if one.device else b"")
        capability = (one.xattrs or {}).get("security.capability", b"")
        yield Member(
            path, digest_of(one.st_mode, (one.st_uid, one.st_gid) if owner else None, what, capability, mode=mode)
        )
        waiting += [
            (one.children[name], f"{path}/{name}" if path else name) for name in sorted(one.children, reverse=True)
        ]


def _content(directory: int, base: str) -> tuple[bytes, bytes]:
    """(sha256, file capabilities)."""
    hash = hashlib.sha256()
    opened = os.open(base, os.O_RDONLY | os.O_NONBLOCK | _FOLLOW_NOT, dir_fd=directory)
    try:
        while data := os.read(opened, _CHUNK):
            hash.update(data)
        try:
            return hash.digest(), os.getxattr(opened, "security.capability")
        except OSError:
            return hash.digest(), b""
    finally:
        os.close(opened)


class Skip:
    """Nothing is left out."""

    def __call__(self, path: str, is_directory: bool) -> bool:
        return False


def open_source(root: int, path: str) -> tuple[int, str]:
    """(descriptor of the directory that holds what `path` leads to, its name there), symlinks followed inside the
    root, also the last one. "." for the root itself. Raises `OSError`."""
    place = os.fsdecode(openat2.resolve_in_root(root, path))
    head, _, last = place.rpartition("/")
    parent = openat2.open_in_root(root, head or ".", os.O_PATH | os.O_DIRECTORY)
    return parent, last or "."
