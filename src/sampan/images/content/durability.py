"""What a power cut may do, and how it is noticed.

fsync of every blob and file would cost more than everything else a pull does, so nothing waits for the disk. What was
written in this boot carries a *mark*: a symlink whose text is the boot's id, pure metadata, which a journaling
filesystem
commits no later than the rename that publishes the thing. Later one syncfs(2) writes everything out and the marks go.
A mark of another boot at start means that the power went before that, so blobs are hashed again and layers unpacked
again. `kill -9` needs none of this: what the kernel was given stays.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

from sampan.linux.libc import failure, libc


@functools.cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def syncfs(directory: Path) -> None:
    """Writes out everything dirty of the filesystem a directory is on. Blocks, for seconds perhaps."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor):
            raise failure(directory)
    finally:
        os.close(descriptor)


def mark(path: Path) -> None:
    """Not known to be on the disk yet."""
    try:
        path.symlink_to(boot_id())
    except FileExistsError:
        if is_doubtful(path):
            path.unlink()
            path.symlink_to(boot_id())


def unmark(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def is_doubtful(path: Path) -> bool:
    """Is there a mark of an earlier boot?"""
    try:
        return os.fspath(path.readlink()) != boot_id()
    except FileNotFoundError:
        return False
