"""`--cache-to`: the steps of a build, with their layers, into a registry or a client's directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from sampan.builds.cache import CacheRecord
from sampan.builds.sharing import format
from sampan.builds.sharing.requests import CacheTo
from sampan.errors import SampanError
from sampan.images import manifests, references
from sampan.images.content import CHUNK
from sampan.images.converting import Converter
from sampan.images.digests import digest as digest_of
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor
from sampan.images.remote import RegistryAuth, Remote
from sampan.images.remote.uploads import Uploads

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Packed:
    """A cache whose bytes are all here. `blobs`: digests, the top's included."""

    top: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> list[str]:
        return [self.top.digest, self.config.digest, *(layer.digest for layer in self.layers)]


async def pack(
    holdings: Holdings, converter: Converter, records: Iterable[CacheRecord], wanted: CacheTo, lease: Lease
) -> Packed:
    """The lease holds all of it."""
    chosen = list({record.key: record for record in records}.values())

    async def layer(record: CacheRecord) -> Descriptor | None:
        if record.layer is None:
            return None
        lease.hold(record.layer.blob)
        size = holdings.content.size(record.layer.blob)
        plain = Descriptor(media_type=record.layer.media_type, digest=record.layer.blob, size=size)
        return await converter.layer(plain, wanted.compression, lease, oci=wanted.oci)

    packed = [await layer(record) for record in chosen]
    data, layers = format.encode(chosen, packed)
    lease.hold(digest_of(data))
    digest = await asyncio.to_thread(holdings.content.put, data)
    config = Descriptor(media_type=format.CONFIG, digest=digest, size=len(data))
    document = format.manifest(config, layers, image=wanted.image_manifest, oci=wanted.oci)
    return Packed(await converter.put(document, lease), config, tuple(layers))


async def to_registry(
    packed: Packed, wanted: CacheTo, holdings: Holdings, remote: Remote, auth: RegistryAuth | None
) -> None:
    """Blobs first, the manifest last. What the registry has is not sent. Raises `SampanError`."""
    reference = references.parse(wanted.ref).tagged()
    if reference.digest:
        raise SampanError(f"a cache cannot be sent to a digest: {wanted.ref}")
    repository = remote.repository(reference, auth, pull=False)
    uploads = Uploads(repository)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def send(blob: Descriptor) -> None:
        async with slots:
            if await repository.blob_size(blob.digest) is None:
                await uploads.blob(blob, lambda start, stop: _read(holdings, blob.digest, start, stop))

    await _all([send(blob) for blob in (*packed.layers, packed.config)])
    data = await asyncio.to_thread(holdings.content.read, packed.top.digest, manifests.LIMIT)
    await uploads.manifest(reference.tag, data, packed.top.media_type)


async def _all(work: Sequence[object]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)  # type: ignore[arg-type]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _read(holdings: Holdings, digest: str, start: int, stop: int) -> AsyncIterator[bytes]:
    opened = await asyncio.to_thread(holdings.content.open, digest)
    try:
        while start < stop and (data := await asyncio.to_thread(os.pread, opened, min(CHUNK, stop - start), start)):
            start += len(data)
            yield data
    finally:
        os.close(opened)


def listed(packed: Packed, tag: str) -> Descriptor:
    """The cache's entry in a layout's index.json."""
    return Descriptor(
        media_type=packed.top.media_type,
        digest=packed.top.digest,
        size=packed.top.size,
        annotations={"org.opencontainers.image.ref.name": tag},
    )
