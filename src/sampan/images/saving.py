"""`save`: images become one tar that is a docker-archive and an OCI layout at once, as dockerd 25+ writes it.

Layers go out as the blobs they came as (compressed or not) with their own manifests, so digests survive save and load
here; docker load,
podman and skopeo read compressed layers too. Entries are sorted and carry no time: the same images give the same bytes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from sampan.errors import NotFound
from sampan.images import manifests, references
from sampan.images.catalog import Catalog
from sampan.images.content import CHUNK
from sampan.images.holdings import Holdings
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.model import Platform
from sampan.images.references import Reference
from sampan.images.tar import writer
from sampan.images.tar.writer import Meta

_FILE, _DIRECTORY = Meta(mode=0o644), Meta(mode=0o755)


@dataclass(slots=True)
class Chosen:
    """One image to save, under these names."""

    id: str
    names: list[Reference] = field(default_factory=list)


def choose(catalog: Catalog, refs: list[str], platform: Platform | None) -> list[Chosen]:
    """Which images `save A B C` means. A name without tag means all its tags; an id or digest saves no name.
    Raises `NotFound`.
    """
    chosen: dict[str, Chosen] = {}
    for ref in refs:
        named: list[tuple[str, Reference | None]] = [*_names(catalog, ref)]
        for id, name in named or [(_find(catalog, ref), None)]:
            if platform is not None:
                catalog.require_platform(ref, id, platform)
            image = chosen.setdefault(id, Chosen(id))
            if name is not None and name not in image.names:
                image.names.append(name)
    return list(chosen.values())


def _find(catalog: Catalog, ref: str) -> str:
    try:
        return catalog.find(ref)
    except NotFound:
        raise NotFound(f"No such image: {ref}") from None  # unlike elsewhere, without a tag that was not asked for


def _names(catalog: Catalog, ref: str) -> list[tuple[str, Reference]]:
    if references.is_identifier(ref) or references.is_digest(ref):
        return []
    reference = references.parse(ref)
    if reference.digest:
        return []
    wanted = reference if reference.tag else None
    found = []
    for key, record in sorted(catalog.references.items()):
        if not key.startswith(reference.name + ":"):
            continue
        name = references.parse(key)
        if name.name == reference.name and not name.digest and (wanted is None or name == wanted):
            found.append((record.image, name))
    return found


def _files(holdings: Holdings, chosen: list[Chosen]) -> tuple[dict[str, bytes], set[str]]:
    """(the archive's own small files, digests of the blobs that go in)."""
    blobs: set[str] = set()
    entries: list[Descriptor] = []
    items: list[dict[str, object]] = []
    repositories: dict[str, dict[str, str]] = {}
    for image in chosen:
        record = holdings.catalog.images[image.id]
        data = holdings.content.read(record.manifest)
        manifest = manifests.decode(data)
        assert isinstance(manifest, Manifest)
        blobs |= {image.id, record.manifest, *record.layers}
        described = Descriptor(
            media_type=manifest.media_type or manifests.OCI_MANIFEST, digest=record.manifest, size=len(data)
        )
        entries += [_named(described, name) for name in image.names] or [described]
        sources = dict(zip(holdings.catalog.config(image.id).rootfs.diff_ids, manifest.layers, strict=False))
        items.append(
            {
                "Config": _path(image.id),
                "RepoTags": [name.familiar for name in image.names] or None,
                "Layers": [_path(layer) for layer in record.layers],
                "LayerSources": {
                    diff_id: {"mediaType": layer.media_type, "size": layer.size, "digest": layer.digest}
                    for diff_id, layer in sources.items()
                },
            }
        )
        for name in image.names:
            top = record.layers[-1].partition(":")[2] if record.layers else ""
            repositories.setdefault(name.familiar_name, {})[name.tag] = top
    index = Index(schema_version=2, media_type=manifests.OCI_INDEX, manifests=entries)
    files = {
        "index.json": manifests.encode(index),
        "manifest.json": msgspec.json.encode(items),
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
    }
    if repositories:
        files["repositories"] = msgspec.json.encode(repositories) + b"\n"
    return files, blobs


def _named(described: Descriptor, name: Reference) -> Descriptor:
    annotations = {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag}
    return msgspec.structs.replace(described, annotations=annotations)


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest.partition(':')[2]}"


async def archive(holdings: Holdings, chosen: list[Chosen]) -> AsyncIterator[bytes]:
    """The tar, in chunks. Holds what it reads against deletion."""
    async with holdings.lease() as lease:
        files, blobs = await asyncio.to_thread(_files, holdings, chosen)
        lease.hold(*blobs)
        yield writer.header(b"blobs/", b"5", _DIRECTORY) + writer.header(b"blobs/sha256/", b"5", _DIRECTORY)
        for digest in sorted(blobs):
            async for chunk in _blob(holdings, digest):
                yield chunk
        tail = b""
        for name, data in files.items():
            tail += writer.header(name.encode(), b"0", _FILE, size=len(data)) + data + writer.padding(len(data))
        yield tail + writer.END


async def _blob(holdings: Holdings, digest: str) -> AsyncIterator[bytes]:
    descriptor = await asyncio.to_thread(holdings.content.open, digest)
    try:
        size = os.fstat(descriptor).st_size
        head = writer.header(_path(digest).encode(), b"0", _FILE, size=size)
        if size <= CHUNK:
            yield head + await asyncio.to_thread(os.read, descriptor, size) + writer.padding(size)
            return
        yield head
        while chunk := await asyncio.to_thread(os.read, descriptor, CHUNK):
            yield chunk
        yield writer.padding(size)
    finally:
        os.close(descriptor)
