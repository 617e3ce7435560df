"""Whole directory trees: their size, their end, and where on the disk they lie. All works for trees that are deeper
than Python recurses or PATH_MAX reaches (a container can make such), and never follows a symlink out of the tree.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import stat
from collections import deque
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_TOP_DIRECTORY = 0x00020000
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def size(path: Path) -> int:
    """Bytes of all files and symlinks, each inode once, as `docker images` and `SizeRw` count. 0 when it is not
    there.
    """
    return size_at(os.open("/", os.O_PATH), os.fsencode(path), close=True)


def size_at(parent: int, base: bytes, *, close: bool = False) -> int:
    """The same for a name in an open directory."""
    seen: set[int] = set()
    total = 0
    try:
        waiting = deque(_opened(parent, base))
    finally:
        if close:
            os.close(parent)
    try:
        while waiting:
            directory = waiting.pop()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        with contextlib.suppress(FileNotFoundError):
                            found = entry.stat(follow_symlinks=False)
                            if stat.S_ISDIR(found.st_mode):
                                waiting.extend(_opened(directory, os.fsencode(entry.name)))
                            elif found.st_nlink == 1 or found.st_ino not in seen:
                                seen.add(found.st_ino)
                                total += found.st_size
            finally:
                os.close(directory)
    finally:
        for left in waiting:
            os.close(left)
    return total


def _opened(parent: int, base: bytes) -> list[int]:
    try:
        return [os.open(base, _DIRECTORY, dir_fd=parent)]
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise


def remove(path: Path) -> None:
    """Deletes a tree. What is gone already is fine; other failures raise `OSError`."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_at(parent, os.fsencode(path.name))
    finally:
        os.close(parent)


def remove_at(parent: int, base: bytes) -> None:
    """The same for a name in an open directory.

    Depth costs nothing: a directory further down is first renamed to just below `base`, so two levels are all there
    ever is. Nothing leaves `base`: whoever is killed here can begin again.
    """
    for top in _opened(parent, base):
        try:
            _empty(top)
        finally:
            os.close(top)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(base, dir_fd=parent)


def _empty(top: int) -> None:
    waiting = _remove_in(top, top)
    while waiting:
        name = waiting.pop()
        for directory in _opened(top, name):
            try:
                waiting += _remove_in(directory, top)
            finally:
                os.close(directory)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=top)


def _remove_in(directory: int, top: int) -> list[bytes]:
    """Removes what a directory has. Directories that are not empty are left, or put, in `top`: their names there."""
    left = []
    for inner, is_directory in _listed(directory):
        if not is_directory:
            os.unlink(inner, dir_fd=directory)
            continue
        try:
            os.rmdir(inner, dir_fd=directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            left.append(inner if directory == top else _moved(inner, directory, top))
    return [name for name in left if name]


def _moved(inner: bytes, directory: int, top: int) -> bytes:
    """The new name; "" when it had to be removed where it is."""
    name = b".sampan-gone-" + os.urandom(8).hex().encode()
    try:
        os.rename(inner, name, src_dir_fd=directory, dst_dir_fd=top)
    except OSError as error:
        if error.errno != errno.EXDEV:  # overlayfs does not move a directory of its lower layers
            raise
        remove_at(directory, inner)
        return b""
    return name


def _listed(directory: int) -> list[tuple[bytes, bool]]:
    with os.scandir(directory) as entries:
        return [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]


def spread(path: Path) -> None:
    """Tells ext4 that the directories made in this one have nothing to do with each other (`chattr +T`): each then
    begins in a part of the disk of its own. Files of a new tree are otherwise looked for a place among the inodes of
    one just removed, which an ext4 without a journal skips one by one for a minute: unpacking a layer after an `rmi`
    takes ten times as long. Other filesystems know no such thing."""
    directory = os.open(path, _DIRECTORY)
    try:
        flags = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(directory, _GET_FLAGS, flags)
            if not flags[0] & _TOP_DIRECTORY:
                flags[0] |= _TOP_DIRECTORY
                fcntl.ioctl(directory, _SET_FLAGS, flags)
    finally:
        os.close(directory)
