"""Times as Docker writes and reads them: RFC 3339 with nanoseconds, Unix seconds with a fraction, "5 minutes" for
people."""

from __future__ import annotations

import re
import time
from calendar import timegm

from sampan.api.call import quoted
from sampan.errors import InvalidParameter

ZERO = "0001-01-01T00:00:00Z"
"""Go's zero time: never."""
SECOND = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """RFC3339Nano in UTC, trailing zeros cut as Go does; 0 is Go's zero time."""
    if nanoseconds == 0:
        return ZERO
    seconds, fraction = divmod(nanoseconds, SECOND)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{moment}.{fraction:09d}".rstrip("0") + "Z" if fraction else moment + "Z"


def rfc3339_seconds(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // SECOND))


def unix_seconds(moment: str) -> int:
    """Seconds of an RFC 3339 time in UTC or with an offset; 0 when empty or unreadable (an image may say anything)."""
    from datetime import datetime

    if not moment:
        return 0
    head, _, fraction = moment.partition(".")
    if fraction:
        zone = fraction.lstrip("0123456789")
        head += zone
    try:
        return timegm(datetime.fromisoformat(head.replace("Z", "+00:00")).utctimetuple())
    except ValueError:
        return 0


def parse(value: str, default: int = 0) -> int:
    """`since` and `until` of logs and events: "seconds[.fraction]" → nanoseconds since the epoch."""
    if not value:
        return default
    seconds, point, fraction = value.partition(".")
    return _integer(seconds) * SECOND + (_integer(fraction) * 10**9 // 10 ** len(fraction) if point else 0)


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidParameter(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    if len(digits) > 19:
        raise InvalidParameter(f"strconv.ParseInt: parsing {quoted(text)}: value out of range")
    return int(text)


def human(nanoseconds: int) -> str:
    """A duration for people, as go-units' HumanDuration."""
    seconds = int(nanoseconds / SECOND)
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < 60:
        return f"{seconds} seconds"
    minutes = seconds // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = hours // 24
    if hours < 24 * 7 * 2:
        return f"{days} days"
    if hours < 24 * 30 * 2:
        return f"{days // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{days // 30} months"
    return f"{seconds // 3600 // 24 // 365} years"


_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_PART = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|ms|s|m|h)")


def duration(text: str) -> int | None:
    """Go's ParseDuration in nanoseconds ("1h30m", "1.5s"); None when it is none."""
    sign = -1 if text[:1] == "-" else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total, at = 0.0, 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None or not any(c.isdigit() for c in match[1]):
            return None
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    return sign * int(total) if rest else None


def parse_until(text: str, now: int) -> int:
    """The `until` of prune: a duration back from `now`, a time, a date or Unix seconds → nanoseconds since the
    epoch."""
    from datetime import UTC, datetime

    if text != "0" and (back := duration(text)) is not None:
        return now - back
    if "-" not in text:
        try:
            return parse(text)
        except InvalidParameter:
            raise InvalidParameter(f"failed to parse value as time or duration: {quoted(text)}") from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(f"parsing time {quoted(text)} as a time, date or duration: cannot parse") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND
