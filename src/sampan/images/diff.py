"""What a writable layer changed: as `docker diff` lists it, and as a layer tar (`commit`, `build`, `save` of what has
no blob).

Both walk the upper directory beside the lower ones and compare what the container sees with what its image shows, so
a file that was copied up but not changed is no change (Docker's naive diff does the same).
"""

# An os call costs a third of pathlib's, and these are hot.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sampan.images.tar import writer
from sampan.images.tar.headers import FILE
from sampan.images.tar.packing import Options, Packer
from sampan.images.tar.writer import Meta
from sampan.linux import openat2

_MARK = Meta(mode=0o600)
_XATTRS = Options(xattrs=("security.capability", "user."))
MODIFIED, ADDED, DELETED = 0, 1, 2
_OPAQUE = "trusted.overlay.opaque"
_CAPABILITY = "security.capability"

# Mount points that starting a container makes. Docker hides them in a layer of their own; here they are left out when
# still empty.
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


def changes(upper: Path, lowers: Sequence[Path], whole: bool = False) -> list[Change]:
    """All changes in tree order, parents first. `lowers` is topmost first. A parent of a change is itself MODIFIED.
    `whole`: `upper` is a complete tree, where what is missing is deleted.

    Every kept entry keeps its parent, which is decided last: no recursion, however deep a container nests directories.
    """
    rows: list[_Row] = []
    root = _Directory(os.fspath(upper), "", [os.fspath(lower) for lower in lowers], -1, whole, whole)
    waiting = list(reversed(_entries(root)))
    while waiting:
        directory, name, present = waiting.pop()
        inner = _compare(directory, name, present, rows)
        if inner is not None:
            waiting.extend(reversed(_entries(inner)))
    for row in reversed(rows):
        if row.kept and row.parent >= 0:
            rows[row.parent].kept = True
    return [Change(row.kind, row.path) for row in rows if row.kept]


@dataclass(slots=True)
class _Row:
    """A possible change. A directory that is as it was is kept only when something inside is."""

    kind: int
    path: str
    kept: bool
    parent: int


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory of the upper and what is stacked below it. `opaque`: what lies below does not shine through."""

    upper: str
    path: str
    lowers: list[str]
    row: int
    opaque: bool = False
    whole: bool = False


def _entries(directory: _Directory) -> list[tuple[_Directory, str, bool]]:
    """(directory, name, is it in the upper?), sorted. In an opaque directory what is missing counts too."""
    try:
        here = set(os.listdir(directory.upper))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):  # removed meanwhile, or beyond PATH_MAX
            return []
        raise
    names = here | _names(directory.lowers) if directory.opaque else here
    return [(directory, name, name in here) for name in sorted(names)]


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


def _compare(directory: _Directory, name: str, present: bool, rows: list[_Row]) -> _Directory | None:
    """Adds a row for one name; returns the directory to go on with."""
    path, full = f"{directory.path}/{name}", f"{directory.upper}/{name}"
    below, below_path, stacked = _lookup(directory.lowers, name)
    try:
        now = os.lstat(full) if present else None
    except OSError:
        return None
    if now is None or _is_whiteout(now):
        if below is not None:
            rows.append(_Row(DELETED, path, True, directory.row))
        return None
    kind = ADDED if below is None else MODIFIED
    # In an opaque directory even an equal file is one of its own: the one below is hidden.
    hidden = directory.opaque and not directory.whole
    if not stat.S_ISDIR(now.st_mode):
        if below is None:
            kept = not _is_stub(path, now)
        else:
            kept = hidden or _differs(now, below) or _capability(full) != _capability(below_path)
        rows.append(_Row(kind, path, kept, directory.row))
        return None
    kept = path not in _STUBS if below is None else hidden or _differs(now, below)
    rows.append(_Row(kind, path, kept, directory.row))
    was_directory = below is not None and stat.S_ISDIR(below.st_mode)
    # What a hidden directory had inside is hidden too, marked or not.
    opaque = was_directory and (directory.opaque or _is_opaque(full))
    return _Directory(full, path, stacked if was_directory else [], len(rows) - 1, opaque, directory.whole)


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
    """The layer tar of a list of changes: deterministic order, deletions as `.wh.` files, sockets left out as Docker
    does.

    Blocks while it reads. The container may run meanwhile: directories are opened without following symlinks, so what
    it swaps cannot lead outside, and what vanished is left out.
    """
    with openat2.root(upper) as root, contextlib.closing(Packer(_XATTRS)) as packer:
        parent, head = -1, ""
        try:
            for change in listed:
                above, _, base = change.path.lstrip("/").rpartition("/")
                if change.kind == DELETED:
                    name = f"{above}/.wh.{base}" if above else f".wh.{base}"
                    yield writer.header(os.fsencode(name), FILE, _MARK)
                    continue
                if parent < 0 or above != head:
                    if parent >= 0:
                        os.close(parent)
                    parent, head = _open_beneath(root, above), above
                if parent >= 0:
                    yield from packer.entry(parent, os.fsencode(base), os.fsencode(change.path.lstrip("/")))
        finally:
            if parent >= 0:
                os.close(parent)
    yield writer.END


def _open_beneath(root: int, path: str) -> int:
    """-1 when it is not there (any more)."""
    resolve = openat2.RESOLVE_BENEATH | openat2.RESOLVE_NO_SYMLINKS
    try:
        return openat2.openat2(root, path or ".", os.O_PATH | os.O_DIRECTORY, resolve=resolve)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return -1
        raise
