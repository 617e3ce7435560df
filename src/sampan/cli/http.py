"""HTTP/1.1 to the daemon over a unix socket, TCP or TLS: requests, streams both ways, hijacked connections.

Written on `_socket` because `socket` and `http.client` cost 25 ms to import. Connections are kept and used again;
each one carries one exchange at a time, so a command that streams and asks at once gets two.

The API version goes into the path. The newest is tried first and an older daemon's refusal teaches the right one,
which saves the ping that docker sends before every command. Only requests whose body cannot be sent twice ping first.
"""

from __future__ import annotations

import _socket
import os
from errno import EACCES, ECONNREFUSED, ECONNRESET, ENOENT, EPIPE, EPROTOTYPE

from sampan import API_VERSION, __version__

from .connection import Connection, Response, read_head, reason, send_chunks
from .errors import ApiError, CliError, Unreachable
from .wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from .endpoint import Endpoint

    Query = Mapping[str, str | int | bool | list[str] | None]

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


def quote(text: str, safe: str = "") -> str:
    """Percent-encode for a URL; characters in `safe` stay."""
    keep = _SAFE | frozenset(safe.encode())
    return "".join(chr(byte) if byte in keep else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def encode_query(query: Query) -> str:
    """key=value pairs; None and "" are left out, True is 1, False is 0, lists repeat the key."""
    pairs = []
    for key, value in query.items():
        if value is None or value == "":
            continue
        for item in value if isinstance(value, list) else [value]:
            text = str(int(item)) if isinstance(item, bool) else str(item)
            pairs.append(f"{quote(key)}={quote(text)}")
    return "&".join(pairs)


class Client:
    """Requests to one daemon. `request` is the whole of it; the rest are short forms."""

    def __init__(
        self,
        where: Endpoint,
        *,
        headers: Mapping[str, str] | None = None,
        autostart: Callable[[str], None] | None = None,
    ) -> None:
        self.where = where
        self.version = os.environ.get("DOCKER_API_VERSION", "").lstrip("v") or API_VERSION
        self._settled = "DOCKER_API_VERSION" in os.environ
        """Whether the daemon has accepted `version`."""
        self.debug: Callable[[str], None] | None = None
        """Told of every exchange (`sampan -D`)."""
        self._autostart = autostart
        self._idle: list[Connection] = []
        extra = "".join(
            f"{name}: {value}\r\n" for name, value in (headers or {}).items() if name.lower() != "user-agent"
        )
        name = "docker" if where.kind == "unix" else f"{where.name}:{where.port}"
        self._head = f"Host: {name}\r\nUser-Agent: Sampan-Client/{__version__} (linux)\r\n{extra}"

    def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON that GET answers with."""
        return self.request("GET", path, query).json()

    def post(self, path: str, query: Query | None = None, body: Any = None) -> Any:
        """The JSON that POST answers with, None for an empty answer."""
        return self.request("POST", path, query, body).json()

    def delete(self, path: str, query: Query | None = None) -> Any:
        return self.request("DELETE", path, query).json()

    def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        *,
        stream: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request; raises `ApiError` for a status of 400 and more.

        `path` begins with "/" and has no version. `body` is sent as JSON; `stream` as it is, in chunks.
        """
        response = self._versioned(method, path, query, body, stream, headers)
        if response.status >= 400:
            raise ApiError(response.status, reason(response))
        return response

    def in_parallel(self, calls: Sequence[tuple[str, str, Query | None]], most: int = 50) -> Iterator[CliError | None]:
        """Make (method, path, query) requests at the same time; for each, in order, the error it ended with or None.

        Stopping ten containers takes as long as the slowest of them.
        """
        if len(calls) > 1:
            self.negotiate()
        for start in range(0, len(calls), most):
            batch = calls[start : start + most]
            if len(batch) == 1:
                yield self._outcome(batch[0])
                continue
            connections = []
            for method, path, query in batch:
                connection = self._open()
                connection.send(self._message(method, self._target(path, query), b"", {}, False))
                connections.append(connection)
            for connection in connections:
                status, headers = read_head(connection)
                if status == 0:
                    yield CliError("error during connect: EOF")
                    continue
                yield self._judged(Response(self.keep, connection, status, headers, False))

    def _outcome(self, call: tuple[str, str, Query | None]) -> CliError | None:
        try:
            self.request(*call).body()
        except ApiError as error:
            return error
        return None

    def _judged(self, response: Response) -> CliError | None:
        if response.status >= 400:
            return ApiError(response.status, reason(response))
        response.body()
        return None

    def hijack(self, path: str, query: Query | None = None, body: Any = None) -> tuple[Connection, str]:
        """POST that turns the connection into a raw stream; it and the answer's content type."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        response = self.request("POST", path, query, body, headers=headers)
        return response.take(), response.headers.get("content-type", "")

    def negotiate(self) -> str:
        """Make sure `version` is one the daemon speaks; the version."""
        if not self._settled:
            answer = self._exchange("HEAD", "/_ping", b"", None, {})
            self._adopt(answer.headers.get("api-version", ""))
            answer.body()
        return self.version

    def at_least(self, version: str) -> bool:
        """Whether the negotiated API version is `version` or newer."""
        return _number(self.negotiate()) >= _number(version)

    def require_sampan(self, flags: str) -> None:
        """Raises `CliError` when the daemon is another engine: it would skip what it does not know, and say nothing."""
        answer = self._exchange("HEAD", "/_ping", b"", None, {})
        answer.body()
        server = answer.headers.get("server", "")
        if not server.startswith("Sampan/"):
            raise CliError(f"{flags} can only be had from Sampan's own engine, and this one is {server or 'another'}")

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose exchange is over."""
        self._idle.append(connection)

    def _adopt(self, offered: str) -> None:
        if offered and _number(offered) < _number(self.version):
            self.version = offered
        self._settled = True

    def _versioned(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Any,
        stream: Iterable[bytes] | None,
        headers: Mapping[str, str] | None,
    ) -> Response:
        if stream is not None:
            self.negotiate()
        more = dict(headers or {})
        data = b""
        if body is not None:
            data = dumps(body).encode()
            more["Content-Type"] = "application/json"
        while True:
            response = self._exchange(method, self._target(path, query), data, stream, more)
            offered = response.headers.get("api-version", "")
            if response.status != 400 or self._settled or not offered or _number(offered) >= _number(self.version):
                if offered:
                    self._settled = True
                return response
            response.body()
            self._adopt(offered)

    def _target(self, path: str, query: Query | None) -> str:
        text = encode_query(query) if query else ""
        return f"{self.where.prefix}/v{self.version}{path}" + (f"?{text}" if text else "")

    def _message(self, method: str, target: str, data: bytes, headers: Mapping[str, str], chunked: bool) -> bytes:
        head = f"{method} {target} HTTP/1.1\r\n{self._head}"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if chunked:
            head += "Transfer-Encoding: chunked\r\n"
        elif data or method in ("POST", "PUT"):
            head += f"Content-Length: {len(data)}\r\n"
        return (head + "\r\n").encode("utf-8", "surrogateescape") + data

    def _exchange(
        self, method: str, target: str, data: bytes, stream: Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> Response:
        """One request and the head of its answer; a stale kept connection is replaced once."""
        message = self._message(method, target, data, headers, stream is not None)
        while True:
            connection = self._reuse() or self._open()
            try:
                connection.send(message)
                if stream is not None:
                    send_chunks(connection, stream)
                status, answered = read_head(connection)
            except OSError as error:
                connection.close()
                if error.errno in (EPIPE, ECONNRESET) and not connection.fresh and stream is None:
                    continue
                raise CliError(f"error during connect: {error.strerror}") from None
            if status == 0:
                connection.close()
                if not connection.fresh and stream is None:
                    continue
                raise CliError(f'error during connect: {method} "{self.where.text}{target}": EOF')
            if self.debug is not None:
                self.debug(f"{method} {target} {status}")
            return Response(self.keep, connection, status, answered, method == "HEAD")

    def _reuse(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # also when another thread was quicker
            return None

    def _open(self) -> Connection:
        try:
            return self._dial()
        except OSError as error:
            if error.errno in (ENOENT, ECONNREFUSED) and self._autostart is not None:
                self._autostart(self.where.path)
                self._autostart = None
                return self._open()
            raise self._unreachable(error) from None

    def _unreachable(self, error: OSError) -> CliError:
        where = self.where.text
        if error.errno == EACCES:
            return Unreachable(
                f"permission denied while trying to connect to the Sampan daemon socket at {where}: "
                f"dial unix {self.where.path}: connect: permission denied"
            )
        if error.errno == EPROTOTYPE or (self.where.tls and error.errno not in (ECONNREFUSED, ENOENT)):
            return Unreachable(f"error during connect: {where}: {error}")
        return Unreachable(f"Cannot connect to the Sampan daemon at {where}. Is the Sampan daemon running?")

    def _dial(self) -> Connection:
        where = self.where
        if where.kind == "unix":
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            try:
                sock.connect(where.path)
            except BaseException:
                sock.close()
                raise
            return Connection(sock)
        from .remote import dial

        return Connection(dial(where), where.tls)


def _number(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        raise CliError(f"invalid API version: {version}") from None
