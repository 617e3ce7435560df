"""Repositories on a storage: links, manifests, tags, referrers. Knows nothing of HTTP.

Words: a *link* says that a repository has a blob; only linked blobs can be pulled from it. The *catalogue* lists
repositories that have a manifest.

Keys::

    repositories/<name>/_layers/<hex>               a link; its age is when somebody last meant to use it
    repositories/<name>/_manifests/<hex>            ManifestRecord
    repositories/<name>/_tags/<tag>                 digest
    repositories/<name>/_referrers/<subject>/<hex>  descriptor
    catalog/<name, "," for "/">                     description

Order of a push: bytes, then links, then the manifest, then its tag: what can be seen is whole. Then the blobs are
looked for once more: a collection that ran meanwhile puts back what it finds linked, or this push is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

from sampan.registry import digests, documents
from sampan.registry.digests import algorithm_of, hex_of
from sampan.registry.documents import ManifestRecord, Referrer
from sampan.registry.failures import (
    BLOB_UNKNOWN,
    MANIFEST_BLOB_UNKNOWN,
    MANIFEST_UNKNOWN,
    NAME_UNKNOWN,
    Refusal,
)
from sampan.registry.names import tag_order
from sampan.registry.storage import Storage

RENEWED_AFTER = 600.0
"""Seconds after which a link that is asked for is written anew: it is in use."""
TOUCHED_AFTER = 3600.0
"""Seconds after which a mirror's manifest that is asked for is written anew."""
_DESCRIPTION = "org.opencontainers.image.description"
_AT_ONCE = 16
_PUT_BACK_WITHIN = (0.02, 0.1, 0.4, 1.0, 2.0)
"""Seconds between looks."""


