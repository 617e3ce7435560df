"""Why a body is not JSON, in the words of Go's encoding/json, because users and clients have read them for ten years.

Only runs after `msgspec` refused a body: one pass, no values made.
"""

from __future__ import annotations

_SPACE = frozenset(b" \t\r\n")
_DIGITS = frozenset(b"0123456789")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
MAXIMUM_DEPTH = 10000
"""encoding/json's own limit on nesting."""


class _Bad(Exception):
    pass


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def peek(self) -> int:
        """The next byte that is not white space."""
        while self.at < len(self.data):
            byte = self.data[self.at]
            if byte not in _SPACE:
                return byte
            self.at += 1
        raise _Bad("unexpected EOF")

    def take(self) -> int:
        """The next byte, whatever it is."""
        if self.at >= len(self.data):
            raise _Bad("unexpected EOF")
        self.at += 1
        return self.data[self.at - 1]

    def value(self) -> None:
        """One value; containers are kept on a list, so that depth costs no stack."""
        open_: list[int] = []
        while True:
            byte = self.peek()
            if byte in (ord("{"), ord("[")):
                if len(open_) >= MAXIMUM_DEPTH:
                    raise _Bad("exceeded max depth")
                self.at += 1
                if self.peek() != byte + 2:
                    open_.append(byte)
                    if byte == ord("{"):
                        self.key()
                    continue
                self.at += 1
            else:
                self.scalar(byte)
            while open_:
                byte = self.peek()
                if byte == open_[-1] + 2:
                    self.at += 1
                    open_.pop()
                    continue
                if byte != ord(","):
                    after = "after object key:value pair" if open_[-1] == ord("{") else "after array element"
                    raise _Bad(_invalid(byte, after))
                self.at += 1
                if open_[-1] == ord("{"):
                    self.key()
                break
            if not open_:
                return

    def key(self) -> None:
        if (byte := self.peek()) != ord('"'):
            raise _Bad(_invalid(byte, "looking for beginning of object key string"))
        self.string()
        if (byte := self.peek()) != ord(":"):
            raise _Bad(_invalid(byte, "after object key"))
        self.at += 1

    def scalar(self, byte: int) -> None:
        if byte == ord('"'):
            self.string()
        elif byte in _LITERALS:
            word = _LITERALS[byte]
            for expected in word:
                if (byte := self.take()) != expected:
                    raise _Bad(_invalid(byte, f"in literal {word.decode()} (expecting '{chr(expected)}')"))
        elif byte == ord("-") or byte in _DIGITS:
            self.number()
        else:
            raise _Bad(_invalid(byte, "looking for beginning of value"))

    def string(self) -> None:
        self.at += 1
        while (byte := self.take()) != ord('"'):
            if byte < 0x20:
                raise _Bad(_invalid(byte, "in string literal"))
            if byte == ord("\\"):
                byte = self.take()
                if byte == ord("u"):
                    for _ in range(4):
                        if (byte := self.take()) not in _HEX:
                            raise _Bad(_invalid(byte, "in \\u hexadecimal character escape"))
                elif byte not in b'bfnrt\\/"':
                    raise _Bad(_invalid(byte, "in string escape code"))

    def number(self) -> None:
        if self.data[self.at] == ord("-"):
            self.at += 1
            self.digits("in numeric literal")
        elif self.data[self.at] == ord("0"):
            self.at += 1
        else:
            self.digits("in numeric literal")
        if self.data[self.at : self.at + 1] == b".":
            self.at += 1
            self.digits("after decimal point in numeric literal")
        if self.data[self.at : self.at + 1] in (b"e", b"E"):
            self.at += 1
            if self.data[self.at : self.at + 1] in (b"+", b"-"):
                self.at += 1
            self.digits("in exponent of numeric literal")

    def digits(self, where: str) -> None:
        if (byte := self.take()) not in _DIGITS:
            raise _Bad(_invalid(byte, where))
        while self.at < len(self.data) and self.data[self.at] in _DIGITS:
            self.at += 1


def _invalid(byte: int, where: str) -> str:
    character = chr(byte)
    if character == "'":
        quoted = "'\\''"
    elif 0x20 <= byte < 0x7F:
        quoted = f"'{character}'" if character != "\\" else "'\\\\'"
    else:
        quoted = {9: "'\\t'", 10: "'\\n'", 13: "'\\r'"}.get(
            byte, f"'\\x{byte:02x}'" if byte < 0x80 else f"'{character}'"
        )
    return f"invalid character {quoted} {where}"


def complaint(data: bytes) -> str:
    """What encoding/json says of `data`: a decoder's error, or "" when the first value is sound."""
    scanner = _Scanner(data)
    try:
        scanner.value()
    except _Bad as bad:
        return str(bad)
    return ""


def first_value(data: bytes) -> tuple[bytes, bytes]:
    """(the first value, what follows without leading space). Only for data whose `complaint` is empty."""
    scanner = _Scanner(data)
    scanner.value()
    return data[: scanner.at], data[scanner.at :].lstrip(b" \t\r\n")
