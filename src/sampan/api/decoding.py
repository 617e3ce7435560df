"""Request bodies: Go's rules for JSON, strict types, and errors that name the field.

Go matches keys without regard to case, ignores unknown ones, and treats null as "leave the zero value"; clients rely
on all three. So a body is first brought into the exact spelling of a `msgspec.Struct` (a plan made once a type),
checked on the way with Go's own wording, and only then converted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from sampan.api.gojson import complaint, first_value
from sampan.errors import InvalidParameter

T = TypeVar("T")

EMPTY = "invalid JSON: got EOF while reading request body"

GO_NAMES: dict[str, str] = {
    "HostConfig": "container.HostConfig",
    "Config": "container.Config",
    "NetworkingConfig": "network.NetworkingConfig",
    "EndpointSettings": "network.EndpointSettings",
    "IPAMConfig": "network.EndpointIPAMConfig",
    "HealthcheckConfig": "v1.HealthcheckConfig",
    "PortBinding": "nat.PortBinding",
    "RestartPolicy": "container.RestartPolicy",
    "LogConfig": "container.LogConfig",
    "Mount": "mount.Mount",
    "BindOptions": "mount.BindOptions",
    "VolumeOptions": "mount.VolumeOptions",
    "TmpfsOptions": "mount.TmpfsOptions",
    "ImageOptions": "mount.ImageOptions",
    "DeviceMapping": "container.DeviceMapping",
    "DeviceRequest": "container.DeviceRequest",
    "Ulimit": "container.Ulimit",
    "IPAM": "network.IPAM",
    "IPAMPool": "network.IPAMConfig",
}
_STRUCT_NAMES = {"IPAMConfig": "EndpointIPAMConfig", "IPAMPool": "IPAMConfig"}


class _Mismatch(Exception):
    """`kind` is JSON's word for what was found, `wanted` Go's type, `field` the last name on the way."""

    def __init__(self, kind: str, wanted: str) -> None:
        self.kind = kind
        self.wanted = wanted
        self.path: list[str] = []
        self.struct = ""


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
    return "object"


class _Plan:
    """How values of one type are brought into shape. `zero` is what null leaves inside a list or a map."""

    go = "interface {}"
    zero: Any = None

    def shape(self, value: Any) -> Any:
        return value


class _Text(_Plan):
    go = "string"
    zero = ""

    def shape(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise _Mismatch(_kind(value), self.go)
        return value


class _Bool(_Plan):
    go = "bool"
    zero = False

    def shape(self, value: Any) -> Any:
        if not isinstance(value, bool):
            raise _Mismatch(_kind(value), self.go)
        return value


class _Int(_Plan):
    go = "int64"
    zero = 0

    def shape(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            if isinstance(value, float) and not math.isfinite(value):
                raise _Mismatch("number", self.go)
            raise _Mismatch(f"number {value!r}" if isinstance(value, float) else _kind(value), self.go)
        if not -(1 << 63) <= value < 1 << 63:
            raise _Mismatch(f"number {value}", self.go)
        return value


class _Float(_Plan):
    go = "float64"
    zero = 0.0

    def shape(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _Mismatch(_kind(value), self.go)
        return value


class _List(_Plan):
    def __init__(self, item: _Plan) -> None:
        self.item = item
        self.go = f"[]{item.go}"

    def shape(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise _Mismatch(_kind(value), self.go)
        item = self.item
        return [item.zero if one is None else item.shape(one) for one in value]


class _StrSlice(_Plan):
    """A string or a list of strings (`Cmd`, `Entrypoint`, `Shell`)."""

    go = "string"

    def shape(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise _Mismatch(_kind(value), self.go)
        if not all(isinstance(one, str) for one in value):
            raise _Mismatch("array", self.go)
        return value


class _Map(_Plan):
    def __init__(self, value: _Plan, nullable: bool) -> None:
        self.value = value
        self.nullable = nullable
        self.go = f"map[string]{value.go}"

    def shape(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(_kind(value), self.go)
        inner, nullable = self.value, self.nullable
        shaped = {}
        for key, one in value.items():
            if one is None:
                shaped[key] = None if nullable else inner.zero
            else:
                shaped[key] = inner.shape(one)
        return shaped


class _Object(_Plan):
    def __init__(self, type_: type[Any]) -> None:
        self.struct = _STRUCT_NAMES.get(type_.__name__, type_.__name__)
        self.go = GO_NAMES.get(type_.__name__, type_.__name__)
        self.fields: dict[str, tuple[str, _Plan]] = {}
        self.lower: dict[str, tuple[str, _Plan]] = {}

    @property
    def zero(self) -> Any:
        return {}

    def shape(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(_kind(value), self.go)
        shaped: dict[str, Any] = {}
        fields, lower = self.fields, self.lower
        for key, one in value.items():
            found = fields.get(key) or lower.get(key.lower())
            if found is None or one is None:
                continue
            name, plan = found
            try:
                shaped[name] = plan.shape(one)
            except _Mismatch as mismatch:
                mismatch.path.insert(0, name)
                mismatch.struct = mismatch.struct or self.struct
                raise
        return shaped


def _plan_of(kind: Any, seen: dict[type[Any], _Object]) -> _Plan:
    from msgspec import inspect

    match kind:
        case inspect.StrType() | inspect.EnumType():
            return _Text()
        case inspect.BoolType():
            return _Bool()
        case inspect.IntType():
            return _Int()
        case inspect.FloatType():
            return _Float()
        case inspect.ListType() | inspect.VarTupleType():
            return _List(_plan_of(kind.item_type, seen))
        case inspect.DictType():
            inner = kind.value_type
            nullable = isinstance(inner, inspect.UnionType) and any(
                isinstance(one, inspect.NoneType) for one in inner.types
            )
            return _Map(_plan_of(inner, seen), nullable)
        case inspect.UnionType():
            parts = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            if len(parts) == 1:
                return _plan_of(parts[0], seen)
            return _StrSlice()
        case inspect.StructType():
            if kind.cls in seen:
                return seen[kind.cls]
            plan = seen[kind.cls] = _Object(kind.cls)
            for field in kind.fields:
                entry = (field.encode_name, _plan_of(field.type, seen))
                plan.fields[field.encode_name] = entry
                plan.lower[field.encode_name.lower()] = entry
            return plan
    return _Plan()


_PLANS: dict[type[Any], _Plan] = {}


def _plan(type_: type[Any]) -> _Plan:
    plan = _PLANS.get(type_)
    if plan is None:
        from msgspec import inspect

        plan = _PLANS[type_] = _plan_of(inspect.type_info(type_), {})
    return plan


def parse(body: bytes) -> Any:
    """The one JSON value of `body`. Raises `InvalidParameter` in encoding/json's words."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if not body.strip():
        raise InvalidParameter(EMPTY)
    if words := complaint(body):
        raise InvalidParameter(f"invalid JSON: {words}")
    value, rest = first_value(body)
    if rest:
        raise InvalidParameter("unexpected content after JSON")
    # Go replaces bytes that are not UTF-8; msgspec refuses them. Too deep for msgspec ends here as well.
    try:
        return msgspec.json.decode(value.decode("utf-8", "replace").encode())
    except (msgspec.DecodeError, RecursionError):
        raise InvalidParameter("invalid JSON: exceeded max depth") from None


