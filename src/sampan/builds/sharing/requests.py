"""`--cache-to` and `--cache-from` as they were asked for. Pure.

Source: BuildKit README.md, "Export cache".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.builds.outputs.requests import flag
from sampan.errors import InvalidParameter, NotSupported
from sampan.images.converting import Compression

REGISTRY, LOCAL, INLINE = "registry", "local", "inline"
_TYPES = (REGISTRY, LOCAL, INLINE)
_PACKAGED = frozenset(
    "mode compression compression-level force-compression image-manifest oci-mediatypes ignore-error".split()  # noqa: SIM905
)
_TO = {REGISTRY: _PACKAGED | {"ref"}, LOCAL: _PACKAGED | {"dest", "tag"}, INLINE: frozenset({"mode", "ignore-error"})}
_FROM = {REGISTRY: frozenset({"ref"}), LOCAL: frozenset({"src", "digest", "tag"}), INLINE: frozenset({"ref"})}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTo:
    """`tag`: a local one's name in its index. `everything`: mode=max, the steps of every stage."""

    type: str
    ref: str = ""
    tag: str = "latest"
    everything: bool = False
    compression: Compression = field(default_factory=Compression)
    image_manifest: bool = True
    oci: bool = True
    ignore_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFrom:
    """`source`: where a local one's files are below the build's context."""

    type: str
    ref: str = ""
    source: str = ""
    digest: str = ""
    tag: str = "latest"

    @property
    def shown(self) -> str:
        return self.ref or f"{self.type} cache"


def _checked(option: str, type: str, given: Mapping[str, str], known: Mapping[str, frozenset[str]]) -> None:
    if type not in _TYPES:
        raise NotSupported(f"{option} type={type} is not supported: there are {', '.join(_TYPES)}")
    for name in given:
        if name not in known[type]:
            raise NotSupported(f"{option} type={type}: {name} is not supported")
    if type == REGISTRY and not given.get("ref"):
        raise InvalidParameter(f"{option} type=registry requires ref")


def cache_to(type: str, given: Mapping[str, str]) -> CacheTo:
    """Raises `InvalidParameter`, `NotSupported`."""
    _checked("--cache-to", type, given, _TO)
    mode = given.get("mode", "") or "min"
    if mode not in ("min", "max"):
        raise InvalidParameter(f"unsupported cache mode {mode}: there are min and max")
    try:
        level = int(given["compression-level"]) if given.get("compression-level") else None
    except ValueError:
        raise InvalidParameter(f"non-integer value {given['compression-level']} for compression-level") from None
    oci = flag(given, "oci-mediatypes", True)
    image_manifest = flag(given, "image-manifest", oci)
    if image_manifest and not oci:
        raise InvalidParameter("image-manifest=true requires oci-mediatypes=true")
    return CacheTo(
        type=type,
        ref=given.get("ref", ""),
        tag=given.get("tag", "") or "latest",
        everything=mode == "max",
        compression=Compression(
            kind=given.get("compression", "") or "gzip", level=level, force=flag(given, "force-compression", False)
        ),
        image_manifest=image_manifest,
        oci=oci,
        ignore_error=flag(given, "ignore-error", False),
    )


def cache_from(type: str, given: Mapping[str, str], source: str = "") -> CacheFrom:
    """Raises as `cache_to`."""
    _checked("--cache-from", type, given, _FROM)
    if type == LOCAL and not source:
        raise InvalidParameter("--cache-from type=local requires src")
    return CacheFrom(
        type=REGISTRY if type == INLINE else type,
        ref=given.get("ref", ""),
        source=source,
        digest=given.get("digest", ""),
        tag=given.get("tag", "") or "latest",
    )
