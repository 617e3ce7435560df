"""What stands behind an image's name: the manifest or index itself, and of an index every platform, here or not.
`images --tree` draws it. Source: Docker's API, `ImageManifestSummary` (1.47).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sampan.errors import SampanError
from sampan.images import manifests
from sampan.images.holdings import Holdings
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.model import Platform

_DEEPEST = 3
_ATTESTATION = "attestation-manifest"
"""BuildKit's provenance and SBOMs: entries of an index with this `vnd.docker.reference.type`."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One manifest. Sizes are bytes of what is here."""

    descriptor: Descriptor
    kind: str
    """image, attestation or unknown."""
    available: bool
    """Manifest, config and layers are all here."""
    content: int = 0
    unpacked: int = 0
    platform: Platform | None = None
    image: str = ""
    """The id under which it can be run here; "" when it cannot."""
    subject: str = ""
    """The manifest an attestation is about."""

    @property
    def total(self) -> int:
        return self.content + self.unpacked


def described(holdings: Holdings, id: str) -> Descriptor:
    """The descriptor of what an image's (first) name stands for; without a name, of its manifest."""
    catalog = holdings.catalog
    names = catalog.names(id)
    tags = [name for name in names if not name.digest]
    digest = catalog.images[id].manifest
    for name in tags or names:
        digest = catalog.references[name.key()].target
        break
    document = manifests.decode(holdings.content.read(digest), name=digest)
    default = manifests.OCI_INDEX if isinstance(document, Index) else manifests.OCI_MANIFEST
    return Descriptor(media_type=document.media_type or default, digest=digest, size=holdings.content.size(digest))


def variants(holdings: Holdings, id: str) -> list[Variant]:
    """Every manifest behind an image's name, in the index's order. Reads a file for each that is here."""
    return list(_walk(holdings, described(holdings, id), 0))


def _walk(holdings: Holdings, descriptor: Descriptor, depth: int) -> Iterator[Variant]:
    annotations = descriptor.annotations or {}
    if annotations.get("vnd.docker.reference.type") == _ATTESTATION:
        subject = annotations.get("vnd.docker.reference.digest", "")
        yield _measured(holdings, descriptor, "attestation", subject)
        return
    if descriptor.media_type in (manifests.OCI_INDEX, manifests.DOCKER_LIST):
        document = _document(holdings, descriptor.digest)
        if isinstance(document, Index) and depth < _DEEPEST:
            for entry in document.manifests:
                yield from _walk(holdings, entry, depth + 1)
        return
    yield _measured(holdings, descriptor, "image")


def _document(holdings: Holdings, digest: str) -> Manifest | Index | None:
    try:
        return manifests.decode(holdings.content.read(digest), name=digest)
    except SampanError:
        return None


def _measured(holdings: Holdings, descriptor: Descriptor, kind: str, subject: str = "") -> Variant:
    document = _document(holdings, descriptor.digest)
    if not isinstance(document, Manifest):  # not here, as most platforms of an index
        return Variant(descriptor, kind, False, platform=descriptor.platform, subject=subject)
    content, blobs = holdings.content, {blob.digest for blob in (document.config, *document.layers)}
    here = {blob for blob in blobs if blob.startswith("sha256:") and content.exists(blob)}
    size = content.stored(descriptor.digest) + sum(content.stored(blob) for blob in here)
    if kind == "attestation":
        return Variant(descriptor, kind, here == blobs, size, subject=subject)
    try:
        manifests.image_layers(document, descriptor.digest)
    except SampanError:
        return Variant(descriptor, "unknown", here == blobs, size)
    id = document.config.digest
    record = holdings.catalog.images.get(id)
    platform = descriptor.platform
    if platform is None and record is not None:
        config = holdings.catalog.config(id)
        platform = Platform(config.architecture, config.os, config.variant, config.os_version)
    return Variant(
        descriptor, kind, here == blobs, size, record.size if record is not None else 0, platform, id if record else ""
    )
