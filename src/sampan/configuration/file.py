"""daemon.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sampan.configuration.options import OPTIONS, ConfigurationError, Given
from sampan.configuration.values import check_ulimit, human_size, limits, size

_KEYS = {option.key: option for option in OPTIONS if option.key}


def from_file(path: Path, text: str) -> Given:
    """What daemon.json sets. Unknown keys, wrong types and bad JSON are refused."""
    if not text.strip():
        return {}
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        raise file_error(path, _go_words(text, error)) from None
    if not isinstance(body, dict):
        raise file_error(
            path, "json: cannot unmarshal " + _kind(body) + " into Go value of type map[string]interface {}"
        )
    unknown = sorted(key for key in body if key not in _KEYS)
    if unknown:
        raise file_error(path, f"the following directives don't match any configuration option: {', '.join(unknown)}")
    given: Given = {}
    for key, value in body.items():
        if value is None:
            continue
        option = _KEYS[key]
        if option.kind == "proxies":
            given.update(_proxies(path, value))
        elif option.kind == "gc":
            given[option.flag] = builder_gc(path, value)
        else:
            given[option.flag] = _typed(path, key, option.kind, value)
    return given


def _go_words(text: str, error: json.JSONDecodeError) -> str:
    """encoding/json's, as near as Python tells; where, because that is what one wants to know."""
    if error.pos >= len(text.rstrip()):
        return "unexpected end of JSON input"
    return f"invalid character {text[error.pos]!r} at line {error.lineno}, column {error.colno}: {error.msg.lower()}"


def _typed(path: Path, key: str, kind: str, value: Any) -> Any:
    def wrong(what: Any, go: str) -> ConfigurationError:
        return file_error(path, f"json: cannot unmarshal {_kind(what)} into Go struct field Config.{key} of type {go}")

    match kind:
        case "string":
            if not isinstance(value, str):
                raise wrong(value, "string")
        case "bool":
            if not isinstance(value, bool):
                raise wrong(value, "bool")
        case "int":
            if isinstance(value, bool) or not isinstance(value, int):
                raise wrong(value, "int")
        case "list":
            if not isinstance(value, list):
                raise wrong(value, "[]string")
            for one in value:
                if not isinstance(one, str):
                    raise wrong(one, "string")
        case "map":
            if not isinstance(value, dict):
                raise wrong(value, "map[string]string")
            for one in value.values():
                if not isinstance(one, str):
                    raise wrong(one, "string")
        case "runtimes":
            if not isinstance(value, dict):
                raise wrong(value, "map[string]system.Runtime")
            return {name: _runtime(path, name, runtime) for name, runtime in value.items()}
        case "pools":
            if not isinstance(value, list):
                raise wrong(value, "[]*ipamutils.NetworkToSplit")
            return [_pool(path, pool) for pool in value]
        case "size":
            return _size(path, key, value)
        case "flags":
            if not isinstance(value, dict):
                raise wrong(value, "map[string]bool")
            for one in value.values():
                if not isinstance(one, bool):
                    raise wrong(one, "bool")
        case "maps":
            if not isinstance(value, dict):
                raise wrong(value, "map[string]map[string]string")
            for inner in value.values():
                if not isinstance(inner, dict):
                    raise wrong(inner, "map[string]string")
                for one in inner.values():
                    if not isinstance(one, str):
                        raise wrong(one, "string")
        case "ulimits":
            if not isinstance(value, dict):
                raise wrong(value, "map[string]*units.Ulimit")
            return dict(_ulimit(path, name, one) for name, one in value.items())
        case "limits":
            if not isinstance(value, str):
                raise wrong(value, "string")
            try:
                return limits(value)
            except ValueError as error:
                raise file_error(path, f"{key}: {error}") from None
    return value


