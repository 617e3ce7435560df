"""Read-through mirror of an upstream registry: what is asked for and not here is fetched, handed on and kept.

A tag is looked up upstream each time, by a HEAD that costs no rate limit; when the upstream does not answer, what is
here is served. A blob is fetched once however many ask for it: the first client gets its bytes while they arrive, the
others from storage. What nobody asked for in a while is forgotten by `collection`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from sampan import __version__
from sampan.errors import NotFound, SampanError, TooManyRequests, Unauthorized
from sampan.images.manifests import Descriptor
from sampan.images.references import DEFAULT_DOMAIN, Reference
from sampan.images.remote import RegistryAuth, Remote
from sampan.images.remote import Repository as Upstream
from sampan.images.remote.hosts import HUB, Hosts
from sampan.registry import digests, documents
from sampan.registry.digests import algorithm_of
from sampan.registry.exchange import Exchange
from sampan.registry.failures import (
    BLOB_UNKNOWN,
    MANIFEST_UNKNOWN,
    TOOMANYREQUESTS,
    UPSTREAM,
    Code,
    Refusal,
)
from sampan.registry.metrics import Metrics
from sampan.registry.names import tag_order
from sampan.registry.repositories import Repositories, Repository
from sampan.registry.storage import DigestWrong

log = logging.getLogger(__name__)

_AHEAD = 16
"""Pieces that the first client may lag behind the fetch."""


class _Flight:
    """One blob that is being fetched. `leader` gets its pieces, unless it left."""

    def __init__(self) -> None:
        self.leader: asyncio.Queue[bytes | None] | None = None
        self.task: asyncio.Task[None] | None = None


class Mirror:
    """`upstream` is a URL; http:// is accepted for that host only because it was asked for."""

    def __init__(
        self, upstream: str, repositories: Repositories, metrics: Metrics, auth: RegistryAuth | None = None
    ) -> None:
        scheme, _, rest = upstream.partition("://")
        host = rest.partition("/")[0]
        self._domain = DEFAULT_DOMAIN if host in (HUB, DEFAULT_DOMAIN, "index.docker.io") else host
        self._remote = Remote(Hosts([host] if scheme == "http" else []), f"sampan-registry/{__version__}")
        self._repositories, self._metrics, self._auth = repositories, metrics, auth
        self._flights: dict[str, _Flight] = {}
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def close(self) -> None:
        tasks = [flight.task for flight in self._flights.values() if flight.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._remote.close()

    def _upstream(self, repository: Repository, version: str = "") -> Upstream:
        digest = version if ":" in version else ""
        reference = Reference(self._domain, repository.name, "" if digest else version, digest)
        return self._remote.repository(reference, self._auth)

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """One fetch of a thing at a time."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = lock, users - 1

    # -- manifests ---------------------------------------------------------------------------------
    async def refresh(self, repository: Repository, reference: str) -> None:
        """Makes sure that what a tag or digest stands for is here, and is the newest."""
        async with self._alone(f"{repository.name}@{reference}"):
            local = reference if ":" in reference else await repository.tagged(reference)
            here = local is not None and await repository.record(local) is not None
            upstream = self._upstream(repository, reference)
            if here and local == (reference if ":" in reference else await self._newest(upstream, reference)):
                self._metrics.add("mirror_total", kind="manifest", result="hit")
                await repository.touch(local)
                return
            try:
                found = await upstream.manifest(reference)
            except NotFound as error:
                if here and ":" not in reference:
                    await repository.untag(reference)
                raise Refusal(MANIFEST_UNKNOWN, error.message, {"reference": reference}) from None
            except SampanError as error:
                if not here:
                    raise _refusal(error, MANIFEST_UNKNOWN) from None
                self._metrics.add("mirror_total", kind="manifest", result="stale")
                log.warning("serving %s:%s as it was: %s", repository.name, reference, error.message)
                return
            self._metrics.add("mirror_total", kind="manifest", result="miss")
            record = documents.inspect(found.data, found.media_type)
            await repository.put_manifest(
                found.data,
                record,
                [] if ":" in reference else [reference],
                self._checked(reference, found.data),
                check=False,
            )

    @staticmethod
    def _checked(reference: str, data: bytes) -> str:
        """The digest to keep a manifest under."""
        digest = digests.of(data, algorithm_of(reference) if ":" in reference else "sha256")
        if ":" in reference and digest != reference:
            raise Refusal(UPSTREAM, f"the upstream sent {digest} instead of {reference}")
        return digest

    @staticmethod
    async def _newest(upstream: Upstream, tag: str) -> str:
        """The digest a tag has upstream; "" when that cannot be told."""
        try:
            return await upstream.manifest_digest(tag)
        except SampanError:
            return ""

    async def tags(self, repository: Repository) -> list[str]:
        try:
            return sorted(await self._upstream(repository).tags(), key=tag_order)
        except SampanError as error:
            log.warning("listing the tags of %s from here: %s", repository.name, error.message)
            return await repository.tags()

    # -- blobs -------------------------------------------------------------------------------------
    async def blob(self, exchange: Exchange, repository: Repository, digest: str) -> web.StreamResponse:
        """A blob that is not linked here yet."""
        from sampan.registry.pulling import blob_headers, stored_blob

        flight = self._flights.get(f"{repository.name}@{digest}")
        if flight is None:
            try:
                size = await self._upstream(repository, digest).blob_size(digest)
            except SampanError as error:
                raise _refusal(error, BLOB_UNKNOWN) from None
            if size is None:
                raise Refusal(BLOB_UNKNOWN, "blob unknown to registry", {"digest": digest})
            if exchange.head:
                return web.Response(headers={**blob_headers(digest), "Content-Length": str(size)})
            if await self._repositories.storage.blob_size(digest) is not None:  # of another repository
                await repository.link(digest)
                return await stored_blob(exchange, repository, digest, await repository.blob(digest))
            flight = self._take_off(repository, digest, size)
            if "Range" not in exchange.request.headers and flight.leader is None:
                flight.leader = asyncio.Queue(_AHEAD)
                return await self._lead(exchange, flight, digest, size)
        assert flight.task is not None
        await asyncio.shield(flight.task)
        return await stored_blob(exchange, repository, digest, await repository.blob(digest))

    def _take_off(self, repository: Repository, digest: str, size: int) -> _Flight:
        key = f"{repository.name}@{digest}"
        if key in self._flights:  # another client was as fast
            return self._flights[key]
        flight = self._flights[key] = _Flight()
        flight.task = asyncio.ensure_future(self._fetch(repository, digest, size, flight))
        flight.task.add_done_callback(lambda task: (self._flights.pop(key, None), task.cancelled() or task.exception()))
        return flight

    async def _fetch(self, repository: Repository, digest: str, size: int, flight: _Flight) -> None:
        self._metrics.add("mirror_total", kind="blob", result="miss")
        storage, upload = self._repositories.storage, uuid.uuid4().hex
        await storage.begin(upload)
        try:
            await storage.append(upload, 0, self._passed_on(repository, digest, size, flight))
            storage.linked(digest)
            await storage.publish(upload, digest)
            await repository.link(digest)
        except DigestWrong as error:
            message = f"the upstream sent {error} instead of {digest}"
            raise Refusal(UPSTREAM, message) from None
        except SampanError as error:
            await storage.abandon(upload)
            raise _refusal(error, BLOB_UNKNOWN) from None
        finally:
            if flight.leader is not None:
                await flight.leader.put(None)

    async def _passed_on(self, repository: Repository, digest: str, size: int, flight: _Flight) -> AsyncIterator[bytes]:
        descriptor = Descriptor(media_type="application/octet-stream", digest=digest, size=size)
        async for chunk in self._upstream(repository, digest).blob(descriptor, 0):
            if flight.leader is not None:
                await flight.leader.put(chunk)
            yield chunk

    async def _lead(self, exchange: Exchange, flight: _Flight, digest: str, size: int) -> web.StreamResponse:
        from sampan.registry.pulling import blob_headers

        response = web.StreamResponse(headers={**blob_headers(digest), "Content-Length": str(size)})
        queue = flight.leader
        assert queue is not None
        sent = 0
        try:
            await response.prepare(exchange.request)
            while (chunk := await queue.get()) is not None:
                sent += len(chunk)
                await response.write(chunk)
        finally:
            flight.leader = None
            while not queue.empty():  # the fetch may wait for room
                queue.get_nowait()
        if sent != size:
            assert exchange.request.transport is not None
            exchange.request.transport.abort()
            raise ConnectionResetError(f"the upstream broke off after {sent} of {size} bytes")
        await response.write_eof()
        return response


def _refusal(error: SampanError, unknown: Code) -> Refusal:
    """What an upstream's failure means to our client."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotFound | Unauthorized):  # a registry hides what it does not give
        return Refusal(unknown, error.message)
    if isinstance(error, TooManyRequests):
        return Refusal(TOOMANYREQUESTS, error.message)
    return Refusal(UPSTREAM, error.message)
