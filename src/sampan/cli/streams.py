"""Moving bytes between the person and a hijacked connection: attach, run, start -a and exec.

Without a TTY the daemon sends frames: one byte for the stream (1 stdout, 2 stderr, 3 an error of the daemon), three
of zero, the length in four bytes big-endian, the bytes (API: POST /containers/{id}/attach). With a TTY it is raw.
"""

from __future__ import annotations

import os
import select
from errno import EAGAIN, ECONNRESET, EPIPE

from .connection import NOSIGNAL
from .errors import CliError
from .terminal import DetachFilter, Raw, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .connection import Connection, Response
    from .signals import Signals

READ_SIZE = 1 << 18
_UPLOAD_AHEAD = 1 << 17
"""Bytes read from stdin that wait for the daemon to take them; more is left in the pipe."""
_PIPE_BUF = 4096
"""A pipe that polls as writable takes this much without blocking."""


class Frames:
    """Splits the framed stream; a frame may come in any number of pieces."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._stream = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """(stream number, bytes) for what has come; the bytes stay valid as long as `data`."""
        view = memoryview(data)
        at, end = 0, len(view)
        while at < end:
            if self._left:
                piece = view[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                yield self._stream, piece
                continue
            need = 8 - len(self._head)
            self._head += bytes(view[at : at + need])
            at += need
            if len(self._head) == 8:
                self._stream = self._head[0]
                self._left = int.from_bytes(self._head[4:], "big")
                self._head = b""


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Blocking write of everything; a non-blocking descriptor (set so by whoever shares it) is waited for."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])


def copy_output(response: Response, *, tty: bool, stdout: int, stderr: int) -> None:
    """A streamed answer onto two descriptors, as it comes: logs."""
    frames = Frames()
    trouble = bytearray()
    while data := response.read(READ_SIZE):
        if tty:
            write_all(stdout, data)
            continue
        for stream, piece in frames.feed(data):
            if stream == 3:
                trouble += piece
            else:
                write_all(stderr if stream == 2 else stdout, piece)
    if trouble:
        raise CliError(f"error from daemon in stream: {trouble.decode('utf-8', 'replace')}")


class Pump:
    """One hijacked stream and the person's descriptors. `run` moves bytes until one side is through.

    `stdin`, `stdout`, `stderr` are descriptors or None where not attached. `keys` is the detach sequence, looked
    for only when stdin is a terminal's raw mode (`tty`).
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tty: bool,
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
        keys: bytes,
    ) -> None:
        self._connection = connection
        self._sock = connection.sock
        self._tty = tty
        self._stdin = stdin
        self._out = {0: stdout, 1: stdout, 2: stderr}
        self._has_output = stdout is not None or stderr is not None
        self._frames = Frames()
        self._trouble = bytearray()
        self._filter = DetachFilter(keys) if tty and stdin is not None else None
        self._upload = b""
        self._typing = stdin is not None
        self._queue: list[tuple[int, memoryview]] = []
        self._raw: Raw | None = None
        self.detached = False

    def __enter__(self) -> Pump:
        """Raw mode begins here: before the container starts, so that nothing typed is echoed twice."""
        if self._tty and self._stdin is not None and is_terminal(self._stdin):
            self._raw = Raw(self._stdin)
            self._raw.__enter__()
        return self

    def close(self) -> None:
        """Give the terminal back and drop the stream; harmless a second time."""
        if self._raw is not None:
            self._raw.restore()
        self._connection.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        signals: Signals | None = None,
        on_signal: Callable[[int], None] | None = None,
        ended: Any = None,
    ) -> None:
        """Until the output ends, or the detach keys come (`detached`).

        Where no output is attached: until stdin ends or `ended` (a socket) becomes readable.
        """
        try:
            self._loop(signals, on_signal, ended)
        finally:
            if self._raw is not None:
                self._raw.restore()
        if self._trouble:
            raise CliError(f"error from daemon in stream: {self._trouble.decode('utf-8', 'replace')}")

    def _loop(self, signals: Signals | None, on_signal: Callable[[int], None] | None, ended: Any) -> None:
        self._sock.setblocking(False)
        if not self._typing:
            self._finish_upload()
        if self._connection.pending and not self._received(self._take_pending()):
            return
        while True:
            ready = dict(self._poll(signals, ended))
            if signals is not None and signals.fd in ready and on_signal is not None:
                for number in signals.taken():
                    on_signal(number)
            if self._queue:
                self._flush(ready)
            if self._typing and self._stdin in ready:
                self._read_stdin()
                if self.detached:
                    return
            if self._upload and self._sock.fileno() in ready:
                self._send()
            if self._sock.fileno() in ready and not self._queue and not self._receive():
                return
            if not self._has_output:
                if not self._typing and not self._upload:
                    return
                if ended is not None and ended.fileno() in ready:
                    return

    def _poll(self, signals: Signals | None, ended: Any) -> list[tuple[int, int]]:
        poll = select.poll()
        events = 0 if self._queue else select.POLLIN
        if self._upload:
            events |= select.POLLOUT
        if events:
            poll.register(self._sock.fileno(), events)
        if self._typing and self._stdin is not None and len(self._upload) < _UPLOAD_AHEAD:
            poll.register(self._stdin, select.POLLIN)
        if self._queue:
            poll.register(self._queue[0][0], select.POLLOUT)
        if signals is not None:
            poll.register(signals.fd, select.POLLIN)
        if ended is not None and not self._has_output:
            poll.register(ended.fileno(), select.POLLIN)
        return poll.poll()

    def _take_pending(self) -> bytes:
        data, self._connection.pending = self._connection.pending, b""
        return data

    def _receive(self) -> bool:
        """Read what is there; False at the end of the stream."""
        while True:
            try:
                data = self._sock.recv(READ_SIZE)
            except OSError as error:
                if _would_block(error):
                    return True
                if error.errno == ECONNRESET:
                    return False
                raise
            if not self._received(data):
                return False
            # TLS: bytes that are decrypted already make no descriptor readable
            if not self._connection.tls or self._queue or not self._sock.pending():
                return True

    def _received(self, data: bytes) -> bool:
        if not data:
            return False
        if self._tty:
            self._put(1, memoryview(data))
        else:
            for stream, piece in self._frames.feed(data):
                if stream == 3:
                    self._trouble += piece
                else:
                    self._put(stream, piece)
        return True

    def _put(self, stream: int, piece: memoryview) -> None:
        fd = self._out.get(stream)
        if fd is None:
            return
        if self._typing or self._queue:
            # A blocked stdout must not stop stdin: whoever reads our output may be waiting to be read from.
            self._queue.append((fd, piece))
        else:
            write_all(fd, piece)

    def _flush(self, ready: dict[int, int]) -> None:
        fd, piece = self._queue[0]
        if fd not in ready:
            return
        try:
            written = os.write(fd, piece[:_PIPE_BUF])
        except BlockingIOError:
            return
        if written == len(piece):
            del self._queue[0]
        else:
            self._queue[0] = (fd, piece[written:])

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, 1 << 16)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal is gone, or we are in the background
            data = b""
        if not data:
            self._typing = False
            if not self._upload:
                self._finish_upload()
            return
        if self._filter is not None:
            data = self._filter.feed(data)
            self.detached = self._filter.detached
        self._upload += data
        if self._upload:
            self._send()

    def _send(self) -> None:
        try:
            flags = () if self._connection.tls else (NOSIGNAL,)
            sent = self._sock.send(self._upload, *flags)
        except OSError as error:
            if _would_block(error):
                return
            if error.errno not in (EPIPE, ECONNRESET):
                raise
            # The process closed its stdin or ended; the output tells the rest.
            self._upload, self._typing = b"", False
            return
        self._upload = self._upload[sent:]
        if not self._upload and not self._typing:
            self._finish_upload()

    def _finish_upload(self) -> None:
        """Half-close: the container sees the end of its stdin, its output goes on."""
        try:
            if self._connection.tls:
                self._sock.half_close()
            else:
                self._sock.shutdown(1)
        except OSError:
            pass


def _would_block(error: OSError) -> bool:
    return error.errno == EAGAIN
