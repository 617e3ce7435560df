"""Layers made here are kept plain: unpacking and diffing need no compression. They are pushed compressed, as Docker
pushes them, with a manifest to fit; what was pulled goes out as it came.

Compressing a layer gives the same bytes each time, so it is remembered what they were: a registry that has them is not
sent them again, and they are not made again to find that out. They are kept no longer than the push.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from sampan.errors import SampanError
from sampan.images import manifests
from sampan.images.content import CHUNK
from sampan.images.digests import digest as digest_of
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Manifest
from sampan.store import Documents

_LEVEL = 2
"""ISA-L's: about zlib's 4, at ten times its speed."""
_PLAIN = {manifests.OCI_LAYER: f"{manifests.OCI_LAYER}+gzip", manifests.DOCKER_LAYER: f"{manifests.DOCKER_LAYER}.gzip"}


class Compressed(msgspec.Struct):
    """What a plain layer becomes."""

    digest: str
    size: int


class Compressor:
    """For one daemon. Lives on the event loop; works in `holdings.workers`."""

    def __init__(self, holdings: Holdings, known: Documents[Compressed]) -> None:
        self._holdings, self._known = holdings, known
        self.sources: dict[str, str] = {}
        """Compressed digest: plain digest."""

    async def manifest(self, digest: str, lease: Lease, there: Callable[[str], Awaitable[bool]]) -> str:
        """The digest of what to push instead of a manifest that is here; the same when nothing is to be compressed.
        `there`: does the registry have a plain layer already?
        """
        data = await asyncio.to_thread(self._holdings.content.read, digest)
        document = manifests.decode(data)
        # Encoded by us, hence made here: nobody else knows its digest, and it has no field that we would drop.
        if not isinstance(document, Manifest) or manifests.encode(document) != data:
            return digest
        if not any(layer.media_type in _PLAIN for layer in document.layers):
            return digest
        found = await asyncio.gather(*(self._layer(layer, lease, there) for layer in document.layers))
        document.layers = list(found)
        data = manifests.encode(document)
        lease.hold(digest_of(data))
        return await asyncio.to_thread(self._holdings.content.put, data)

    async def _layer(self, layer: Descriptor, lease: Lease, there: Callable[[str], Awaitable[bool]]) -> Descriptor:
        if layer.media_type not in _PLAIN or await there(layer.digest):
            return layer
        known = self._known.get(layer.digest)
        if known is None:
            known = await self._compress(layer.digest, lease)
            self._known.put(layer.digest, known)
        self.sources[known.digest] = layer.digest
        return Descriptor(media_type=_PLAIN[layer.media_type], digest=known.digest, size=known.size)

    async def need(self, digest: str, lease: Lease) -> None:
        """Makes sure that the bytes of a compressed layer are here."""
        source = self.sources.get(digest)
        if source is None or self._holdings.content.exists(digest):
            return
        made = await self._compress(source, lease)
        if made.digest != digest:  # another version of the library: the manifest that was made does not fit any more
            self._known.put(source, made)
            raise Outdated(source)

    async def _compress(self, digest: str, lease: Lease) -> Compressed:
        loop, abandoned = asyncio.get_running_loop(), threading.Event()
        try:
            return await loop.run_in_executor(self._holdings.workers, self._compress_now, digest, lease, abandoned)
        except asyncio.CancelledError:
            abandoned.set()  # a client that leaves would else keep one of the few workers busy to the layer's end
            raise

    def _compress_now(self, digest: str, lease: Lease, abandoned: threading.Event) -> Compressed:
        with self._holdings.content.ingest_unnamed() as ingest:
            for chunk in gzip(self._holdings.read(digest)):
                if abandoned.is_set():
                    raise SampanError(f"compressing layer {digest} was given up")
                ingest.write(chunk)
            size = ingest.offset
            return Compressed(ingest.commit(lease.hold), size)


class Outdated(Exception):
    """What was remembered of a layer is not what it becomes now: begin again."""


def gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """gzip without name and time, so that the same bytes always give the same bytes."""
    from isal import isal_zlib

    compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK):
            if out := compressor.compress(chunk[start : start + CHUNK]):
                yield out
    yield compressor.flush()
