"""Images made here: `import` (a root file system becomes an image), `commit` (a container's changes become a layer),
and the seam that
builds use for both. Each new layer is kept as a blob too, so that what is made here can be pushed and saved like what
was pulled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from sampan.images import compression, diff, layers, manifests, platforms
from sampan.images.content import Ingest
from sampan.images.digests import chain_ids, digest
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Manifest
from sampan.images.model import History, ImageConfig, Platform, RootFS, RunConfig
from sampan.images.pipe import feed, finished
from sampan.images.references import Reference


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer made here."""

    blob: str
    diff_id: str
    media_type: str


def timestamp(nanoseconds: int | None = None) -> str:
    """RFC 3339 with nanoseconds, as Docker writes `created`."""
    value = time.time_ns() if nanoseconds is None else nanoseconds
    moment = datetime.fromtimestamp(value // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{value % 10**9:09d}Z"


class Importer:
    """Makes images. Lives on the event loop; the work is done in `workers`."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    async def import_archive(
        self,
        archive: AsyncIterator[bytes],
        reference: Reference | None,
        config: RunConfig,
        message: str,
        platform: Platform | None,
    ) -> str:
        """A tar (plain or compressed) as the only layer of a new image. Returns its id."""
        async with self._holdings.lease() as lease:
            layer = await feed(archive, lambda pipe: self._receive(pipe, lease))
            wanted = platform or platforms.host()
            created = timestamp()
            image = ImageConfig(
                architecture=wanted.architecture,
                os=wanted.os or "linux",
                variant=wanted.variant,
                created=created,
                config=config,
                rootfs=RootFS(diff_ids=[layer.diff_id]),
                history=[History(created=created, comment=message)],
                comment=message,
            )
            return await asyncio.to_thread(self._publish, image, [layer], "", reference, lease)

    async def commit(
        self,
        base: str | None,
        snapshot: str,
        config: RunConfig,
        *,
        reference: Reference | None = None,
        author: str = "",
        comment: str = "",
        created_by: str = "",
        empty: bool = False,
    ) -> str:
        """A container's changes (or, with `empty`, only new configuration) on top of image `base`. Returns the new
        image's id.

        The caller pauses the container while this runs, when it wants a quiet file system.
        """
        async with self._holdings.lease() as lease:
            catalog, parents, blobs = self._holdings.catalog, ImageConfig(), list[Layer]()
            if base is not None:
                parents = catalog.config(base)
                lease.hold(*catalog.blobs_of(base, catalog.images[base]), *catalog.chain(base))
                blobs = self._layers_of(base)
            if not empty:
                future = asyncio.get_running_loop().run_in_executor(
                    self._holdings.workers, self._commit_layer, snapshot, base, lease
                )
                blobs.append(await finished(future))
            created = timestamp()
            step = History(created=created, created_by=created_by, author=author, comment=comment, empty_layer=empty)
            image = ImageConfig(
                architecture=parents.architecture or platforms.host().architecture,
                os=parents.os or "linux",
                variant=parents.variant,
                created=created,
                author=author,
                config=config,
                rootfs=RootFS(diff_ids=[layer.diff_id for layer in blobs]),
                history=[*parents.history, step],
                comment=comment,
            )
            return await asyncio.to_thread(self._publish, image, blobs, base or "", reference, lease)

    def _layers_of(self, id: str) -> list[Layer]:
        record = self._holdings.catalog.images[id]
        manifest = manifests.decode(self._holdings.content.read(record.manifest))
        assert isinstance(manifest, Manifest)
        diff_ids = self._holdings.catalog.config(id).rootfs.diff_ids
        return [
            Layer(layer.digest, diff_id, layer.media_type)
            for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
        ]

    def _commit_layer(self, snapshot: str, base: str | None, lease: Lease) -> Layer:
        snapshots = self._holdings.snapshots
        tar = diff.layer(snapshots.upper(snapshot), snapshots.changes(snapshot))
        chain = self._holdings.catalog.chain(base) if base is not None else []
        return self._add(tar, chain[-1] if chain else None, lease, plain=True)

    def _receive(self, archive: Iterable[bytes], lease: Lease) -> Layer:
        layers.own_umask()
        return self._add(archive, None, lease)

    def _add(self, chunks: Iterable[bytes], parent: str | None, lease: Lease, *, plain: bool = False) -> Layer:
        """Stores and unpacks a layer in one pass. `plain`: certainly not compressed, so blob and diffID are the same.
        Blocks; for `workers`."""
        holdings = self._holdings
        with holdings.content.ingest_unnamed() as ingest, holdings.snapshots.new_layer() as new:
            kept = _Kept(ingest, iter(chunks))
            applied = layers.apply(kept, new.diff, diff_id=ingest.verify if plain else None)
            chain_id = applied.diff_id if parent is None else chain_ids([parent, applied.diff_id])[1]
            lease.hold(chain_id)
            blob = ingest.commit(lease.hold)
            new.commit(chain_id, parent, applied.size, applied.diff_id)
        suffix = {"gzip": "+gzip", "zstd": "+zstd"}.get(compression.detect(kept.head), "")
        return Layer(blob, applied.diff_id, manifests.OCI_LAYER + suffix)

    def _publish(
        self, image: ImageConfig, made: list[Layer], parent: str, reference: Reference | None, lease: Lease
    ) -> str:
        content, catalog = self._holdings.content, self._holdings.catalog
        data = encode_config(image)
        lease.hold(digest(data))
        id = content.put(data)
        manifest = manifests.encode(
            Manifest(
                schema_version=2,
                media_type=manifests.OCI_MANIFEST,
                config=Descriptor(media_type=manifests.OCI_CONFIG, digest=id, size=len(data)),
                layers=[
                    Descriptor(media_type=layer.media_type, digest=layer.blob, size=content.size(layer.blob))
                    for layer in made
                ],
            )
        )
        lease.hold(digest(manifest))
        target = content.put(manifest)
        record = self._holdings.record(target, [layer.blob for layer in made], chain_ids(image.rootfs.diff_ids))
        record.parent = parent
        record.tagged = time.time_ns() if reference is not None else 0
        catalog.put(id, record, [(reference.tagged(), target)] if reference is not None else [])
        return id


def encode_config(image: ImageConfig) -> bytes:
    """Canonical bytes of an image config we make."""
    fields = msgspec.to_builtins(image)
    fields.setdefault("rootfs", {"type": "layers", "diff_ids": []})
    return msgspec.json.encode(fields)


class _Kept:
    """Chunks on their way through, written to the blob."""

    def __init__(self, ingest: Ingest, chunks: Iterator[bytes]) -> None:
        self._ingest, self._chunks = ingest, chunks
        self.head = b""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        if len(self.head) < 8:
            self.head += chunk[:8]
        self._ingest.write(chunk)
        return chunk
