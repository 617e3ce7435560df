"""Readers of `--ulimit`, `--device*`, `--blkio-weight-device`, `--gpus` and `--device-cgroup-rule`."""

from __future__ import annotations

from sampan.golang import quote

from ..csvline import fields
from ..errors import CliError
from ..values import integer, size
from .environment import as_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ULIMITS = frozenset(
    (
        "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
        "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
    )
)  # fmt: skip


def _decimal(text: str) -> int:
    """strconv.ParseInt in base 10 with its error."""
    if text.lstrip("+-").isdecimal() and text.isascii() and len(text.lstrip("+-")) >= len(text) - 1:
        return integer(str(int(text)))
    raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")


def ulimit(text: str) -> dict[str, Any]:
    """`nofile=soft[:hard]` as {"Name", "Soft", "Hard"}."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    values = limits.split(":")
    if len(values) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    hard = _decimal(values[1]) if len(values) == 2 else None
    soft = _decimal(values[0])
    if hard is None:
        hard = soft
    if hard != -1 and (soft == -1 or soft > hard):
        compared = f"{soft} > {hard}" if soft != -1 else f"soft: -1 (unlimited), hard: {hard}"
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {compared}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def _device_path(text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def weight_device(text: str) -> dict[str, Any]:
    path, value = _device_path(text)
    if not (value.isdecimal() and value.isascii()) or not (int(value) == 0 or 10 <= int(value) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def rate_bytes(text: str) -> dict[str, Any]:
    path, value = _device_path(text)
    try:
        return {"Path": path, "Rate": size(value)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
            "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from None


def rate_operations(text: str) -> dict[str, Any]:
    path, value = _device_path(text)
    if not (value.isdecimal() and value.isascii()) or int(value) >= 1 << 64:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(value)}


def cgroup_rule(text: str) -> str:
    """`c 1:3 rwm`, as the devices cgroup reads it."""
    words = text.split(" ")
    if len(words) == 3 and words[0] in ("a", "b", "c") and 1 <= len(words[2]) <= 3 and set(words[2]) <= set("rwm"):
        major, colon, minor = words[1].partition(":")
        if colon and all(part == "*" or (part.isdecimal() and part.isascii()) for part in (major, minor)):
            return text
    raise ValueError(f"invalid device cgroup format '{text}'")


def _is_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def is_cdi(text: str) -> bool:
    """vendor/class=name, a device of the Container Device Interface."""
    kind, equals, name = text.partition("=")
    vendor, slash, group = kind.partition("/")
    return bool(
        equals
        and slash
        and _is_cdi_word(vendor, "_-.")
        and _is_cdi_word(group, "_-")
        and name
        and all((char.isalnum() and char.isascii()) or char in "_-.:" for char in name)
    )


def _is_cdi_word(text: str, marks: str) -> bool:
    return (
        text[:1].isalpha()
        and text[-1:].isalnum()
        and text.isascii()
        and all(char.isalnum() or char in marks for char in text)
    )


def device(text: str) -> dict[str, str]:
    """`--device host[:container][:rwm]` as a DeviceMapping; errors are `CliError`, as it is read after the flags."""
    import posixpath

    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise CliError(f"bad format for path: {text}")
    inside, mode = parts[0], "rwm"
    host = parts[0]
    if len(parts) == 2 and _is_mode(parts[1]):
        mode = parts[1]
        host = inside = posixpath.normpath(parts[0])
    elif len(parts) == 1:
        host = inside = posixpath.normpath(parts[0])
    else:
        inside = posixpath.normpath(parts[1]) if len(parts) == 2 else parts[1]
        if len(parts) == 3:
            mode = parts[2]
            if not _is_mode(mode):
                raise CliError(f"bad mode specified: {mode}")
    if not inside.startswith("/"):
        raise CliError(f"{inside} is not an absolute path")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": mode}


def _count(text: str) -> int:
    if text == "all":
        return -1
    try:
        return _decimal(text)
    except ValueError:
        raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: invalid syntax') from None


def gpus(text: str) -> dict[str, Any]:
    """`--gpus all`, `--gpus 2`, `--gpus '"device=0,1",capabilities=utility'` as a DeviceRequest."""
    request: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": None, "Options": None}
    seen: set[str] = set()
    for field in fields(text):
        key, equals, value = field.partition("=")
        if key in seen:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        if not equals:
            seen.add("count")
            request["Count"] = _count(key)
        elif key == "driver":
            request["Driver"] = value
        elif key == "count":
            request["Count"] = _count(value)
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = as_map(fields(value))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if "count" not in seen and request["DeviceIDs"] is None:
        request["Count"] = 1
    request["Options"] = request["Options"] or {}
    request["Capabilities"] = request["Capabilities"] or [["gpu"]]
    return request
