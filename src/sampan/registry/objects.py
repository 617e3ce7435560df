"""A registry's things in an S3-compatible bucket, by `obstore`. Any number of processes may serve one bucket.

Keys below the prefix::

    records/<key>                          one small object each
    blobs/<algorithm>/<hex>
    uploads/<id>/begun                     an upload exists
    uploads/<id>/<offset>-<random>         what one request brought
    aside/<hex>-<random>                   blobs that collection is about to remove

An object appears whole or not at all, which is all the atomicity that is needed: a blob is copied to its name only when
its digest is right. No part is ever written twice, so what was verified is what is copied.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.errors import InvalidParameter
from sampan.registry.chunks import gathered
from sampan.registry.counting import Counted, CountedUploads
from sampan.registry.digests import algorithm_of, hex_of, of_hex
from sampan.registry.storage import DigestWrong, Entry, OffsetWrong, UploadBusy, UploadUnknown

if TYPE_CHECKING:
    from obstore.store import S3Store

_COPY_LIMIT = 5 << 30
"""Bytes that S3 copies on its side in one request."""
_PART = 8 << 20
_READ = 1 << 20


def open_store(url: str, endpoint: str = "", region: str = "") -> S3Store:
    """`s3://BUCKET[/PREFIX]`; credentials come from the environment (AWS_ACCESS_KEY_ID …) or the machine's role. Raises
    `InvalidParameter`."""
    try:
        from obstore.store import S3Store
    except ImportError:
        raise InvalidParameter("object storage needs the obstore library: install sampan[registry-s3]") from None
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not bucket:
        raise InvalidParameter(f"invalid storage {url!r}: use s3://BUCKET[/PREFIX]")
    options: dict[str, Any] = {}
    if endpoint:
        options |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    if region:
        options["region"] = region
    return S3Store(
        bucket,
        prefix=prefix.strip("/") or None,
        client_options={"allow_http": endpoint.startswith("http://"), "timeout": "300s"},
        **options,
    )


class Objects:
    """See the module; implements `Storage`."""

    def __init__(self, store: S3Store) -> None:
        import obstore

        self._store = store
        self._obstore = obstore
        self._counting = CountedUploads()

    # -- records -----------------------------------------------------------------------------------
    async def get(self, key: str) -> bytes | None:
        try:
            found = await self._obstore.get_async(self._store, f"records/{key}")
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None

    async def put(self, key: str, data: bytes) -> None:
        await self._obstore.put_async(self._store, f"records/{key}", data, use_multipart=False)

    async def modified(self, key: str) -> float | None:
        head = await self._head(f"records/{key}")
        return None if head is None else head.modified

    async def delete(self, key: str) -> bool:
        if await self._head(f"records/{key}") is None:  # S3 says "deleted" of what never was
            return False
        await self._drop(f"records/{key}")
        return True

    async def entries(self, prefix: str) -> AsyncIterator[Entry]:
        async for entry in self._list(f"records/{prefix}"):
            yield entry._replace(key=entry.key.removeprefix("records/"))

    async def _head(self, path: str) -> Entry | None:
        try:
            found = await self._obstore.head_async(self._store, path)
        except FileNotFoundError:
            return None
        return Entry(found["path"], found["size"], found["last_modified"].timestamp())

    async def _list(self, prefix: str) -> AsyncIterator[Entry]:
        async for page in self._obstore.list(self._store, prefix.rstrip("/"), chunk_size=1000):
            for found in page:
                yield Entry(found["path"], found["size"], found["last_modified"].timestamp())

    async def _drop(self, *paths: str) -> None:
        for path in paths:
            try:
                await self._obstore.delete_async(self._store, path)
            except FileNotFoundError:
                continue

    # -- blobs -------------------------------------------------------------------------------------
    async def blob_size(self, digest: str) -> int | None:
        head = await self._head(_blob(digest))
        return None if head is None else head.size

    def blob_path(self, digest: str) -> Path | None:
        return None

    async def read_blob(self, digest: str, start: int, stop: int) -> AsyncIterator[bytes]:
        if start < stop:
            async for chunk in self._read(_blob(digest), start, stop):
                yield chunk

    async def _read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        found = await self._obstore.get_async(self._store, path, options={"range": (start, stop)})
        async for chunk in found.stream(min_chunk_size=_READ):
            yield bytes(chunk)

    async def put_blob(self, digest: str, data: bytes) -> None:
        await self._obstore.put_async(self._store, _blob(digest), data)

    async def blobs(self) -> AsyncIterator[Entry]:
        async for entry in self._list("blobs/"):
            yield entry._replace(key=of_hex(entry.key.rpartition("/")[2]))

    async def set_aside(self, digest: str) -> str | None:
        head = await self._head(_blob(digest))
        if head is None or head.size >= _COPY_LIMIT:
            return None
        aside = f"aside/{hex_of(digest)}-{secrets.token_hex(8)}"
        try:
            await self._obstore.copy_async(self._store, _blob(digest), aside)
        except FileNotFoundError:  # another process's collection came first
            return None
        await self._drop(_blob(digest))
        return aside

    async def restore(self, aside: str, digest: str) -> None:
        await self._obstore.copy_async(self._store, aside, _blob(digest))
        await self._drop(aside)

    async def purge(self, aside: str) -> None:
        await self._drop(aside)

    async def asides(self, before: float) -> list[tuple[str, str]]:
        found = [entry async for entry in self._list("aside/") if entry.modified < before]
        return [(entry.key, of_hex(entry.key.rpartition("/")[2].partition("-")[0])) for entry in found]

    # -- uploads -----------------------------------------------------------------------------------
    async def begin(self, upload: str) -> None:
        await self._obstore.put_async(self._store, f"uploads/{upload}/begun", b"", use_multipart=False)
        self._counting.keep(upload, Counted())

    async def _parts(self, upload: str) -> list[Entry]:
        """In order. Raises `UploadUnknown`; `UploadBusy` when two requests wrote at once."""
        found = sorted([entry async for entry in self._list(f"uploads/{upload}/")])
        if not found:
            raise UploadUnknown(upload)
        parts = [entry for entry in found if not entry.key.endswith("/begun")]
        size = 0
        for part in parts:
            if int(part.key.rpartition("/")[2].partition("-")[0]) != size:
                raise UploadBusy(upload)
            size += part.size
        return parts

    async def upload_size(self, upload: str) -> int:
        return sum(part.size for part in await self._parts(upload))

    async def append(self, upload: str, offset: int | None, chunks: AsyncIterator[bytes]) -> int:
        size = await self.upload_size(upload)
        if offset is not None and offset != size:
            raise OffsetWrong(size)
        pieces = gathered(chunks)
        first = await anext(pieces, b"")
        if not first:
            return size
        counted = self._counting.take(upload, size)
        path = f"uploads/{upload}/{size:020d}-{secrets.token_hex(8)}"
        # Left without close, when the body breaks off: nothing appears in the bucket.
        writer = self._obstore.open_writer_async(self._store, path, buffer_size=_PART)
        piece = first
        while piece:
            if counted is not None:
                await asyncio.to_thread(counted.add, piece)
            await writer.write(piece)
            size += len(piece)
            piece = await anext(pieces, b"")
        await writer.close()
        self._counting.keep(upload, counted)
        return size

    async def publish(self, upload: str, digest: str) -> int:
        parts = await self._parts(upload)
        size = sum(part.size for part in parts)
        counted = self._counting.take(upload, size)
        if counted is not None and digest.startswith("sha256:"):
            found = counted.digest
        else:
            found = await self._digest(parts, algorithm_of(digest))
        if found != digest:
            await self.abandon(upload)
            raise DigestWrong(found)
        if len(parts) == 1 and size < _COPY_LIMIT:
            await self._obstore.copy_async(self._store, parts[0].key, _blob(digest))
        else:
            await self._join(parts, digest)
        await self.abandon(upload)
        return size

    async def _digest(self, parts: list[Entry], algorithm: str) -> str:
        hash = hashlib.new(algorithm)
        for part in parts:
            async for chunk in self._read(part.key, 0, part.size):
                await asyncio.to_thread(hash.update, chunk)
        return f"{algorithm}:{hash.hexdigest()}"

    async def _join(self, parts: list[Entry], digest: str) -> None:
        writer = self._obstore.open_writer_async(self._store, _blob(digest), buffer_size=_PART)
        for part in parts:
            async for chunk in self._read(part.key, 0, part.size):
                await writer.write(chunk)
        await writer.close()

    async def abandon(self, upload: str) -> None:
        self._counting.take(upload, -1)
        found = [entry.key async for entry in self._list(f"uploads/{upload}/")]
        if not found:
            raise UploadUnknown(upload)
        await self._drop(*sorted(found))

    async def old_uploads(self, before: float) -> list[str]:
        newest: dict[str, float] = {}
        async for entry in self._list("uploads/"):
            upload = entry.key.removeprefix("uploads/").partition("/")[0]
            newest[upload] = max(newest.get(upload, 0.0), entry.modified)
        return [upload for upload, modified in newest.items() if modified < before]

    # -- who shares the place ----------------------------------------------------------------------
    def linked(self, digest: str) -> None:
        """Nobody else deletes here."""

    async def close(self) -> None:
        """Connections close themselves."""


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
