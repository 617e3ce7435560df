"""Times as Docker writes and reads them: RFC 3339 with nanoseconds, Unix seconds with a fraction."""

from __future__ import annotations

import contextlib
import time
from calendar import timegm

from sampan.errors import InvalidParameter
from sampan.golang import SECOND, duration, quote

ZERO = "0001-01-01T00:00:00Z"
"""Go's zero time: never."""


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
        raise InvalidParameter(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if len(digits) > 19:
        raise InvalidParameter(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return int(text)


def parse_until(text: str, now: int) -> int:
    """The `until` of prune: a duration back from `now`, a time, a date or Unix seconds → nanoseconds since the
    epoch."""
    from datetime import UTC, datetime

    if text != "0":
        with contextlib.suppress(ValueError):
            return now - duration(text)
    if "-" not in text:
        try:
            return parse(text)
        except InvalidParameter:
            raise InvalidParameter(f"failed to parse value as time or duration: {quote(text)}") from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(f"parsing time {quote(text)} as a time, date or duration: cannot parse") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND
