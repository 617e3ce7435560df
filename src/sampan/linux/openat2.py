"""Paths that belong to somebody else: looked up so that nothing inside a root can lead outside it.

openat2(2) (Linux 5.6) with RESOLVE_IN_ROOT treats the root as a chroot would, but atomically: absolute symlinks and
`..` stay inside even while a container renames directories (CVE-2018-15664 was such a race). Magic links
(/proc/PID/fd) are refused. All functions take a root *descriptor* (O_PATH is enough), and paths relative to it; a
leading slash means the root."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from sampan.linux.libc import OPENAT2, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_MAX_LINKS = 40  # the kernel's own MAXSYMLINKS


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(directory: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """The bare call (O_CLOEXEC added); EAGAIN, which a racing rename causes, is tried again."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode if flags & (os.O_CREAT | os.O_TMPFILE) else 0, resolve)
    name = os.fsencode(path) or b"."
    for attempt in range(64):
        try:
            return syscall(OPENAT2, directory, name, how, ctypes.sizeof(how), path=os.fsdecode(path))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR) or attempt == 63:
                raise
    raise AssertionError("unreachable")


def open_in_root(root: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Opens `path` as if `root` were "/". With O_NOFOLLOW the last component may be a symlink only for O_PATH."""
    return openat2(root, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def open_beneath(directory: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Opens `path` below `directory`; anything that would leave it (also by an absolute symlink) fails with EXDEV."""
    return openat2(directory, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)


def open_root(path: str | os.PathLike[str]) -> int:
    """A root descriptor for the functions here."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


@contextmanager
def root(path: str | os.PathLike[str]) -> Iterator[int]:
    """`open_root`, closed at the end."""
    descriptor = open_root(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_parent(root: int, path: str | bytes, *, make: bool = False, mode: int = 0o755) -> tuple[int, bytes]:
    """(descriptor of the directory that holds `path`, last component): for calls that take dir_fd (unlink, symlink,
    mknod, rename, lchown…).

    The last component is not followed. It is never "", "." or "..": those raise `OSError(EINVAL)`. With `make`, missing
    parents are made.
    """
    name = os.fsencode(path).rstrip(b"/")
    head, _, last = name.rpartition(b"/")
    if last in (b"", b".", b".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fsdecode(path))
    if make:
        return mkdirs_in_root(root, head, mode), last
    return open_in_root(root, head, os.O_PATH | os.O_DIRECTORY), last


def mkdirs_in_root(root: int, path: str | bytes, mode: int = 0o755) -> int:
    """mkdir -p inside the root, and an O_PATH descriptor of the last directory. A dangling symlink on the way gets
    its target made, still inside the root, as Docker does."""
    try:
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    for place in filter(None, _walk(root, path)):
        parent, _, name = place.rpartition(b"/")
        directory = open_in_root(root, parent, os.O_PATH | os.O_DIRECTORY)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=directory)
        finally:
            os.close(directory)
    return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)


def mount_point_in_root(root: int, path: str | bytes, *, directory: bool) -> int:
    """An O_PATH descriptor of a place to mount on. Where nothing is, an empty directory or file is made, with its
    parents. A dangling symlink is no place for a file: `FileExistsError`."""
    if directory:
        try:
            return open_in_root(root, path, os.O_PATH)  # a file, for the caller to refuse, or what will do
        except FileNotFoundError:
            return mkdirs_in_root(root, path)
    try:
        return open_in_root(root, path, os.O_PATH)
    except FileNotFoundError:
        parent, name = open_parent(root, path, make=True)
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent))
        return openat2(parent, name, os.O_PATH | os.O_NOFOLLOW)
    finally:
        os.close(parent)


def resolve_in_root(root: int, path: str | bytes) -> bytes:
    """Where `path` leads inside the root, symlinks followed ("etc/passwd", no leading slash; b"" for the root
    itself). What does not exist stays as it is written. A look, not a promise: open with `open_in_root`."""
    place = b""
    for place in _walk(root, path):  # noqa: B007
        pass
    return place


def _walk(root: int, path: str | bytes) -> Iterator[bytes]:
    """Every directory on the way, symlinks followed; the last one yielded is where it ends."""
    pending = _parts(path)
    walked: list[bytes] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == b"..":
            walked = walked[:-1]
            yield b"/".join(walked)
            continue
        place = b"/".join([*walked, part])
        target = _link_target(root, place)
        if target is None:
            walked.append(part)
            yield place
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))
        if target.startswith(b"/"):
            walked = []
        pending += _parts(target)


def _parts(path: str | bytes) -> list[bytes]:
    """Last one first."""
    return [part for part in reversed(os.fsencode(path).split(b"/")) if part not in (b"", b".")]


def _link_target(root: int, place: bytes) -> bytes | None:
    """None for what is not a symlink."""
    try:
        descriptor = open_in_root(root, place, os.O_PATH | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISLNK(os.fstat(descriptor).st_mode):
            return None
        return os.fsencode(os.readlink(b"", dir_fd=descriptor))
    finally:
        os.close(descriptor)


def read_in_root(root: int, path: str | bytes, limit: int) -> bytes:
    """A whole regular file of at most `limit` bytes. A FIFO or device (O_NONBLOCK, then refused) cannot hold us
    (CVE-2024-9676), nor can a giant file; both raise `OSError(EINVAL)` or `OSError(EFBIG)`."""
    descriptor = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        data = b""
        while chunk := os.read(descriptor, min(limit + 1 - len(data), 1 << 20)):
            data += chunk
            if len(data) > limit:
                raise OSError(errno.EFBIG, f"larger than {limit} bytes", os.fsdecode(path))
        return data
    finally:
        os.close(descriptor)


def reopen(descriptor: int, flags: int) -> int:
    """Opens an O_PATH descriptor's file for real, through /proc/self/fd: the same inode, no second look-up by name."""
    return os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC)
