"""`load`: an archive becomes images. docker-archive (old and new), OCI layout, or both in one; plain or compressed.

One pass over the stream: files under `blobs/` and layer tars go straight into the content store while they are
hashed, small JSON files stay
in memory. What the archive says is read when it is complete; then layers are unpacked, in parallel, and the names are
written down.
"""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import msgspec

from sampan.errors import InvalidParameter, SampanError
from sampan.images import compression, layers, manifests, platforms, references
from sampan.images.content import CHUNK
from sampan.images.digests import chain_ids, digest
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.model import ImageConfig, Platform
from sampan.images.pipe import Pipe, feed
from sampan.images.progress import LayerProgress, Progress
from sampan.images.references import Reference
from sampan.images.tar.headers import FILE, LINK, SYMLINK, Entry
from sampan.images.tar.reader import TarReader

_SMALL = 4 << 20
_SMALL_TOTAL = 64 << 20
_ENTRIES = 1 << 17
"""An image has three a layer. Names are kept, and ten million of them compress to a few megabytes."""
_DOCUMENTS = ("manifest.json", "index.json", "oci-layout", "repositories")
_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


class _Item(msgspec.Struct, rename="pascal"):
    """One image of docker-archive's manifest.json."""

    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


@dataclass(slots=True)
class _Contents:
    """What an archive holds: `blobs` name → digest of content that is stored, `small` name → bytes, `links` name →
    name.
    """

    blobs: dict[str, str] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def follow(self, name: str) -> str:
        for _ in range(16):
            if name not in self.links:
                return name
            name = self.links[name]
        raise InvalidParameter(f"invalid archive: {name!r} is a loop of links")


@dataclass(slots=True)
class _Found:
    """One image of the archive, ready to be unpacked."""

    id: str
    config: ImageConfig
    manifest: str
    layers: list[str]
    names: list[Reference]
    target: str
    """What the names stand for: the manifest, or the index it came from."""
    kept: list[str] = field(default_factory=list)


