"""What of Go's standard library shows in Docker's words: quoted strings (%q), numbers and durations, read and written.

Client and engine both speak it, so it imports nothing: `sampan ps` pays for what it loads. Readers raise ValueError
with Go's message.
"""

from __future__ import annotations

SECOND = 1_000_000_000

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_MAXIMUM = (1 << 63) - 1
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def quote(text: str) -> str:
    """%q of a string; bytes that were no UTF-8 come as `surrogateescape` keeps them."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote_char(character: str) -> str:
    """%q of a byte."""
    return "'\\''" if character == "'" else f"'{quote(character)[1:-1]}'"


def boolean(text: str) -> bool:
    """strconv.ParseBool."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def duration(text: str) -> int:
    """time.ParseDuration: `1m30s`, `1.5h`, `-2s`, `0` in nanoseconds."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {quote(text)}")
    total = 0
    while rest:
        number, rest = _span(rest, digits=True)
        if not number or number == "." or number.count(".") > 1 or len(number) > 64:
            raise ValueError(f"time: invalid duration {quote(text)}")
        unit, rest = _span(rest, digits=False)
        if not unit:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        scale = _UNITS.get(unit)
        if scale is None:
            raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        whole, _, part = number.partition(".")
        total += int(whole or "0") * scale + int(part or "0") * scale // 10 ** len(part)
        if total > _MAXIMUM:
            raise ValueError(f"time: invalid duration {quote(text)}")
    return -total if text[0] == "-" else total


def _span(text: str, digits: bool) -> tuple[str, str]:
    """The longest beginning that is (or is not) digits and points, and the rest."""
    end = 0
    while end < len(text) and (text[end] in "0123456789.") is digits:
        end += 1
    return text[:end], text[end:]


def duration_text(nanoseconds: int) -> str:
    """time.Duration's String(): 1h2m3.5s, 1.5ms, 0s."""
    if nanoseconds == 0:
        return "0s"
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < SECOND:
        for unit, scale in (("ns", 1), ("µs", 1000), ("ms", 1_000_000)):
            if left < scale * 1000:
                return f"{sign}{_fraction(left, scale)}{unit}"
    hours, left = divmod(left, 3600 * SECOND)
    minutes, left = divmod(left, 60 * SECOND)
    shown = f"{hours}h" if hours else ""
    if hours or minutes:
        shown += f"{minutes}m"
    return f"{sign}{shown}{_fraction(left, SECOND)}s"


def _fraction(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    digits = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0") if scale > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)


def human_duration(nanoseconds: int) -> str:
    """A rough length of time in one unit, as go-units' HumanDuration: "3 minutes", "About an hour", "2 weeks"."""
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
    hours = int(nanoseconds / SECOND / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(nanoseconds / SECOND / 3600) // 24 // 365} years"
