"""A person at a terminal: a command on a pty, words typed at it, the screen read back."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from types import TracebackType


class Terminal:
    """`with Terminal(command, env) as t: t.expect("#"); t.type("exit\\n"); assert t.wait() == 0`."""

    def __init__(self, command: list[str], environment: dict[str, str], rows: int = 24, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        self._size(rows, columns)
        self.screen = ""
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)

    def _size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows: int, columns: int) -> None:
        self._size(rows, columns)
        self._process.send_signal(signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)

    def expect(self, text: str, timeout: float = 20) -> str:
        """Waits until `text` appears after what was expected before; returns what came up to it and forgets it."""
        deadline = time.monotonic() + timeout
        while text not in self.screen:
            if time.monotonic() > deadline or not self._read(0.2):
                raise AssertionError(f"{text!r} did not appear; the screen shows {self.screen!r}")
        seen, _, self.screen = self.screen.partition(text)
        return seen + text

    def wait(self, timeout: float = 20) -> int:
        """The exit code once the command ends; the rest of its output goes to `screen`."""
        deadline = time.monotonic() + timeout
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"still running; the screen shows {self.screen!r}")
            self._read(0.05)
        while self._read(0.05) and select.select([self._master], [], [], 0)[0]:
            pass
        return self._process.returncode

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)
