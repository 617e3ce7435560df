"""The functions of a template: text/template's own and the ones Docker adds (json, split, join, title, pad, …)."""

from __future__ import annotations

from sampan.cli.template.govalues import (
    Duration,
    GoList,
    NilPointer,
    Number,
    is_true,
    json_text,
    text,
    type_name,
)  # fmt: skip
from sampan.cli.template.printing import sprint, sprintf, sprintln

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class CallError(Exception):
    """What a function says of its arguments; the executor adds where."""


class Function:
    """A callable with the Go kinds of its parameters; `rest` is the kind of those that may follow."""

    __slots__ = ("call", "kinds", "rest")

    def __init__(self, call: Callable[..., object], kinds: tuple[str, ...], rest: str = "") -> None:
        self.call = call
        self.kinds = kinds
        self.rest = rest


def _basic_kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    return "complex" if isinstance(value, complex) else ""


def _is_nil(value: object) -> bool:
    return value is None or isinstance(value, NilPointer) or bool(getattr(value, "is_nil", False))


def _composite_kind(value: object) -> str:
    if isinstance(value, (list, dict)):
        return "slice" if isinstance(value, list) else "map"
    return "pointer" if isinstance(value, NilPointer) or getattr(value, "pointer", True) else "struct"


def _same(first: object, other: object) -> bool:
    """Are two values that are of no basic kind equal?"""
    if first is not None and other is not None and _composite_kind(first) != _composite_kind(other):
        shown = sprintf("%s: %v, %s: %v", [first, type_name(first), type_name(other), other])
        raise CallError(f"non-comparable types {shown}")
    if _is_nil(first) or _is_nil(other):
        return _is_nil(first) == _is_nil(other)
    if isinstance(other, (list, dict)):
        raise CallError(f"non-comparable type {sprintf('%s', [other])}: {type_name(other)}")
    return first is other


def _eq(first: object, *others: object) -> bool:
    if not others:
        raise CallError("missing argument for comparison")
    kind = _basic_kind(first)
    for other in others:
        if kind != _basic_kind(other):
            if first is not None and other is not None:
                raise CallError("incompatible types for comparison")
        elif first == other if kind else _same(first, other):
            return True
    return False


