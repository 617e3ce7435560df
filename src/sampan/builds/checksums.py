"""What files are, as one digest: type, mode, owner, content, link target and capabilities; never times.

That is what COPY and ADD are cached by: a checkout or an upload gives files new times, but the same digest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
    hash = hashlib.sha256()
    kind = stat.S_IFMT(found.st_mode)
    head = [kind, stat.S_IMODE(found.st_mode) if mode else 0]
    head += [found.st_uid, found.st_gid] if owner else []
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        head.append(found.st_rdev)
    hash.update(repr(head).encode())
    if kind == stat.S_IFLNK:
        hash.update(os.fsencode(os.readlink(base, dir_fd=directory)))
    elif kind == stat.S_IFREG:
        _add_file(hash, directory, base)
    return hash.hexdigest()


def _add_file(hash: hashlib._Hash, directory: int, base: str) -> None:
    opened = os.open(base, os.O_RDONLY | os.O_NONBLOCK | _FOLLOW_NOT, dir_fd=directory)
    try:
        try:
            hash.update(b"cap" + os.getxattr(opened, "security.capability"))
        except OSError:
            hash.update(b"-")
        while data := os.read(opened, _CHUNK):
            hash.update(data)
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
