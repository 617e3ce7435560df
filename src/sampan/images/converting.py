"""Images packaged as somebody asked for: layers plain, gzip or zstd, media types in OCI's or Docker's words,
annotations, one manifest or an index of several.

The same request gives the same bytes, so the digest that is told is the digest every push has. What a layer becomes is
remembered as for a push (see `compressing`), and made again only when its bytes are gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from sampan.errors import InvalidParameter, NotSupported
from sampan.images import compressing, manifests
from sampan.images.catalog import Catalog
from sampan.images.compressing import Compressed
from sampan.images.compression import decompress
from sampan.images.content import CHUNK
from sampan.images.digests import digest as digest_of
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.model import Platform
from sampan.images.references import Reference
from sampan.store import Documents

_LEVELS = {"gzip": (-1, 9), "zstd": (0, 22), "uncompressed": (-1, 22)}
_SUFFIXES = {"uncompressed": ("", ""), "gzip": ("+gzip", ".gzip"), "zstd": ("+zstd", ".zstd")}
_ZSTD_LEVEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """`level` None is the kind's default. `force`: layers that are compressed otherwise (a base image's) are made
    anew; without, only plain ones are."""

    kind: str = "gzip"
    level: int | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.kind == "estargz":
            raise NotSupported("compression=estargz is not supported: there are gzip, zstd and uncompressed")
        if self.kind not in _LEVELS:
            raise InvalidParameter(f"unsupported compression type {self.kind}")
        least, most = _LEVELS[self.kind]
        if self.level is not None and not least <= self.level <= most:
            raise InvalidParameter(f"compression-level {self.level} is not between {least} and {most} for {self.kind}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One platform's image, to be packaged: its config's bytes, its layers as they are here."""

    config: bytes
    layers: Sequence[Descriptor]
    platform: Platform
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the manifest."""
    descriptor_annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the manifest's entry in the index."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """`top` describes what a name stands for; `blobs` is everything below it, itself included; `parts` the manifests
    of the images, in the order asked for, with their layers' descriptors."""

    top: Descriptor
    blobs: tuple[str, ...]
    parts: tuple[tuple[Descriptor, Manifest], ...]


