"""Values of log options, as Go reads them. Raise `InvalidParameter` in its words. Pure."""

from __future__ import annotations

from sampan.errors import InvalidParameter

_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True)
_BOOLEANS |= dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def boolean(text: str) -> bool:
    """strconv.ParseBool."""
    if text not in _BOOLEANS:
        raise InvalidParameter(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return _BOOLEANS[text]


def unsigned(text: str) -> int:
    """strconv.ParseUint."""
    if not (text.isascii() and text.isdecimal()):
        raise InvalidParameter(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


def memory(text: str) -> int:
    """Bytes of `1m`, `512k`, powers of 1024 (units.RAMInBytes)."""
    return _size(text, 1024)


def size(text: str) -> int:
    """Bytes of `10m`, `1g`, powers of 1000 (units.FromHumanSize), as Docker reads max-size; -1, for no limit, is 0."""
    return 0 if text == "-1" else _size(text, 1000)


def _size(text: str, base: int) -> int:
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    factor = base ** _POWERS.get(number[-1:], 0)
    if number[-1:] in _POWERS:
        number = number[:-1]
    try:
        found = int(float(number) * factor)
    except (ValueError, OverflowError):
        found = -1
    if found <= 0:
        raise InvalidParameter(f"invalid size: '{text}'")
    return found
