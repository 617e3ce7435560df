"""Numbers, times and sizes as flags spell them: Go's grammar, Go's messages. `ValueError` on anything else."""

from __future__ import annotations

import re

from sampan.builds.dockerfile.wording import quote

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))([^0-9.]*)")
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(?: ?([kmgtp](?:b|ib)?|b)?)?", re.IGNORECASE)
_MAX_DURATION = (1 << 63) - 1


def boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def integer(text: str, bits: int = 32) -> int:
    """A signed decimal of so many bits."""
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    limit = 1 << (bits - 1)
    if len(text) > 25 or not -limit <= int(text) < limit:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return int(text)


def unsigned(text: str, base: int = 10, bits: int = 32) -> int:
    digits = "[0-7]+" if base == 8 else "[0-9]+"
    if not re.fullmatch(digits, text):
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    stripped = text.lstrip("0") or "0"
    if len(stripped) > 25 or int(stripped, base) >= 1 << bits:
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return int(stripped, base)


def duration(text: str) -> int:
    """`1m30s`, `1.5h`, `-2s`, `0`: nanoseconds."""
    invalid = ValueError(f"time: invalid duration {quote(text)}")
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    if not rest:
        raise invalid
    total = 0
    while rest:
        found = _DURATION.match(rest)
        if found is None or len(found[0]) > 64:
            raise invalid
        whole, unit = found[1] or "0", found[4]
        fraction = found[2] or found[3] or ""
        if not unit:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        if unit not in _UNITS:
            raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        total += int(whole) * _UNITS[unit] + int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
        rest = rest[found.end() :]
    if total > _MAX_DURATION:
        raise invalid
    return sign * total


def size(text: str) -> int:
    """`512m`, `1.5 GB`, `1024`: bytes, powers of 1024."""
    found = _SIZE.fullmatch(text)
    if found is None or len(text) > 64:
        raise ValueError(f"invalid size: '{text}'")
    unit = (found[2] or "b")[0].lower()
    amount = float(found[1]) * 1024 ** "bkmgtp".index(unit)
    if amount >= 1 << 63:
        raise ValueError(f"invalid size: '{text}'")
    return int(amount)


def csv_fields(text: str) -> list[str]:
    """One line of comma separated values, as Go's `encoding/csv` takes them."""
    if text.endswith("\n"):
        text = text[:-1].removesuffix("\r")
    if not text:
        raise ValueError("EOF")
    if '"' not in text:
        return text.split(",")
    fields: list[str] = []
    position = 0
    while True:
        field, position = (
            _quoted_field(text, position) if text[position : position + 1] == '"' else _bare(text, position)
        )
        fields.append(field)
        if position == len(text):
            return fields
        position += 1


def _bare(text: str, start: int) -> tuple[str, int]:
    end = text.find(",", start)
    end = len(text) if end < 0 else end
    stray = text.find('"', start, end)
    if stray >= 0:
        raise ValueError(f'parse error on line 1, column {stray + 1}: bare " in non-quoted-field')
    return text[start:end], end


def _quoted_field(text: str, start: int) -> tuple[str, int]:
    wrong = 'extraneous or missing " in quoted-field'
    field, position = "", start + 1
    while True:
        end = text.find('"', position)
        if end < 0:
            raise ValueError(
                f"parse error on line 1, column {len(text) + 1 if position == start + 1 else position + 1}: {wrong}"
            )
        field += text[position:end]
        position = end + 1
        if text[position : position + 1] == '"':
            field += '"'
            position += 1
        elif position == len(text) or text[position] == ",":
            return field, position
        else:
            raise ValueError(f"parse error on line 1, column {end + 1}: {wrong}")
