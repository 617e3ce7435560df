"""What a writable layer changed: as `docker diff` lists it, and as a layer tar (`commit`, `build`, `save` of what has no blob).

Both walk the upper directory beside the lower ones and compare what the container sees with what its image shows, so a file that was
copied up but not changed is no change (Docker's naive diff does the same).
"""

# An os call costs a third of pathlib's, and these are hot.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH105, PTH106, PTH108, PTH110, PTH115, PTH116, PTH208, PTH211

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sampan.images import tarwriter
from sampan.images.archive import BLOCKDEV, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK
from sampan.images.tarwriter import Meta

_MARK = Meta(mode=0o600)
MODIFIED, ADDED, DELETED = 0, 1, 2
_OPAQUE = "trusted.overlay.opaque"
_CAPABILITY = "security.capability"

# Mount points that starting a container makes. Docker hides them in a layer of their own; here they are left out when still empty.
_STUBS = frozenset(
    {
        *("/.dockerenv", "/run/.containerenv", "/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"),
        *("/dev", "/dev/console", "/dev/pts", "/dev/shm", "/dev/mqueue", "/proc", "/sys"),
    }
)


@dataclass(frozen=True, slots=True)
class Change:
    """One row of `docker diff`. `kind`: 0 modified, 1 added, 2 deleted. `path` is absolute inside the container."""

    kind: int
    path: str


def changes(upper: Path, lowers: Sequence[Path]) -> list[Change]:
    """All changes in tree order, parents first. `lowers` is topmost first. A parent of a change is itself MODIFIED."""
    found: list[Change] = []
    _walk(os.fspath(upper), [os.fspath(lower) for lower in lowers], "", found, opaque=False)
    return found


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(path: str) -> bool:
    with suppress(OSError):
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    return False


def _lookup(lowers: list[str], name: str) -> tuple[os.stat_result | None, str, list[str]]:
    """What the stacked directories show under a name: (stat, its path, the directories stacked there)."""
    shown: os.stat_result | None = None
    shown_path = ""
    stacked: list[str] = []
    for lower in lowers:
        path = f"{lower}/{name}"
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if _is_whiteout(found) or (shown is not None and not stat.S_ISDIR(found.st_mode)):
            break
        if shown is None:
            shown, shown_path = found, path
        if not stat.S_ISDIR(found.st_mode):
            break
        stacked.append(path)
        if _is_opaque(path):
            break
    return shown, shown_path, stacked


def _names(lowers: list[str]) -> set[str]:
    """All names the stacked directories show."""
    names: set[str] = set()
    hidden: set[str] = set()
    for lower in lowers:
        with os.scandir(lower) as entries:
            here = [(entry.name, _is_whiteout(entry.stat(follow_symlinks=False))) for entry in entries]
        names.update(name for name, gone in here if not gone and name not in hidden)
        hidden.update(name for name, gone in here if gone)
    return names


def _walk(upper: str, lowers: list[str], prefix: str, found: list[Change], *, opaque: bool) -> None:
    here = set(os.listdir(upper))
    for name in sorted(here | _names(lowers) if opaque else here):
        path = f"{prefix}/{name}"
        below, below_path, stacked = _lookup(lowers, name)
        if name not in here:
            if below is not None:
                found.append(Change(DELETED, path))
            continue
        full = f"{upper}/{name}"
        now = os.lstat(full)
        if _is_whiteout(now):
            if below is not None:
                found.append(Change(DELETED, path))
        elif stat.S_ISDIR(now.st_mode):
            _directory(full, now, below, stacked, path, found)
        elif below is None:
            if not _is_stub(path, now):
                found.append(Change(ADDED, path))
        elif _differs(now, below) or _capability(full) != _capability(below_path):
            found.append(Change(MODIFIED, path))


def _directory(
    full: str, now: os.stat_result, below: os.stat_result | None, stacked: list[str], path: str, found: list[Change]
) -> None:
    position = len(found)
    was_directory = below is not None and stat.S_ISDIR(below.st_mode)
    _walk(full, stacked if was_directory else [], path, found, opaque=was_directory and _is_opaque(full))
    inside = len(found) > position
    if below is None:
        if inside or path not in _STUBS:
            found.insert(position, Change(ADDED, path))
    elif inside or _differs(now, below):
        found.insert(position, Change(MODIFIED, path))


def _is_stub(path: str, now: os.stat_result) -> bool:
    return path in _STUBS and (now.st_size == 0 or stat.S_ISLNK(now.st_mode))


