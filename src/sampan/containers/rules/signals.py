"""Signals as Docker's clients write them: `SIGTERM`, `term`, `15`, `RTMIN+3`. Pure."""

from __future__ import annotations

import signal

from sampan.errors import InvalidParameter

_RTMIN, _RTMAX = 34, 64
"""glibc's SIGRTMIN: 32 and 33 are its threads' own."""
_NUMBERS: dict[str, int] = {
    name.removeprefix("SIG"): number.value
    for name, number in signal.Signals.__members__.items()
    if not name.startswith("SIGRT")
}
_NUMBERS |= {"CLD": signal.SIGCHLD, "IOT": signal.SIGABRT, "POLL": signal.SIGIO, "UNUSED": signal.SIGSYS}
_NUMBERS |= {"STKFLT": 16, "RTMIN": _RTMIN, "RTMAX": _RTMAX}
_NUMBERS |= {f"RTMIN+{n}": _RTMIN + n for n in range(1, 16)}
_NUMBERS |= {f"RTMAX-{n}": _RTMAX - n for n in range(1, 15)}
_KNOWN = frozenset(_NUMBERS.values())


def parse(word: str) -> int:
    """The number. Raises `InvalidParameter`."""
    if word.lstrip("-").isdecimal():
        number = int(word)
        if number == 0:
            raise InvalidParameter(f"invalid signal: {word}")
        return number
    number = _NUMBERS.get(word.upper().removeprefix("SIG"), 0)
    if not number:
        raise InvalidParameter(f"invalid signal: {word}")
    return number


def parse_deliverable(word: str) -> int:
    """As `parse`, for a signal that is to be sent now: its number must exist."""
    number = parse(word)
    if number not in _KNOWN:
        raise InvalidParameter(f"the linux daemon does not support signal {number}")
    return number


def name(number: int) -> str:
    """`SIGTERM` of 15, for messages."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
