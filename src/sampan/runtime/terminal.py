"""Telling conmon a terminal's size.

conmon reads `1 HEIGHT WIDTH` lines from the FIFO `ctl` and hands them to itself through the FIFO `winsz`. When two
lines wait in either, it reads both and obeys the first one twice (`read_from_ctrl_buffer`, 2.1.6 to 2.2), so a line
is sent only once both are empty."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios
from pathlib import Path

from sampan.errors import Conflict

_REOPEN_LOG = b"2 0 0\n"


async def resize(directory: Path, height: int, width: int) -> None:
    """Raises `Conflict` when there is no conmon to tell."""
    await _send(directory, b"1 %d %d\n" % (height, width))


async def reopen_log(directory: Path) -> None:
    """After the log file was renamed: conmon goes on in a new one of the old name."""
    await _send(directory, _REOPEN_LOG)


async def _send(directory: Path, line: bytes) -> None:
    try:
        control = os.open(directory / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO):
            raise
        raise Conflict("the process does not run: there is no terminal to resize") from None
    try:
        for _ in range(100):
            if not _waiting(control) and not _waiting_at(directory / "winsz"):
                break
            await asyncio.sleep(0.002)
        os.write(control, line)
    except BlockingIOError:
        raise Conflict("conmon does not answer") from None
    finally:
        os.close(control)


def _waiting(descriptor: int) -> int:
    """Bytes in the FIFO."""
    count: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0]
    return count


def _waiting_at(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return _waiting(descriptor)
    finally:
        os.close(descriptor)
