"""Go values as Python holds them: what `%v` and `%T` print, what is true, what encoding/json writes.

A plain dict is map[string]interface {} and a plain list []interface {}, as when Go decodes JSON without a type; the
classes here stand for what such JSON does not say.
"""

from __future__ import annotations

from sampan.cli.row import Row, row_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Number(str):
    """A JSON number kept as its text (json.Number, whose Go kind is string)."""

    __slots__ = ()


class GoList(list[object]):
    """A slice with its Go type (`[]string`); `is_nil` prints as an empty one but is JSON's null."""

    __slots__ = ("go_type", "is_nil")

    def __init__(self, items: Iterable[object] = (), go_type: str = "[]string", is_nil: bool = False) -> None:
        super().__init__(items)
        self.go_type = go_type
        self.is_nil = is_nil


class GoMap(dict[str, object]):
    """A map with its Go type, and what a missing key yields (the zero value of its elements).

    A map whose `key` is a string type of its own (nat.Port) takes no plain string: Go refuses `.Ports.x` and `index`.
    """

    __slots__ = ("go_type", "is_nil", "key", "zero")

    def __init__(
        self,
        items: Mapping[str, object],
        go_type: str = "map[string]string",
        is_nil: bool = False,
        zero: object = "",
        key: str = "string",
    ) -> None:
        super().__init__(items)
        self.go_type = go_type
        self.is_nil = is_nil
        self.zero = zero
        self.key = key


class NilPointer:
    """A nil pointer of a known type, `*container.Health`."""

    __slots__ = ("go_type",)

    def __init__(self, go_type: str) -> None:
        self.go_type = go_type


class Struct:
    """A struct: fields by their Go names in declaration order, and for JSON (name, field, omitempty).

    `embedded` fields are reached without their name, and their JSON is merged, as Go does.
    """

    __slots__ = ("fields", "go_type", "json", "pointer")

    def __init__(
        self, go_type: str, fields: dict[str, object], json: list[tuple[str, str, bool]], pointer: bool = False
    ) -> None:
        self.go_type = go_type
        self.fields = fields
        self.json = json
        self.pointer = pointer

    def find(self, name: str) -> tuple[bool, object]:
        """(is there such a field, its value), looking through embedded structs too."""
        if name in self.fields:
            return True, self.fields[name]
        for held, value in self.fields.items():
            if isinstance(value, Struct) and value.go_type.rpartition(".")[2] == held:
                found, inner = value.find(name)
                if found:
                    return True, inner
        return False, None


class Stringer:
    """A value that prints in its own way: str(value) is Go's String()."""

    __slots__ = ()
    go_type = "fmt.Stringer"

    def to_json(self) -> object:
        return str(self)


class Duration(int):
    """time.Duration in nanoseconds."""

    go_type = "time.Duration"

    def __str__(self) -> str:
        from sampan.golang import duration_text

        return duration_text(int(self))


def type_name(value: object) -> str:
    """Go's %T."""
    if value is None:
        return "<nil>"
    if isinstance(value, Struct):
        return ("*" if value.pointer else "") + value.go_type
    if isinstance(value, Row):
        return "*" + value.go_type
    named = getattr(value, "go_type", None)
    if isinstance(named, str):
        return named
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Number):
        return "json.Number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return "complex128" if isinstance(value, complex) else type(value).__name__


def is_true(value: object) -> bool:
    """What `if` takes for true: not the zero value, not empty; a struct always is."""
    if value is None or isinstance(value, NilPointer):
        return False
    if isinstance(value, (bool, int, float, complex, str, list, dict)):
        return bool(value)
    return True


def text(value: object, depth: int = 0) -> str:
    """Go's %v."""
    if value is None or isinstance(value, NilPointer):
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, Stringer, Duration)):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return general_float(value)
    if isinstance(value, complex):
        return f"({general_float(value.real)}{'+' if value.imag >= 0 else ''}{general_float(value.imag)}i)"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{text(value[key], depth + 1)}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(text(item, depth + 1) for item in value) + "]"
    if isinstance(value, Struct):
        if value.pointer and depth:
            return "0xc000000000"  # Go prints the address of a nested pointer; there is none to show
        return "{" + " ".join(text(item, depth + 1) for item in value.fields.values()) + "}"
    if isinstance(value, Row):
        return value.show()
    return str(value)


