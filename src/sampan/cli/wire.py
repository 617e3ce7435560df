"""JSON without the `json` package: its import costs 8 ms (it brings `re`), its C core in `_json` nothing.

Objects keep the order of their keys, which `inspect` shows as the daemon sent it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SPACE = " \t\r\n"


class _Rules:
    """What `_json.make_scanner` reads its settings from (a `json.JSONDecoder` otherwise)."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    try:
        from _json import make_scanner
    except ImportError:  # an interpreter without the C accelerator
        from json.decoder import JSONDecoder

        return JSONDecoder(strict=False).raw_decode
    return make_scanner(_Rules)  # type: ignore[arg-type, no-any-return, unused-ignore]


_scan = _scanner()


def scan(text: str, start: int = 0) -> tuple[Any, int]:
    """One document from `start`, and where it ends; ValueError when there is none or it is cut short."""
    end = len(text)
    while start < end and text[start] in _SPACE:
        start += 1
    try:
        return _scan(text, start)
    except StopIteration:
        raise ValueError("no JSON document here") from None


def loads(data: bytes | str) -> Any:
    """The one document in `data`."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    value, end = scan(text)
    if text[end:].strip(_SPACE):
        raise ValueError("data after the JSON document")
    return value


def dumps(value: Any, indent: int | None = None) -> str:
    """`value` as JSON; with `indent`, laid out like Go's MarshalIndent (`[]` and `{}` stay on one line)."""
    if indent is not None:
        return "".join(_laid_out(value, " " * indent, ""))
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        from json import dumps as slow

        return slow(value, separators=(",", ":"))
    encoder = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encoder(value, 0))


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _laid_out(value: Any, step: str, pad: str) -> list[str]:
    if not value or not isinstance(value, (dict, list)):
        return [_scalar(value)]
    inner = pad + step
    out: list[str] = []
    if isinstance(value, dict):
        out.append("{\n")
        for number, (key, item) in enumerate(value.items()):
            out.append((",\n" if number else "") + f"{inner}{_scalar(key)}: ")
            out.extend(_laid_out(item, step, inner))
        out.append(f"\n{pad}}}")
    else:
        out.append("[\n")
        for number, item in enumerate(value):
            out.append((",\n" if number else "") + inner)
            out.extend(_laid_out(item, step, inner))
        out.append(f"\n{pad}]")
    return out


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    return dumps(value)


_GO_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_GO_ESCAPES |= {chr(code): f"\\u{code:04x}" for code in range(32) if chr(code) not in _GO_ESCAPES}


def _string(text: str) -> str:
    """As Go writes strings with HTML escaping off: UTF-8 stays itself."""
    return '"' + "".join(_GO_ESCAPES.get(char, char) for char in text) + '"'
