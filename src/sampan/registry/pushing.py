"""Push: uploads in one piece or in chunks, mounts, manifests.

A session: `POST …/uploads/` gives a Location; `PATCH` adds, `PUT ?digest=` ends; or `POST ?digest=` with everything at
once. The Location needs no state in this process, so behind a load balancer each request may meet another copy.
"""

from __future__ import annotations

import re
import uuid
from contextlib import suppress

from aiohttp import web

from sampan.registry import digests, documents
from sampan.registry.exchange import Exchange, reply
from sampan.registry.failures import (
    BLOB_UPLOAD_INVALID,
    BLOB_UPLOAD_UNKNOWN,
    DIGEST_INVALID,
    MANIFEST_TOO_LARGE,
    RANGE_INVALID,
    SIZE_INVALID,
    Code,
    Refusal,
)
from sampan.registry.names import check_digest, check_reference, check_tag, is_name
from sampan.registry.repositories import Repository
from sampan.registry.storage import DigestWrong, OffsetWrong, UploadBusy, UploadUnknown

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]+|\*))?")
_UPLOAD = re.compile(r"[0-9a-f]{32}")
_BUSY = Code("BLOB_UPLOAD_INVALID", 409)
_TOO_MANY_TAGS = Code("MANIFEST_INVALID", 414)
_TAGS = 100


async def start(exchange: Exchange, repository: Repository) -> web.StreamResponse:
    """`POST /v2/<name>/blobs/uploads/`."""
    if digest := exchange.text("mount"):
        check_digest(digest)
        source = exchange.text("from")
        if (not source or is_name(source)) and await repository.mount(digest, source):
            return _created(repository, digest)
    if digest := exchange.text("digest"):
        check_digest(digest)
        upload = await _begin(repository)
        try:
            await _append(exchange, repository, upload, None)
        except BaseException:  # nobody was told of it, so nobody will continue it
            with suppress(UploadUnknown):
                await repository.storage.abandon(upload)
            raise
        return await _publish(repository, upload, digest)
    return _accepted(repository, await _begin(repository), 0)


async def _begin(repository: Repository) -> str:
    upload = uuid.uuid4().hex
    await repository.storage.begin(upload)
    return upload


def check_upload(upload: str) -> str:
    if _UPLOAD.fullmatch(upload) is None:
        raise Refusal(BLOB_UPLOAD_UNKNOWN, "blob upload unknown to registry")
    return upload


async def chunk(exchange: Exchange, repository: Repository, upload: str) -> web.StreamResponse:
    """`PATCH`: with Content-Range a chunk in its place, without (Docker's way) everything."""
    size = await _append(exchange, repository, check_upload(upload), _offset(exchange))
    return _accepted(repository, upload, size)


async def finish(exchange: Exchange, repository: Repository, upload: str) -> web.StreamResponse:
    """`PUT ?digest=`, perhaps with the last chunk."""
    check_upload(upload)
    digest = exchange.text("digest")
    if not digest:
        raise Refusal(DIGEST_INVALID, "digest missing")
    check_digest(digest)
    if exchange.request.can_read_body:
        await _append(exchange, repository, upload, _offset(exchange))
    return await _publish(repository, upload, digest)


def _offset(exchange: Exchange) -> int | None:
    header = exchange.request.headers.get("Content-Range", "")
    if not header:
        return None
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        raise Refusal(RANGE_INVALID, "invalid content range", {"Content-Range": header[:100]})
    first, last = int(found[1]), int(found[2])
    length = exchange.request.content_length
    if length is not None and length != last - first + 1:
        raise Refusal(SIZE_INVALID, "provided length did not match content length")
    return first


async def _append(exchange: Exchange, repository: Repository, upload: str, offset: int | None) -> int:
    try:
        return await repository.storage.append(upload, offset, exchange.body())
    except OffsetWrong as error:
        headers = _progress(repository, upload, error.size)
        raise Refusal(RANGE_INVALID, "the chunk does not continue the upload", {"size": error.size}, headers) from None
    except UploadUnknown:
        raise Refusal(BLOB_UPLOAD_UNKNOWN, "blob upload unknown to registry") from None
    except UploadBusy:
        raise Refusal(_BUSY, "another request is writing to this upload") from None


