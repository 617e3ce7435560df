"""The daemon's progress messages as lines on the screen: pull, push, load (moby's JSONMessage stream).

On a terminal each layer keeps its line and a bar moves on it; otherwise only changes of state are printed.
"""

from __future__ import annotations

import os

from .errors import CliError
from .terminal import is_terminal
from .units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO


def show(messages: Iterable[Any], out: TextIO | None, on_aux: Callable[[Any], None] | None = None) -> None:
    """Print a stream of messages to `out`; None shows nothing. Raises `CliError` with an error the stream carries.

    `on_aux` gets the `aux` objects, which hold results (an image id, a digest).
    """
    screen = out is not None and is_terminal(out.fileno())
    lines: dict[str, int] = {}
    for message in messages:
        if message.get("aux") is not None:
            if on_aux is not None:
                on_aux(message["aux"])
            continue
        name = message.get("id") or ""
        back = 0
        if name and (message.get("progressDetail") is not None or message.get("progress")):
            if name not in lines:
                lines[name] = len(lines)
                if screen and out is not None:
                    out.write("\n")
            back = len(lines) - lines[name]
            if screen and back and out is not None:
                out.write(f"\x1b[{back}A")
        else:
            lines = {}
        _raise_error(message)
        if out is None:
            continue
        out.write(_line(message, screen))
        if name and screen and back:
            out.write(f"\x1b[{back}B")
        out.flush()


def _raise_error(message: dict[str, Any]) -> None:
    detail = message.get("errorDetail")
    text = (detail or {}).get("message") or message.get("error")
    if text:
        raise CliError("authentication is required" if (detail or {}).get("code") == 401 else str(text))


def _line(message: dict[str, Any], screen: bool) -> str:
    """One message as it is written, line end and all; "" for a bar without a screen to draw it on."""
    detail = message.get("progressDetail")
    stream = message.get("stream") or ""
    bar = _bar(detail) if isinstance(detail, dict) else ""
    head, end = "", ""
    if screen and not stream and detail is not None:
        head, end = "\x1b[2K\r", "\r"
    elif bar:
        return ""
    if message.get("id"):
        head += f"{message['id']}: "
    if message.get("from"):
        head += f"(from {message['from']}) "
    status = message.get("status") or ""
    if screen and detail is not None:
        return f"{head}{status} {bar}{end}"
    if message.get("progress"):
        return f"{head}{status} {message['progress']}{end}"
    if stream:
        return f"{head}{stream}{end}"
    return f"{head}{status}{end}\n"


def _bar(detail: dict[str, Any]) -> str:
    current, total = detail.get("current") or 0, detail.get("total") or 0
    units = detail.get("units") or ""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{current} {units}" if units else f"{human_size(current):>8}"
    filled = min(int(current / total * 100) // 2, 50)
    box = f"[{'=' * filled}>{' ' * (50 - filled)}] " if _columns() > 110 else ""
    if detail.get("hidecounts"):
        return box
    if units:
        return box + (f"{current} {units}" if current > total else f"{current}/{total} {units}")
    numbers = f"{human_size(current):>8}"
    return box + (numbers if current > total else f"{numbers}/{human_size(total)}")


def _columns() -> int:
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 200
