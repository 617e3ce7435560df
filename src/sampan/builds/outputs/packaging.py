"""Results as images: kept in this engine, or given to the client as an archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampan.builds import publishing
from sampan.builds.outputs import provenance
from sampan.builds.outputs.requests import DOCKER, Output
from sampan.builds.publishing import Result
from sampan.errors import InvalidParameter, NotSupported
from sampan.images import layouts, platforms
from sampan.images.converting import Compression, Packaged, Part
from sampan.images.manifests import Descriptor
from sampan.images.references import Reference


def check(outputs: Sequence[Output], several: bool, attested: bool) -> None:
    """What can be refused before anything is built. Raises `InvalidParameter`, `NotSupported`."""
    for output in outputs:
        output.annotations.check(several or attested)
        if output.type == DOCKER and output.streams and (several or attested):
            raise NotSupported("docker exporter does not currently support exporting manifest lists")


async def packaged(results: Sequence[Result], output: Output) -> Packaged:
    """The blobs are held by the build's lease."""
    first = results[0].work
    services, lease = first.services, first.lease
    notes = output.annotations
    compression = output.compression or Compression()
    parts = [_part(result, output) for result in results]
    converter = services.converter
    made, blobs = [], []
    for part in parts:
        described, manifest, own = await converter.image(part, compression, lease, oci=output.oci)
        made.append((described, manifest))
        blobs += own
    beside: dict[int, Descriptor] = {}
    for position, result in enumerate(results):
        wanted = result.work.options.provenance
        if wanted is not None:
            described, own = await provenance.attach(result, wanted, made[position][0], output)
            beside[position] = described
            blobs += own
    found = await converter.enclose(
        *(made, blobs, lease), oci=output.oci, index=len(parts) > 1, annotations=notes.of("index"), beside=beside
    )
    several = len(parts) > 1 or bool(beside)
    own_notes = notes.of("index-descriptor" if several else "manifest-descriptor", None)
    found.top.annotations = dict(sorted(own_notes.items())) or None
    return found


def _part(result: Result, output: Output) -> Part:
    content = result.work.services.holdings.content
    layers = [
        Descriptor(media_type=layer.media_type, digest=layer.blob, size=content.size(layer.blob))
        for layer in result.state.layers
    ]
    notes = output.annotations
    return Part(
        config=result.config,
        layers=layers,
        platform=result.platform,
        annotations=notes.of("manifest", result.platform),
        descriptor_annotations=notes.of("manifest-descriptor", result.platform),
    )


async def keep(results: Sequence[Result], output: Output, names: Sequence[Reference]) -> tuple[str, dict[str, Any]]:
    """In this engine. (id of the image for this machine's platform, or of the first; the top's descriptor)."""
    own = platforms.choose([result.platform for result in results], platforms.host()) or 0
    chosen = results[own]
    images = chosen.work.services.images
    if len(results) == 1 and output.compression is None and chosen.work.options.provenance is None:
        id = await publishing.publish(chosen, names)
        record = images.holdings.catalog.images[id]
        return id, _described(images.holdings.content.read(record.manifest), record.manifest)
    found = await packaged(results, output)
    id = await publishing.publish(chosen, ())
    images.package(id, found, names)
    return id, described(found.top)


def archive_of(
    results: Sequence[Result], output: Output, found: Packaged, names: Sequence[Reference]
) -> tuple[list[Descriptor], bytes]:
    """(index.json's entries, manifest.json)."""
    if output.type == DOCKER and len(found.parts) != 1:
        raise InvalidParameter("docker exporter does not currently support exporting manifest lists")
    listed = layouts.entries(found.top, names)
    return listed, layouts.docker_items(found.parts[0][1], names) if output.type == DOCKER else b""


def described(top: Descriptor) -> dict[str, Any]:
    """As `--metadata-file` has it."""
    shown: dict[str, Any] = {"mediaType": top.media_type, "digest": top.digest, "size": top.size}
    if top.annotations:
        shown["annotations"] = dict(top.annotations)
    return shown


def _described(data: bytes, digest: str) -> dict[str, Any]:
    from sampan.images import manifests

    document = manifests.decode(data)
    return {"mediaType": document.media_type or manifests.OCI_MANIFEST, "digest": digest, "size": len(data)}


__all__ = ["archive_of", "check", "described", "keep", "packaged"]
