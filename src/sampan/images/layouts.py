"""An OCI layout of any manifest or index that is here, as a tar: `build --output type=oci` and `type=docker`, and a
build cache for `type=local`. With `docker`, manifest.json for `docker load` comes along.

Entries are sorted and carry no time. Source: image-spec image-layout.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

import msgspec

from sampan.images import manifests
from sampan.images.content import CHUNK
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.references import Reference
from sampan.images.tar import writer
from sampan.images.tar.writer import Meta

_FILE, _DIRECTORY = Meta(mode=0o644), Meta(mode=0o755)


def entries(top: Descriptor, names: Sequence[Reference]) -> list[Descriptor]:
    """index.json's: one for each name, as containerd and BuildKit name them."""
    if not names:
        return [top]
    found = []
    for name in names:
        own = {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag}
        found.append(msgspec.structs.replace(top, annotations={**(top.annotations or {}), **own}))
    return found


def docker_items(manifest: Manifest, names: Sequence[Reference]) -> bytes:
    """manifest.json."""
    item = {
        "Config": _path(manifest.config.digest),
        "RepoTags": [name.familiar for name in names] or None,
        "Layers": [_path(layer.digest) for layer in manifest.layers],
    }
    return msgspec.json.encode([item])


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest.partition(':')[2]}"


async def archive(
    holdings: Holdings,
    lease: Lease,
    blobs: Sequence[str],
    listed: Sequence[Descriptor],
    docker: bytes = b"",
) -> AsyncIterator[bytes]:
    """The tar, in chunks. The caller's lease holds the blobs for as long as it is read."""
    lease.hold(*blobs)
    index = Index(schema_version=2, media_type=manifests.OCI_INDEX, manifests=list(listed))
    files = {"index.json": manifests.encode(index), "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    if docker:
        files["manifest.json"] = docker
    yield writer.header(b"blobs/", b"5", _DIRECTORY) + writer.header(b"blobs/sha256/", b"5", _DIRECTORY)
    for digest in sorted(set(blobs)):
        descriptor = await asyncio.to_thread(holdings.content.open, digest)
        try:
            size = os.fstat(descriptor).st_size
            yield writer.header(_path(digest).encode(), b"0", _FILE, size=size)
            while chunk := await asyncio.to_thread(os.read, descriptor, CHUNK):
                yield chunk
            yield writer.padding(size)
        finally:
            os.close(descriptor)
    tail = b""
    for name, data in sorted(files.items()):
        tail += writer.header(name.encode(), b"0", _FILE, size=len(data)) + data + writer.padding(len(data))
    yield tail + writer.END
