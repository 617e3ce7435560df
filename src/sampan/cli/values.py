"""Readers of flag values: Go's number syntax, sizes, and Go's words for what is wrong.

Each reader takes the text and returns the value or raises ValueError with the message docker prints.
"""

from __future__ import annotations

from sampan.golang import boolean, duration, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _parse_int(text: str, low: int, high: int, function: str) -> int:
    """strconv.ParseInt with base 0: 0x, 0o, 0b, leading 0 for octal, underscores."""
    signless = text[1:] if text[:1] in ("+", "-") and low < 0 else text
    negative = text[:1] == "-" and low < 0
    base = 10
    digits = signless
    if len(signless) > 1 and signless[0] == "0":
        prefix = {"x": 16, "o": 8, "b": 2}.get(signless[1].lower())
        base, digits = (prefix, signless[2:]) if prefix else (8, signless[1:])
    try:
        if not digits or digits[0] in "+- \t\n" or digits[-1] in " \t\n_" or not digits.isascii():
            raise ValueError
        number = int(digits, base)
    except ValueError:
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: invalid syntax") from None
    number = -number if negative else number
    if not low <= number <= high:
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: value out of range")
    return number


def integer(text: str) -> int:
    return _parse_int(text, -(1 << 63), (1 << 63) - 1, "ParseInt")


def uint64(text: str) -> int:
    return _parse_int(text, 0, (1 << 64) - 1, "ParseUint")


def uint16(text: str) -> int:
    return _parse_int(text, 0, (1 << 16) - 1, "ParseUint")


def go_float(text: str) -> float:
    try:
        if not text or text != text.strip():
            raise ValueError
        return float(text)
    except ValueError:
        raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax") from None


_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def size(text: str) -> int:
    """A memory size ("512m", "1.5 GiB") in bytes, powers of 1024 (go-units' RAMInBytes)."""
    cut = max(text.rfind(char) for char in "0123456789. ")
    if cut == -1:
        raise ValueError(f"invalid size: '{text}'")
    number = text[:cut] if text[cut] == " " else text[: cut + 1]
    suffix = text[cut + 1 :]
    amount = go_float(number)
    if amount < 0:
        raise ValueError(f"invalid size: '{text}'")
    if not suffix:
        return int(amount)
    if len(suffix) <= 3:
        suffix = suffix.lower()
        if suffix == "b":
            return int(amount)
        if suffix[0] in _BINARY and suffix[1:] in ("", "b", "ib"):
            return int(amount * _BINARY[suffix[0]])
    raise ValueError(f"invalid suffix: '{suffix}'")


def swap_size(text: str) -> int:
    """`--memory-swap`: a size, or -1 for no limit."""
    return -1 if text == "-1" else size(text)


def nano_cpus(text: str) -> int:
    """`--cpus` in units of 1e-9 CPU; a decimal or a fraction, as Go's big.Rat reads it."""
    numerator, slash, denominator = text.partition("/")
    try:
        if not text.strip("+-."):
            raise ValueError
        if slash:
            top, bottom = int(numerator) * 10**9, int(denominator)
        else:
            mantissa, _, exponent = text.lower().partition("e")
            whole, _, part = mantissa.partition(".")
            sign = -1 if whole.startswith("-") else 1
            power = int(exponent) if exponent else 0
            top = sign * int((whole.lstrip("+-") or "0") + part) * 10**9
            bottom = 10 ** len(part)
            top, bottom = (top * 10**power, bottom) if power >= 0 else (top, bottom * 10**-power)
        nano, left = divmod(top, bottom)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if left:
        raise ValueError("value is too precise")
    return nano


READERS: dict[str, Callable[[str], Any]] = {
    "bool": boolean,
    "int": integer,
    "uint": uint64,
    "uint16": uint16,
    "duration": duration,
    "bytes": size,
    "decimal": nano_cpus,
}
