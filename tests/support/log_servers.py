"""Log servers of a test's own: what containers print is collected, whole as it came."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec


class LogServer:
    """`address` is scheme://host:port. `stop` closes it, and every connection; `start` again takes the same port.
    `answer` makes the answer to what a connection sent."""

    def __init__(
        self, scheme: str, answer: Callable[[bytes], bytes] | None = None, secure: ssl.SSLContext | None = None
    ) -> None:
        self.scheme = scheme
        self._answer = answer
        self._secure = secure
        self._port = 0
        self._connections: list[socket.socket] = []
        self.received: list[bytes] = []
        """Datagrams, or the pieces in which streams came."""
        self.start()

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._port}"

    @property
    def data(self) -> bytes:
        return b"".join(self.received)

    def start(self) -> None:
        kind = socket.SOCK_DGRAM if self.scheme == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self._port))
        self._port = self._socket.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            self._socket.listen()
        run = self._datagrams if kind == socket.SOCK_DGRAM else self._accept
        threading.Thread(target=run, args=(self._socket,), daemon=True).start()

    def stop(self) -> None:
        for one in (self._socket, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._connections = []

    def _datagrams(self, at: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := at.recv(1 << 16):
                self.received.append(data)

    def _accept(self, at: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                made = at.accept()[0]
                threading.Thread(target=self._stream, args=(made,), daemon=True).start()

    def _stream(self, made: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._secure is not None:
                made = self._secure.wrap_socket(made, server_side=True)
            self._connections.append(made)
            while data := made.recv(1 << 16):
                self.received.append(data)
                if self._answer is not None and (answer := self._answer(data)):
                    made.sendall(answer)

    def wait(self, enough: Callable[[bytes], bool]) -> bytes:
        """Until what was received is `enough`."""
        deadline = time.monotonic() + 20
        while not enough(self.data):
            assert time.monotonic() < deadline, self.data[-2000:]
            time.sleep(0.02)
        return self.data


class JournalSocket:
    """A datagram socket at `path`, as journald's."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def entry(self) -> dict[str, bytes]:
        """The next entry's fields."""
        data = self._socket.recv(1 << 18)
        fields: dict[str, bytes] = {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                size = int.from_bytes(rest[:8], "little")
                value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
            fields[name.decode()] = value
            data = rest
        return fields

    def close(self) -> None:
        self._socket.close()


def messages(data: bytes) -> list[list[object]]:
    """fluentd's, one after the other in a stream."""
    found = []
    while data:
        for end in range(1, len(data) + 1):  # msgspec does not say where the first one ends
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.msgpack.decode(data[:end]))
                data = data[end:]
                break
        else:
            break
    return found