async def _publish(repository: Repository, upload: str, digest: str) -> web.StreamResponse:
    repository.storage.linked(digest)
    try:
        await repository.storage.publish(upload, digest)
    except DigestWrong as error:
        message = "provided digest did not match uploaded content"
        raise Refusal(DIGEST_INVALID, message, {"digest": digest, "found": str(error)}) from None
    except UploadUnknown:
        raise Refusal(BLOB_UPLOAD_UNKNOWN, "blob upload unknown to registry") from None
    except UploadBusy:
        raise Refusal(_BUSY, "another request is writing to this upload") from None
    await repository.link(digest)
    return _created(repository, digest)


async def status(repository: Repository, upload: str) -> web.StreamResponse:
    """`GET`: how far it is."""
    try:
        size = await repository.storage.upload_size(check_upload(upload))
    except UploadUnknown:
        raise Refusal(BLOB_UPLOAD_UNKNOWN, "blob upload unknown to registry") from None
    return reply(204, headers=_progress(repository, upload, size))


async def cancel(repository: Repository, upload: str) -> web.StreamResponse:
    """`DELETE`."""
    try:
        await repository.storage.abandon(check_upload(upload))
    except UploadUnknown:
        raise Refusal(BLOB_UPLOAD_UNKNOWN, "blob upload unknown to registry") from None
    return reply(204)


def _progress(repository: Repository, upload: str, size: int) -> dict[str, str]:
    return {
        "Location": f"/v2/{repository.name}/blobs/uploads/{upload}",
        "Range": f"0-{max(size - 1, 0)}",  # of nothing too "0-0": what distribution sends and clients parse
        "Docker-Upload-UUID": upload,
    }


def _accepted(repository: Repository, upload: str, size: int) -> web.StreamResponse:
    return reply(202, headers=_progress(repository, upload, size))


def _created(repository: Repository, digest: str) -> web.StreamResponse:
    location = f"/v2/{repository.name}/blobs/{digest}"
    return reply(201, headers={"Location": location, "Docker-Content-Digest": digest})


async def manifest(exchange: Exchange, repository: Repository, reference: str) -> web.StreamResponse:
    """`PUT /v2/<name>/manifests/<reference>[?tag=…]`."""
    check_reference(reference)
    data = await _small_body(exchange)
    if not data:
        raise Refusal(BLOB_UPLOAD_INVALID, "the manifest is empty")
    record = documents.inspect(data, exchange.request.headers.get("Content-Type", ""))
    digest = reference if ":" in reference else ""
    if digest and digests.of(data, digests.algorithm_of(digest)) != digest:
        raise Refusal(DIGEST_INVALID, "provided digest did not match uploaded content", {"digest": digest})
    extra = [check_tag(tag) for tag in exchange.texts("tag")]
    if len(extra) > _TAGS:
        raise Refusal(_TOO_MANY_TAGS, f"at most {_TAGS} tags can be pushed at once")
    digest = await repository.put_manifest(data, record, extra if digest else [reference, *extra], digest)
    headers = {"Location": f"/v2/{repository.name}/manifests/{digest}", "Docker-Content-Digest": digest}
    if extra:
        headers["OCI-Tag"] = ", ".join(extra)
    if record.subject:
        headers["OCI-Subject"] = record.subject
    return reply(201, headers=headers)


async def _small_body(exchange: Exchange) -> bytes:
    too_large = Refusal(MANIFEST_TOO_LARGE, f"manifest is too large: the limit is {documents.LIMIT} bytes")
    if (exchange.request.content_length or 0) > documents.LIMIT:
        raise too_large
    data = bytearray()
    async for piece in exchange.body():
        data += piece
        if len(data) > documents.LIMIT:
            raise too_large
    return bytes(data)
