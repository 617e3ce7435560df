"""Annotations of an image that is made: on its manifest, its index, or what describes either. Pure.

Source: BuildKit docs/annotations.md; exporter/containerimage/exptypes/annotations.go (the keys' form).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.errors import InvalidParameter
from sampan.images import platforms
from sampan.images.model import Platform

_KEY = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)")
_PLACES = ("manifest", "index", "manifest-descriptor", "index-descriptor")


@dataclass(frozen=True, slots=True)
class Annotation:
    """`platform` None is every one."""

    place: str
    platform: Platform | None
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Annotations:
    all: tuple[Annotation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.all)

    def of(self, place: str, platform: Platform | None = None) -> dict[str, str]:
        """For one place; those of one platform win over those of all."""
        wanted = platforms.normalize(platform) if platform is not None else None
        general = {one.key: one.value for one in self.all if one.place == place and one.platform is None}
        own = {one.key: one.value for one in self.all if one.place == place and one.platform == wanted and wanted}
        return {**general, **own}

    def check(self, several: bool) -> None:
        """Raises `InvalidParameter` for an index's where there is no index."""
        if not several and any(one.place == "index" for one in self.all):
            raise InvalidParameter("index annotations not supported for single platform export")


def parse(attributes: Iterable[tuple[str, str]]) -> Annotations:
    """Of an exporter's attributes: `annotation.KEY`, `annotation-index[linux/arm64].KEY`. Others are passed over."""
    found = []
    for name, value in attributes:
        if not name.startswith("annotation"):
            continue
        match = _KEY.fullmatch(name)
        if match is None:
            raise InvalidParameter(f"invalid annotation key {name}")
        place = match[1] or "manifest"
        if place not in _PLACES:
            raise InvalidParameter(f"unrecognized annotation type {place}")
        platform = platforms.parse(match[2]) if match[2] else None
        if platform is not None and place.startswith("index"):
            raise InvalidParameter(f"{place} annotations cannot be specified with a platform")
        found.append(Annotation(place, platform, match[3], value))
    return Annotations(tuple(found))