class Loader:
    """Loads for the daemon. Lives on the event loop."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    async def load(
        self, archive: AsyncIterator[bytes], progress: Progress, quiet: bool, platform: Platform | None
    ) -> list[tuple[str, list[str]]]:
        """[(image id, familiar names)], in the archive's order. Nothing stays when it fails."""
        async with self._holdings.lease() as lease:
            contents = await self._receive(archive, lease)
            found = await asyncio.to_thread(self._understand, contents, platform, lease)
            for image in found:
                await self._unpack(image, lease, progress, quiet)
            for image in found:
                lease.hold(*self._publish(image, progress))  # collected with the lease
        return [(image.id, [name.familiar for name in image.names]) for image in found]

    # -- receiving ---------------------------------------------------------------------------------
    async def _receive(self, archive: AsyncIterator[bytes], lease: Lease) -> _Contents:
        return await feed(archive, lambda pipe: self._store(pipe, lease))

    def _store(self, pipe: Pipe, lease: Lease) -> _Contents:
        contents = _Contents()
        total = 0
        with compression.Ahead(compression.decompress(pipe)) as plain:
            reader = TarReader(plain)
            for number, entry in enumerate(reader):
                if number > _ENTRIES:
                    raise InvalidParameter(f"invalid archive: it has more than {_ENTRIES} entries")
                name = _clean(entry)
                if entry.type in (SYMLINK, LINK):
                    target = entry.link.decode(errors="surrogateescape")
                    base = posixpath.dirname(name) if entry.type == SYMLINK else ""
                    contents.links[name] = posixpath.normpath(posixpath.join("/", base, target)).lstrip("/")
                elif entry.type == FILE and entry.sparse is None:
                    if _is_small(name, entry.size):
                        total += entry.size
                        if total > _SMALL_TOTAL:
                            raise InvalidParameter("invalid archive: too much metadata")
                        contents.small[name] = b"".join(bytes(piece) for piece in reader.data())
                    elif name in _DOCUMENTS:
                        raise InvalidParameter(f"invalid archive: {name} is too large: {entry.size} bytes")
                    else:
                        contents.blobs[name] = self._blob(name, entry, reader, lease)
            reader.drain()
        return contents

    def _blob(self, name: str, entry: Entry, reader: TarReader, lease: Lease) -> str:
        promised = _promised(name)
        if promised:
            lease.hold(promised)
            if self._holdings.content.exists(promised):
                return promised  # its bytes are verified already; these are skipped
        with self._holdings.content.ingest_unnamed() as ingest:
            for piece in reader.data():
                ingest.write(bytes(piece))
            found = ingest.verify()
            if promised and found != promised:
                raise InvalidParameter(f"invalid archive: blob {promised} has the digest {found}")
            return ingest.commit(lease.hold)

    # -- understanding -----------------------------------------------------------------------------
    def _understand(self, contents: _Contents, platform: Platform | None, lease: Lease) -> list[_Found]:
        if "manifest.json" in contents.small:
            return self._docker(contents, lease)
        if "index.json" in contents.small:
            return self._oci(contents, platform or platforms.host(), lease)
        if "repositories" in contents.small:
            raise InvalidParameter("archives of Docker older than 1.10 (image format v1) are not supported")
        raise InvalidParameter(
            "invalid archive: it has neither manifest.json (docker save) nor index.json (OCI layout)"
        )

    def _bytes(self, contents: _Contents, name: str, what: str) -> bytes:
        """A small file or a stored blob, by its name in the archive."""
        real = contents.follow(posixpath.normpath(name))
        if real in contents.small:
            return contents.small[real]
        if real in contents.blobs:
            return self._holdings.content.read(contents.blobs[real])
        raise InvalidParameter(f"invalid archive: {what} {name!r} is missing")

    def _docker(self, contents: _Contents, lease: Lease) -> list[_Found]:
        try:
            items = msgspec.json.decode(contents.small["manifest.json"], type=list[_Item])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidParameter(f"invalid manifest.json: {error}") from None
        known = self._manifests_by_config(contents)
        found = []
        for item in items:
            data = self._bytes(contents, item.config, "config")
            id = self._keep(data, lease)
            config = manifests.decode_config(data, f"config {item.config}")
            blobs = []
            for name in item.layers or []:
                real = contents.follow(posixpath.normpath(name))
                if real not in contents.blobs:
                    raise InvalidParameter(f"invalid archive: layer {name!r} is missing")
                blobs.append(contents.blobs[real])
            _check_count(config, blobs, item.config)
            manifest = known.get((id, tuple(blobs))) or self._make_manifest(id, len(data), blobs, lease)
            names = [references.parse(tag) for tag in item.repo_tags or []]
            found.append(_Found(id, config, manifest, blobs, names, manifest))
        return found

    def _manifests_by_config(self, contents: _Contents) -> dict[tuple[str, tuple[str, ...]], str]:
        """The real manifests of an archive that is an OCI layout too, so that digests survive save and load."""
        known: dict[tuple[str, tuple[str, ...]], str] = {}
        try:
            index = manifests.decode(contents.small.get("index.json", b"{}"), manifests.OCI_INDEX, "index.json")
        except SampanError:
            return known
        for entry in index.manifests if isinstance(index, Index) else ():
            name = f"blobs/sha256/{entry.digest.partition(':')[2]}"
            if name not in contents.blobs:
                continue
            try:
                data = self._holdings.content.read(entry.digest)
                manifest = manifests.decode(data, entry.media_type, entry.digest)
            except SampanError:
                continue  # manifest.json is what counts here; this is only where the digests come from
            if isinstance(manifest, Manifest):
                known[(manifest.config.digest, tuple(layer.digest for layer in manifest.layers))] = entry.digest
        return known

    def _make_manifest(self, id: str, size: int, blobs: list[str], lease: Lease) -> str:
        described = []
        for blob in blobs:
            head = next(iter(self._holdings.read(blob)), b"")[:8]
            suffix = {"gzip": "+gzip", "zstd": "+zstd"}.get(compression.detect(head), "")
            media_type = manifests.OCI_LAYER + suffix
            described.append(Descriptor(media_type=media_type, digest=blob, size=self._holdings.content.size(blob)))
        manifest = Manifest(
            schema_version=2,
            media_type=manifests.OCI_MANIFEST,
            config=Descriptor(media_type=manifests.OCI_CONFIG, digest=id, size=size),
            layers=described,
        )
        return self._keep(manifests.encode(manifest), lease)

    def _keep(self, data: bytes, lease: Lease) -> str:
        lease.hold(digest(data))
        return self._holdings.content.put(data)

    def _oci(self, contents: _Contents, wanted: Platform, lease: Lease) -> list[_Found]:
        index = manifests.decode(contents.small["index.json"], "", "index.json")
        if not isinstance(index, Index):
            raise InvalidParameter("invalid archive: index.json is not an index")
        found = []
        for entry in index.manifests:
            names = _names(entry)
            top, kept, current = entry.digest, [], entry
            for _ in range(3):
                data = self._bytes(contents, f"blobs/sha256/{current.digest.partition(':')[2]}", "manifest")
                decoded = manifests.decode(data, current.media_type, current.digest)
                if isinstance(decoded, Manifest):
                    break
                kept.append(current.digest)
                current = manifests.select(decoded, wanted)
            else:
                raise InvalidParameter(f"manifest {entry.digest}: indexes are nested too deeply")
            layers_ = [layer.digest for layer in manifests.image_layers(decoded, current.digest)]
            data = self._bytes(contents, f"blobs/sha256/{decoded.config.digest.partition(':')[2]}", "config")
            config = manifests.decode_config(data, f"config {decoded.config.digest}")
            for layer in layers_:
                if not self._holdings.content.exists(layer):
                    raise InvalidParameter(f"invalid archive: layer {layer} is missing")
                lease.hold(layer)
            _check_count(config, layers_, decoded.config.digest)
            found.append(_Found(decoded.config.digest, config, current.digest, layers_, names, top, kept))
        return found

    # -- making images of it -----------------------------------------------------------------------
    async def _unpack(self, image: _Found, lease: Lease, progress: Progress, quiet: bool) -> None:
        chain = chain_ids(image.config.rootfs.diff_ids)
        lease.hold(*chain)
        loop = asyncio.get_running_loop()
        work = []
        for position, link in enumerate(chain):
            if self._holdings.snapshots.has_layer(link):
                continue
            blob, diff_id = image.layers[position], image.config.rootfs.diff_ids[position]
            line = LayerProgress((lambda _: None) if quiet else progress, diff_id)
            total = self._holdings.content.size(blob)

            def seen(done: int, line: LayerProgress = line, total: int = total) -> None:
                loop.call_soon_threadsafe(line.count, "Loading layer", done, total)

            parent = chain[position - 1] if position else None
            work.append(
                loop.run_in_executor(self._holdings.workers, self._holdings.unpack, blob, diff_id, link, parent, seen)
            )
        try:
            await asyncio.gather(*work)
        except BaseException:
            await asyncio.gather(*work, return_exceptions=True)
            raise

    def _publish(self, image: _Found, progress: Progress) -> set[str]:
        """Writes an image down. Returns what its record had before and has no more."""
        catalog = self._holdings.catalog
        for name in image.names:
            before = catalog.references.get(name.key())
            if before is not None and before.image != image.id:
                progress(
                    {
                        "stream": f"The image {name.familiar} already exists, renaming the old one with ID "
                        f"{before.image} to empty string\n"
                    }
                )
        record = self._holdings.record(
            image.manifest, image.layers, chain_ids(image.config.rootfs.diff_ids), image.kept
        )
        record.tagged = time.time_ns() if image.names else 0
        return catalog.put(image.id, record, [(name, image.target) for name in image.names])


