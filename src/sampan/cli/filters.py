"""`--filter key=value`, on the command line and in the query of a request."""

from __future__ import annotations

from .flags import Flag
from .wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Pair = tuple[str, str]


def _read(text: str) -> list[Pair]:
    if not text:
        return []
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return [(key.strip().lower(), value.strip())]


def filter_flag(usage: str = "Filter output based on conditions provided", short: str = "f") -> Flag:
    return Flag("filter", "filter", usage, short=short, parse=_read)


def encode(pairs: Iterable[Pair]) -> str | None:
    """The `filters` parameter: {"label":{"a=b":true}}; None when there is nothing to filter by."""
    found: dict[str, dict[str, bool]] = {}
    for key, value in pairs:
        found.setdefault(key, {})[value] = True
    if not found:
        return None
    return dumps({key: dict(sorted(found[key].items())) for key in sorted(found)})


def with_configured(pairs: Sequence[Pair], configured: object) -> list[Pair]:
    """What a prune filters by: `pairs` and the config file's "pruneFilters", unless a label contradicts one given."""
    out = list(pairs)
    for text in configured if isinstance(configured, list) else []:
        key, equals, value = str(text).partition("=")
        opposite = {"label": "label!", "label!": "label"}.get(key)
        if equals and (opposite, value) not in pairs:
            out.append((key, value))
    return out
