"""`images` and `history`: rows from the catalogue, and Docker's filters. Source: moby daemon/images/images.go,
image_history.go.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sampan import golang
from sampan.errors import InvalidParameter, SampanError
from sampan.images.catalog import Catalog
from sampan.images.model import Image
from sampan.images.snapshots import Snapshots

Filters = Mapping[str, Sequence[str]]
KNOWN = frozenset({"dangling", "label", "before", "since", "reference", "until"})


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """One row of `GET /images/json`."""

    image: Image
    parent_id: str = ""
    created: int = 0
    """Seconds since the epoch."""
    shared_size: int = -1
    containers: int = -1


@dataclass(frozen=True, slots=True)
class HistoryRow:
    id: str
    created: int
    created_by: str
    tags: list[str] = field(default_factory=list)
    size: int = 0
    comment: str = ""


@functools.lru_cache(4096)
def seconds(timestamp: str) -> float:
    """RFC 3339 to seconds since the epoch; "" and nonsense are 0."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", timestamp.strip()).replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return 0.0 if moment.year <= 1 else moment.timestamp()


def moment(text: str, now: float) -> float:
    """A Unix time, an RFC 3339 or local time, or a Go duration before `now`. Raises `InvalidParameter` as Docker
    words it.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    with contextlib.suppress(ValueError):
        return now - golang.duration(text) / golang.SECOND
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise InvalidParameter(f'failed to parse value as time or duration: "{text}"') from None


@functools.lru_cache(256)
def glob(pattern: str) -> re.Pattern[str]:
    """Go's path.Match: `*` and `?` stop at slashes. Raises `InvalidParameter` for a bad pattern."""
    out, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            out += "[^/]*"
        elif character == "?":
            out += "[^/]"
        elif character == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise InvalidParameter("syntax error in pattern")
            inner = pattern[position:end]
            out += "[" + ("^" + inner[1:] if inner.startswith("^") else inner).replace("[", r"\[") + "]"
            position = end + 1
        elif character == "\\":
            if position >= len(pattern):
                raise InvalidParameter("syntax error in pattern")
            out += re.escape(pattern[position])
            position += 1
        else:
            out += re.escape(character)
    try:
        return re.compile(out, re.DOTALL)
    except re.error:
        raise InvalidParameter("syntax error in pattern") from None


def familiar_match(pattern: str, familiar: str) -> bool:
    """Does a `reference` filter match `busybox:latest`, or its name alone? (reference.FamiliarMatch)"""
    compiled = glob(pattern)
    if compiled.fullmatch(familiar):
        return True
    name = familiar.partition("@")[0]
    head, colon, tail = name.rpartition(":")
    if colon and "/" not in tail:
        name = head
    return compiled.fullmatch(name) is not None


def labels_match(wanted: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Every `key` or `key=value` is there."""
    for label in wanted:
        key, equals, value = label.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def _dangling(filters: Filters) -> bool | None:
    values = filters.get("dangling") or ()
    if not values:
        return None
    known = {"true": True, "1": True, "false": False, "0": False}
    found = {known[value] for value in values if value in known}  # beside one that counts, nonsense does not
    if len(found) != 1:
        raise InvalidParameter(f"invalid filter 'dangling=[{' '.join(values)}]'")
    return found.pop()


def _bounds(catalog: Catalog, filters: Filters) -> tuple[float, float]:
    """(created after, created before), seconds; infinities when open."""
    after, before = float("-inf"), float("inf")
    for name in filters.get("before") or ():
        before = min(before, seconds(catalog.config(catalog.find(name)).created))
    for name in filters.get("since") or ():
        after = max(after, seconds(catalog.config(catalog.find(name)).created))
    for value in filters.get("until") or ():
        before = min(before, moment(value, time.time()))
    return after, before


def rows(
    catalog: Catalog, all: bool, filters: Filters, shared_sizes: Callable[[str], int] | None = None
) -> list[ImageSummary]:
    """Newest first. Raises `InvalidParameter` for a filter or value Docker refuses too, `NotFound` for before/since."""
    for name in filters:
        if name not in KNOWN:
            raise InvalidParameter(f"invalid filter '{name}'")
    dangling = _dangling(filters)
    after, before = _bounds(catalog, filters)
    patterns = filters.get("reference") or ()
    parents = {record.parent for record in catalog.images.values() if record.parent}
    found: list[ImageSummary] = []
    for id in list(catalog.images):
        config = catalog.config(id)
        created = seconds(config.created)
        if not after < created < before or not labels_match(filters.get("label") or (), config.config.labels or {}):
            continue
        image = catalog.image(id)
        if patterns:
            image = replace(
                image,
                repo_tags=[t for t in image.repo_tags if any(familiar_match(p, t) for p in patterns)],
                repo_digests=[d for d in image.repo_digests if any(familiar_match(p, d) for p in patterns)],
            )
        if image.repo_tags or image.repo_digests:
            if dangling and image.repo_tags:
                continue
        elif patterns or dangling is False or (id in parents and not all):
            continue
        shared = shared_sizes(id) if shared_sizes is not None else -1
        found.append(ImageSummary(image, catalog.images[id].parent, int(created), shared))
    found.sort(key=lambda row: seconds(row.image.config.created), reverse=True)
    return found


def shared_size(catalog: Catalog) -> Callable[[str], int]:
    """A function from an image id to the bytes of its layers that other images have too."""
    users: dict[str, int] = {}
    for id in catalog.images:
        for link in catalog.chain(id):
            users[link] = users.get(link, 0) + 1

    def shared(id: str) -> int:
        sizes = catalog.images[id].layer_sizes
        return sum(size for link, size in zip(catalog.chain(id), sizes, strict=False) if users[link] > 1)

    return shared


def history(catalog: Catalog, snapshots: Snapshots, id: str) -> list[HistoryRow]:
    """Newest step first. Only steps that are images here have an id; the others are `<missing>`."""
    config = catalog.config(id)
    sizes = iter(catalog.images[id].layer_sizes)
    steps: list[HistoryRow] = []
    for step in config.history:
        try:
            size = 0 if step.empty_layer else next(sizes)
        except StopIteration:
            raise SampanError("too many non-empty layers in History section") from None
        steps.append(
            HistoryRow("<missing>", int(seconds(step.created)), step.created_by, size=size, comment=step.comment)
        )
    steps.reverse()
    current = id
    for position, row in enumerate(steps):
        if current not in catalog.images:
            break
        tags = [name.familiar for name in catalog.names(current) if not name.digest]
        steps[position] = replace(row, id=current, tags=tags)
        current = catalog.images[current].parent
    return steps
