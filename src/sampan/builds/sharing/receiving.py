"""`--cache-from`: steps that another machine made. Only the list of them is fetched at first. A layer is fetched,
verified and unpacked when its files are needed: for a step that has to run, or for the result; then its step is in this
machine's cache like any other. Layers of stages that are merely copied from are not fetched at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sampan.builds.cache import BuildCache, CacheRecord, StoredLayer
from sampan.builds.sharing import format
from sampan.builds.sharing.format import Shared
from sampan.builds.sharing.requests import CacheFrom
from sampan.errors import NotFound, SampanError
from sampan.images import manifests, references
from sampan.images.building import SealedLayer
from sampan.images.content import CHUNK, hex_of
from sampan.images.digests import digest as digest_of
from sampan.images.fetching import Fetcher, Source, Wanted
from sampan.images.holdings import Holdings
from sampan.images.manifests import Descriptor, Index
from sampan.images.progress import LayerProgress
from sampan.images.remote import RegistryAuth, Remote
from sampan.linux import openat2


@dataclass(slots=True)
class Promise:
    """A layer that is somewhere else, and the record it belongs to."""

    record: CacheRecord
    wanted: Wanted
    source: Source
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    kept: bool = False

    async def keep(self, holdings: Holdings, fetcher: Fetcher, cache: BuildCache) -> None:
        """Fetches it, once. `fetcher` is the daemon's: two builds that need one layer fetch it once. Raises
        `SampanError`."""
        async with self.lock:
            if self.kept:
                return
            try:
                await fetcher.layer(self.source, self.wanted, LayerProgress(lambda message: None, self.record.key))
            except SampanError as error:
                step = self.record.text
                raise SampanError(f"--cache-from: the layer of {step!r} cannot be had: {error.message}") from None
            record, layer = self.record, self.record.sealed
            assert layer is not None
            size = await asyncio.to_thread(holdings.snapshots.layer_size, layer.chain_id)
            layer = SealedLayer(layer.blob, layer.diff_id, layer.media_type, layer.chain_id, size)
            cache.add(record.key, record.parent, record.text, layer, record.below, record.created)
            self.kept = True


class Received:
    """One shared cache, for one build. `has`: can a blob still be had?"""

    def __init__(
        self, records: dict[str, Shared], source: Source, has: Callable[[Descriptor], Awaitable[bool]]
    ) -> None:
        self._records, self._source, self._has = records, source, has

    async def find(self, key: str, below: str | None, cache: BuildCache) -> CacheRecord | Promise | None:
        """The step's record, or with a layer that is not here the promise of it. A layer that cannot be had (any
        more) is a miss."""
        shared = self._records.get(key)
        if shared is None or (shared.layer is not None and shared.own.below != (below or "")):
            return None
        own = shared.own
        if shared.layer is None:
            return cache.add(key, own.parent, own.text, None, below, own.created)
        try:
            if not await self._has(shared.layer):
                return None
        except SampanError:
            return None
        chain_id, descriptor = format.chain_id(shared), shared.layer
        layer = StoredLayer(descriptor.digest, shared.diff_id, descriptor.media_type, chain_id, 0)
        record = CacheRecord(key, own.parent, own.text, layer, below, own.created)
        return Promise(record, Wanted(descriptor, shared.diff_id, chain_id, below), self._source)


async def from_registry(wanted: CacheFrom, remote: Remote, auth: RegistryAuth | None) -> Received | None:
    """None when the reference is an image: then its history is the cache. Raises `SampanError`."""
    reference = references.parse(wanted.ref).tagged()
    repository = remote.repository(reference, auth)
    found = await repository.manifest(reference.digest or reference.tag)
    parts = format.config_of(manifests.decode(found.data, found.media_type, wanted.ref))
    if parts is None:
        return None
    config, layers = parts

    async def has(blob: Descriptor) -> bool:
        return await repository.blob_size(blob.digest) is not None

    return Received(format.decode(await repository.small_blob(config, format.LIMIT), layers), repository, has)


def from_directory(wanted: CacheFrom, place: Path) -> Received:
    """An OCI layout's directory, as `--cache-to type=local` makes it. Blocks. Raises `SampanError`."""
    layout = Layout(place)
    digest = wanted.digest or layout.listed(wanted.tag)
    parts = format.config_of(manifests.decode(layout.blob_now(digest), "", f"cache {digest}"))
    if parts is None:
        raise SampanError(f"{digest} is no build cache")
    config, layers = parts
    return Received(format.decode(layout.blob_now(config.digest), layers), layout, layout.has)


class Layout:
    """The files of a directory that a client sent: whatever links are in it, nothing outside is read."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def read(self, name: str) -> bytes:
        try:
            with openat2.root(self._place) as root:
                return openat2.read_in_root(root, name, format.LIMIT)
        except OSError as error:
            raise NotFound(f"the OCI layout has no {name}: {error.strerror}") from None

    def blob_now(self, digest: str) -> bytes:
        data = self.read(f"blobs/sha256/{hex_of(digest)}")
        if digest_of(data) != digest:
            raise SampanError(f"blob {digest} of the OCI layout is damaged")
        return data

    def listed(self, tag: str) -> str:
        """What index.json calls `tag`; "" is the only one there is."""
        index = manifests.decode(self.read("index.json"), manifests.OCI_INDEX, "index.json")
        assert isinstance(index, Index)
        for one in index.manifests:
            if (one.annotations or {}).get("org.opencontainers.image.ref.name") == tag:
                return one.digest
        if tag in ("", "latest") and len(index.manifests) == 1:
            return index.manifests[0].digest
        raise NotFound(f"the OCI layout has no {tag!r}")

    async def has(self, blob: Descriptor) -> bool:
        with openat2.root(self._place) as root:
            try:
                os.close(openat2.open_in_root(root, f"blobs/sha256/{hex_of(blob.digest)}", os.O_PATH | os.O_NOFOLLOW))
            except OSError:
                return False
        return True

    async def blob(self, descriptor: Descriptor, offset: int) -> AsyncIterator[bytes]:
        """`fetching` verifies what comes."""
        try:
            with openat2.root(self._place) as root:
                name = f"blobs/sha256/{hex_of(descriptor.digest)}"
                opened = openat2.open_in_root(root, name, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise NotFound(f"blob {descriptor.digest} of the OCI layout: {error.strerror}") from None
        try:
            os.lseek(opened, offset, os.SEEK_SET)
            while data := await asyncio.to_thread(os.read, opened, CHUNK):
                yield data
        finally:
            os.close(opened)
