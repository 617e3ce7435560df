"""Opening the gate that a created container waits at.

`create` leaves the container's init at `exec.fifo` in the runtime's state directory; all that `runc start` and `crun
start` do for a spec without hooks is to open it. Doing it here saves a process (5 to 8 ms of a start). runc's init
waits to *open the FIFO for writing*, writes one byte and goes; the starter reads it and removes the file
(libcontainer/container_linux.go, `handleFifo`, since 1.0). crun's init waits to *read* one byte (status.c,
`libcrun_status_write_exec_fifo`). `state` of both says "created" while the file is there. Where the file is missing,
the runtime's own `start` is run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from pathlib import Path


async def open_gate(kind: str, fifo: Path) -> bool:
    """True when the container runs; False when this is not for us to do (unknown runtime, no FIFO, nobody waits at
    it)."""
    try:
        if kind not in ("runc", "crun") or not stat.S_ISFIFO(fifo.stat(follow_symlinks=False).st_mode):
            return False
        return await _open_runc(fifo) if kind == "runc" else _open_crun(fifo)
    except OSError:
        return False


def program(pid: int) -> tuple[int, int] | None:
    """What a process executes, as (device, inode); None when it has ended."""
    try:
        found = os.stat(f"/proc/{pid}/exe")  # noqa: PTH116 (a link of the kernel's)
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def replaced(pid: int, init: tuple[int, int]) -> None:
    """Returns when `pid` executes something else, or has ended; after a tenth of a second in any case."""
    for _ in range(100):
        now = program(pid)
        if now is None or (now != init and _words(pid)):
            return
        await asyncio.sleep(0.001)


def _words(pid: int) -> bytes:
    """Its command line, which execve(2) fills in some moments after it has changed the program."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"ended"


def _open_crun(fifo: Path) -> bool:
    descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # ENXIO: no init reads
    try:
        fifo.unlink()
        return os.write(descriptor, b"\0") == 1
    finally:
        os.close(descriptor)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _open_runc(fifo: Path) -> bool:
    loop = asyncio.get_running_loop()
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for _ in range(3):
            with contextlib.suppress(BlockingIOError):
                if os.read(descriptor, 1):
                    fifo.unlink(missing_ok=True)
                    return True
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(descriptor, _set, ready)
            try:
                # An init that died never comes: `runc start` will say so.
                await asyncio.wait_for(ready, 2)
            except TimeoutError:
                return False
            finally:
                loop.remove_reader(descriptor)
        return False
    finally:
        os.close(descriptor)
