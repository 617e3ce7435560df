"""Detach keys: the key sequence that leaves a TTY without ending it. Default ctrl-p ctrl-q."""

from __future__ import annotations

from sampan.errors import InvalidParameter

DEFAULT = b"\x10\x11"
_CTRL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def keys(text: str) -> bytes:
    """ "ctrl-x,a" → bytes; "" → the default. Raises `InvalidParameter` with Docker's wording."""
    if not text:
        return DEFAULT
    codes = bytearray()
    for key in text.split(","):
        if len(key.encode()) == 1:
            codes += key.encode()
            continue
        letter = key[5:] if key.lower().startswith("ctrl-") else ""
        if len(letter) == 1 and "a" <= letter.lower() <= "z":
            codes.append(ord(letter.lower()) - 96)
        elif letter in _CTRL:
            codes.append(_CTRL[letter])
        else:
            raise InvalidParameter(f"Invalid detach keys ({text}) provided")
    return bytes(codes)


class Scanner:
    """Watches input for the sequence. Keys that began one and turned out not to be are passed on."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence is complete). Input after the sequence is dropped."""
        sequence = self._sequence
        if not self._matched and sequence[0] not in data:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == sequence[self._matched]:
                self._matched += 1
                if self._matched == len(sequence):
                    self._matched = 0
                    return bytes(passed), True
                continue
            if self._matched:
                passed += sequence[: self._matched]
                self._matched = 0
                if byte == sequence[0]:
                    self._matched = 1
                    continue
            passed.append(byte)
        return bytes(passed), False
