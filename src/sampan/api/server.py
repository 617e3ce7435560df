"""The server: one place where a request finds its handler and an error becomes a status and Docker's `{"message":
…}`."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

from aiohttp import web

import sampan
from sampan.api import versions
from sampan.api.call import ANSWERING, Call, parse_path, reply, unexpected
from sampan.api.connection import Connection, Server
from sampan.api.routes import ROUTES
from sampan.api.routing import Router
from sampan.errors import NotModified, SampanError

if TYPE_CHECKING:
    from sampan.engine import Engine

log = logging.getLogger("sampan.api")

_VERSIONED = re.compile(r"/v([0-9.]+)(/.*)")
_COMMON = {
    "Api-Version": versions.text(versions.MAXIMUM),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Sampan/{sampan.__version__} (linux)",
}
_LINE = 65536
"""Bytes of a request line or one header: a registry's token or a filter can be far beyond aiohttp's 8 KiB."""


class Api:
    """Answers requests for one engine. `server` is the protocol factory to listen with."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._router = Router(ROUTES)
        self.server = Server(
            self._answer,
            access_log=None,
            auto_decompress=False,
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=1000,
            tcp_keepalive=True,
        )

    async def close(self, timeout: float) -> None:
        """No new requests; running ones get `timeout` seconds, streams that only serve their caller none."""
        for connection in self.server.connections:
            if isinstance(connection, Connection) and (connection.disposable or connection.hijacked):
                connection.abandon()
        self.server.pre_shutdown()
        await self.server.shutdown(timeout)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._dispatch(request)
        except NotModified:
            response = web.Response(status=304)
        except SampanError as error:
            if error.status >= 500:
                log.error("Handler for %s %s returned error: %s", request.method, request.path, error.message)
            response = reply({"message": error.message}, status=error.status)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("Handler for %s %s failed", request.method, request.path)
            response = reply({"message": unexpected(error)}, status=500)
        if not response.prepared:
            if ANSWERING in request and request.transport is not None:
                request.transport.abort()  # a stream that is cut tells the client; a second answer inside it would not
            headers = response.headers
            for name, value in _COMMON.items():
                headers[name] = value
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        raw, _, query = request.raw_path.partition("?")
        if not raw.startswith("/"):  # an absolute URI, as proxies write it
            raw = request.rel_url.raw_path
        path = parse_path(raw)
        if "//" in path:
            location = re.sub(r"/{2,}", "/", raw) + (f"?{query}" if query else "")
            return web.Response(status=301, headers={"Location": location})
        requested = ""
        if match := _VERSIONED.fullmatch(path):
            requested, path = match.groups()
        found = self._router.find(request.method, path)
        if found is None:
            if request.method == "OPTIONS":
                return web.Response()
            return reply({"message": "page not found"}, status=404)
        route, name = found
        version = versions.negotiate(requested) if requested else versions.MAXIMUM
        if version < route.since:
            return reply({"message": "page not found"}, status=404)
        if route.disposable:
            connection = request.protocol
            assert isinstance(connection, Connection)
            connection.serve_caller_only()
        return await route.handler(Call(self._engine, request, version, name, query))
