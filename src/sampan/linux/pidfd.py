"""Processes by descriptor: a pid may be reused, a pidfd never is (Linux 5.3)."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from pathlib import Path


def open_pidfd(pid: int) -> int | None:
    """A pidfd, or None when there is no such process (or it is not a thread group leader)."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def send_signal(pid: int, number: int, started: int | None = None) -> bool:
    """Signals a process; False when it is gone. With `started` (`start_time`), a process that took over the pid is
    left alone."""
    descriptor = open_pidfd(pid)
    if descriptor is None:
        return False
    try:
        if started is not None and start_time(pid) != started:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def has_ended(descriptor: int) -> bool:
    """Has the pidfd's process ended (zombie or gone)? Never waits."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process began (field 22 of proc_pid_stat(5)); None when it is gone. With
    the pid it names a process for good."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def state(pid: int) -> str | None:
    """The state letter (R, S, D, Z, T…); None when it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else None


def parent(pid: int) -> int | None:
    """The parent's pid; None when it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str] | None:
    """The fields after the command name, which may itself hold spaces and parentheses."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


async def ended(descriptor: int) -> None:
    """Waits, without a thread, until the pidfd's process has ended. The descriptor stays open."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def ready() -> None:
        loop.remove_reader(descriptor)
        if not done.done():
            done.set_result(None)

    loop.add_reader(descriptor, ready)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)
