"""Events in Docker's JSON, and which of them a caller asked for."""

from __future__ import annotations

from typing import Any

from sampan.api.filters import Filters
from sampan.api.versions import Version
from sampan.store import Event

_PREFIXED = ("health_status", "exec_create", "exec_start")
"""Actions that carry a detail after a colon: a filter may name them without it."""
_NAMED = ("daemon", "container", "plugin", "volume", "network", "node", "service", "secret", "config")


def message(event: Event) -> dict[str, Any]:
    """One line of `GET /events`, with the fields of API 1.21 (`status`, `id`, `from`) that old clients read."""
    view: dict[str, Any] = {}
    if event.type == "container":
        view = {"status": event.action, "id": event.id}
        if image := event.attributes.get("image"):
            view["from"] = image
    elif event.type == "image":
        view = {"status": event.action, "id": event.id}
    return view | {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time // 1_000_000_000,
        "timeNano": event.time,
    }


def wanted(event: Event, filters: Filters, version: Version) -> bool:
    """Docker's rules: every kind of filter must agree, any value of a kind will do."""
    if event.type == "image" and event.action == "create" and version < (1, 46):
        return False
    if not filters:
        return True
    by_action = filters.prefix if any(one in filters.get("event") for one in _PREFIXED) else filters.exact
    if not by_action("event", event.action):
        return False
    if not (filters.exact("type", event.type) and filters.exact("scope", "local")):
        return False
    name = event.attributes.get("name", "")
    if not all(filters.prefix(kind, event.id) or filters.prefix(kind, name) for kind in _NAMED):
        return False
    return _image(event, filters) and filters.labels("label", event.attributes)


def _image(event: Event, filters: Filters) -> bool:
    """By id or reference, with or without the tag: images themselves, and containers made from them."""
    image = event.attributes.get("name" if event.type == "image" else "image", "")
    return any(filters.exact("image", one) for one in (event.id, image, _untagged(event.id), _untagged(image)))


def _untagged(reference: str) -> str:
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
