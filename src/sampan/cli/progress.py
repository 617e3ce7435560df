"""What pull, push, load and import tell while they work: JSON messages, drawn as docker draws them.

On a terminal every layer has a line that is written over, with a bar; elsewhere only changes of state are lines.
"""

from __future__ import annotations

import os

from sampan.golang import SECOND, duration_text

from .errors import CliError
from .units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO


def _width(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns
    except (OSError, ValueError):
        return 200


def bar(detail: dict[str, Any], width: int, now: float) -> str:
    """`[=====>     ]  1.5MB/3MB`, as much of it as `width` columns allow; "" where nothing is known."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    units = detail.get("units") or ""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{current} {units}" if units else f"{human_size(current):>8}"
    share = min(int(current / total * 100) // 2, 50)
    box = f"[{'=' * share}>{' ' * (50 - share)}] " if width > 110 else ""
    numbers = ""
    if not detail.get("hidecounts"):
        known = current <= total
        if units:
            numbers = f"{current}/{total} {units}" if known else f"{current} {units}"
        else:
            numbers = f"{human_size(current):>8}/{human_size(total)}" if known else f"{human_size(current):>8}"
    return box + numbers + _time_left(detail, current, total, share, width, now)


def _time_left(detail: dict[str, Any], current: int, total: int, share: int, width: int, now: float) -> str:
    start = detail.get("start") or 0
    if width <= 50 or current <= 0 or start <= 0 or share >= 50:
        return ""
    seconds = int((total - current) * ((now - start) / current) + 0.5)
    return " " + duration_text(seconds * SECOND)


def show(
    messages: Iterable[dict[str, Any]], out: TextIO | None, on_aux: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Draw messages on `out` (None: nowhere) until they end. Raises CliError for the error that one carries.

    `on_aux` gets what a message carries for programs instead of people: a push's digests, a build's image.
    """
    _Screen(out, on_aux).run(messages)


class _Screen:
    """`lines` are the positions of the layers drawn since the last message that had none."""

    def __init__(self, out: TextIO | None, on_aux: Callable[[dict[str, Any]], None] | None) -> None:
        self.out = out
        self.on_aux = on_aux
        self.terminal = out is not None and out.isatty()
        self.lines: dict[str, int] = {}

    def run(self, messages: Iterable[dict[str, Any]]) -> None:
        for message in messages:
            if message.get("aux") is not None:
                if self.on_aux is not None:
                    self.on_aux(message["aux"])
                continue
            self._one(message)
            if self.out is not None:
                self.out.flush()

    def _one(self, message: dict[str, Any]) -> None:
        identifier = message.get("id", "")
        up = 0
        if identifier and (message.get("progressDetail") is not None or message.get("progress")):
            if identifier not in self.lines:
                self.lines[identifier] = len(self.lines)
                if self.terminal:
                    self._write("\n")
            up = len(self.lines) - self.lines[identifier]
            if self.terminal:
                self._write(f"\033[{up}A")
        else:
            self.lines = {}
        try:
            self._display(message)
        finally:
            if up and self.terminal:
                self._write(f"\033[{up}B")

    def _display(self, message: dict[str, Any]) -> None:
        error = message.get("errorDetail")
        if error is not None or message.get("error"):
            raise CliError((error or {}).get("message") or message.get("error", ""))
        detail = message.get("progressDetail")
        ending = ""
        drawn = "" if detail is None else self._bar(detail)
        if self.terminal and not message.get("stream") and detail is not None:
            ending = "\r"
            self._write("\033[2K\r")
        elif drawn:
            return  # no bars where nobody sees them move
        out = self._time(message)
        if message.get("id"):
            out += f"{message['id']}: "
        if message.get("from"):
            out += f"(from {message['from']}) "
        if detail is not None and self.terminal:
            out += f"{message.get('status', '')} {drawn}{ending}"
        elif message.get("progress"):
            out += f"{message.get('status', '')} {message['progress']}{ending}"
        elif message.get("stream"):
            out += f"{message['stream']}{ending}"
        else:
            out += f"{message.get('status', '')}{ending}\n"
        self._write(out)

    def _bar(self, detail: dict[str, Any]) -> str:
        import time

        return bar(detail, 200 if self.out is None else _width(self.out), time.time())

    def _time(self, message: dict[str, Any]) -> str:
        if not message.get("timeNano") and not message.get("time"):
            return ""
        from .units import fixed_local_time

        return fixed_local_time(message.get("timeNano") or message["time"] * SECOND) + " "

    def _write(self, text: str) -> None:
        if self.out is not None:
            self.out.write(text)
