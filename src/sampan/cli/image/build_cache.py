"""`build --cache-from` and `--cache-to`, and the OCI layouts that go along with a build's context.

Source: buildx util/buildflags/cache.go; BuildKit README.md, "Export cache".
"""

from __future__ import annotations

import os

from ..csvline import fields
from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TYPES = ("registry", "local", "inline")


def _entry(option: str, text: str) -> dict[str, str]:
    """`NAME` alone is a registry's reference."""
    if "=" not in text:
        return {"type": "registry", "ref": text}
    values: dict[str, str] = {}
    for part in fields(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise CliError(f"ERROR: invalid value {part}")
        values[key.strip().lower()] = value
    if not values.get("type"):
        raise CliError(f"ERROR: type required form> {text!r}")
    if values["type"] not in _TYPES:
        raise CliError(f"ERROR: {option} type={values['type']} is not supported; there are {', '.join(_TYPES)}")
    return values


def sources(texts: list[str]) -> list[dict[str, str]]:
    """`--cache-from`. A local one that is not there is passed over with a warning by the caller, as BuildKit does."""
    return _entries("--cache-from", texts, "importer", "src")


def targets(texts: list[str]) -> list[dict[str, str]]:
    """`--cache-to`."""
    return _entries("--cache-to", texts, "exporter", "dest")


def _entries(option: str, texts: list[str], who: str, place: str) -> list[dict[str, str]]:
    found = [_entry(option, text) for text in texts]
    if any(values["type"] == "local" and not values.get(place) for values in found):
        raise CliError(f"ERROR: local cache {who} requires {place}")
    return found


def request(values: dict[str, str], source: str = "") -> dict[str, Any]:
    """As the daemon takes it; what is this side's stays here."""
    own = {key: value for key, value in values.items() if key not in ("type", "src", "dest")}
    return {"Type": values["type"], "Attrs": own, "Source": source}


def reachable(directory: str, version: str) -> Callable[[str, bool], bool]:
    """What of an OCI layout need not be sent for one of its images or caches: other images' blobs. Raises `CliError`
    when it is none."""
    from json import load

    def read(name: str) -> dict[str, Any]:
        try:
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                found = load(file)
        except (OSError, ValueError) as error:
            raise CliError(f"ERROR: {directory} is no OCI layout: {name}: {error}") from None
        if not isinstance(found, dict):
            raise CliError(f"ERROR: {directory} is no OCI layout: {name} is no object")
        return found

    wanted = {"index.json", "oci-layout", "blobs", "blobs/sha256"}

    def add(descriptor: dict[str, Any], depth: int) -> None:
        name = f"blobs/sha256/{str(descriptor.get('digest', '')).removeprefix('sha256:')}"
        wanted.add(name)
        kind = str(descriptor.get("mediaType", ""))
        if depth > 4 or not any(word in kind for word in ("manifest", "index")):
            return
        document = read(name)
        for inner in [*document.get("manifests", []), *document.get("layers", []), document.get("config") or {}]:
            if inner:
                add(inner, depth + 1)

    listed = read("index.json").get("manifests", [])
    if version.startswith("sha256:"):
        name = f"blobs/sha256/{version.removeprefix('sha256:')}"
        listed = [one for one in listed if one.get("digest") == version] or [
            {"digest": version, "mediaType": read(name).get("mediaType") or "manifest"}
        ]
    for one in listed:
        add(one, 0)
    return lambda relative, is_directory: relative not in wanted
