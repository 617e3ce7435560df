"""The registry as an HTTP server: routes, who may come in, errors in the spec's shape, counters.

Source: distribution-spec 1.1, "Endpoints".
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from sampan.errors import SampanError
from sampan.registry import deleting, discovery, pulling, pushing
from sampan.registry.credentials import Htpasswd
from sampan.registry.exchange import JSON, Exchange, reply
from sampan.registry.failures import NAME_UNKNOWN, UNKNOWN, UNSUPPORTED, Refusal
from sampan.registry.metrics import Metrics
from sampan.registry.mirror import Mirror
from sampan.registry.names import check_name
from sampan.registry.repositories import Repositories
from sampan.registry.storage import Storage

log = logging.getLogger(__name__)

_LINE = 65536
_GONE = 499
"""What nginx logs for a client that did not wait."""
_READ = 1 << 20
_ROUTE = re.compile(
    r"/v2/(?P<name>.+)/(?:"
    r"(?P<manifests>manifests)/(?P<reference>[^/]+)"
    r"|(?P<uploads>blobs/uploads)(?:/(?P<upload>[^/]*))?"
    r"|(?P<blobs>blobs)/(?P<digest>[^/]+)"
    r"|(?P<tags>tags/list)"
    r"|(?P<referrers>referrers)/(?P<subject>[^/]+)"
    r")"
)
_API = {"Docker-Distribution-Api-Version": "registry/2.0", "Sampan-Mounts": "any"}
"""`Sampan-Mounts`: our own push asks for layers that are here before it compresses them to send them."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Rules:
    """What this registry allows."""

    delete: bool = True
    push: bool = True


