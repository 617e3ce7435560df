"""Filters of `GET /volumes` and `POST /volumes/prune`: pure predicates over volumes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from sampan.errors import InvalidParameter
from sampan.volumes.model import Volume

Filters = Mapping[str, Sequence[str]]

_LIST = frozenset({"dangling", "driver", "label", "name"})
_PRUNE = frozenset({"label", "label!", "all"})


def matching(volumes: Iterable[Volume], filters: Filters, in_use: Callable[[str], bool]) -> list[Volume]:
    """What `volume ls --filter …` shows. Values of one key are alternatives (labels: all needed), keys add up."""
    _check(filters, _LIST)
    dangling = _boolean(filters, "dangling", "invalid filter 'dangling=[{}]'")
    return [
        volume
        for volume in volumes
        if (not filters.get("name") or any(_name_matches(wanted, volume.name) for wanted in filters["name"]))
        and (not filters.get("driver") or volume.driver in filters["driver"])
        and has_labels(volume, filters.get("label", ()))
        and (dangling is None or in_use(volume.name) != dangling)
    ]


def prunable(volumes: Iterable[Volume], filters: Filters) -> list[Volume]:
    """What prune may take of the unused ones: anonymous volumes, or with `all` named ones too (API 1.42)."""
    _check(filters, _PRUNE)
    everything = _boolean(filters, "all", "invalid filter 'all': strconv.ParseBool: parsing \"{}\": invalid syntax")
    return [
        volume
        for volume in volumes
        if (everything or volume.anonymous)
        and has_labels(volume, filters.get("label", ()))
        and not any(has_labels(volume, [unwanted]) for unwanted in filters.get("label!", ()))
    ]


def has_labels(volume: Volume, wanted: Sequence[str]) -> bool:
    """`key` (any value) or `key=value`, all of them."""
    for label in wanted:
        key, equals, value = label.partition("=")
        if key not in volume.labels or (equals and volume.labels[key] != value):
            return False
    return True


def _name_matches(pattern: str, name: str) -> bool:
    """A part of the name, or a regular expression found in it."""
    if pattern in name:
        return True
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False


def _check(filters: Filters, known: frozenset[str]) -> None:
    for key in filters:
        if key not in known:
            raise InvalidParameter(f"invalid filter '{key}'")


def _boolean(filters: Filters, key: str, message: str) -> bool | None:
    values = filters.get(key)
    if not values:
        return None
    meanings = {"1": True, "true": True, "0": False, "false": False}
    if len(values) > 1 or values[0].lower() not in meanings:
        raise InvalidParameter(message.format(" ".join(values)))
    return meanings[values[0].lower()]