def general_float(value: float, low: int = -4, high: int = 6) -> str:
    """%g with as many digits as identify the number (strconv.FormatFloat(v, 'g', -1, 64)).

    An exponent below `low` or from `high` on is written as one; encoding/json takes -6 and 21.
    """
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    shortest = repr(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    power = int(exponent)
    if low <= power < high:
        return format_plain(shortest)
    digits = shortest.lower().partition("e")[0].lstrip("-").replace(".", "").strip("0") or "0"
    sign = "-" if value < 0 else ""
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{mantissa}e{'+' if power >= 0 else '-'}{abs(power):02d}"


def format_plain(shortest: str) -> str:
    """Python's shortest repr without an exponent or a trailing `.0`."""
    if "e" in shortest:
        from decimal import Decimal

        shortest = format(Decimal(shortest), "f")
    return shortest[:-2] if shortest.endswith(".0") else shortest


_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def json_string(value: str, escape_html: bool) -> str:
    from json.encoder import encode_basestring

    out = encode_basestring(value)
    if max(out) >= "\x7f":
        out = out.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        out = out.encode("utf-8", "replace").decode() if out.isascii() else _valid(out)
    if escape_html:
        for char, escaped in _HTML.items():
            out = out.replace(char, escaped)
    return out


def _valid(value: str) -> str:
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)


def json_text(value: object, escape_html: bool = False) -> str:
    """encoding/json's compact text: structs in their own order without what `omitempty` leaves out, maps sorted."""
    if value is None or isinstance(value, NilPointer):
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return str.__str__(value) or "0"
    if isinstance(value, str):
        return json_string(value, escape_html)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _json_float(value)
    if isinstance(value, dict):
        if getattr(value, "is_nil", False):
            return "null"
        pairs = ((key, value[key]) for key in sorted(value))
        return _json_object(pairs, escape_html)
    if isinstance(value, list):
        if getattr(value, "is_nil", False):
            return "null"
        return "[" + ",".join(json_text(item, escape_html) for item in value) + "]"
    if isinstance(value, Struct):
        if value.go_type == "registry.ServiceConfig":  # its MarshalJSON goes through a map, whose keys are sorted
            return json_text(_as_maps(value), escape_html)
        return _json_object(_struct_pairs(value), escape_html)
    if isinstance(value, Row):  # formatter rows go through json.Marshal of their own, which escapes HTML
        return _json_object(row_fields(value).items(), True)
    if isinstance(value, Stringer):
        return json_text(value.to_json(), escape_html)
    return json_string(str(value), escape_html)


def _json_object(pairs: Iterable[tuple[str, object]], escape_html: bool) -> str:
    return (
        "{" + ",".join(f"{json_string(key, escape_html)}:{json_text(value, escape_html)}" for key, value in pairs) + "}"
    )


def _struct_pairs(struct: Struct) -> Iterable[tuple[str, object]]:
    for name, field, omitempty in struct.json:
        value = struct.fields[field]
        if not name and isinstance(value, Struct):
            yield from _struct_pairs(value)
        elif name and name != "-" and not (omitempty and _is_empty(value)):
            yield name, value


def _as_maps(value: object) -> object:
    if isinstance(value, Struct):
        return {name: _as_maps(item) for name, item in _struct_pairs(value)}
    if isinstance(value, dict):
        return {name: _as_maps(item) for name, item in value.items()}
    return value


def _is_empty(value: object) -> bool:
    return value is None or isinstance(value, NilPointer) or value in (False, 0, "", [], {})


def _json_float(value: float) -> str:
    plain = general_float(value, -6, 21)
    return plain.replace("e-0", "e-") if "e-0" in plain else plain


__all__ = [
    "Duration",
    "GoList",
    "GoMap",
    "NilPointer",
    "Number",
    "Row",
    "Stringer",
    "Struct",
    "general_float",
    "is_true",
    "json_text",
    "row_fields",
    "text",
    "type_name",
]
