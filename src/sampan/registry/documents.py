"""Manifests as a registry sees them: what they name, what they are about, and what is remembered of each. Pure
functions.

Sources: image-spec manifest.md and image-index.md; distribution-spec 1.1, "Pushing Manifests with Subject" and
"Listing Referrers".
"""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.errors import SampanError
from sampan.images import manifests
from sampan.registry.digests import is_digest
from sampan.registry.failures import MANIFEST_INVALID, Refusal

LIMIT = manifests.LIMIT
TYPES = manifests.ACCEPT
INDEX = manifests.OCI_INDEX

__all__ = [
    "INDEX",
    "LIMIT",
    "TYPES",
    "ManifestRecord",
    "Referrer",
    "inspect",
    "referrer",
    "referrers_index",
]


class _Subject(msgspec.Struct, rename="camel"):
    digest: str
    media_type: str = ""
    size: int = 0


class _About(msgspec.Struct, rename="camel"):
    """The parts of a manifest that only registries care for."""

    subject: _Subject | None = None
    artifact_type: str | None = ""
    annotations: dict[str, str] | None = None


class ManifestRecord(msgspec.Struct, omit_defaults=True):
    """What is remembered of a manifest in one repository."""

    media_type: str
    size: int
    blobs: list[str] = []
    """Config and layers that must be in the repository, also an index's; foreign layers are not."""
    manifests: list[str] = []
    """Children of an index."""
    subject: str = ""
    """Digest of the manifest this one refers to."""
    artifact_type: str = ""
    annotations: dict[str, str] | None = None


class Referrer(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A descriptor in the answer of the referrers API."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] | None = None


def inspect(data: bytes, content_type: str) -> ManifestRecord:
    """Checks a pushed manifest. Raises `Refusal`."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type and media_type not in TYPES:
        raise Refusal(MANIFEST_INVALID, f"manifest type {media_type[:200]} is not supported", {"supported": TYPES})
    try:
        document = manifests.decode(data, media_type)
        about: _About = msgspec.json.decode(data, type=_About)
    except SampanError as error:
        raise Refusal(MANIFEST_INVALID, error.message) from None
    except msgspec.DecodeError as error:
        raise Refusal(MANIFEST_INVALID, f"manifest is not valid: {error}") from None
    record = ManifestRecord(
        media_type or document.media_type or _guessed(document),
        len(data),
        artifact_type=about.artifact_type or "",
        annotations=about.annotations,
    )
    if isinstance(document, manifests.Manifest):
        record.blobs = [document.config.digest, *(layer.digest for layer in document.layers if not layer.foreign)]
        record.artifact_type = record.artifact_type or document.config.media_type
    else:
        # BuildKit's caches (image-manifest=false, its older default) are indexes of layers and a config.
        record.manifests = [one.digest for one in document.manifests if one.media_type in ("", *TYPES)]
        record.blobs = [one.digest for one in document.manifests if one.media_type not in ("", *TYPES)]
    if about.subject is not None:
        record.subject = about.subject.digest
    for digest in (*record.blobs, *record.manifests, *([record.subject] if record.subject else [])):
        if not is_digest(digest):
            raise Refusal(
                MANIFEST_INVALID, "unsupported digest: sha256 and sha512 are stored here", {"digest": digest[:200]}
            )
    return record


def _guessed(document: manifests.Manifest | manifests.Index) -> str:
    return manifests.OCI_MANIFEST if isinstance(document, manifests.Manifest) else manifests.OCI_INDEX


def referrer(digest: str, record: ManifestRecord) -> bytes:
    """The descriptor of a manifest that has a subject."""
    return msgspec.json.encode(
        Referrer(
            media_type=record.media_type,
            digest=digest,
            size=record.size,
            artifact_type=record.artifact_type,
            annotations=record.annotations,
        )
    )


def referrers_index(descriptors: list[Any]) -> bytes:
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": descriptors})