def _clean(entry: Entry) -> str:
    return layers.clean_name(entry.name).decode(errors="surrogateescape")


def _is_small(name: str, size: int) -> bool:
    return size <= _SMALL and not name.startswith("blobs/") and not name.endswith(".tar")


def _promised(name: str) -> str:
    head, _, value = name.rpartition("/")
    candidate = f"sha256:{value}"
    return candidate if head == "blobs/sha256" and references.is_digest(candidate) else ""


def _check_count(config: ImageConfig, blobs: list[str], name: str) -> None:
    if len(config.rootfs.diff_ids) != len(blobs):
        raise InvalidParameter(
            f"invalid archive: config {name} names {len(config.rootfs.diff_ids)} layers, the manifest {len(blobs)}"
        )


def _names(entry: Descriptor) -> list[Reference]:
    """What an index entry calls itself: containerd's annotation, or the OCI one where it is a whole name."""
    annotations = entry.annotations or {}
    full = annotations.get(_NAME, "")
    short = annotations.get(_REF_NAME, "")
    if not full and ("/" in short or ":" in short):
        full = short
    if not full:
        return []
    try:
        return [references.parse(full).tagged()]
    except InvalidParameter:
        return []


def chunks(data: bytes) -> Iterator[bytes]:
    """Bytes in the sizes that everything here is used to."""
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
