"""A container in the foreground: its streams, the signals that are passed on, its size, its exit code.

For `run`, `start -a` and `attach`. The order matters and is docker's: attach, then post the wait, then start; so no
output and no exit can slip through between them.
"""

from __future__ import annotations

import select

from ..errors import CliError
from ..http import quote
from ..signals import NAMES, SIGINT, SIGTERM, SIGWINCH
from ..terminal import is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..connection import Connection, Response
    from ..session import Cli
    from ..signals import Signals


def check_tty(attach_stdin: bool, tty: bool) -> None:
    """Refuse a container's terminal on a stdin that is none, before anything is made."""
    if attach_stdin and tty and not is_terminal(0):
        raise CliError("the input device is not a TTY")


def attach(cli: Cli, identity: str, *, stdin: bool, stdout: bool, stderr: bool, keys: str) -> Connection:
    """The container's hijacked stream."""
    connection, _ = cli.client.hijack(
        f"/containers/{quote(identity)}/attach",
        {"stream": 1, "stdin": stdin or None, "stdout": stdout or None, "stderr": stderr or None, "detachKeys": keys},
    )
    return connection


class ExitWait:
    """A posted POST /containers/{id}/wait whose answer is read when it comes."""

    def __init__(self, cli: Cli, identity: str, condition: str = "") -> None:
        self._response: Response = cli.client.request(
            "POST", f"/containers/{quote(identity)}/wait", {"condition": condition}
        )

    @property
    def sock(self) -> Any:
        connection = self._response.connection
        return None if connection is None else connection.sock

    def status(self, signals: Signals | None = None, on_signal: Remote | None = None) -> int:
        """Wait for the exit code; signals are passed on meanwhile."""
        connection = self._response.connection
        if signals is not None and on_signal is not None and connection is not None:
            poll = select.poll()
            poll.register(connection.sock.fileno(), select.POLLIN)
            poll.register(signals.fd, select.POLLIN)
            while not connection.pending:
                ready = dict(poll.poll())
                if signals.fd in ready:
                    for number in signals.taken():
                        on_signal(number)
                if connection.sock.fileno() in ready:
                    break
        try:
            answer = self._response.json() or {}
        except CliError as error:
            raise CliError(f"error waiting for container: {error.message}", 125) from None
        problem = (answer.get("Error") or {}).get("Message")
        if problem:
            raise CliError(f"Error waiting for container: {problem}", 125)
        return int(answer.get("StatusCode", 0))


class Remote:
    """What happens with our signals: passed on to the container, or the new size of its terminal."""

    def __init__(self, cli: Cli, path: str, *, tty: bool, forward: bool) -> None:
        self._cli = cli
        self._path = path
        self._tty = tty
        self._forward = forward
        self._interrupts = 0

    def __call__(self, number: int) -> None:
        if number == SIGWINCH:
            if self._tty:
                self.resize()
            return
        if number in (SIGINT, SIGTERM):
            self._interrupts += 1
            if self._interrupts >= 3:
                raise CliError("\ngot 3 SIGTERM/SIGINTs, forcefully exiting")
        if not self._forward:
            return
        try:
            self._cli.client.post(f"{self._path}/kill", {"signal": NAMES[number]})
        except CliError:
            pass  # it has just ended: the exit code is on its way

    def resize(self, more: int = 0) -> bool:
        """Give the container's terminal our size; whether the daemon took it. `more` makes it larger than it is."""
        height, width = size(1)
        if not height and not width:
            return True
        try:
            self._cli.client.post(f"{self._path}/resize", {"h": height + more, "w": width + more})
        except CliError:
            return False
        return True

    def first_resize(self) -> None:
        """The size at the start. The process may need a moment to have a terminal, so it is tried again aside."""
        if not self.resize():
            import _thread

            _thread.start_new_thread(self._resize_later, ())

    def _resize_later(self) -> None:
        from time import sleep

        for attempt in range(10):
            sleep(0.01 * (attempt + 1))
            if self.resize():
                return
        self._cli.err("failed to resize tty, using default size\n")
