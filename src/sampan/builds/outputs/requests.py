"""`--output` as it was asked for. Pure.

Source: BuildKit README.md, "Output"; exporter/containerimage/exptypes/keys.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan import golang
from sampan.builds.outputs.annotations import Annotations, parse
from sampan.errors import InvalidParameter, NotSupported
from sampan.images.converting import Compression

IMAGE, DOCKER, OCI, LOCAL, TAR = "image", "docker", "oci", "local", "tar"
_TYPES = (IMAGE, DOCKER, OCI, LOCAL, TAR)
_PACKAGED = frozenset(
    {"name", "push", "compression", "compression-level", "force-compression", "oci-mediatypes", "rewrite-timestamp"}
)
_HERE = frozenset({"unpack", "store"})
"""Always true of an image that this engine keeps."""
_FILES = frozenset({"platform-split", "rewrite-timestamp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """`streams`: the client takes it. `compression` None: nothing was said, and layers stay as they are here."""

    type: str = IMAGE
    streams: bool = False
    names: tuple[str, ...] = ()
    compression: Compression | None = None
    oci: bool = True
    annotations: Annotations = field(default_factory=Annotations)
    platform_split: bool | None = None

    @property
    def is_image(self) -> bool:
        """Of images, not of files."""
        return self.type in (IMAGE, DOCKER, OCI)


def output(type: str, attributes: Mapping[str, str], streams: bool) -> Output:
    """Raises `InvalidParameter`, `NotSupported`. `streams`: a client waits for it."""
    if type == "registry":
        type, attributes = IMAGE, {**attributes, "push": attributes.get("push", "true")}
    if type not in _TYPES:
        raise InvalidParameter(f"exporter {type!r} could not be found")
    known = _FILES if type in (LOCAL, TAR) else _PACKAGED | (_HERE if not streams else frozenset())
    annotations = parse(attributes.items()) if type not in (LOCAL, TAR) else Annotations()
    for name in attributes:
        if name not in known and not (annotations and name.startswith("annotation")):
            raise NotSupported(f"--output type={type}: {name} is not supported")
    if any(not flag(attributes, name, True) for name in _HERE & attributes.keys()):
        raise NotSupported(f"--output type={type}: this engine stores and unpacks every image it makes")
    if type in (LOCAL, TAR):
        split = flag(attributes, "platform-split", False) if "platform-split" in attributes else None
        return Output(type=type, streams=streams, platform_split=split)
    wanted = _compression(attributes)
    said = wanted is not None or bool(annotations) or "oci-mediatypes" in attributes
    pushed = flag(attributes, "push", False)
    oci = flag(attributes, "oci-mediatypes", type != DOCKER or not streams)
    return Output(
        type=type,
        streams=streams,
        names=tuple(name for name in attributes.get("name", "").split(",") if name),
        compression=wanted or (Compression() if said or pushed or streams else None),
        oci=oci or bool(annotations),  # Docker's manifest has no place for any
        annotations=annotations,
    )


def _compression(attributes: Mapping[str, str]) -> Compression | None:
    kind, level = attributes.get("compression", ""), attributes.get("compression-level", "")
    force = flag(attributes, "force-compression", False)
    if not kind and not level and not force:
        return None
    try:
        number = int(level) if level else None
    except ValueError:
        raise InvalidParameter(f"non-integer value {level} specified for compression-level") from None
    return Compression(kind=kind or "gzip", level=number, force=force)


def flag(attributes: Mapping[str, str], name: str, default: bool) -> bool:
    """As Go's strconv.ParseBool; a name without a value is true."""
    text = attributes.get(name)
    if text is None:
        return default
    try:
        return golang.boolean(text or "true")
    except ValueError:
        raise InvalidParameter(f"non-bool value specified for {name}") from None
