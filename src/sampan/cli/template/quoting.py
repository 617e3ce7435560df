"""Go string literals, written and read: strconv.Quote and strconv.Unquote."""

from __future__ import annotations

_NAMED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip


def quote(text: str) -> str:
    """`text` as a Go string literal in double quotes (strconv.Quote)."""
    return quote_with(text, '"')


def quote_with(text: str, mark: str) -> str:
    out = [mark]
    for c in text:
        if c == mark:
            out.append("\\" + c)
        elif c in _NAMED:
            out.append(_NAMED[c])
        elif " " <= c <= "~" or (c > "~" and c.isprintable()):
            out.append(c)
        else:
            out.append(_escape(c))
    out.append(mark)
    return "".join(out)


def _escape(c: str) -> str:
    code = ord(c)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unquote(literal: str) -> str:
    """The value of a Go string, raw string or character literal; ValueError where it is none."""
    if len(literal) < 2 or literal[0] != literal[-1]:
        raise ValueError("invalid syntax")
    mark, body = literal[0], literal[1:-1]
    if mark == "`":
        return body.replace("\r", "")
    out: list[str] = []
    at = 0
    while at < len(body):
        c = body[at]
        at += 1
        if c == mark or c == "\n":
            raise ValueError("invalid syntax")
        if c != "\\":
            out.append(c)
            continue
        kind = body[at : at + 1]
        at += 1
        if kind in ("x", "u", "U"):
            width = {"x": 2, "u": 4, "U": 8}[kind]
            at = _code_point(out, body[at : at + width], width, 16, at)
        elif kind and kind in "01234567":
            at = _code_point(out, body[at - 1 : at + 2], 3, 8, at - 1)
        elif kind in _ESCAPES and kind not in ("'" if mark == '"' else '"'):
            out.append(_ESCAPES[kind])
        else:
            raise ValueError("invalid syntax")
    if mark == "'" and len(out) != 1:
        raise ValueError("invalid syntax")
    return "".join(out)


def _code_point(out: list[str], digits: str, width: int, base: int, at: int) -> int:
    if len(digits) != width:
        raise ValueError("invalid syntax")
    try:
        code = int(digits, base)
        if base == 8 and code > 255:
            raise ValueError("invalid syntax")
        out.append(chr(code))
    except (ValueError, OverflowError):
        raise ValueError("invalid syntax") from None
    return at + width
