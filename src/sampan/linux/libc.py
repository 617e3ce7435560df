"""One C library handle for the whole engine, and the system calls that no library here wraps.

ctypes drops the GIL around a call, and `use_errno` keeps errno a thread's own. The numbers of system calls younger than
Linux 5.1 are the same on every architecture (asm-generic/unistd.h), so amd64 and arm64 share them.
"""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
_syscall = libc.syscall
_syscall.restype = ctypes.c_long

OPEN_TREE = 428
MOVE_MOUNT = 429
FSOPEN = 430
FSCONFIG = 431
FSMOUNT = 432
FSPICK = 433
OPENAT2 = 437
MOUNT_SETATTR = 442

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

Argument = int | bytes | ctypes.Structure | None


def failure(path: str | os.PathLike[str] | None = None, message: str = "") -> OSError:
    """The `OSError` for the calling thread's errno (the subclass Python knows for it)."""
    number = ctypes.get_errno()
    text = os.strerror(number) + (f": {message}" if message else "")
    return OSError(number, text, os.fspath(path)) if path is not None else OSError(number, text)


def syscall(number: int, *arguments: Argument, path: str | os.PathLike[str] | None = None) -> int:
    """Calls the kernel; raises `OSError` (naming `path`) on failure. A Structure is passed by reference."""
    result: int = _syscall(ctypes.c_long(number), *map(_convert, arguments))
    if result == -1:
        raise failure(path)
    return result


def _convert(argument: Argument) -> object:
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, bytes):
        return ctypes.c_char_p(argument)
    if argument is None:
        return ctypes.c_void_p(None)
    return ctypes.byref(argument)