def _differs(now: os.stat_result, below: os.stat_result) -> bool:
    """Size and time of directories say nothing."""
    if (now.st_mode, now.st_uid, now.st_gid, now.st_rdev) != (below.st_mode, below.st_uid, below.st_gid, below.st_rdev):
        return True
    if stat.S_ISDIR(now.st_mode):
        return False
    # Tars carry whole seconds often: then only seconds are compared (Docker's sameFsTime).
    same_second = now.st_mtime_ns // 10**9 == below.st_mtime_ns // 10**9
    whole = now.st_mtime_ns % 10**9 == 0 or below.st_mtime_ns % 10**9 == 0
    same_time = now.st_mtime_ns == below.st_mtime_ns or (same_second and whole)
    return not same_time or now.st_size != below.st_size


def _capability(path: str) -> bytes:
    with suppress(OSError):
        return os.getxattr(path, _CAPABILITY, follow_symlinks=False)
    return b""


def layer(upper: Path, listed: Sequence[Change]) -> Iterator[bytes]:
    """The layer tar of a list of changes: deterministic order, deletions as `.wh.` files, sockets left out as Docker does.

    Blocks while it reads. Files that change meanwhile are cut or padded with zeros to the size their header promised.
    """
    links: dict[tuple[int, int], bytes] = {}
    for change in listed:
        if change.kind == DELETED:
            head, _, base = change.path.lstrip("/").rpartition("/")
            name = f"{head}/.wh.{base}" if head else f".wh.{base}"
            yield tarwriter.header(os.fsencode(name), FILE, _MARK)
        else:
            yield from member(
                os.fsencode(upper) + os.fsencode(change.path), os.fsencode(change.path.lstrip("/")), links
            )
    yield tarwriter.END


def tree(root: Path) -> Iterator[bytes]:
    """A whole directory as one layer tar: a layer directory whose blob is gone, with overlayfs' marks turned back."""
    links: dict[tuple[int, int], bytes] = {}
    yield from _tree(os.fsencode(root), b"", links)
    yield tarwriter.END


def _tree(root: bytes, prefix: bytes, links: dict[tuple[int, int], bytes]) -> Iterator[bytes]:
    for base in sorted(os.listdir(root + b"/" + prefix)):
        name = prefix + base
        full = root + b"/" + name
        found = os.lstat(full)
        if _is_whiteout(found):
            yield tarwriter.header(prefix + b".wh." + base, FILE, _MARK)
            continue
        yield from member(full, name, links)
        if stat.S_ISDIR(found.st_mode):
            if _is_opaque(os.fsdecode(full)):
                yield tarwriter.header(name + b"/.wh..wh..opq", FILE, _MARK)
            yield from _tree(root, name + b"/", links)


def member(full: bytes, name: bytes, links: dict[tuple[int, int], bytes]) -> Iterator[bytes]:
    """One file's header and data. `links` remembers inodes already written, for hard links."""
    found = os.lstat(full)
    mode, kind = stat.S_IMODE(found.st_mode), stat.S_IFMT(found.st_mode)
    meta = Meta(mode, found.st_uid, found.st_gid, int(found.st_mtime))
    if kind == stat.S_IFDIR:
        yield tarwriter.header(name + b"/", DIRECTORY, meta, xattrs=_xattrs(full))
        return
    identity = (found.st_dev, found.st_ino)
    if found.st_nlink > 1:
        if identity in links:
            yield tarwriter.header(name, LINK, meta, link=links[identity])
            return
        links[identity] = name
    if kind == stat.S_IFREG:
        yield from _regular(full, name, found.st_size, meta)
    elif kind == stat.S_IFLNK:
        yield tarwriter.header(name, SYMLINK, meta, link=os.readlink(full), xattrs=_xattrs(full))
    elif kind == stat.S_IFIFO:
        yield tarwriter.header(name, FIFO, meta)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        type_ = CHARACTER if kind == stat.S_IFCHR else BLOCKDEV
        yield tarwriter.header(name, type_, meta, major=os.major(found.st_rdev), minor=os.minor(found.st_rdev))


def _regular(full: bytes, name: bytes, size: int, meta: Meta) -> Iterator[bytes]:
    descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield tarwriter.header(name, FILE, meta, size=size, xattrs=_xattrs(full))
        left = size
        while left:
            data = os.read(descriptor, min(left, 1 << 20)) or bytes(min(left, 1 << 20))
            left -= len(data)
            yield data
        yield tarwriter.padding(size)
    finally:
        os.close(descriptor)


def _xattrs(path: bytes) -> dict[str, bytes] | None:
    """security.capability and user.*: what Docker carries. Overlayfs' own never leave."""
    try:
        keys = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return None
    kept = [key for key in keys if key == _CAPABILITY or key.startswith("user.")]
    return {key: os.getxattr(path, key, follow_symlinks=False) for key in kept} or None
