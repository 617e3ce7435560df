"""Client connections: aiohttp's protocol, with what Docker's API needs besides HTTP.

Two things. A request that asks to be hijacked (attach, exec start) may be followed at once by raw bytes that are not
HTTP, so the parser must not see them until the handler has decided; and a handler that only serves its caller
(events, logs, wait, pull) is cancelled when the caller goes away, while one that changes something always runs to its
end."""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from sampan.api.call import reply

if TYPE_CHECKING:
    from sampan.buildkit.service import BuildKit

log = logging.getLogger("sampan.api")

_HIJACKABLE = re.compile(rb"POST [^ ?]*/(?:containers/[^ ?]+/attach|exec/[^ ?]+/start)[ ?]")
_MAXIMUM_HEAD = 1 << 20
_EARLY_LIMIT = 1 << 18
"""How many raw bytes a client may send ahead of our 101 before its socket is no longer read."""


class Connection(RequestHandler):
    """See the module."""

    __slots__ = (
        "_asked",
        "_early",
        "_early_eof",
        "_early_paused",
        "_gated",
        "_half_closed",
        "_head",
        "_partial",
        "disposable",
        "hijacked",
    )

    def __init__(self, manager: Any, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(manager, loop=loop, **options)
        self.disposable = False
        """The running handler serves only its caller."""
        self.hijacked = False
        self._head = b""
        self._partial = False
        self._gated = False
        self._early: list[bytes] = []
        self._early_eof = False
        self._half_closed = False
        self._asked: StreamReader | None = None
        """The body of the last request, until all are answered."""
        self._early_paused = False

    @property
    def server(self) -> Server:
        assert isinstance(self._manager, Server)
        return self._manager

    # -- the gate ----------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        if not data:  # not from the socket: aiohttp asks its parser for what it held back while a body was not read
            super().data_received(data)
            return
        if self._gated:
            self._hold(data)
            return
        if self._head or (not self._partial and not self._request_in_progress and not self._messages):
            head = self._head + data
            complete = self._split(head)
            if complete is None:
                self._head = head
                return
            self._head = b""
            data, rest = complete
            self._feed(data)
            if self._gated and rest:
                self._hold(rest)
            return
        self._feed(data)

    def _split(self, head: bytes) -> tuple[bytes, bytes] | None:
        """(what the parser may see, raw bytes held back), or None while a hijackable request is incomplete."""
        line_end = head.find(b"\r\n", 0, 65536)
        if line_end < 0 and len(head) < 65536 and head[:5] == b"POST "[: len(head[:5])]:
            return None
        if not _HIJACKABLE.match(head[:line_end]):
            return head, b""
        end = head.find(b"\r\n\r\n")
        if end < 0:
            return None if len(head) < _MAXIMUM_HEAD else (head, b"")
        lengths = re.findall(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*(?=\r\n)", head[: end + 2], re.IGNORECASE)
        if re.search(rb"\r\ntransfer-encoding[ \t]*:", head[: end + 2], re.IGNORECASE) or len(lengths) > 1:
            return head, b""
        total = end + 4 + (int(lengths[0]) if lengths else 0)
        if len(head) < total:
            return None if total < _MAXIMUM_HEAD else (head, b"")
        self._gated = True
        return head[:total], head[total:]

    def _feed(self, data: bytes) -> None:
        before = self._request_count
        idle = not self._request_in_progress and not self._messages
        super().data_received(data)
        self._partial = idle and self._request_count == before
        if self._messages:
            self._asked = self._messages[-1][1]

    def _hold(self, data: bytes) -> None:
        self._early.append(data)
        if not self._early_paused and sum(map(len, self._early)) > _EARLY_LIMIT and self.transport is not None:
            self._early_paused = True
            self.transport.pause_reading()

    def _release(self) -> None:
        """The request was answered as HTTP after all: what followed it is HTTP too."""
        self._gated = False
        early, self._early = b"".join(self._early), []
        if self._early_paused and self.transport is not None:
            self._early_paused = False
            self.transport.resume_reading()
        if early:
            self.data_received(early)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client may close its half once it has asked (`nc -N`, `socat`) and is answered all the same, as by Go's
        server. One whose stream serves only itself is taken to be gone."""
        if self._gated:
            self._early_eof = True
            return True
        asked = self._asked
        if asked is None or not asked.is_eof() or self.disposable or self._head or self._partial:
            return False
        self._half_closed = True
        return True

    def serve_caller_only(self) -> None:
        """The running handler is disposable."""
        self.disposable = True
        if self._half_closed and self.transport is not None:
            self.transport.close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        result = await super().finish_response(request, resp, start_time)
        self.disposable = False
        if not self._messages:
            self._asked = None
            if self._half_closed:
                self.close()
        if self._gated and not isinstance(resp, Hijacked):
            if self._early_eof:
                self.close()
            else:
                self._request_in_progress = False
                self._release()
        return result

    # -- hijacking ---------------------------------------------------------------------------------
    def hijack(self, make: Callable[[asyncio.Transport], asyncio.Protocol]) -> None:
        """Takes the socket away from HTTP: from now on `make(transport)` receives what the client sends, beginning
        with what it sent early. `connection_lost` must be passed on to this object."""
        transport = self.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        protocol = make(transport)
        self.hijacked = True
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        transport.set_protocol(protocol)
        early, self._early = self._early, []
        for data in early:
            protocol.data_received(data)
        if self._early_paused:
            self._early_paused = False
            transport.resume_reading()
        if self._early_eof:
            protocol.eof_received()

    def abandon(self) -> None:
        """The daemon stops: ends the handler and the connection."""
        if self._task_handler is not None and not self.hijacked:
            self._task_handler.cancel()
        if self.transport is not None and self.hijacked:
            self.transport.abort()
        elif self.transport is not None:
            self.transport.close()

    # -- the end -----------------------------------------------------------------------------------
    def connection_lost(self, exc: BaseException | None) -> None:
        task = self._task_handler
        disposable = self.disposable
        super().connection_lost(exc)
        if disposable and task is not None:
            task.cancel()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What never reached a handler: a request that is not HTTP, or headers beyond all limits."""
        if isinstance(exc, LineTooLong):
            status, message = 431, "Request Header Fields Too Large"
        elif isinstance(exc, ConnectionError):
            log.debug("%s %s: the client has gone", request.method, request.path)
        elif status == 500:
            log.error("Handler for %s %s failed", request.method, request.path, exc_info=exc)
        response = reply({"message": message or ("Bad Request" if status == 400 else str(exc))}, status=status)
        response.force_close()
        return response


class Hijacked(web.StreamResponse):
    """What a handler returns when it took the connection: nothing is sent, the socket is closed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: Any = b"") -> None:
        return None


class Server(web.Server):
    """aiohttp's server, making `Connection`s. Half of the descriptors this process may have are kept from clients: a
    daemon that has none left can neither see a container end nor stop one.

    `buildkit`: the other front door, once somebody has knocked there.
    """

    buildkit: BuildKit | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = sys.maxsize if descriptors == resource.RLIM_INFINITY else descriptors // 2

    def __call__(self) -> RequestHandler:
        if len(self._connections) >= self._most:
            return _Refused()  # type: ignore[return-value]  # all that asyncio wants is a protocol
        return Connection(self, loop=self._loop, **self._kwargs)


class _Refused(asyncio.Protocol):
    """One client too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        log.warning("A client is refused: there are too many connections already")
        body = b'{"message":"too many connections"}\n'
        head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
        transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        transport.close()