def _runtime(path: Path, name: str, value: Any) -> tuple[str, ...]:
    """Program and first arguments. `args` is what nvidia-ctk writes and dockerd does not read."""
    if not isinstance(value, dict) or not isinstance(value.get("path"), str) or not value["path"]:
        raise file_error(path, f"runtimes: {name}: a runtime needs a path: containerd's shims are not supported")
    arguments = value.get("runtimeArgs") or []
    if not isinstance(arguments, list) or not all(isinstance(one, str) for one in arguments):
        raise file_error(path, f"runtimes: {name}: runtimeArgs: a list of strings")
    if value.get("runtimeType") not in (None, "", "io.containerd.runc.v2"):
        raise file_error(path, f"runtimes: {name}: runtimeType: containerd's shims are not supported; use path")
    extra = sorted(set(value) - {"path", "runtimeArgs", "runtimeType"})
    if extra := [key for key in extra if value[key] or key not in ("args", "options")]:
        raise file_error(path, f"runtimes: {name}: {', '.join(extra)}: only path and runtimeArgs are supported")
    return value["path"], *arguments


def _pool(path: Path, value: Any) -> tuple[str, int]:
    if not isinstance(value, dict) or not isinstance(value.get("base"), str) or type(value.get("size")) is not int:
        raise file_error(path, "default-address-pools: each needs a base (CIDR) and a size (prefix length)")
    return value["base"], value["size"]


def _size(path: Path, key: str, value: Any) -> int:
    """opts.MemBytes: a number, or `64M`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return size(value if isinstance(value, str) else "")
    except ValueError as error:
        raise file_error(path, str(error)) from None


def _ulimit(path: Path, key: str, value: Any) -> tuple[str, tuple[int, int]]:
    if not isinstance(value, dict):
        raise file_error(path, f"default-ulimits: {key}: needs a Name, a Soft and a Hard limit")
    fields = {name.lower(): one for name, one in value.items()}  # encoding/json takes any case
    name, soft, hard = fields.get("name", key), fields.get("soft", 0), fields.get("hard", 0)
    if not isinstance(name, str) or type(soft) is not int or type(hard) is not int or set(fields) - _ULIMIT:
        raise file_error(path, f"default-ulimits: {key}: needs a Name, a Soft and a Hard limit")
    try:
        check_ulimit(name, soft, hard)
    except ValueError as error:
        raise file_error(path, f"default-ulimits: {error}") from None
    return name, (soft, hard)


_ULIMIT = {"name", "soft", "hard"}


def _proxies(path: Path, value: Any) -> Given:
    names = ("http-proxy", "https-proxy", "no-proxy")
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise file_error(path, f"proxies: {', '.join(names)} as strings")
    if extra := sorted(set(value) - set(names)):
        raise file_error(path, f"the following directives don't match any configuration option: {', '.join(extra)}")
    return dict(value)


def builder_gc(path: Path, value: Any) -> tuple[bool, int]:
    """(does the build cache shrink by itself, bytes that it keeps; 0: Sampan's own share of the disk)."""
    fields = value if isinstance(value, dict) else {}
    gc = fields.get("gc") or {}
    if not isinstance(value, dict) or not isinstance(gc, dict):
        raise file_error(path, "builder: needs a gc object")
    if extra := sorted(set(fields) - {"gc", "history", "entitlements"}):
        raise file_error(path, f"the following directives don't match any configuration option: {', '.join(extra)}")
    if fields.get("entitlements") or fields.get("history"):
        raise file_error(path, "builder: entitlements and history are not supported; delete them")
    if gc.get("policy"):
        raise file_error(
            path, "builder.gc.policy is not supported: the cache has one limit, defaultReservedSpace; delete it"
        )
    known = {"enabled", "policy", *_KEPT}
    if extra := sorted(set(gc) - known):
        raise file_error(path, f"builder.gc: {', '.join(extra)}: use enabled and defaultReservedSpace")
    kept = next((str(gc[name]) for name in _KEPT if gc.get(name)), "")
    try:
        return bool(gc.get("enabled", True)), human_size(kept) if kept else 0
    except ValueError as error:
        raise file_error(path, f"builder.gc: {error}") from None


_KEPT = ("defaultReservedSpace", "defaultKeepStorage", "defaultMaxUsedSpace")
"""Docker 28's name, the one before it, and its upper bound."""


def _kind(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def file_error(path: Path, message: str) -> ConfigurationError:
    return ConfigurationError(f"unable to configure the Docker daemon with file {path}: {message}")
