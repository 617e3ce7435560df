"""White space as Go's `unicode.IsSpace` has it: Python's own adds the separators 0x1c to 0x1f."""

from __future__ import annotations

import re

_TEXT = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
SPACES = frozenset(_TEXT)
_RUNS = re.compile(f"[{_TEXT}]+")
_BETWEEN = re.compile(r"[\t\v\f\r ]+")


def strip(text: str) -> str:
    return text.strip(_TEXT)


def strip_left(text: str) -> str:
    return text.lstrip(_TEXT)


def split(text: str) -> list[str]:
    """The parts between white space, empty ones at the ends included."""
    return _RUNS.split(text)


def words(text: str) -> list[str]:
    return [word for word in _RUNS.split(text) if word]


def fields(text: str, limit: int = 0) -> list[str]:
    """Split at the white space that separates arguments; into at most `limit` parts when not 0."""
    return _BETWEEN.split(text, limit - 1 if limit else 0)
