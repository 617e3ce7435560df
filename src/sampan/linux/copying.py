"""Copies a directory tree with all that makes up a file: owners, modes, times, xattrs, holes, hard links, devices.

Both ends are walked by descriptors (openat with O_NOFOLLOW), never by path: neither a symlink in the source nor one
that somebody plants in the target while the copy runs can lead outside (CVE-2022-23648).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

_FOLLOW_NOT = os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _FOLLOW_NOT
_FICLONE = 0x40049409
_CHUNK = 1 << 24
_OVERLAY = ("trusted.overlay.", "user.overlay.")

Links = dict[tuple[int, int], int]


def copy_tree(source: int, target: int) -> None:
    """Copies the contents and attributes of one open directory into another, which should be empty. Blocks.

    With a stack of its own: an image can nest directories deeper than Python recurses.
    """
    links: Links = {}
    opened: list[int] = []
    stack = [(source, target, _names(source))]
    try:
        while stack:
            reading, writing, names = stack[-1]
            if not names:
                _copy_attributes(reading, writing)
                stack.pop()
                for _ in range(2 if stack else 0):
                    os.close(opened.pop())
                continue
            name = names.pop()
            if _copy_entry(reading, writing, name, links):
                opened.append(os.open(name, _DIRECTORY, dir_fd=reading))
                opened.append(os.open(name, _DIRECTORY, dir_fd=writing))
                stack.append((opened[-2], opened[-1], _names(opened[-2])))
    finally:
        for descriptor in (*opened, *links.values()):
            os.close(descriptor)


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def _copy_entry(source: int, target: int, name: str, links: Links) -> bool:
    """True for a directory, which is made but not filled."""
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        os.mkdir(name, 0o700, dir_fd=target)
        return True
    if found.st_nlink > 1 and _link_again(links, found, target, name):
        return False
    if kind == stat.S_IFREG:
        _copy_file(source, target, name)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        _copy_attributes_by_name(source, target, name, found)
    elif kind == stat.S_IFSOCK:
        return False  # it belongs to a process, not to the files
    else:
        os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
        _copy_attributes_by_name(source, target, name, found)
    if found.st_nlink > 1:
        links[found.st_dev, found.st_ino] = os.open(name, os.O_PATH | _FOLLOW_NOT, dir_fd=target)
    return False


def _link_again(links: Links, found: os.stat_result, target: int, name: str) -> bool:
    first = links.get((found.st_dev, found.st_ino))
    if first is None:
        return False
    os.link(f"/proc/self/fd/{first}", name, dst_dir_fd=target, follow_symlinks=True)
    return True


def _copy_file(source: int, target: int, name: str) -> None:
    reading = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FOLLOW_NOT, dir_fd=source)
    try:
        writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NOT, 0o600, dir_fd=target)
        try:
            copy_data(reading, writing)
            _copy_attributes(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_data(reading: int, writing: int) -> None:
    """A reflink where the filesystem has them, else extent by extent, so that holes stay holes."""
    import fcntl

    try:
        fcntl.ioctl(writing, _FICLONE, reading)
        return
    except OSError:
        pass
    size = os.fstat(reading).st_size
    os.ftruncate(writing, size)
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(reading, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = os.lseek(reading, offset, os.SEEK_HOLE)
        offset = _copy_extent(reading, writing, offset, end)


def _copy_extent(reading: int, writing: int, offset: int, end: int) -> int:
    while offset < end:
        wanted = min(end - offset, _CHUNK)
        try:
            done = os.copy_file_range(reading, writing, wanted, offset, offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            done = os.pwrite(writing, os.pread(reading, min(wanted, 1 << 20), offset), offset)
        if not done:
            return end
        offset += done
    return offset


def _copy_attributes(source: int, target: int) -> None:
    """Owner before mode and xattrs: chown(2) clears set-id bits and file capabilities."""
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source):
        if not name.startswith(_OVERLAY):
            with contextlib.suppress(OSError):  # a filesystem without them (tmpfs: user.*) or a label refused
                os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_attributes_by_name(source: int, target: int, name: str, found: os.stat_result) -> None:
    """For what cannot be opened without consequences: symlinks, devices, FIFOs."""
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        # The node is new and fchmodat cannot refuse symlinks before Linux 6.6: by an O_PATH descriptor of its own.
        opened = os.open(name, os.O_PATH | _FOLLOW_NOT, dir_fd=target)
        try:
            Path(f"/proc/self/fd/{opened}").chmod(stat.S_IMODE(found.st_mode))
        finally:
            os.close(opened)
    here, there = f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{name}"
    for attribute in os.listxattr(here, follow_symlinks=False):
        if not attribute.startswith(_OVERLAY):
            with contextlib.suppress(OSError):
                value = os.getxattr(here, attribute, follow_symlinks=False)
                os.setxattr(there, attribute, value, follow_symlinks=False)
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)
