"""Numbers and sizes as flags spell them: Go's grammar, Go's messages. `ValueError` on anything else."""

from __future__ import annotations

import re

from sampan.golang import quote

_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(?: ?([kmgtp](?:b|ib)?|b)?)?", re.IGNORECASE)


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
