"""`push`: an image, or an index with all that it names, to a registry. Messages, statuses and order are dockerd's.

The bytes that go out are those that came in, so the registry answers with the digest that was pulled. Of an index,
children that are not here are looked for where the push goes to, then in the repository they were pulled from (on the
same registry: nothing travels but the manifests); when one cannot be had, the image that is here goes alone.

Layers that say where else their bytes are (`urls`, "foreign" or non-distributable ones) are left there, unless the
daemon's `allow-nondistributable-artifacts` names the registry.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from sampan.errors import NotFound, SampanError
from sampan.images import manifests, platforms, references, referring
from sampan.images.catalog import ImageRecord, ReferenceRecord
from sampan.images.compressing import Compressed, Compressor, Outdated
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.model import Platform
from sampan.images.progress import LayerProgress, Progress, message, short
from sampan.images.references import Reference
from sampan.images.remote import RegistryAuth, Remote, Repository
from sampan.images.remote.uploads import Uploads
from sampan.store import Documents

_READ = 256 << 10
_SOURCES = 3
"""Repositories to try to mount a blob from."""


@dataclass(slots=True)
class _Document:
    """A manifest or index to put. `there`: the registry has it, and so all that it names."""

    digest: str
    data: bytes
    media_type: str
    there: bool = False
    source: str = ""
    """The repository of the same registry that has its blobs, when they are not here."""


@dataclass(slots=True)
class _Plan:
    """What one tag needs. `documents`: children before those who name them, the tagged one last."""

    documents: list[_Document] = field(default_factory=list)
    layers: dict[str, tuple[Descriptor, str, str]] = field(default_factory=dict)
    """By digest: descriptor, the id that is shown, source repository."""
    configs: dict[str, tuple[Descriptor, str]] = field(default_factory=dict)
    alone: str = ""
    """The index that could not go with it."""


class Incomplete(SampanError):
    """An index whose children cannot all be had."""


class Pusher:
    """Pushes for the daemon. Lives on the event loop."""

    def __init__(self, holdings: Holdings, remote: Remote, compressed: Documents[Compressed]) -> None:
        self._holdings = holdings
        self._remote = remote
        self._compressor = Compressor(holdings, compressed)

    async def push(
        self, reference: Reference, platform: Platform | None, auth: RegistryAuth | None, progress: Progress
    ) -> str:
        """Pushes one tag; returns the digest it now stands for there. Raises `NotFound` for a tag that is not here."""
        record = self._holdings.catalog.references.get(reference.key())
        if record is None:
            raise NotFound(f"tag does not exist: {reference.familiar}")
        repository = self._remote.repository(reference, auth, pull=False)
        async with self._holdings.lease() as lease:
            lease.hold(record.target, *self._holdings.catalog.blobs_of(record.image, self._image(record)))
            try:
                plan = await self._plan(reference, record, platform, repository, auth, lease)
                await self._blobs(reference, plan, Uploads(repository), repository, lease, progress)
            except Outdated:
                plan = await self._plan(reference, record, platform, repository, auth, lease)
                await self._blobs(reference, plan, Uploads(repository), repository, lease, progress)
            digest = await self._documents(reference, plan, Uploads(repository), progress)
            await self._referrers(reference, plan, self._image(record), repository, lease, progress)
            image = self._holdings.catalog.images.get(record.image)
            if image is not None and self._holdings.content.exists(digest):  # from now on it has a RepoDigest
                self._holdings.catalog.put(record.image, image, [(reference._replace(tag="", digest=digest), digest)])
            return digest

    def _image(self, record: ReferenceRecord) -> ImageRecord:
        return self._holdings.catalog.images[record.image]

    # -- what to push ------------------------------------------------------------------------------
    async def _plan(
        self,
        reference: Reference,
        record: ReferenceRecord,
        platform: Platform | None,
        repository: Repository,
        auth: RegistryAuth | None,
        lease: Lease,
    ) -> _Plan:
        target = record.target
        if platform is not None:
            target = await self._for_platform(reference, record, platform)
        uploads = Uploads(repository)

        async def there(digest: str) -> bool:
            if await repository.blob_size(digest) is not None:
                return True
            return await uploads.mounts_anything() and await uploads.linked(digest)

        if self._holdings.content.exists(target) and not record.exact:
            target = await self._compressor.manifest(target, lease, there)
        plan = _Plan()
        try:
            await self._add(plan, target, reference, repository, auth, ())
        except Incomplete:
            own = await self._compressor.manifest(self._image(record).manifest, lease, there)
            if own == target and record.target == self._image(record).manifest:
                raise
            plan = _Plan(alone=target if own != target else "")
            await self._add(plan, own, reference, repository, auth, ())
        return plan

    async def _for_platform(self, reference: Reference, record: ReferenceRecord, platform: Platform) -> str:
        document = manifests.decode(await self._read(record.target))
        if isinstance(document, Index):
            with suppress(NotFound):
                chosen = manifests.select(document, platform).digest
                if self._holdings.content.exists(chosen):
                    return chosen
            raise NotFound(
                f"image with reference {reference.familiar} was found but does not provide the specified platform "
                f"({platforms.described(platform)})"
            )
        self._holdings.catalog.require_platform(reference.familiar, record.image, platform)
        return record.target

    async def _read(self, digest: str) -> bytes:
        return await asyncio.to_thread(self._holdings.content.read, digest)

    async def _add(
        self,
        plan: _Plan,
        digest: str,
        reference: Reference,
        repository: Repository,
        auth: RegistryAuth | None,
        above: tuple[str, ...],
    ) -> None:
        """Adds a manifest or index and what it names, that first."""
        if any(known.digest == digest for known in plan.documents) or digest in above or len(above) > 3:
            return
        found = await self._document(digest, reference, repository, auth, above)
        document = manifests.decode(found.data, found.media_type, f"manifest {digest}")
        found.media_type = document.media_type or found.media_type or _type_of(document)
        if not found.there and isinstance(document, Index):
            for child in document.manifests:
                await self._add(plan, child.digest, reference, repository, auth, (*above, digest))
        elif not found.there and isinstance(document, Manifest):
            self._add_blobs(plan, document, found.source, digest, reference.domain)
        plan.documents.append(found)

    async def _document(
        self,
        digest: str,
        reference: Reference,
        repository: Repository,
        auth: RegistryAuth | None,
        above: tuple[str, ...],
    ) -> _Document:
        """From here; else from where it goes to; else from a repository beside it that had the index."""
        child = bool(above)
        if self._holdings.content.exists(digest) and (
            not child or self._whole(await self._read(digest), reference.domain)
        ):
            return _Document(digest, await self._read(digest), "")
        if child and await repository.manifest_digest(digest) == digest:
            there = await repository.manifest(digest)
            return _Document(digest, there.data, there.media_type, there=True)
        for source in self._sources(reference.domain, (above or (digest,))[0]):
            try:
                found = await self._remote.repository(reference._replace(path=source), auth).manifest(digest)
            except SampanError:
                continue
            return _Document(digest, found.data, found.media_type, source=source)
        raise Incomplete(f"content {digest} is not here")

    def _whole(self, data: bytes, domain: str) -> bool:
        """Are all blobs of a manifest here? (An index is looked at child by child.)"""
        document = manifests.decode(data)
        if isinstance(document, Index):
            return True
        blobs = [document.config, *(layer for layer in document.layers if not self._stays_away(layer, domain))]
        return all(self._holdings.content.exists(blob.digest) for blob in blobs)

    def _stays_away(self, layer: Descriptor, domain: str) -> bool:
        return layer.foreign and bool(layer.urls) and not self._remote.hosts.takes_nondistributable(domain)

    def _add_blobs(self, plan: _Plan, manifest: Manifest, source: str, digest: str, domain: str) -> None:
        plan.configs[manifest.config.digest] = manifest.config, source
        shown: list[str] = []
        if not source:
            try:
                shown = manifests.decode_config(self._holdings.content.read(manifest.config.digest)).rootfs.diff_ids
            except SampanError:
                shown = []  # an artefact: its config says nothing of layers
        for position, layer in enumerate(manifest.layers):
            here = layer.digest in self._compressor.sources or self._holdings.content.exists(layer.digest)
            if not source and not here and not self._stays_away(layer, domain):
                raise Incomplete(f"layer {layer.digest} of manifest {digest} is not here")
            id = shown[position] if len(shown) == len(manifest.layers) else layer.digest
            plan.layers.setdefault(layer.digest, (layer, id, source))

    # -- where blobs may be mounted from -----------------------------------------------------------
    def _sources(self, domain: str, digest: str) -> list[str]:
        """Repositories on the registry that (by what was pulled from or pushed to them) have a blob."""
        catalog = self._holdings.catalog
        found: dict[str, None] = {}
        digest = self._compressor.sources.get(digest, digest)
        for key, record in catalog.references.items():
            image = catalog.images.get(record.image)
            if "@" in key and image is not None and digest in {record.target, *catalog.blobs_of(record.image, image)}:
                name = references.parse(key)
                if name.domain == domain:
                    found[name.path] = None
        return list(found)[:_SOURCES]

    # -- pushing -----------------------------------------------------------------------------------
    async def _blobs(
        self,
        reference: Reference,
        plan: _Plan,
        uploads: Uploads,
        repository: Repository,
        lease: Lease,
        progress: Progress,
    ) -> None:
        for digest in (*plan.layers, *plan.configs):
            lease.hold(digest)
        lines = {digest: LayerProgress(progress, id) for digest, (_, id, _) in reversed(plan.layers.items())}
        for line in lines.values():
            line.step("Preparing")
        for line in list(lines.values())[self._holdings.transfers.upload_count :]:
            line.step("Waiting")
        try:
            async with asyncio.TaskGroup() as group:
                for digest, line in lines.items():
                    layer, _, source = plan.layers[digest]
                    group.create_task(self._blob(reference, layer, source, uploads, repository, lease, line))
                for config, source in plan.configs.values():
                    if config.digest not in plan.layers:
                        group.create_task(self._blob(reference, config, source, uploads, repository, lease, None))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _blob(
        self,
        reference: Reference,
        blob: Descriptor,
        source: str,
        uploads: Uploads,
        repository: Repository,
        lease: Lease,
        line: LayerProgress | None,
    ) -> None:
        def step(status: str) -> None:
            if line is not None:
                line.step(status)

        if self._stays_away(blob, reference.domain):
            step("Skipped foreign layer")
            return
        async with self._holdings.transfers.uploads:
            if await repository.blob_size(blob.digest) is not None:
                step("Layer already exists")
                return
            location = ""
            others = [source] if source else self._sources(reference.domain, blob.digest)
            for other in [path for path in others if path != reference.path] or [""]:
                location = await uploads.mount(blob.digest, other)
                if not location:
                    step(f"Mounted from {other}" if other else "Layer already exists")
                    return
            if source:
                raise Incomplete(f"blob {blob.digest} cannot be mounted from {source}")
            await self._compressor.need(blob.digest, lease)
            await uploads.blob(blob, _Reader(self._holdings, blob, line).read, location)
            step("Pushed")

    async def _documents(self, reference: Reference, plan: _Plan, uploads: Uploads, progress: Progress) -> str:
        *children, top = plan.documents
        for document in children:
            if not document.there:
                await uploads.manifest(document.digest, document.data, document.media_type)
        told = await uploads.manifest(reference.tag, top.data, top.media_type)
        if told and told != top.digest:
            raise SampanError(f"the registry stored {told} instead of {top.digest}")
        size = len(top.data)
        progress(message(f"{reference.tag}: digest: {top.digest} size: {size}"))
        progress({"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": top.digest, "Size": size}})
        if plan.alone:
            progress({"progressDetail": {}, "aux": await self._instead(plan.alone, top)})
        return top.digest

    async def _referrers(
        self,
        reference: Reference,
        plan: _Plan,
        image: ImageRecord,
        repository: Repository,
        lease: Lease,
        progress: Progress,
    ) -> None:
        """What came with `pull --referrers` goes where its subject went."""
        pushed = [document.digest for document in plan.documents]
        uploads = Uploads(repository)
        for referrer in await asyncio.to_thread(referring.of, pushed, image.extra, self._holdings):
            for blob in referrer.blobs:
                await self._blob(reference, blob, "", uploads, repository, lease, None)
            await referring.send(referrer, uploads, repository)
            kind = referrer.descriptor.artifact_type
            progress(message(f"Pushed referrer {kind}".rstrip(), short(referrer.digest)))

    async def _instead(self, index: str, pushed: _Document) -> dict[str, object]:
        """What clients of dockerd's containerd store turn into a note (moby's api/types/auxprogress)."""
        data = await self._read(index)
        document = manifests.decode(data)
        original = {"mediaType": document.media_type or _type_of(document), "digest": index, "size": len(data)}
        selected = {"mediaType": pushed.media_type, "digest": pushed.digest, "size": len(pushed.data)}
        return {"manifestPushedInsteadOfIndex": True, "originalIndex": original, "selectedManifest": selected}


class _Reader:
    """A blob's bytes for an upload, told as `Pushing`."""

    def __init__(self, holdings: Holdings, blob: Descriptor, line: LayerProgress | None) -> None:
        self._holdings, self._blob, self._line = holdings, blob, line

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        descriptor = await asyncio.to_thread(self._holdings.content.open, self._blob.digest)
        try:
            while start < stop:
                data = await asyncio.to_thread(os.pread, descriptor, min(_READ, stop - start), start)
                if not data:
                    raise SampanError(f"blob {self._blob.digest} is shorter than its descriptor says")
                start += len(data)
                if self._line is not None:
                    self._line.count("Pushing", start, max(self._blob.size, 1))
                yield data
        finally:
            os.close(descriptor)


def _type_of(document: Manifest | Index) -> str:
    return manifests.OCI_INDEX if isinstance(document, Index) else manifests.OCI_MANIFEST
