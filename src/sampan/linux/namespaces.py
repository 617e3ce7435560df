"""Namespaces. A thread that enters one never comes back: each entry runs in a thread of its own that ends with it.

setns(2) and unshare(2) act on the calling thread alone; a thread from a pool would carry the namespace into other
people's work."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from sampan.linux import mounts
from sampan.linux.libc import failure, libc

CLONE_FS = 0x200
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

T = TypeVar("T")
StrPath = str | os.PathLike[str]


def unshare(flags: int) -> None:
    """For the calling thread; use inside `in_thread`."""
    if libc.unshare(flags):
        raise failure()


def setns(descriptor: int, kind: int = 0) -> None:
    """For the calling thread; use inside `in_thread`. CLONE_NEWNS needs `unshare(CLONE_FS)` before."""
    if libc.setns(descriptor, kind):
        raise failure()


def in_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a new thread and waits; its exception is raised here."""
    result: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return cast("T", result[0])


def in_netns(path: StrPath, work: Callable[[], T]) -> T:
    """Runs `work` inside the network namespace named by a file (a bound nsfs file or /proc/PID/ns/net). Sockets
    opened there stay there."""

    def enter() -> T:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(descriptor, CLONE_NEWNET)
        finally:
            os.close(descriptor)
        return work()

    return in_thread(enter)


def in_mount_namespace(path: StrPath, work: Callable[[], T]) -> T:
    """Runs `work` inside a mount namespace (/proc/PID/ns/mnt); its root directory is that namespace's root."""

    def enter() -> T:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            unshare(CLONE_FS)
            setns(descriptor, CLONE_NEWNS)
        finally:
            os.close(descriptor)
        return work()

    return in_thread(enter)


def create_netns(path: StrPath, prepare: Callable[[], None] | None = None) -> None:
    """A new network namespace, kept alive by a bind mount on the file `path` (made; it must not exist). `prepare`
    runs inside it first, for sysctls and sockets. On failure nothing stays."""
    target = Path(path)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o444))

    def make() -> None:
        unshare(CLONE_NEWNET)
        if prepare is not None:
            prepare()
        mounts.bind("/proc/thread-self/ns/net", target, recursive=False)

    try:
        in_thread(make)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def remove_netns(path: StrPath) -> bool:
    """Unbinds and unlinks a named namespace (it ends with its last process). Idempotent; False when it was gone."""
    while mounts.unmount(path, detach=True):
        pass
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
        return True
    return False


def is_namespace(path: StrPath) -> bool:
    """Is the file a live namespace (nsfs), not a leftover plain file?"""
    try:
        return mounts.is_mounted(path)
    except OSError:
        return False