def _lt(first: object, second: object) -> bool:
    kinds = _basic_kind(first), _basic_kind(second)
    if not kinds[0] or not kinds[1]:
        raise CallError("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise CallError("incompatible types for comparison")
    if kinds[0] in ("bool", "complex"):
        raise CallError("invalid type for comparison")
    if isinstance(first, str) and isinstance(second, str):
        return str.__lt__(first, second)
    assert isinstance(first, (int, float)) and isinstance(second, (int, float))
    return first < second


def _le(first: object, second: object) -> bool:
    return _lt(first, second) or _eq(first, second)


def _index(item: object, *indexes: object) -> object:
    if item is None:
        raise CallError("index of untyped nil")
    for index in indexes:
        if isinstance(item, NilPointer):
            raise CallError("index of nil pointer")
        if isinstance(item, dict):
            key = getattr(item, "key", "string")
            if index is None:
                raise CallError(f"value is nil; should be of type {key}")
            if not isinstance(index, str) or key != "string":
                raise CallError(f"value has type {type_name(index)}; should be {key}")
            item = item.get(index, getattr(item, "zero", None))
        elif isinstance(item, list):
            item = item[_position(index, len(item))]
        elif isinstance(item, str):
            raw = item.encode("utf-8", "surrogateescape")
            item = raw[_position(index, len(raw), kind="string")]
        elif item is None:
            raise CallError("index of nil pointer")
        else:
            raise CallError(f"can't index item of type {_plain_type(item)}")
    return item


def _plain_type(item: object) -> str:
    """The type after pointers are followed."""
    return type_name(item).lstrip("*")


def _position(index: object, length: int, slicing: bool = False, kind: str = "slice") -> int:
    if index is None:
        raise CallError("cannot index slice/array with nil")
    if isinstance(index, bool) or not isinstance(index, int):
        raise CallError(f"cannot index slice/array with type {type_name(index)}")
    if index < 0 or index > length:
        raise CallError(f"index out of range: {index}")
    if index == length and not slicing:
        raise CallError(f"reflect: {kind} index out of range")  # one past the end: Go notices it later
    return index


def _slice(item: object, *indexes: object) -> object:
    if item is None:
        raise CallError("slice of untyped nil")
    if len(indexes) > 3:
        raise CallError(f"too many slice indexes: {len(indexes)}")
    if not isinstance(item, (str, list)):
        raise CallError(f"can't slice item of type {_plain_type(item)}")
    if isinstance(item, str) and len(indexes) == 3:
        raise CallError("cannot 3-index slice a string")
    whole: bytes | list[object] = item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item
    bounds = [_position(index, len(whole), slicing=True) for index in indexes]
    first = bounds[0] if bounds else 0
    last = bounds[1] if len(bounds) > 1 else len(whole)
    if first > last:
        raise CallError(f"invalid slice index: {first} > {last}")
    part = whole[first:last]
    if isinstance(part, bytes):
        return part.decode("utf-8", "surrogateescape")
    return GoList(part, item.go_type) if isinstance(item, GoList) else part


def _len(item: object) -> int:
    if item is None:
        raise CallError("reflect: call of reflect.Value.Type on zero Value")
    if isinstance(item, NilPointer):
        raise CallError("len of nil pointer")
    if isinstance(item, str):
        return len(item.encode("utf-8", "surrogateescape"))
    if isinstance(item, (list, dict)):
        return len(item)
    raise CallError(f"len of type {_plain_type(item)}")


def _html(*args: object) -> str:
    out = _joined(args)
    for char, escaped in (
        ("&", "&amp;"),
        ('"', "&#34;"),
        ("'", "&#39;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("\0", "\ufffd"),
    ):
        out = out.replace(char, escaped)
    return out


_JS = {
    "\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D",
}  # fmt: skip


def _js(*args: object) -> str:
    return "".join(_JS.get(c) or (c if c.isprintable() else f"\\u{ord(c):04X}") for c in _joined(args))


def _urlquery(*args: object) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_joined(args), safe="~", errors="surrogateescape")


def _joined(args: tuple[object, ...]) -> str:
    """What html, js and urlquery escape: the arguments as print shows them, what is nothing as `<no value>`."""
    if len(args) == 1 and isinstance(args[0], str):
        return str(args[0])
    out = ""
    string_before = True
    for arg in args:
        is_string = arg is None or isinstance(arg, str)
        out += "" if is_string or string_before else " "
        out += "<no value>" if arg is None else text(arg)
        string_before = is_string
    return out


def call_of(name: str) -> Callable[..., object]:
    def call(function: object, *args: object) -> object:
        if function is None:
            raise CallError("call of nil")
        raise CallError(f"non-function {name} of type {type_name(function)}")

    return call


def _title(value: str) -> str:
    out = []
    before = " "
    for c in value:
        out.append(c if before.isalnum() or before in "_'" or ord(before) > 127 else c.upper())
        before = c
    return "".join(out)


def _pad(source: str, before: int, after: int) -> str:
    return " " * before + source + " " * after if source else source


def _truncate(source: str, length: int) -> str:
    raw = source.encode("utf-8", "surrogateescape")
    if length < 0:
        raise CallError(f"runtime error: slice bounds out of range [:{length}]")
    return raw[:length].decode("utf-8", "surrogateescape")


def _split(value: str, separator: str) -> GoList:
    return GoList(value.split(separator) if separator else list(value))


def _join(items: list[object], separator: str) -> str:
    return separator.join(str(item) for item in items)


FUNCTIONS: dict[str, Function] = {
    "and": Function(lambda *args: None, ("any",), "any"),  # `and` and `or` stop early: the executor runs them
    "or": Function(lambda *args: None, ("any",), "any"),
    "not": Function(lambda value: not is_true(value), ("any",)),
    "call": Function(call_of(""), ("any",), "any"),
    "html": Function(_html, (), "any"),
    "index": Function(_index, ("any",), "any"),
    "slice": Function(_slice, ("any",), "any"),
    "js": Function(_js, (), "any"),
    "len": Function(_len, ("any",)),
    "print": Function(lambda *args: sprint(list(args)), (), "any"),
    "printf": Function(lambda pattern, *args: sprintf(pattern, list(args)), ("string",), "any"),
    "println": Function(lambda *args: sprintln(list(args)), (), "any"),
    "urlquery": Function(_urlquery, (), "any"),
    "eq": Function(_eq, ("any",), "any"),
    "ne": Function(lambda first, second: not _eq(first, second), ("any", "any")),
    "lt": Function(_lt, ("any", "any")),
    "le": Function(_le, ("any", "any")),
    "gt": Function(lambda first, second: not _le(first, second), ("any", "any")),
    "ge": Function(lambda first, second: not _lt(first, second), ("any", "any")),
    "json": Function(json_text, ("any",)),
    "split": Function(_split, ("string", "string")),
    "join": Function(_join, ("[]string", "string")),
    "title": Function(_title, ("string",)),
    "lower": Function(lambda value: value.lower(), ("string",)),
    "upper": Function(lambda value: value.upper(), ("string",)),
    "pad": Function(_pad, ("string", "int", "int")),
    "truncate": Function(_truncate, ("string", "int")),
}

HEADER_FUNCTIONS: dict[str, Function] = {
    **FUNCTIONS,
    "json": Function(lambda value: value, ("string",)),
    "split": Function(lambda value, _: value, ("string", "string")),
    "join": Function(lambda value, _: value, ("string", "string")),
    "title": Function(lambda value: value, ("string",)),
    "lower": Function(lambda value: value, ("string",)),
    "upper": Function(lambda value: value, ("string",)),
    "truncate": Function(lambda value, _: value, ("string", "int")),
}
"""What a table's header goes through, so that `{{upper .Names}}` leaves its column's name alone."""


def accepts(kind: str, value: object) -> bool:
    """Is a value assignable to a parameter of that Go kind?"""
    if kind == "any":
        return True
    if kind == "string":
        return isinstance(value, str) and not isinstance(value, Number)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, (bool, Duration))
    return isinstance(value, GoList) and value.go_type == kind
