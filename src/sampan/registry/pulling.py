"""Pull: blobs (with ranges) and manifests, by GET and HEAD."""

from __future__ import annotations

import re

from aiohttp import web

from sampan.registry.exchange import Exchange, reply
from sampan.registry.failures import RANGE_INVALID, Refusal
from sampan.registry.mirror import Mirror
from sampan.registry.names import check_digest, check_reference
from sampan.registry.repositories import Repository

_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
"""Python refuses to read numbers of thousands of digits (CVE-2020-10735); no blob has so many bytes."""
_OCTETS = "application/octet-stream"


async def blob(exchange: Exchange, repository: Repository, digest: str, mirror: Mirror | None) -> web.StreamResponse:
    check_digest(digest)
    if mirror is not None and await repository.has(digest) is None:
        return await mirror.blob(exchange, repository, digest)
    size = await repository.blob(digest, renew=exchange.head)
    return await stored_blob(exchange, repository, digest, size)


async def stored_blob(exchange: Exchange, repository: Repository, digest: str, size: int) -> web.StreamResponse:
    headers = blob_headers(digest)
    if exchange.request.headers.get("If-None-Match", "").strip('"') == digest:
        return reply(304, headers=headers)
    start, stop = asked_range(exchange.request.headers.get("Range", ""), size)
    status = 200
    if (start, stop) != (0, size) or "Range" in exchange.request.headers:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    if exchange.head:
        return _Headless(status=200, headers={**blob_headers(digest), "Content-Length": str(size)})
    path = repository.storage.blob_path(digest)
    if path is not None and status == 200 and not exchange.request.secure:  # TLS has no sendfile
        return web.FileResponse(path, headers=blob_headers(digest))
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(exchange.request)
    async for chunk in repository.storage.read_blob(digest, start, stop):
        await response.write(chunk)
    await response.write_eof()
    return response


class _Headless(web.Response):
    """The answer to a HEAD: a Content-Length without a body."""


def blob_headers(digest: str) -> dict[str, str]:
    return {
        "Content-Type": _OCTETS,
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",
    }


def asked_range(header: str, size: int) -> tuple[int, int]:
    """Bytes [start, stop). What is no single byte range is answered whole (RFC 9110, 14.2)."""
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        if header.startswith("bytes="):
            _refuse(size)
        return 0, size
    if not found[1]:
        start, stop = max(size - int(found[2]), 0), size
    else:
        start, stop = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if start >= stop:
        _refuse(size)
    return start, stop


def _refuse(size: int) -> None:
    raise Refusal(RANGE_INVALID, "the requested range is not satisfiable", None, {"Content-Range": f"bytes */{size}"})


async def manifest(
    exchange: Exchange, repository: Repository, reference: str, mirror: Mirror | None
) -> web.StreamResponse:
    check_reference(reference)
    if mirror is not None:
        await mirror.refresh(repository, reference)
    digest, record = await repository.resolve(reference)
    headers = {
        "Content-Type": record.media_type,
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }
    if exchange.request.headers.get("If-None-Match", "").strip('"') == digest:
        return reply(304, headers=headers)
    if exchange.head:
        return _Headless(status=200, headers={**headers, "Content-Length": str(record.size)})
    return reply(200, await repository.manifest(digest, record), headers)
