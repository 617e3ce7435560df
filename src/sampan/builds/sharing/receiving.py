"""`--cache-from`: steps that another machine made. Nothing but the list of them is fetched before a step needs one;
then its layer is fetched, verified and unpacked, and the step is in this machine's cache like any other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.builds.cache import BuildCache, CacheRecord
from sampan.builds.sharing import format
from sampan.builds.sharing.format import Shared
from sampan.builds.sharing.requests import CacheFrom
from sampan.errors import NotFound, SampanError
from sampan.images import manifests, references
from sampan.images.building import SealedLayer
from sampan.images.content import CHUNK, hex_of
from sampan.images.digests import digest as digest_of
from sampan.images.fetching import Fetcher, Source, Wanted
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Index
from sampan.images.progress import LayerProgress
from sampan.images.remote import RegistryAuth, Remote
from sampan.linux import openat2


class Received:
    """One shared cache, for one build."""

    def __init__(self, records: dict[str, Shared], source: Source) -> None:
        self._records, self._source = records, source

    async def find(
        self, key: str, below: str | None, holdings: Holdings, fetcher: Fetcher, cache: BuildCache, lease: Lease
    ) -> CacheRecord | None:
        """The step's record, its layer here. A layer that cannot be had (any more) is a miss. `fetcher` is the
        daemon's: two builds that need one layer fetch it once."""
        shared = self._records.get(key)
        if shared is None or (shared.layer is not None and shared.own.below != (below or "")):
            return None
        layer = None
        if shared.layer is not None:
            chain_id = format.chain_id(shared)
            lease.hold(shared.layer.digest, chain_id)
            wanted = Wanted(shared.layer, shared.diff_id, chain_id, below)
            line = LayerProgress(lambda message: None, key)
            try:
                await fetcher.layer(self._source, wanted, line)
            except SampanError:
                return None
            size = await asyncio.to_thread(holdings.snapshots.layer_size, chain_id)
            layer = SealedLayer(shared.layer.digest, shared.diff_id, shared.layer.media_type, chain_id, size)
        return cache.add(key, shared.own.parent, shared.own.text, layer, below, shared.own.created)


async def from_registry(wanted: CacheFrom, remote: Remote, auth: RegistryAuth | None) -> Received | None:
    """None when the reference is an image: then its history is the cache. Raises `SampanError`."""
    reference = references.parse(wanted.ref).tagged()
    repository = remote.repository(reference, auth)
    found = await repository.manifest(reference.digest or reference.tag)
    parts = format.config_of(manifests.decode(found.data, found.media_type, wanted.ref))
    if parts is None:
        return None
    config, layers = parts
    return Received(format.decode(await repository.small_blob(config, format.LIMIT), layers), repository)


def from_directory(wanted: CacheFrom, place: Path) -> Received:
    """An OCI layout's directory, as `--cache-to type=local` makes it. Blocks. Raises `SampanError`."""
    layout = Layout(place)
    digest = wanted.digest or layout.listed(wanted.tag)
    parts = format.config_of(manifests.decode(layout.blob_now(digest), "", f"cache {digest}"))
    if parts is None:
        raise SampanError(f"{digest} is no build cache")
    config, layers = parts
    return Received(format.decode(layout.blob_now(config.digest), layers), layout)


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
