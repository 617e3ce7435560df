"""A build's events as people know them from BuildKit: lines that stay (plain), a screen that is redrawn (tty), the
events themselves (rawjson), or nothing (quiet). All of it goes to stderr; stdout is for the result.
"""

from __future__ import annotations

import os
import sys
import time
from codecs import getincrementaldecoder
from collections import deque

from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from codecs import IncrementalDecoder
    from collections.abc import Iterable
    from typing import Any

_SHOWN = frozenset({"FROM", "RUN", "COPY", "ADD", "WORKDIR", "EXPORT"})
"""As in BuildKit: what only changes the configuration is no line of its own."""
_REDRAW = 0.1
_QUIET = 0.5
_TAIL = 6
_EXIT = "The command '"
_AROUND = 1_000_000
"""Number of the first step that is none of the Dockerfile's."""
_KEPT = 200
"""Pieces of a step's output: the last lines are shown, the rest went by."""


def _as_step(event: dict[str, Any]) -> dict[str, Any]:
    """What is done around the steps (exports), as a step of its own."""
    if event.get("event") != "around":
        return event
    kind = "started" if not event.get("ended") else "failed" if event.get("error") else "done"
    step = {"step": _AROUND + event.get("number", 0), "keyword": "EXPORT", "message": event.get("error", "")}
    return {**event, **step, "event": kind}