class Registry:
    """Answers requests. `server` is the protocol factory to listen with."""

    def __init__(
        self,
        storage: Storage,
        *,
        rules: Rules = Rules(),
        htpasswd: Htpasswd | None = None,
    ) -> None:
        self.storage = storage
        self.metrics = Metrics()
        self.repositories = Repositories(storage)
        self._rules, self._htpasswd = rules, htpasswd
        self.mirror: Mirror | None = None
        self.server = web.Server(
            self._answer,
            access_log=None,
            auto_decompress=False,
            max_line_size=_LINE,
            max_field_size=_LINE,
            tcp_keepalive=True,
            read_bufsize=_READ,
        )
        self._running = 0

    def mirrors(self, mirror: Mirror) -> None:
        """From now on, what is missing is fetched from an upstream, and nothing can be pushed."""
        self.mirror = mirror
        self._rules = Rules(delete=self._rules.delete, push=False)

    async def close(self, timeout: float = 10.0) -> None:
        """No new requests; running ones get `timeout` seconds."""
        self.server.pre_shutdown()
        await self.server.shutdown(timeout)
        if self.mirror is not None:
            await self.mirror.close()
        await self.storage.close()

    # -- one request -------------------------------------------------------------------------------
    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        raw, _, query = request.raw_path.partition("?")
        kind, match = _kind(unquote(raw))
        self._running += 1
        try:
            response = await self._guarded(request, query, kind, match)
        finally:
            self._running -= 1
        labels = {"method": request.method if request.method in _METHODS else "other", "route": kind}
        self.metrics.add("requests_total", 1, **labels, code=str(response.status))
        self.metrics.observe("request_seconds", time.monotonic() - began, **labels)
        self.metrics.add("received_bytes_total", request.content.total_bytes)
        if request.method != "HEAD":
            self.metrics.add("sent_bytes_total", response.content_length or 0)
        return response

    async def _guarded(
        self, request: web.BaseRequest, query: str, kind: str, match: re.Match[str] | None
    ) -> web.StreamResponse:
        try:
            response = await self._dispatch(Exchange(request, query), kind, match)
        except Refusal as refusal:
            response = reply(refusal.code.http, refusal.body(), refusal.headers, JSON)
        except asyncio.CancelledError:
            raise
        except ConnectionError as error:  # the client is gone: nobody reads this
            log.debug("%s %s: %s", request.method, request.path, error)
            return web.Response(status=_GONE)
        except SampanError as error:
            log.error("%s %s: %s", request.method, request.path, error.message)
            response = reply(500, Refusal(UNKNOWN, error.message).body(), None, JSON)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            response = reply(500, Refusal(UNKNOWN, str(error) or type(error).__name__).body(), None, JSON)
        if not response.prepared:
            response.headers.update(_API)
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    async def _dispatch(self, exchange: Exchange, kind: str, match: re.Match[str] | None) -> web.StreamResponse:
        if self._htpasswd is not None:
            exchange.user = await self._htpasswd.check(exchange.request.headers.get("Authorization", ""))
        method = exchange.request.method
        if match is not None:
            found = self._in_repository(exchange, kind, match, "GET" if method == "HEAD" else method)
        elif method in ("GET", "HEAD"):
            found = self._elsewhere(exchange, kind)
        else:
            found = None
        if found is None:
            raise Refusal(UNSUPPORTED, f"{method} is not supported here")
        return await found

    def _elsewhere(self, exchange: Exchange, kind: str) -> Awaitable[web.StreamResponse]:
        match kind:
            case "base":
                return _now(reply(200, b"{}", None, JSON))
            case "catalog":
                return discovery.catalog(exchange, self.repositories)
            case "search":
                return discovery.search(exchange, self.repositories)
            case "metrics":
                return _now(self._metrics())
        return _now(reply(404, Refusal(NAME_UNKNOWN, "page not found").body(), None, JSON))

    def _metrics(self) -> web.Response:
        text = self.metrics.text()
        text += f"# TYPE sampan_registry_requests_running gauge\nsampan_registry_requests_running {self._running}\n"
        return reply(200, text.encode(), None, "text/plain; version=0.0.4; charset=utf-8")

    def _in_repository(
        self, exchange: Exchange, kind: str, match: re.Match[str], method: str
    ) -> Awaitable[web.StreamResponse] | None:
        repository = self.repositories.repository(check_name(match["name"]))
        if method in ("POST", "PUT", "PATCH") and not self._rules.push:
            raise Refusal(UNSUPPORTED, "this registry is a mirror: nothing can be pushed to it")
        if method == "DELETE" and kind != "uploads" and not self._rules.delete:
            raise Refusal(UNSUPPORTED, "deleting is switched off at this registry")
        upload = match["upload"] or ""
        match kind, method:
            case "manifests", "GET":
                return pulling.manifest(exchange, repository, match["reference"], self.mirror)
            case "manifests", "PUT":
                return pushing.manifest(exchange, repository, match["reference"])
            case "manifests", "DELETE":
                return deleting.manifest(repository, match["reference"])
            case "blobs", "GET":
                return pulling.blob(exchange, repository, match["digest"], self.mirror)
            case "blobs", "DELETE":
                return deleting.blob(repository, match["digest"])
            case "uploads", "POST" if not upload:
                return pushing.start(exchange, repository)
            case "uploads", "PATCH":
                return pushing.chunk(exchange, repository, upload)
            case "uploads", "PUT":
                return pushing.finish(exchange, repository, upload)
            case "uploads", "GET":
                return pushing.status(repository, upload)
            case "uploads", "DELETE":
                return pushing.cancel(repository, upload)
            case "tags", "GET":
                return discovery.tags(exchange, repository, self.mirror)
            case "referrers", "GET":
                return discovery.referrers(exchange, repository, match["subject"])
        return None


def _kind(path: str) -> tuple[str, re.Match[str] | None]:
    """(what is asked for, the parts of a path below a repository)."""
    fixed = {"/v2": "base", "/v2/": "base", "/v2/_catalog": "catalog", "/v1/search": "search", "/metrics": "metrics"}
    if path in fixed:
        return fixed[path], None
    match = _ROUTE.fullmatch(path)
    if match is None:
        return "other", None
    return next(kind for kind in ("manifests", "uploads", "blobs", "tags", "referrers") if match[kind]), match


async def _now(response: web.Response) -> web.StreamResponse:
    return response
