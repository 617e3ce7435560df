"""The person's terminal: its size, raw mode, and the key sequence that detaches from a container."""

from __future__ import annotations

import os

from .errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_DETACH_KEYS = b"\x10\x11"
"""ctrl-p ctrl-q."""

_CONTROL = {f"ctrl-{chr(code + 0x60) if 1 <= code <= 26 else chr(code + 0x40)}": code for code in range(32)}


def is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size(fd: int) -> tuple[int, int]:
    """(height, width) of the terminal on `fd`, (0, 0) when there is none."""
    try:
        found = os.get_terminal_size(fd)
    except OSError:
        return 0, 0
    return found.lines, found.columns


def detach_keys(text: str) -> bytes:
    """ "ctrl-p,ctrl-q" as the bytes a terminal sends; "" is the default sequence."""
    if not text:
        return DEFAULT_DETACH_KEYS
    codes = bytearray()
    for key in text.split(","):
        if len(key) == 1:
            codes += key.encode()[:1]
        elif key in _CONTROL:
            codes.append(_CONTROL[key])
        elif key == "DEL":
            codes.append(127)
        else:
            raise CliError(f"invalid detach keys ({text}): Unknown character: '{key}'")
    return bytes(codes)


class Raw:
    """Raw mode on a terminal for the length of a `with`; restores what was before on every way out."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    def __enter__(self) -> Raw:
        import termios

        self._before = termios.tcgetattr(self._fd)
        mode = termios.tcgetattr(self._fd)
        # cfmakeraw(3), as docker sets it
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] &= ~(termios.CSIZE | termios.PARENB)
        mode[2] |= termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN] = 1
        mode[6][termios.VTIME] = 0
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        return self

    def restore(self) -> None:
        """Back to what was before; harmless a second time."""
        if self._before is not None:
            import termios

            before, self._before = self._before, None
            termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def __exit__(self, *_: object) -> None:
        self.restore()


class DetachFilter:
    """Holds back typed bytes that may become the detach sequence, and notices when they do."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on; `detached` is set when the sequence is complete (what follows is dropped)."""
        keys = self._keys
        passed = bytearray()
        for byte in data:
            if byte != keys[self._matched]:
                passed += keys[: self._matched]
                self._matched = 0
                if byte != keys[0]:
                    passed.append(byte)
                    continue
            self._matched += 1
            if self._matched == len(keys):
                self.detached = True
                break
        return bytes(passed)