def convert(value: Any, type_: type[T], root: str, embedded: Mapping[str, str] | None = None, prefix: str = "") -> T:
    """`value` as `type_`. `root` is Go's name of the outermost struct, for the message; `embedded` maps a field to
    the Go struct that is embedded there and shows up in the path (`Memory` → `Resources`); `prefix` goes before the
    path (`HostConfig`)."""
    try:
        shaped = _plan(type_).shape({} if value is None else value)
    except _Mismatch as mismatch:
        raise InvalidParameter("invalid JSON: " + _words(mismatch, type_, root, embedded or {}, prefix)) from None
    try:
        return msgspec.convert(shaped, type_, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"invalid JSON: {error}") from None


def _words(mismatch: _Mismatch, type_: type[Any], root: str, embedded: Mapping[str, str], prefix: str) -> str:
    if not mismatch.path:
        where = f"struct field {root}.{prefix}" if prefix else f"value of type {root}"
        if prefix:
            return f"json: cannot unmarshal {mismatch.kind} into Go {where} of type {mismatch.wanted}"
        return f"json: cannot unmarshal {mismatch.kind} into Go {where}"
    path = list(mismatch.path)
    if path[0] in embedded and len(path) == 1:
        path.insert(0, embedded[path[0]])
    if prefix:
        path.insert(0, prefix)
    struct = mismatch.struct if mismatch.struct != type_.__name__ else root
    where = f"{struct}.{'.'.join(path)}"
    return f"json: cannot unmarshal {mismatch.kind} into Go struct field {where} of type {mismatch.wanted}"