class Progress:
    """Follows the events; `shown` is what is drawn of them."""

    def __init__(self, explain: bool) -> None:
        self._explain = explain
        self.result: dict[str, Any] = {}
        self.warnings: list[dict[str, Any]] = []
        self.logs: dict[int, deque[str]] = {}
        self._decoders: dict[tuple[int, int], IncrementalDecoder] = {}
        self.names: dict[int, str] = {}
        self.keywords: dict[int, str] = {}

    def run(self, events: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """The finished build: image, tags, manifest. Raises `CliError`."""
        try:
            for event in map(_as_step, events):
                self._note(event)
                if "errorDetail" in event:
                    self.end()
                    self._fail(event)
                self.draw(event)
        finally:
            self.end()
        self._tell_warnings()
        if self.warnings:
            self.result["warnings"] = self.warnings
        return self.result

    def _note(self, event: dict[str, Any]) -> None:
        step, kind = event.get("step", -1), event.get("event")
        if kind == "started":
            self.names[step], self.keywords[step] = event["name"], event["keyword"]
        elif kind == "output":
            event["text"] = self._text(step, event)
            self.logs.setdefault(step, deque(maxlen=_KEPT)).append(event["text"])
        elif kind == "warned":
            self.warnings.append(event)
        elif kind == "described":
            self.result = {"described": event["what"]}
        elif kind == "finished":
            self.result = {key: event.get(key) for key in ("image", "tags", "manifest", "described", "provenance")}

    def _text(self, step: int, event: dict[str, Any]) -> str:
        """A character may come in two pieces."""
        from binascii import a2b_base64

        key = (step, event.get("stream", 1))
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = getincrementaldecoder("utf-8")("replace")
        return decoder.decode(a2b_base64(event["data"]))

    def _fail(self, event: dict[str, Any]) -> None:
        detail = event["errorDetail"]
        message, code = detail["message"], detail.get("code", 0)
        step = event.get("step", -1)
        log = "".join(self.logs.get(step, ()))
        out = ""
        if step in self.names:
            out = f"------\n > {self.names[step]}:\n"
            out += "".join(f"{line}\n" for line in log.splitlines()[-10:]) + "------\n"
        out += event.get("excerpt", "")
        self._tell_warnings()
        sys.stderr.write(out)
        if code and message.startswith(_EXIT):
            command = message[len(_EXIT) :].rpartition("' returned a non-zero code")[0]
            from sampan.golang import quote

            message = f"process {quote(command)} did not complete successfully: exit code: {code}"
        raise CliError(f"ERROR: failed to build: failed to solve: {message}")

    def _tell_warnings(self) -> None:
        if not self.warnings:
            return
        found = len(self.warnings)
        out = f"\n {found} warning{'s' if found != 1 else ''} found:\n"
        for warning in self.warnings:
            out += f" - {warning['rule']}: {warning['message']} (line {warning.get('line', 0)})\n"
        sys.stderr.write(out)

    def draw(self, event: dict[str, Any]) -> None:
        """Shows one event."""

    def end(self) -> None:
        """No more events."""


class Quiet(Progress):
    """Nothing is drawn, and warnings are not told either, as buildx keeps them to itself."""

    def _tell_warnings(self) -> None:
        pass


class Plain(Progress):
    def __init__(self, explain: bool) -> None:
        super().__init__(explain)
        self._numbers: dict[int, int] = {}
        self._begun: dict[int, float] = {}
        self._open: dict[int, str] = {}
        self._cached: set[int] = set()

    def draw(self, event: dict[str, Any]) -> None:
        step, kind = event.get("step", -1), event.get("event")
        if kind == "noted":
            sys.stderr.write(event["text"] if event["text"].endswith("\n") else event["text"] + "\n")
        if self.keywords.get(step) not in _SHOWN:
            if kind == "missed" and self._explain and event["reason"]:
                sys.stderr.write(f"   {self.names[step]}: not cached: {event['reason']}\n")
            return
        if kind == "started":
            self._numbers[step] = len(self._numbers) + 1
            self._begun[step] = time.monotonic()
            self._line(step, event["name"], first=True)
        elif kind == "cached":
            self._cached.add(step)
            self._line(step, "CACHED")
        elif kind == "missed" and self._explain:
            self._line(step, f"not cached: {event['reason']}")
        elif kind == "output":
            self._output(step, event["text"])
        elif kind == "pulled":
            message = event["message"]
            if "progressDetail" not in message or not message["progressDetail"]:
                self._line(step, " ".join(filter(None, (message.get("id", ""), message.get("status", "")))))
        elif kind == "done":
            self._close(step)
            for line in event.get("lines", ()):
                self._line(step, line)
            if step not in self._cached:
                self._line(step, f"DONE {event.get('seconds', 0.0):.1f}s")
        elif kind == "failed":
            self._close(step)
            self._line(step, f"ERROR: {event['message']}")

    def _line(self, step: int, text: str, first: bool = False) -> None:
        sys.stderr.write(f"{chr(10) if first else ''}#{self._numbers[step]} {text}\n")
        sys.stderr.flush()

    def _output(self, step: int, text: str) -> None:
        seconds = time.monotonic() - self._begun[step]
        lines = (self._open.pop(step, "") + text).split("\n")
        for line in lines[:-1]:
            self._line(step, f"{seconds:.3f} {line}")
        if lines[-1]:
            self._open[step] = lines[-1]

    def _close(self, step: int) -> None:
        if rest := self._open.pop(step, ""):
            self._line(step, f"{time.monotonic() - self._begun[step]:.3f} {rest}")


class RawJson(Progress):
    def draw(self, event: dict[str, Any]) -> None:
        from json import dumps

        sys.stderr.write(dumps({key: value for key, value in event.items() if key != "text"}) + "\n")


class Screen(Progress):
    """Steps as lines, the running ones with their last lines of output; redrawn at most ten times a second."""

    def __init__(self, explain: bool) -> None:
        super().__init__(explain)
        self._begun = time.monotonic()
        self._since: dict[int, float] = {}
        self._took: dict[int, float] = {}
        self._marks: dict[int, str] = {}
        self._reasons: dict[int, str] = {}
        self._drawn = 0
        self._last = 0.0
        from threading import Event, RLock, Thread

        self._lock, self._ended = RLock(), Event()
        Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        """Clocks go on while a step says nothing."""
        while not self._ended.wait(_QUIET):
            with self._lock:
                if time.monotonic() - self._last >= _QUIET and not self._ended.is_set():
                    self._redraw(False)

    def draw(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._follow(event)

    def _follow(self, event: dict[str, Any]) -> None:
        step, kind = event.get("step", -1), event.get("event")
        now = time.monotonic()
        if kind == "started" and event["keyword"] in _SHOWN:
            self._since[step] = now
        elif kind == "cached":
            self._marks[step] = "CACHED "
        elif kind == "missed" and self._explain:
            self._reasons[step] = event["reason"]
        elif kind == "failed":
            self._marks[step] = "ERROR "
            self._took[step] = now - self._since.get(step, now)
        elif kind == "done":
            self._took[step] = now - self._since.get(step, now)
        if now - self._last >= _REDRAW:
            self._redraw(False)

    def end(self) -> None:
        with self._lock:
            self._ended.set()
            if self._since or not self._drawn:
                self._redraw(True)
                self._since = {}

    def _redraw(self, final: bool) -> None:
        self._last = now = time.monotonic()
        size = os.get_terminal_size(2)
        width, height = size.columns or 80, size.lines or 24
        done = sum(step in self._took for step in self._since)
        state = " FINISHED" if final and done == len(self._since) else ""
        lines = [f"[+] Building {now - self._begun:.1f}s ({done}/{len(self._since)}){state}"]
        for step, since in self._since.items():
            running = step not in self._took
            seconds = f"{(now - since) if running else self._took[step]:.1f}s"
            name = self._marks.get(step, "") + self.names[step]
            room = max(width - len(seconds) - 5, 10)
            lines.append(f" => {name[:room].ljust(room)} {seconds}")
            if self._reasons.get(step):
                lines.append(f" => => not cached: {self._reasons[step]}"[:width])
            if running and not final:
                tail = "".join(self.logs.get(step, ())).splitlines()[-_TAIL:]
                lines += [f" => => # {line}"[:width] for line in tail]
        if not final:
            lines = [lines[0], *lines[1:][-(height - 2) :]]
        up = f"\033[{self._drawn}A" if self._drawn else ""
        sys.stderr.write(up + "\033[J" + "".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self._drawn = len(lines)


def display(progress: str, quiet: bool, explain: bool) -> Progress:
    """For `--progress`. Raises `CliError` for an unknown one."""
    if quiet or progress == "quiet":
        return Quiet(explain)
    if progress == "rawjson":
        return RawJson(explain)
    if progress == "plain" or (progress in ("auto", "") and not os.isatty(2)):
        return Plain(explain)
    if progress in ("tty", "auto", ""):
        if not os.isatty(2):
            raise CliError("ERROR: failed to get console: provided file is not a console")
        return Screen(explain)
    raise CliError(f"ERROR: invalid progress mode {progress}")