class Repositories:
    """All repositories of one storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._listed: set[str] = set()

    def repository(self, name: str) -> Repository:
        return Repository(self.storage, name, self)

    async def names(self) -> list[str]:
        """Sorted as distribution sorts them: "/" before everything else."""
        keys = [entry.key async for entry in self.storage.entries("catalog/")]
        return [key.removeprefix("catalog/").replace(",", "/") for key in sorted(keys)]

    async def describe(self, name: str) -> str:
        return (await self.storage.get(_catalog_key(name)) or b"").decode("utf-8", "replace")

    async def enlist(self, name: str, description: str) -> None:
        if name not in self._listed or description:
            if len(self._listed) > 100_000:
                self._listed.clear()
            await self.storage.put(_catalog_key(name), description.encode())
            self._listed.add(name)

    async def strike(self, name: str) -> None:
        """Takes a repository without manifests off the catalogue."""
        self._listed.discard(name)
        await self.storage.delete(_catalog_key(name))


def _catalog_key(name: str) -> str:
    return "catalog/" + name.replace("/", ",")


class Repository:
    """One repository. Methods raise `Refusal` in the spec's words."""

    def __init__(self, storage: Storage, name: str, all: Repositories) -> None:
        self.storage, self.name, self._all = storage, name, all
        self._at = f"repositories/{name}"

    # -- blobs -------------------------------------------------------------------------------------
    def _link_key(self, digest: str) -> str:
        return f"{self._at}/_layers/{hex_of(digest)}"

    async def has(self, digest: str, renew: bool = False) -> int | None:
        """The size of a blob that is linked here. `renew`: the asker may be about to name it in a manifest."""
        linked = await self.storage.modified(self._link_key(digest))
        if linked is None:
            return None
        if renew and linked < time.time() - RENEWED_AFTER:
            await self.link(digest)
        return await self._size(digest)

    async def _size(self, digest: str) -> int | None:
        """The size of a blob that ought to be here. A collection that has set it aside puts it back as soon as it
        sees that somebody links it again.
        """
        for pause in _PUT_BACK_WITHIN:
            size = await self.storage.blob_size(digest)
            if size is not None:
                return size
            await asyncio.sleep(pause)
        return await self.storage.blob_size(digest)

    async def blob(self, digest: str, renew: bool = False) -> int:
        size = await self.has(digest, renew)
        if size is None:
            raise Refusal(BLOB_UNKNOWN, "blob unknown to registry", {"digest": digest})
        return size

    async def link(self, digest: str) -> None:
        self.storage.linked(digest)
        await self.storage.put(self._link_key(digest), b"")

    async def unlink(self, digest: str) -> None:
        if not await self.storage.delete(self._link_key(digest)):
            raise Refusal(BLOB_UNKNOWN, "blob unknown to registry", {"digest": digest})

    async def mount(self, digest: str, source: str) -> bool:
        """Links a blob that another repository has; without `source`, whichever ("automatic content discovery": who may
        write here may read everything here). False: it has to be uploaded."""
        if not source and await self.storage.blob_size(digest) is None:
            return False
        if source and await self._all.repository(source).has(digest, renew=True) is None:
            return False
        await self.link(digest)
        return await self.storage.blob_size(digest) is not None

    # -- manifests ---------------------------------------------------------------------------------
    def _manifest_key(self, digest: str) -> str:
        return f"{self._at}/_manifests/{hex_of(digest)}"

    async def record(self, digest: str) -> ManifestRecord | None:
        data = await self.storage.get(self._manifest_key(digest))
        return None if data is None else msgspec.json.decode(data, type=ManifestRecord)

    async def resolve(self, reference: str) -> tuple[str, ManifestRecord]:
        """(digest, record) of what a tag or digest stands for."""
        digest = reference if ":" in reference else await self.tagged(reference)
        record = await self.record(digest) if digest else None
        if digest is None or record is None:
            raise Refusal(MANIFEST_UNKNOWN, "manifest unknown", {"name": self.name, "reference": reference})
        return digest, record

    async def modified(self, digest: str) -> float | None:
        """When a manifest was last put; None: it is not here."""
        return await self.storage.modified(self._manifest_key(digest))

    async def touch(self, digest: str) -> None:
        """Says that somebody still wants a manifest: a mirror forgets the others."""
        written = await self.storage.modified(self._manifest_key(digest))
        if written is not None and written < time.time() - TOUCHED_AFTER:
            data = await self.storage.get(self._manifest_key(digest))
            if data is not None:
                await self.storage.put(self._manifest_key(digest), data)

    async def manifest(self, digest: str, record: ManifestRecord) -> bytes:
        if await self._size(digest) is None:
            raise Refusal(MANIFEST_UNKNOWN, "the manifest's stored bytes are gone", {"digest": digest})
        data = b"".join([chunk async for chunk in self.storage.read_blob(digest, 0, record.size)])
        if digests.of(data, algorithm_of(digest)) != digest:
            raise Refusal(MANIFEST_UNKNOWN, "the manifest's stored bytes are damaged", {"digest": digest})
        return data

    async def put_manifest(
        self, data: bytes, record: ManifestRecord, tags: list[str], digest: str = "", check: bool = True
    ) -> str:
        """Stores a manifest whose blobs are all here, under its digest (the caller has verified it; "" for its sha256)
        and `tags`. Returns the digest."""
        digest = digest or digests.of(data)
        if check:
            await self._require(record, renew=True)
        self.storage.linked(digest)
        await self.storage.put_blob(digest, data)
        await self.storage.put(self._manifest_key(digest), msgspec.json.encode(record))
        if check:
            await self._require(record, renew=False)
        if record.subject:
            key = f"{self._at}/_referrers/{hex_of(record.subject)}/{hex_of(digest)}"
            await self.storage.put(key, documents.referrer(digest, record))
        for tag in tags:
            await self.storage.put(f"{self._at}/_tags/{tag}", digest.encode())
        if await self.modified(digest) is None:  # a collection of untagged manifests was at work on it
            await self.storage.put(self._manifest_key(digest), msgspec.json.encode(record))
        await self._all.enlist(self.name, (record.annotations or {}).get(_DESCRIPTION, "")[:1000])
        return digest

    async def _require(self, record: ManifestRecord, renew: bool) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def missing(digest: str, manifest: bool) -> str:
            async with gate:
                if manifest:
                    there = await self.storage.modified(self._manifest_key(digest)) is not None
                else:
                    there = await self.has(digest, renew) is not None
                return "" if there else digest

        wanted = [(digest, False) for digest in dict.fromkeys(record.blobs)]
        wanted += [(digest, True) for digest in dict.fromkeys(record.manifests)]
        found = await asyncio.gather(*(missing(digest, manifest) for digest, manifest in wanted))
        if gone := [digest for digest in found if digest]:
            raise Refusal(MANIFEST_BLOB_UNKNOWN, f"blob or manifest unknown to registry: {gone[0]}", {"digests": gone})

    async def delete_manifest(self, digest: str) -> None:
        """With every tag that points at it."""
        record = await self.record(digest)
        if record is None:
            raise Refusal(MANIFEST_UNKNOWN, "manifest unknown", {"name": self.name, "reference": digest})
        for tag in await self.tags_of(digest):
            await self.storage.delete(f"{self._at}/_tags/{tag}")
        await self.storage.delete(self._manifest_key(digest))
        if record.subject:
            await self.storage.delete(f"{self._at}/_referrers/{hex_of(record.subject)}/{hex_of(digest)}")
        async for _ in self.storage.entries(f"{self._at}/_manifests/"):
            return
        await self._all.strike(self.name)

    # -- tags --------------------------------------------------------------------------------------
    async def tagged(self, tag: str) -> str | None:
        data = await self.storage.get(f"{self._at}/_tags/{tag}")
        return None if data is None else data.decode()

    async def untag(self, tag: str) -> None:
        if not await self.storage.delete(f"{self._at}/_tags/{tag}"):
            raise Refusal(MANIFEST_UNKNOWN, "manifest unknown", {"name": self.name, "reference": tag})

    async def tags(self) -> list[str]:
        """Sorted. Raises NAME_UNKNOWN for a repository that has nothing at all."""
        prefix = f"{self._at}/_tags/"
        tags = [entry.key.removeprefix(prefix) async for entry in self.storage.entries(prefix)]
        if not tags and not await self._exists():
            raise Refusal(NAME_UNKNOWN, "repository name not known to registry", {"name": self.name})
        return sorted(tags, key=tag_order)

    async def _exists(self) -> bool:
        for part in ("_manifests", "_layers"):
            async for _ in self.storage.entries(f"{self._at}/{part}/"):
                return True
        return False

    async def tags_of(self, digest: str) -> list[str]:
        """Looks at every tag."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def points_here(tag: str) -> bool:
            async with gate:
                return await self.tagged(tag) == digest

        try:
            tags = await self.tags()
        except Refusal:
            return []
        found = await asyncio.gather(*(points_here(tag) for tag in tags))
        return [tag for tag, here in zip(tags, found, strict=True) if here]

    # -- referrers ---------------------------------------------------------------------------------
    async def referrers(self, subject: str) -> AsyncIterator[Referrer]:
        """In the order of their digests."""
        prefix = f"{self._at}/_referrers/{hex_of(subject)}/"
        for key in sorted([entry.key async for entry in self.storage.entries(prefix)]):
            data = await self.storage.get(key)
            if data is not None:
                yield msgspec.json.decode(data, type=Referrer)
