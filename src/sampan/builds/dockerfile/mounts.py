"""`RUN --mount` and `RUN --device`: comma separated keys.

A mount is read twice, as in BuildKit: while parsing only `from`, which the graph of stages needs and which may hold no
variables, and everything else once the variables are known (`parse_mount`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from sampan.builds.dockerfile import scalars
from sampan.builds.dockerfile.ast import Device, Mount, MountFlag, MountType, Sharing
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.wording import did_you_mean
from sampan.golang import boolean, quote

_TYPES = get_args(MountType)
_SHARINGS = get_args(Sharing)
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid",
    "src", "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip


def mount_flag(text: str) -> MountFlag:
    from_ = ""
    for field in _fields(text, "mounts"):
        key, equals, value = field.partition("=")
        if not equals or key.lower() != "from":
            continue
        if 0 <= value.find("$") != len(value) - 1:
            raise DockerfileError("'from' doesn't support variable expansion, define alias stage instead")
        from_ = value
    return MountFlag(text, from_)


def parse_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """Values go through `expand`, keys do not. Raises `DockerfileError` for what its type does not take."""
    said: dict[str, Any] = {"type": "bind"}
    for field in _fields(text, "mounts"):
        key, equals, value = field.partition("=")
        key = key.lower()
        if equals:
            _set(said, key, expand(value), field)
        else:
            _set_bare(said, key, field)
    kind: MountType = said["type"]
    _check_owner(said, kind)
    said.setdefault("read_only", kind not in ("cache", "tmpfs"))
    if kind == "secret":
        _check_secret(said)
    if said.get("sharing") and kind != "cache":
        raise DockerfileError(f"invalid cache sharing set for {kind} mount")
    return Mount(**said)


def _set_bare(said: dict[str, Any], key: str, field: str) -> None:
    if key in ("readonly", "ro"):
        said["read_only"] = True
    elif key in ("readwrite", "rw"):
        said["read_only"] = False
    elif key == "required":
        _of_types(said, key, "secret", "ssh")
        said["required"] = True
    else:
        raise DockerfileError(f"invalid field '{field}' must be a key=value pair")


def _set(said: dict[str, Any], key: str, value: str, field: str) -> None:
    setter = _SETTERS.get(key)
    if setter is None:
        raise DockerfileError(did_you_mean(f"unexpected key '{key}' in '{field}'", key, _KEYS))
    setter(said, key, value)


def _of_types(said: dict[str, Any], key: str, *types: str) -> None:
    """`type` must have come before: BuildKit reads the keys from left to right."""
    if said["type"] not in types:
        raise DockerfileError(f"unexpected key '{key}' for mount type '{said['type']}'")


def _type(said: dict[str, Any], key: str, value: str) -> None:
    if value.lower() not in _TYPES:
        raise DockerfileError(did_you_mean(f"unsupported mount type {quote(value)}", value, _TYPES))
    said["type"] = value.lower()


def _sharing(said: dict[str, Any], key: str, value: str) -> None:
    if value.lower() not in _SHARINGS:
        raise DockerfileError(did_you_mean(f"unsupported sharing value {quote(value)}", value, _SHARINGS))
    said["sharing"] = value.lower()


def _text(name: str) -> Callable[[dict[str, Any], str, str], None]:
    def setter(said: dict[str, Any], key: str, value: str) -> None:
        said[name] = value

    return setter


def _read_only(said: dict[str, Any], key: str, value: str) -> None:
    said["read_only"] = _boolean(key, value)


def _read_write(said: dict[str, Any], key: str, value: str) -> None:
    said["read_only"] = not _boolean(key, value)


def _required(said: dict[str, Any], key: str, value: str) -> None:
    _of_types(said, key, "secret", "ssh")
    said["required"] = _boolean(key, value)


def _size(said: dict[str, Any], key: str, value: str) -> None:
    _of_types(said, key, "tmpfs")
    try:
        said["size"] = scalars.size(value)
    except ValueError:
        raise DockerfileError(f"invalid value for {key}: {value}") from None


def _boolean(key: str, value: str) -> bool:
    try:
        return boolean(value)
    except ValueError:
        raise DockerfileError(f"invalid value for {key}: {value}") from None


def _number(base: int) -> Callable[[dict[str, Any], str, str], None]:
    def setter(said: dict[str, Any], key: str, value: str) -> None:
        try:
            said[key] = scalars.unsigned(value, base)
        except ValueError:
            raise DockerfileError(f"invalid value {value} for {key}") from None

    return setter


_SETTERS: dict[str, Callable[[dict[str, Any], str, str], None]] = {
    "type": _type,
    "from": _text("from_"),
    **dict.fromkeys(("source", "src"), _text("source")),
    **dict.fromkeys(("target", "dst", "destination"), _text("target")),
    **dict.fromkeys(("readonly", "ro"), _read_only),
    **dict.fromkeys(("readwrite", "rw"), _read_write),
    "required": _required,
    "size": _size,
    "id": _text("id"),
    "sharing": _sharing,
    "mode": _number(8),
    "uid": _number(10),
    "gid": _number(10),
    "env": _text("env"),
}


def _check_owner(said: dict[str, Any], kind: MountType) -> None:
    if kind in ("secret", "ssh", "cache"):
        return
    for key in ("mode", "uid", "gid"):
        if key in said:
            raise DockerfileError(f"{key} not allowed for {quote(kind)} type mounts")


def _check_secret(said: dict[str, Any]) -> None:
    if said.get("from_"):
        raise DockerfileError("secret mount should not have a from")
    if said.get("sharing"):
        raise DockerfileError("secret mount should not define sharing")
    if not any(said.get(key) for key in ("source", "target", "id")):
        raise DockerfileError("invalid secret mount. one of source, target required")
    if said.get("source") and said.get("id"):
        raise DockerfileError("both source and id can't be set")


def parse_device(text: str) -> Device:
    """`vendor.com/class=name`, `name=…,required`."""
    name, required = "", False
    for field in _fields(text, "devices"):
        key, equals, value = field.partition("=")
        key = key.lower()
        if key == "required":
            required = _boolean(key, value) if equals else True
        elif key == "name" and equals:
            if name:
                raise DockerfileError(f"device name already set to {name}")
            name = value
        elif not name:
            name = field
        elif not equals:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")
        else:
            raise DockerfileError(did_you_mean(f"unexpected key '{key}' in '{field}'", key, ("name", "required")))
    return Device(name, required)


def _fields(text: str, what: str) -> list[str]:
    try:
        return scalars.csv_fields(text)
    except ValueError as error:
        raise DockerfileError(f"failed to parse csv {what}: {error}") from None
