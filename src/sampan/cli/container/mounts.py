"""`--mount` and `-v` on the command line: the first as a Mount of the API, the second sorted into binds and volumes."""

from __future__ import annotations

import os

from ..csvline import fields
from ..errors import CliError
from ..values import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_BARE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src")


def mount(text: str) -> dict[str, Any]:
    """Read one `--mount`; ValueError with docker's words."""
    found: dict[str, Any] = {"Type": "volume"}
    options: dict[str, dict[str, Any]] = {}
    for field in fields(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals and key not in _BARE:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key == "type":
            found["Type"] = value.lower()
        elif key in ("source", "src"):
            found["Source"] = os.path.abspath(value) if value.startswith(".") else value
        elif key in ("target", "dst", "destination"):
            found["Target"] = value
        elif key in ("readonly", "ro"):
            found["ReadOnly"] = _boolean(key, value, bool(equals))
        elif key == "consistency":
            found["Consistency"] = value.lower()
        else:
            _option(options, key, value, bool(equals), field)
    return _checked(found, options)


def _boolean(key: str, value: str, has_value: bool) -> bool:
    if not has_value or value in ("1", "true"):
        return True
    if value in ("0", "false"):
        return False
    raise ValueError(f"invalid value for {key}: {value}")


_RECURSION = {
    "enabled": "",
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}


def _option(options: dict[str, dict[str, Any]], key: str, value: str, has_value: bool, field: str) -> None:
    """One option of a kind of mount, into the object the API keeps it in."""
    bind, volume = options.get("BindOptions", {}), options.get("VolumeOptions", {})
    if key == "bind-propagation":
        options["BindOptions"] = bind | {"Propagation": value.lower()}
    elif key == "bind-nonrecursive":
        options["BindOptions"] = bind | {"NonRecursive": _boolean(key, value, has_value)}
    elif key == "bind-recursive":
        if value not in _RECURSION:
            raise ValueError(
                f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")'
            )
        if _RECURSION[value]:
            options["BindOptions"] = bind | {_RECURSION[value]: True}
    elif key == "bind-create-src":
        options["BindOptions"] = bind | {"CreateMountpoint": _boolean(key, value, has_value)}
    elif key == "volume-subpath":
        options["VolumeOptions"] = volume | {"Subpath": value}
    elif key == "volume-nocopy":
        options["VolumeOptions"] = volume | {"NoCopy": _boolean(key, value, has_value)}
    elif key == "volume-label":
        options["VolumeOptions"] = volume | {"Labels": volume.get("Labels", {}) | _pair(value)}
    elif key in ("volume-driver", "volume-opt"):
        driver = volume.get("DriverConfig", {})
        more = {"Name": value} if key == "volume-driver" else {"Options": driver.get("Options", {}) | _pair(value)}
        options["VolumeOptions"] = volume | {"DriverConfig": driver | more}
    elif key == "image-subpath":
        options["ImageOptions"] = {"Subpath": value}
    elif key in ("tmpfs-size", "tmpfs-mode"):
        options["TmpfsOptions"] = options.get("TmpfsOptions", {}) | _tmpfs(key, value)
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _tmpfs(key: str, value: str) -> dict[str, Any]:
    try:
        if key == "tmpfs-size":
            return {"SizeBytes": size(value)}
        if not value or set(value) - set("01234567"):
            raise ValueError
        return {"Mode": int(value, 8)}
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _pair(text: str) -> dict[str, str]:
    key, _, value = text.partition("=")
    return {key: value} if key else {}


_OPTIONS_OF = {"BindOptions": "bind", "VolumeOptions": "volume", "ImageOptions": "image", "TmpfsOptions": "tmpfs"}


def _checked(found: dict[str, Any], options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if not found["Type"]:
        raise ValueError("type is required")
    if not found.get("Target"):
        raise ValueError("target is required")
    for name, kind in _OPTIONS_OF.items():
        if name in options and found["Type"] != kind:
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{found['Type']}'")
    bind = options.get("BindOptions", {})
    read_only = found.get("ReadOnly", False)
    if bind.get("ReadOnlyNonRecursive") and not read_only:
        raise ValueError("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
    if bind.get("ReadOnlyForceRecursive"):
        if not read_only:
            raise ValueError("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
        if bind.get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )
    return {key: value for key, value in found.items() if value} | options


def sort_volumes(specs: Sequence[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """(Binds, Volumes) of `-v`: what has a source is a bind, a path alone an anonymous volume."""
    binds: list[str] = []
    volumes: dict[str, dict[str, str]] = {}
    for spec in dict.fromkeys(specs):
        source = _source(spec)
        if not source:
            volumes[spec] = {}
        elif source[0] == ".":
            host, _, rest = spec.partition(":")
            binds.append(f"{os.path.abspath(host)}:{rest}")
        else:
            binds.append(spec)
    return binds, volumes


def _source(spec: str) -> str:
    """What is before the first colon; "" for a path alone. Raises `CliError` for what compose's parser refuses.

    A single letter before a colon is a Windows drive, so `a:/b` is a path to it.
    """
    if not spec:
        raise CliError("invalid empty volume spec")
    if len(spec) <= 2:
        return ""
    sections = _sections(spec)
    if "" in sections:
        raise CliError(f"invalid spec: {spec}: empty section between colons")
    if len(sections) > 3:
        raise CliError(f"invalid spec: {spec}: too many colons")
    return sections[0] if len(sections) > 1 else ""


def _sections(spec: str) -> list[str]:
    found: list[str] = []
    drive = ""
    for part in spec.split(":"):
        if not drive and len(part) == 1 and part.isalpha():
            drive = f"{part}:"
        else:
            found.append(drive + part)
            drive = ""
    return [*found, drive[:-1]] if drive else found
