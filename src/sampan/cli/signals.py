"""Signals as readable events: a poll loop sees them beside its sockets. Without `signal`, whose enums cost 3 ms."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIGINT = int(_signal.SIGINT)
SIGTERM = int(_signal.SIGTERM)
SIGWINCH = int(_signal.SIGWINCH)

# Not forwarded: ours by nature (CHLD, PIPE, WINCH, URG), faults of our own process, and those nobody can catch.
# docker forwards WINCH too; that makes Apache stop gracefully when a window is resized, so we do not.
_KEPT = frozenset(
    int(getattr(_signal, name))
    for name in (
        "SIGCHLD", "SIGPIPE", "SIGWINCH", "SIGURG", "SIGKILL", "SIGSTOP", "SIGSEGV", "SIGBUS",
        "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "SIGSYS", "SIGPROF", "SIGVTALRM",
    )
)  # fmt: skip

NAMES: dict[int, str] = {
    int(number): name[3:]
    for name, number in sorted(vars(_signal).items())
    if name.startswith("SIG") and not name.startswith("SIG_") and name not in ("SIGIOT", "SIGCLD", "SIGPOLL")
}
"""Number -> name without "SIG", as the API's kill takes it."""


class Signals:
    """Catches signals for the length of a `with`; `fd` is readable when one came, `taken()` says which.

    `forward` catches everything that may be passed on to a container. Otherwise only SIGWINCH, SIGINT and SIGTERM are
    caught: docker stays with the container then too, until the third of the latter two.
    """

    def __init__(self, *, forward: bool) -> None:
        self.forward = forward
        self._read = self._write = -1
        self._before: dict[int, Any] = {}

    @property
    def fd(self) -> int:
        return self._read

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(self._write)
        wanted = [number for number in NAMES if number not in _KEPT] if self.forward else [SIGINT, SIGTERM]
        for number in [*wanted, SIGWINCH]:
            try:
                self._before[number] = _signal.signal(number, _nothing)
            except OSError:  # a number the C library keeps for itself
                continue
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:
                _signal.signal(number, handler)
        _signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def taken(self) -> list[int]:
        """The signals that came since the last call, in order."""
        try:
            return list(os.read(self._read, 512))
        except BlockingIOError:
            return []


def _nothing(number: int, frame: object) -> None:
    """The wakeup pipe carries the news."""
