"""`--since` and `--until`: Go durations back from now, RFC 3339 in full or in part, or Unix time."""

from __future__ import annotations

import time

from sampan.golang import duration, quote

from .errors import CliError
from .units import days_from_civil


def timestamp(text: str, now: float | None = None) -> str:
    """`text` as the seconds (with nanoseconds) that the API takes. Raises CliError."""
    if not text:
        return ""
    try:
        if text != "0":
            return str(int((time.time() if now is None else now) - duration(text) / 1e9))
    except ValueError:
        pass
    moment = _moment(text)
    if moment is not None:
        return moment
    if "-" in text:
        raise CliError(f'parsing time {quote(text)} as "2006-01-02T15:04:05Z07:00": cannot parse it')
    seconds, _, fraction = text.partition(".")
    if not seconds.isdigit() or (fraction and not fraction.isdigit()):
        raise CliError(f"failed to parse value as time or duration: {quote(text)}")
    return text


def _moment(text: str) -> str | None:
    """A date, with a time down to hours, minutes, seconds or fractions, in this machine's zone unless it names one."""
    date, marker, clock = text.partition("T")
    offset: int | None = None
    zoned = clock if marker else date
    if zoned[-1:] in ("Z", "z"):
        offset, zoned = 0, zoned[:-1]
    elif zoned[-6:-5] in ("+", "-") and zoned[-3:-2] == ":" and (marker or len(zoned) == 16):
        try:
            offset = (int(zoned[-5:-3]) * 3600 + int(zoned[-2:]) * 60) * (-1 if zoned[-6] == "-" else 1)
        except ValueError:
            return None
        zoned = zoned[:-6]
    date, clock = (date, zoned) if marker else (zoned, "")
    clock, _, fraction = clock.partition(".")
    days = date.split("-")
    parts = clock.split(":") if clock else []
    if len(days) != 3 or len(parts) > 3 or (marker and not parts) or (fraction and len(parts) != 3):
        return None
    if not all(part.isdigit() for part in (*days, *parts, fraction or "0")):
        return None
    year, month, day = (int(part) for part in days)
    hour, minute, second = (*(int(part) for part in parts), 0, 0, 0)[:3]
    for name, value, least, most in (
        ("month", month, 1, 12),
        ("day", day, 1, 31),
        ("hour", hour, 0, 23),
        ("minute", minute, 0, 59),
        ("second", second, 0, 59),
    ):
        if not least <= value <= most:
            raise CliError(f"parsing time {quote(text)}: {name} out of range")
    if offset is None:
        seconds = int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1)))
    else:
        seconds = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
    return f"{seconds}.{int((fraction or '0')[:9].ljust(9, '0')):09d}"
