"""--chmod: octal, or chmod(1)'s symbolic form (`u=rwX,go=rX`). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from sampan.errors import InvalidParameter

Mode = Callable[[int, bool], int]
"""From a file's permission bits and whether it is a directory to its new bits."""

_CLAUSE = re.compile(r"([ugoa]*)([-+=][rwxXstugo]*)+")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111}


def parse(text: str) -> Mode:
    """Raises `InvalidParameter`."""
    if re.fullmatch(r"[0-7]{1,5}", text):
        bits = int(text, 8)
        if bits <= 0o7777:
            return lambda old, directory: bits
    clauses = text.split(",")
    if not text or not all(_CLAUSE.fullmatch(clause) for clause in clauses):
        raise InvalidParameter(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")

    def change(old: int, directory: bool) -> int:
        for clause in clauses:
            old = _clause(clause, old, directory)
        return old

    return change


def of_new_directories(text: str) -> int:
    """Octal bits count for the directories that lead to a destination too (BuildKit), set-ids never. Who may read one
    may enter it: BuildKit's `--chmod=644` makes directories that nobody but root can use."""
    if not re.fullmatch(r"[0-7]+", text):
        return 0o755
    bits = int(text, 8) & 0o777
    return bits | (bits & 0o444) >> 2


def _clause(clause: str, bits: int, directory: bool) -> int:
    who = re.match(r"[ugoa]*", clause)
    assert who is not None
    classes = "ugo" if not who[0] or "a" in who[0] else who[0]
    mask = 0
    for one in classes:
        mask |= _WHO[one]
    for operator, letters in re.findall(r"([-+=])([rwxXstugo]*)", clause[who.end() :]):
        value = _value(letters, bits, directory, classes) & mask
        if operator == "+":
            bits |= value
        elif operator == "-":
            bits &= ~value
        else:
            kept = 0o6000 if directory and not {"s"} & set(letters) else 0  # as chmod(1): a directory keeps set-ids
            bits = bits & ~(mask & ~kept) | value
    return bits


def _value(letters: str, bits: int, directory: bool, classes: str) -> int:
    value = 0
    for letter in letters:
        if letter in _BITS:
            value |= _BITS[letter]
        elif letter == "X":
            value |= 0o111 if directory or bits & 0o111 else 0
        elif letter == "s":
            value |= (0o4000 if "u" in classes else 0) | (0o2000 if "g" in classes else 0)
        elif letter == "t":
            value |= 0o1000
        else:
            shown = bits >> {"u": 6, "g": 3, "o": 0}[letter] & 7
            value |= shown * 0o111
    return value
