"""Times and durations as Go writes them. Pure."""

from __future__ import annotations

import re
import time

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def rfc3339(nanoseconds: int) -> str:
    """time.RFC3339Nano in UTC: no zeros at the fraction's end."""
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{fraction}Z"


def duration(text: str) -> float:
    """Seconds of `1.5s`, `1m30s`. Raises `ValueError` in Go's words."""
    if text == "0":
        return 0.0
    rest = text
    total = 0.0
    while found := _DURATION.match(rest):
        total += float(found[1]) * _UNITS[found[2]]
        rest = rest[found.end() :]
    if rest or not text:
        if re.fullmatch(r"\d+(\.\d*)?", text):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    return total
