"""The wire side of the client's HTTP: a buffered socket, an answer as it comes, a request body in chunks."""

from __future__ import annotations

import _socket
from errno import ECONNRESET, EPIPE

from .errors import CliError
from .wire import loads, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

NOSIGNAL = _socket.MSG_NOSIGNAL
READ_SIZE = 1 << 16


class Connection:
    """A socket and the bytes read ahead from it."""

    __slots__ = ("fresh", "pending", "sock", "tls")

    def __init__(self, sock: Any, tls: bool = False) -> None:
        self.sock = sock
        self.tls = tls
        self.pending = b""
        self.fresh = True
        """No exchange has been made on it: an end of stream is then not a stale keep-alive."""

    def send(self, data: bytes) -> None:
        if self.tls:
            self.sock.sendall(data)
        else:
            self.sock.sendall(data, NOSIGNAL)

    def fill(self) -> bool:
        """Read more into `pending`; False at the end of the stream."""
        data = self.sock.recv(READ_SIZE)
        self.pending += data
        return bool(data)

    def line(self) -> bytes:
        """One line without its end; b"" also at the end of the stream."""
        while (end := self.pending.find(b"\n")) < 0:
            if not self.fill():
                line, self.pending = self.pending, b""
                return line
        line, self.pending = self.pending[:end], self.pending[end + 1 :]
        return line.rstrip(b"\r")

    def some(self, most: int) -> bytes:
        """At least one and at most `most` bytes; b"" at the end of the stream."""
        if self.pending:
            data, self.pending = self.pending[:most], self.pending[most:]
            return data
        data = self.sock.recv(min(most, READ_SIZE))
        return bytes(data)

    def close(self) -> None:
        self.sock.close()


class Response:
    """One answer. Header names are lower case. The body is read as it comes; reading it whole frees the connection."""

    def __init__(
        self,
        keep: Callable[[Connection], None],
        connection: Connection,
        status: int,
        headers: dict[str, str],
        bare: bool,
    ) -> None:
        self.status = status
        self.headers = headers
        self._keep = keep
        self._connection: Connection | None = connection
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self._left: int | None = None  # bytes left of the body or of this chunk; None: until the stream ends
        if status == 101:  # the stream is no longer HTTP: whoever asked for it takes the connection
            return
        if bare or status in (204, 304):
            self._chunked, self._left = False, 0
        elif self._chunked:
            self._left = 0
        elif "content-length" in headers:
            self._left = int(headers["content-length"])
        if self._left == 0 and not self._chunked:
            self._finish()

    def read(self, most: int = READ_SIZE) -> bytes:
        """The next bytes of the body, as soon as there are some; b"" at its end."""
        connection = self._connection
        if connection is None:
            return b""
        if self._chunked and self._left == 0 and not self._next_chunk(connection):
            return b""
        data = connection.some(most if self._left is None else min(most, self._left))
        if not data:
            self._abandon()
            if self._left is not None:
                raise CliError("unexpected EOF")
            return b""
        if self._left is not None:
            self._left -= len(data)
            if self._left == 0:
                if not self._chunked:
                    self._finish()
                else:
                    connection.line()  # the line end after the chunk
        return data

    def _next_chunk(self, connection: Connection) -> bool:
        size = connection.line().split(b";")[0].strip()
        try:
            self._left = int(size, 16)
        except ValueError:
            self._abandon()
            raise CliError("unexpected EOF") from None
        if self._left:
            return True
        while connection.line():  # trailers
            pass
        self._finish()
        return False

    def body(self) -> bytes:
        """All that is left of the body."""
        parts = []
        while data := self.read():
            parts.append(data)
        return b"".join(parts)

    def json(self) -> Any:
        data = self.body()
        try:
            return loads(data) if data.strip() else None
        except ValueError:
            raise CliError(f"the daemon's answer is not JSON: {data[:200].decode('utf-8', 'replace')}") from None

    def documents(self) -> Iterator[Any]:
        """The JSON documents of a streamed body, each as soon as it is there."""
        kept = ""
        tail = b""
        while True:
            data = self.read()
            tail += data
            cut = tail.rfind(b"\n") + 1 if data else len(tail)
            kept += tail[:cut].decode("utf-8", "surrogateescape")
            tail = tail[cut:]
            start = 0
            while kept[start:].strip():
                try:
                    value, start = scan(kept, start)
                except ValueError:
                    if not data:
                        raise CliError(f"unexpected data from the daemon: {kept[start:][:200]}") from None
                    break  # a document that goes over several lines: wait for the rest
                yield value
            kept = kept[start:]
            if not data:
                return

    def close(self) -> None:
        """Leave the rest of the body unread and drop the connection."""
        if self._connection is not None:
            self._abandon()

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self.headers.get("connection", "").lower() == "close":
                connection.close()
            else:
                connection.fresh = False
                self._keep(connection)

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def connection(self) -> Connection | None:
        """What the body comes over, to be polled; None once the body is read."""
        return self._connection

    def take(self) -> Connection:
        """The connection itself, for a hijacked stream."""
        connection, self._connection = self._connection, None
        assert connection is not None
        return connection


def send_chunks(connection: Connection, stream: Iterable[bytes]) -> None:
    """A chunked body. A daemon that answers early and closes ends the sending; its answer is read next."""
    try:
        for data in _pieces(stream):
            if data:
                connection.send(b"%x\r\n%b\r\n" % (len(data), data))
        connection.send(b"0\r\n\r\n")
    except OSError as error:
        if error.errno not in (EPIPE, ECONNRESET):
            raise


def _pieces(stream: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces; what goes wrong in reading them is told apart from what goes wrong in sending."""
    try:
        yield from stream
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        raise CliError(f"{name}{(error.strerror or str(error)).lower()}") from None


def read_head(connection: Connection) -> tuple[int, dict[str, str]]:
    """Status and headers; status 0 when the stream ended before any."""
    while True:
        first = connection.line()
        if not first:
            return 0, {}
        parts = first.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
            raise CliError(f"the daemon did not answer in HTTP: {first[:80].decode('utf-8', 'replace')}")
        headers: dict[str, str] = {}
        while line := connection.line():
            name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
            headers[name.strip().lower()] = value.strip()
        status = int(parts[1])
        if status >= 200 or status == 101:
            return status, headers


def reason(response: Response) -> str:
    """The message of an error answer, as docker digs it out."""
    data = response.body()
    try:
        value = loads(data)
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            return str(value["message"]).strip()
    except ValueError:
        pass
    text = data.decode("utf-8", "replace").strip()
    if not text:
        return (
            f"request returned {response.status} for API route and version, "
            "check if the server supports the requested API version"
        )
    return text
