"""The documents of a shared cache, laid out as BuildKit's: a config that lists layers (each with the one below it) and
records (each with the one before it and its result), named by a manifest. Pure.

The keys of records are ours, and each record also says what we need to use it again (`sampan`): BuildKit reads such a
cache without complaint and finds nothing in it.

Source: BuildKit cache/remotecache/v1/spec.go, docs/dev/cache-export.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sampan.builds.cache import CacheRecord
from sampan.errors import InvalidParameter
from sampan.images import manifests
from sampan.images.building import chain
from sampan.images.manifests import Descriptor, Index, Manifest

CONFIG = "application/vnd.buildkit.cacheconfig.v0"
LIMIT = 32 << 20
"""Bytes of a config that are read."""


class LayerNote(msgspec.Struct, omit_defaults=True):
    media_type: str = msgspec.field(default="", name="mediaType")
    diff_id: str = msgspec.field(default="", name="diffID")
    size: int = 0
    created: str = msgspec.field(default="", name="createdAt")


class Layer(msgspec.Struct):
    """`parent`: position of the layer below, -1 for none."""

    blob: str
    parent: int = -1
    annotations: LayerNote = msgspec.field(default_factory=LayerNote)


class Input(msgspec.Struct, omit_defaults=True):
    link: int = 0
    selector: str = ""


class Result(msgspec.Struct, omit_defaults=True):
    layer: int = 0
    created: str = msgspec.field(default="", name="createdAt")


class Own(msgspec.Struct, omit_defaults=True):
    """`parent`: key of the step before, which may be a base image's id. `below`: the chainID that the result stands
    on."""

    parent: str
    text: str
    created: str = ""
    below: str = ""


class Record(msgspec.Struct, omit_defaults=True):
    digest: str
    results: list[Result] = []
    inputs: list[list[Input]] = []
    sampan: Own | None = None


class Config(msgspec.Struct):
    layers: list[Layer] = []
    records: list[Record] = []


@dataclass(frozen=True, slots=True)
class Shared:
    """A record of somebody else's. `layer` None: the step made none."""

    key: str
    own: Own
    layer: Descriptor | None = None
    diff_id: str = ""


def encode(records: Sequence[CacheRecord], packed: Sequence[Descriptor | None]) -> tuple[bytes, list[Descriptor]]:
    """(the config, the layers to send). `packed`: each record's layer as it is sent."""
    layers: list[Layer] = []
    sent: list[Descriptor] = []
    places: dict[str, int] = {}
    positions = {record.key: position for position, record in enumerate(records)}
    found: list[Record] = []
    for record, descriptor in zip(records, packed, strict=True):
        own = Own(record.parent, record.text, record.created, record.below or "")
        before = positions.get(record.parent)
        one = Record(record.key, inputs=[[Input(link=before)]] if before is not None else [], sampan=own)
        if record.layer is not None and descriptor is not None:
            place = places.get(record.layer.chain_id)
            if place is None:
                place = places[record.layer.chain_id] = len(layers)
                note = LayerNote(descriptor.media_type, record.layer.diff_id, descriptor.size, record.created)
                layers.append(Layer(descriptor.digest, places.get(record.below or "", -1), note))
                sent.append(descriptor)
            one.results.append(Result(place, record.created))
        found.append(one)
    unique = {one.digest: one for one in sent}
    return msgspec.json.encode(Config(layers, found)), list(unique.values())


def manifest(config: Descriptor, layers: Sequence[Descriptor], *, image: bool, oci: bool) -> Manifest | Index:
    """`image`: an image's manifest, which every registry takes; else BuildKit's older index of blobs."""
    if image:
        return Manifest(schema_version=2, media_type=manifests.OCI_MANIFEST, config=config, layers=list(layers))
    media_type = manifests.OCI_INDEX if oci else manifests.DOCKER_LIST
    return Index(schema_version=2, media_type=media_type, manifests=[*layers, config])


def config_of(document: Manifest | Index) -> tuple[Descriptor, list[Descriptor]] | None:
    """(config, layers) of a shared cache; None for what is something else."""
    if isinstance(document, Manifest):
        return (document.config, document.layers) if document.config.media_type == CONFIG else None
    configs = [one for one in document.manifests if one.media_type == CONFIG]
    return (configs[0], [one for one in document.manifests if one is not configs[0]]) if configs else None


def decode(data: bytes, layers: Sequence[Descriptor]) -> dict[str, Shared]:
    """By key. BuildKit's own records are passed over. Raises `InvalidParameter`."""
    try:
        config = msgspec.json.decode(data, type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"the cache's config is not valid: {error}") from None
    known = {one.digest: one for one in layers}
    found: dict[str, Shared] = {}
    for record in config.records:
        if record.sampan is None:
            continue
        if not record.results:
            found[record.digest] = Shared(record.digest, record.sampan)
            continue
        place = record.results[0].layer
        if not 0 <= place < len(config.layers):
            raise InvalidParameter(f"the cache's config names layer {place}, which it does not have")
        layer = config.layers[place]
        if (descriptor := known.get(layer.blob)) is not None and layer.annotations.diff_id:
            found[record.digest] = Shared(record.digest, record.sampan, descriptor, layer.annotations.diff_id)
    return found


def chain_id(shared: Shared) -> str:
    """Of the result."""
    return chain(shared.own.below or None, shared.diff_id)
