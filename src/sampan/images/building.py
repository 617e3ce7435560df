"""What builds make of images: layers sealed from snapshots, and images published from layers and a config.

A build step's writable directory *becomes* the layer: what is no change goes, its tar is written to the content store
and hashed on the way, and the directory is renamed to its chainID. Nothing is unpacked again.
"""

# An os call costs a third of pathlib's, and these are hot.
# ruff: noqa: PTH104, PTH108

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.images import diff, layers, manifests
from sampan.images.content import CHUNK, Ingest
from sampan.images.diff import Change
from sampan.images.digests import chain_ids, digest
from sampan.images.holdings import Holdings, Lease
from sampan.images.importing import encode_config
from sampan.images.manifests import Descriptor, Manifest
from sampan.images.model import ImageConfig
from sampan.images.references import Reference
from sampan.images.tar.packing import gathered
from sampan.linux import trees


@dataclass(frozen=True, slots=True)
class SealedLayer:
    """A layer that is here, on one chain."""

    blob: str
    diff_id: str
    media_type: str
    chain_id: str
    size: int
    """Bytes of its files."""


def chain(parent: str | None, diff_id: str) -> str:
    return diff_id if parent is None else chain_ids([parent, diff_id])[1]


def seal(
    holdings: Holdings, key: str, parent: str | None, lease: Lease, newest: int | None = None
) -> SealedLayer | None:
    """The active snapshot `key`, which is not mounted any more, as a layer on the chain `parent`; None when nothing
    was changed. Its directory is used up; `Snapshots.remove` clears the rest away. `newest`: later modification times
    are set to this one (seconds since the epoch). Blocks; for `workers`."""
    snapshots = holdings.snapshots
    upper = snapshots.upper(key)
    changes = snapshots.changes(key)
    if not changes:
        return None
    _prune(upper, changes)
    if newest is not None:
        _clamp(upper, changes, newest)
    blob, diff_id = _store(holdings, upper, changes, lease)
    chain_id = chain(parent, diff_id)
    lease.hold(chain_id)
    size = trees.size(upper)
    if not snapshots.has_layer(chain_id):
        with snapshots.new_layer() as new:
            os.rename(upper, new.diff)
            new.commit(chain_id, parent, size, diff_id)
    return SealedLayer(blob, diff_id, manifests.OCI_LAYER, chain_id, size)


def _store(holdings: Holdings, upper: Path, changes: Sequence[Change], lease: Lease) -> tuple[str, str]:
    """(blob, diffID): the same while layers are kept uncompressed."""
    with holdings.content.ingest_unnamed() as ingest:
        _write(ingest, upper, changes)
        blob = ingest.commit(lease.hold)
    return blob, blob


def _write(ingest: Ingest, upper: Path, changes: Sequence[Change]) -> None:
    for chunk in gathered(diff.layer(upper, changes), CHUNK):
        ingest.write(chunk)


def _prune(upper: Path, changes: Sequence[Change]) -> None:
    """Removes what is in the upper directory but no change: mount points that the runtime made, files that were copied
    up and left as they were, sockets, whiteouts of nothing."""
    kept = {change.path for change in changes}
    waiting = [(os.fspath(upper), "")]
    while waiting:
        directory, path = waiting.pop()
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            inner = f"{path}/{name}"
            if inner not in kept:
                if is_directory:
                    trees.remove(Path(directory) / name)
                else:
                    os.unlink(f"{directory}/{name}")
            elif is_directory:
                waiting.append((f"{directory}/{name}", inner))
            elif stat.S_ISSOCK(os.lstat(f"{directory}/{name}").st_mode):
                os.unlink(f"{directory}/{name}")


def _clamp(upper: Path, changes: Sequence[Change], newest: int) -> None:
    limit = newest * 1_000_000_000
    for change in reversed(changes):
        path = os.fspath(upper) + change.path
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if found.st_mtime_ns > limit:
            os.utime(path, ns=(limit, limit), follow_symlinks=False)


def squash(holdings: Holdings, mounted: Path, base: str | None, lease: Lease) -> SealedLayer:
    """All that differs between the root mounted at `mounted` and the chain `base`, as one layer on that chain."""
    lowers = holdings.snapshots.lowers(base)
    changes = diff.changes(mounted, lowers, whole=True)
    with holdings.content.ingest_unnamed() as ingest, holdings.snapshots.new_layer() as new:
        _write(ingest, mounted, changes)
        blob = ingest.commit(lease.hold)
        applied = layers.apply(holdings.read(blob), new.diff, diff_id=lambda: blob)
        chain_id = chain(base, applied.diff_id)
        lease.hold(chain_id)
        new.commit(chain_id, base, applied.size, applied.diff_id)
    return SealedLayer(blob, applied.diff_id, manifests.OCI_LAYER, chain_id, applied.size)


def restack(holdings: Holdings, layer: SealedLayer, parent: str | None, lease: Lease) -> SealedLayer:
    """The same layer on another chain (COPY --link)."""
    chain_id = chain(parent, layer.diff_id)
    lease.hold(chain_id)
    holdings.unpack(layer.blob, layer.diff_id, chain_id, parent)
    return SealedLayer(layer.blob, layer.diff_id, layer.media_type, chain_id, layer.size)


def publish(
    holdings: Holdings,
    image: ImageConfig,
    made: Sequence[SealedLayer],
    names: Sequence[Reference],
    lease: Lease,
    parent: str = "",
) -> str:
    """The config and manifest of an image, under all its names. Returns its id. An image that is here already only
    gets the names. Blocks."""
    content, catalog = holdings.content, holdings.catalog
    data = encode_config(image)
    id = digest(data)
    lease.hold(id)
    record = catalog.images.get(id)
    if record is None:
        content.put(data)
        manifest = manifests.encode(
            Manifest(
                schema_version=2,
                media_type=manifests.OCI_MANIFEST,
                config=Descriptor(media_type=manifests.OCI_CONFIG, digest=id, size=len(data)),
                layers=[
                    Descriptor(media_type=_oci(layer.media_type), digest=layer.blob, size=content.size(layer.blob))
                    for layer in made
                ],
            )
        )
        lease.hold(digest(manifest))
        target = content.put(manifest)
        record = holdings.record(target, [layer.blob for layer in made], chain_ids(image.rootfs.diff_ids))
        record.parent = parent
    record.tagged = time.time_ns() if names else record.tagged
    catalog.put(id, record, [(name.tagged(), record.manifest) for name in names])
    return id


def _oci(media_type: str) -> str:
    """Docker's media type of a layer in OCI's words: a manifest speaks one language."""
    suffix = media_type.removeprefix(manifests.DOCKER_LAYER)
    return manifests.OCI_LAYER + suffix.replace(".", "+") if suffix != media_type else media_type


def layers_of(holdings: Holdings, id: str) -> list[SealedLayer]:
    """The layers of an image that is here, bottom first."""
    record = holdings.catalog.images[id]
    manifest = manifests.decode(holdings.content.read(record.manifest))
    assert isinstance(manifest, Manifest)
    found = zip(
        manifest.layers,
        holdings.catalog.config(id).rootfs.diff_ids,
        holdings.catalog.chain(id),
        record.layer_sizes,
        strict=True,
    )
    return [SealedLayer(layer.digest, diff_id, layer.media_type, link, size) for layer, diff_id, link, size in found]
