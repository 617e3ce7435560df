"""Turns the API's JSON into Go structs, so that `{{.State}}` and `{{.ID}}` come out as docker prints them.

`TYPES` in `api_types` describes the structs. A type is written as in Go: `*T`, `[]T`, `map[K]T`, a struct's name, a
basic type, `time.Time`, `time.Duration`, or `any` for JSON as it is.
"""

from __future__ import annotations

from sampan.cli.template.api_types import TYPES
from sampan.cli.template.govalues import Duration, GoList, GoMap, NilPointer, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ZERO: Mapping[str, object] = {
    "string": "", "bool": False, "int": 0, "int64": 0, "uint": 0, "uint16": 0, "uint64": 0, "float64": 0.0, "any": None,
}  # fmt: skip


class _Field:
    __slots__ = ("embedded", "json", "name", "omitempty", "type")

    def __init__(self, text: str) -> None:
        self.omitempty = text.endswith("?")
        self.embedded = text.startswith("+")
        words = text.rstrip("?").lstrip("+").split()
        if self.embedded:
            self.type = words[0]
            self.name, self.json = words[0].rpartition(".")[2].lstrip("*"), ""
        else:
            self.name, self.type = words[:2]
            self.json = words[2] if len(words) > 2 else self.name


_known: dict[str, list[_Field]] = {}


def _fields(name: str) -> list[_Field] | None:
    """The fields of a struct type; None where the name is no struct's."""
    if name not in _known:
        text = TYPES.get(name)
        if text is None:
            return None
        _known[name] = [_Field(field.strip()) for field in text.split(";") if field.strip()]
    return _known[name]


def decode(type: str, value: object, pointer: bool = False) -> object:
    """`value`, as JSON holds it, as a Go value of `type`; what is missing becomes Go's zero value."""
    if type.startswith("*"):
        return NilPointer(type) if value is None else decode(type[1:], value, pointer=True)
    if type.startswith("[]"):
        items = [decode(type[2:], item) for item in value] if isinstance(value, list) else []
        return GoList(items, type, is_nil=not isinstance(value, list))
    if type.startswith("map["):
        return _map(type, value)
    if type == "time.Time":
        from sampan.cli.template.gotime import Time

        return Time(value if isinstance(value, str) else "0001-01-01T00:00:00Z")
    if type == "time.Duration":
        return Duration(value if isinstance(value, int) else 0)
    fields = _fields(type)
    if fields is not None:
        return _struct(type, fields, value if isinstance(value, dict) else {}, pointer)
    if value is None or type == "any":
        return _ZERO[type] if value is None else value
    return float(value) if type == "float64" and isinstance(value, int) else value


def _map(type: str, value: object) -> GoMap:
    key, _, element = type[len("map[") :].partition("]")
    items = {name: decode(element, item) for name, item in value.items()} if isinstance(value, dict) else {}
    return GoMap(items, type, is_nil=not isinstance(value, dict), zero=decode(element, None), key=key)


def _struct(type: str, fields: list[_Field], value: dict[str, object], pointer: bool) -> Struct:
    held = {
        field.name: decode(field.type, value if field.embedded else value.get(field.json, value.get(field.name)))
        for field in fields
    }
    return Struct(type, held, [(field.json, field.name, field.omitempty) for field in fields], pointer)
