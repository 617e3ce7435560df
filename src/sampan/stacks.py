"""SIGUSR1: what every thread and every asyncio task is doing right now, for a daemon that hangs.

As dockerd: a file `goroutine-stacks-<time>.log` in the exec root, named in the log. The threads go to stderr first, by
faulthandler, which needs neither the event loop nor the interpreter's lock: that works even while a C call hangs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

log = logging.getLogger("sampan")


def dump_on_signal(directory: Path) -> None:
    """From now on SIGUSR1 writes the stacks. To be called in the main thread."""

    def dump(number: int, frame: FrameType | None) -> None:
        # Between two byte codes of whatever the main thread does: not through the loop, which may be what hangs.
        text = "\n".join(_everything())
        path = directory / f"goroutine-stacks-{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}.log"
        try:
            path.write_text(text)
        except OSError as error:
            log.error("stacks could not be written to %s: %s\n%s", path, error.strerror, text)
        else:
            log.info("goroutine stacks written to %s", path)

    signal.signal(signal.SIGUSR1, dump)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=True)


def _everything() -> Iterator[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    yield f"pid {os.getpid()}, {len(names)} threads"
    for ident, frame in sys._current_frames().items():
        yield f"\nthread {names.get(ident, ident)}:"
        yield "".join(traceback.format_stack(frame)).rstrip()
    tasks = _tasks()
    yield f"\n{len(tasks)} asyncio tasks"
    for task in tasks:
        yield f"\ntask {task.get_name()}:"
        yield from _awaited(task)


def _tasks() -> list[asyncio.Task[Any]]:
    """`asyncio.all_tasks` needs a running loop, which there is none between two steps of it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return []
    return sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())


def _awaited(task: asyncio.Task[Any]) -> Iterator[str]:
    """The chain of coroutines down to what is waited for; `Task.get_stack` shows only the outermost of it."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = next((f for kind in ("cr", "gi", "ag") if (f := getattr(waiting, f"{kind}_frame", None))), None)
        if frame is None:
            yield f"  waits for {waiting!r}"
            return
        yield f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_qualname}'
        names = ("cr_await", "gi_yieldfrom", "ag_await")
        waiting = next((inner for name in names if (inner := getattr(waiting, name, None)) is not None), None)