class Converter:
    """For one daemon. Lives on the event loop; works in `holdings.workers`."""

    def __init__(self, holdings: Holdings, known: Documents[Compressed]) -> None:
        self._holdings, self._known = holdings, known

    async def layer(self, layer: Descriptor, wanted: Compression, lease: Lease, *, oci: bool = True) -> Descriptor:
        """The layer as wanted, here."""
        kind = kind_of(layer.media_type)
        if layer.foreign or kind == wanted.kind or (kind != "uncompressed" and not wanted.force):
            return _described(layer, layer.digest, layer.size, kind, oci)
        if wanted.kind == "uncompressed":
            made = await self._made(layer.digest, f"{layer.digest} uncompressed", wanted, lease)
        else:
            # The default's is a push's too: then both give one digest.
            name = layer.digest if wanted.level is None and wanted.kind == "gzip" and kind == "uncompressed" else ""
            made = await self._made(layer.digest, name or f"{layer.digest} {wanted.kind}:{wanted.level}", wanted, lease)
        return _described(layer, made.digest, made.size, wanted.kind, oci)

    async def _made(self, digest: str, name: str, wanted: Compression, lease: Lease) -> Compressed:
        known = self._known.get(name)
        if known is not None:
            lease.hold(known.digest)
            if self._holdings.content.exists(known.digest):
                return known
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self._holdings.workers, self._make, digest, wanted, lease)
        if made != known:
            self._known.put(name, made)
        return made

    def _make(self, digest: str, wanted: Compression, lease: Lease) -> Compressed:
        plain = decompress(self._holdings.read(digest))
        with self._holdings.content.ingest_unnamed() as ingest:
            for chunk in compressed(plain, wanted):
                ingest.write(chunk)
            size = ingest.offset
            return Compressed(ingest.commit(lease.hold), size)

    async def package(
        self,
        parts: Sequence[Part],
        compression: Compression,
        lease: Lease,
        *,
        oci: bool = True,
        index: bool = False,
        index_annotations: Mapping[str, str] | None = None,
        beside: Mapping[int, Descriptor] | None = None,
    ) -> Packaged:
        """One manifest, or an index when there are several parts, `index` says so, or something stands `beside`."""
        made: list[tuple[Descriptor, Manifest]] = []
        blobs: list[str] = []
        for part in parts:
            described, manifest, names = await self.image(part, compression, lease, oci=oci)
            made.append((described, manifest))
            blobs += names
        return await self.enclose(
            made, blobs, lease, oci=oci, index=index, annotations=index_annotations, beside=beside
        )

    async def image(
        self, part: Part, compression: Compression, lease: Lease, *, oci: bool = True
    ) -> tuple[Descriptor, Manifest, list[str]]:
        """(the manifest's descriptor, the manifest, its blobs)."""
        put = self._holdings.content.put
        found = await asyncio.gather(*(self.layer(one, compression, lease, oci=oci) for one in part.layers))
        lease.hold(digest_of(part.config))
        config = await asyncio.to_thread(put, part.config)
        manifest = Manifest(
            schema_version=2,
            media_type=manifests.OCI_MANIFEST if oci else manifests.DOCKER_MANIFEST,
            config=Descriptor(
                media_type=manifests.OCI_CONFIG if oci else manifests.DOCKER_CONFIG,
                digest=config,
                size=len(part.config),
            ),
            layers=list(found),
            annotations=dict(sorted(part.annotations.items())) or None,
        )
        described = await self.put(manifest, lease)
        described.platform = part.platform
        described.annotations = dict(sorted(part.descriptor_annotations.items())) or None
        return described, manifest, [config, described.digest, *(one.digest for one in found if not one.foreign)]

    async def put(self, document: Manifest | Index, lease: Lease) -> Descriptor:
        """Stores a manifest or an index."""
        data = manifests.encode(document)
        lease.hold(digest_of(data))
        digest = await asyncio.to_thread(self._holdings.content.put, data)
        return Descriptor(media_type=document.media_type, digest=digest, size=len(data))

    async def enclose(
        self,
        made: Sequence[tuple[Descriptor, Manifest]],
        blobs: Sequence[str],
        lease: Lease,
        *,
        oci: bool = True,
        index: bool = False,
        annotations: Mapping[str, str] | None = None,
        beside: Mapping[int, Descriptor] | None = None,
    ) -> Packaged:
        """`beside`: what goes into the index with each part (attestations), by the part's position."""
        if len(made) == 1 and not index and not beside:
            top = msgspec.structs.replace(made[0][0], platform=None)
            return Packaged(top, tuple(dict.fromkeys(blobs)), tuple(made))
        entries = [described for described, _ in made] + [one for _, one in sorted((beside or {}).items())]
        document = Index(
            schema_version=2,
            media_type=manifests.OCI_INDEX if oci else manifests.DOCKER_LIST,
            manifests=entries,
            annotations=dict(sorted((annotations or {}).items())) or None,
        )
        top = await self.put(document, lease)
        return Packaged(top, tuple(dict.fromkeys([*blobs, top.digest])), tuple(made))


def keep(catalog: Catalog, id: str, packaged: Packaged, names: Sequence[Reference]) -> None:
    """Writes down that an image here was packaged so: its blobs stay with it, and it is pushed as it is."""
    record = msgspec.structs.replace(catalog.images[id])
    record.extra = sorted({*record.extra, *packaged.blobs} - {id, record.manifest, *record.layers})
    record.tagged = time.time_ns() if names else record.tagged
    catalog.put(id, record, [(name.tagged(), packaged.top.digest) for name in names], exact=True)


def kind_of(media_type: str) -> str:
    """gzip, zstd or uncompressed."""
    return next((kind for kind in ("gzip", "zstd") if media_type.endswith(kind)), "uncompressed")


def _described(layer: Descriptor, digest: str, size: int, kind: str, oci: bool) -> Descriptor:
    """A layer's descriptor in one language."""
    if layer.foreign:
        return layer
    suffix = _SUFFIXES[kind][0 if oci else 1]
    base = manifests.OCI_LAYER if oci else manifests.DOCKER_LAYER
    return Descriptor(media_type=base + suffix, digest=digest, size=size)


def compressed(plain: Iterator[bytes], wanted: Compression) -> Iterator[bytes]:
    """No name and no time goes in: the same bytes give the same bytes."""
    if wanted.kind == "uncompressed":
        return plain
    if wanted.kind == "zstd":
        return _zstd(plain, _ZSTD_LEVEL if wanted.level is None else wanted.level)
    return compressing.gzip(plain) if wanted.level is None else _zlib(plain, wanted.level)


def _zlib(plain: Iterator[bytes], level: int) -> Iterator[bytes]:
    """ISA-L has four levels; whoever asks for one of ten means zlib's."""
    import zlib

    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    for chunk in plain:
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()


def _zstd(plain: Iterator[bytes], level: int) -> Iterator[bytes]:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=level).chunker(chunk_size=CHUNK)
    for chunk in plain:
        yield from compressor.compress(chunk)
    yield from compressor.finish()  # type: ignore[no-untyped-call]
