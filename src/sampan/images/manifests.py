"""Manifests and indexes: strict decoding of what a registry or an archive says. Pure functions.

Sources: image-spec manifest.md and image-index.md; Docker's "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.errors import InvalidParameter, NotFound, NotSupported
from sampan.images import platforms
from sampan.images.model import ImageConfig, Platform
from sampan.images.references import is_digest

LIMIT = 4 << 20
"""Largest manifest or index, bytes: what distribution-spec asks registries to take, and registries do not go beyond."""
CONFIG_LIMIT = 8 << 20

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
ACCEPT = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)

_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_MANIFESTS, _INDEXES = (OCI_MANIFEST, DOCKER_MANIFEST), (OCI_INDEX, DOCKER_LIST)
_LAYERS = frozenset(
    {OCI_LAYER, f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd", DOCKER_LAYER, f"{DOCKER_LAYER}.gzip", f"{DOCKER_LAYER}.zstd"}
    | {f"application/vnd.oci.image.layer.nondistributable.v1.tar{suffix}" for suffix in ("", "+gzip", "+zstd")}
    | {
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)
_MAX_LAYERS = 4096


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What a blob is: type, digest, bytes."""

    media_type: str
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str = ""

    @property
    def foreign(self) -> bool:
        """Its bytes may live elsewhere (Windows base layers): `urls` say where."""
        return "foreign" in self.media_type or "nondistributable" in self.media_type


class Manifest(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    schema_version: int
    manifests: list[Descriptor]
    media_type: str = ""
    annotations: dict[str, str] | None = None


class _Shape(msgspec.Struct, rename="camel"):
    """Just enough to see what a document claims to be."""

    schema_version: int = 0
    media_type: str | None = ""
    config: msgspec.Raw = msgspec.Raw()
    layers: msgspec.Raw = msgspec.Raw()
    fs_layers: msgspec.Raw = msgspec.Raw()
    manifests: msgspec.Raw = msgspec.Raw()


def decode(data: bytes, media_type: str = "", name: str = "manifest") -> Manifest | Index:
    """A manifest or an index. `media_type` is what the transport said ("" when it said nothing); `name` goes into
    messages.

    A document that could be read as both is refused (CVE-2021-41190), as is one whose own mediaType disagrees.
    """
    if len(data) > LIMIT:
        raise InvalidParameter(f"{name} is too large: {len(data)} bytes, the limit is {LIMIT}")
    shape = _decode(data, _Shape, name)
    claimed = media_type.partition(";")[0].strip().lower()
    claimed = claimed if claimed in (*_MANIFESTS, *_INDEXES, *_SCHEMA1) else ""
    if claimed in _SCHEMA1 or shape.schema_version == 1 or _given(shape.fs_layers):
        raise NotSupported(
            f"{name}: Docker Image Format v1, and Docker Image manifest version 2, schema 1 support is removed: "
            "suggest the author of the image to upgrade it to the OCI Format or Docker Image manifest v2, schema 2"
        )
    if claimed and shape.media_type and claimed != shape.media_type:
        raise InvalidParameter(f"{name}: mediaType in manifest should be {claimed!r} not {shape.media_type!r}")
    if _given(shape.manifests) and (_given(shape.config) or _given(shape.layers)):
        raise InvalidParameter(f"{name}: ambiguous: it has both manifests and config or layers")
    kind = claimed or shape.media_type
    if shape.schema_version != 2:
        raise InvalidParameter(f"{name}: unsupported schema version {shape.schema_version}")
    if kind in _INDEXES or (not kind and _given(shape.manifests)):
        return _checked_index(_decode(data, Index, name), name)
    if kind in _MANIFESTS or (not kind and _given(shape.config)):
        return _checked_manifest(_decode(data, Manifest, name), name)
    raise InvalidParameter(f"{name}: unsupported media type {kind or 'unknown'}")


def _given(field: msgspec.Raw) -> bool:
    return bytes(field) not in (b"", b"null")


def _decode(data: bytes, kind: type[Any], name: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"{name} is not valid: {error}") from None


def _check(descriptor: Descriptor, name: str) -> None:
    if not is_digest(descriptor.digest):
        raise InvalidParameter(f"{name}: invalid digest {descriptor.digest[:100]!r}")
    if descriptor.size < 0:
        raise InvalidParameter(f"{name}: negative size of {descriptor.digest}")


def _checked_manifest(manifest: Manifest, name: str) -> Manifest:
    if len(manifest.layers) > _MAX_LAYERS:
        raise InvalidParameter(f"{name}: {len(manifest.layers)} layers are too many")
    for descriptor in (manifest.config, *manifest.layers):
        _check(descriptor, name)
    return manifest


def _checked_index(index: Index, name: str) -> Index:
    for descriptor in index.manifests:
        _check(descriptor, name)
    return index


def image_layers(manifest: Manifest, name: str) -> list[Descriptor]:
    """The layers of a runnable image; artefacts (Helm charts, signatures …) are refused by their media type."""
    if manifest.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", ""):
        raise InvalidParameter(
            f"{name}: invalid or unsupported media type {manifest.config.media_type}: this is not an image"
        )
    for layer in manifest.layers:
        if layer.media_type not in _LAYERS:
            raise InvalidParameter(f"{name}: unsupported layer media type {layer.media_type}")
    return manifest.layers


def select(index: Index, wanted: Platform) -> Descriptor:
    """The entry for a platform. Attestations (platform unknown/unknown) never fit. Raises `NotFound` as Docker
    words it.
    """
    entries = [d for d in index.manifests if d.media_type in (*_MANIFESTS, *_INDEXES)]
    found = platforms.choose([d.platform for d in entries], wanted)
    if found is not None:
        return entries[found]
    unnamed = [d for d in entries if d.platform is None]
    if len(unnamed) == 1 and len(entries) == 1:
        return unnamed[0]
    raise NotFound(f"no matching manifest for {platforms.described(wanted)} in the manifest list entries")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def decode_config(data: bytes, name: str = "image config") -> ImageConfig:
    """An image config. JSON null means absent, as in Go."""
    if len(data) > CONFIG_LIMIT:
        raise InvalidParameter(f"{name} is too large: {len(data)} bytes, the limit is {CONFIG_LIMIT}")
    try:
        config: ImageConfig = msgspec.convert(_without_nulls(msgspec.json.decode(data)), ImageConfig)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"{name} is not valid: {error}") from None
    for diff_id in config.rootfs.diff_ids:
        if not is_digest(diff_id) or not diff_id.startswith("sha256:"):
            raise InvalidParameter(f"{name}: invalid diffID {diff_id[:100]!r}")
    return config


def encode(document: Manifest | Index) -> bytes:
    """Bytes of a manifest we make ourselves."""
    return msgspec.json.encode(document)
