"""`build --output`, `--push`, `--load` and `--annotation`: what becomes of the result. The daemon makes it; what has a
place here is fetched from it while the build waits.

Source: buildx util/buildflags/export.go, docs/reference/buildx_build.md ("--output", "--annotation").
"""

from __future__ import annotations

import os
import re

from ..csvline import fields
from ..errors import CliError
from ..output_file import write_atomically, write_stdout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..connection import Response
    from ..flags import Flags
    from ..session import Cli

_TYPES = ("local", "tar", "oci", "docker", "image", "registry")
_ANNOTATION = re.compile(r"(?:([a-z-]+(?:,[a-z-]+)*)?(?:\[([A-Za-z0-9_/-]+)\])?:)?(\S+)")
_PLACES = ("manifest", "index", "manifest-descriptor", "index-descriptor")


class Output:
    """`destination` "" is the daemon's own store. `unpacks`: a directory, not a file."""

    def __init__(self, type: str, destination: str, attributes: dict[str, str]) -> None:
        self.type = type
        self.attributes = attributes
        self.destination = destination
        self.to_stdout = destination == "-"
        self.unpacks = type == "local" or not _flag(attributes, "tar", True)
        attributes.pop("tar", None)
        self.pushes = type in ("image", "registry") and _flag(attributes, "push", type == "registry")

    @property
    def streams(self) -> bool:
        return self.type in ("local", "tar") or bool(self.destination)

    def request(self) -> dict[str, Any]:
        """As the daemon takes it."""
        return {"Type": self.type, "Attrs": self.attributes, "Streams": self.streams}

    def names(self) -> list[str]:
        return [name for name in self.attributes.get("name", "").split(",") if name]

    def take(self, cli: Cli, token: str) -> None:
        """What the build has for this output."""

        def ask() -> Response:
            return cli.client.request("GET", f"/build/exports/{token}")

        if self.unpacks:
            _extract(ask(), self.destination)
        elif self.to_stdout:
            write_stdout(ask())
        else:
            write_atomically(self.destination, ask, "failed to write the output: ")


def _flag(attributes: dict[str, str], name: str, default: bool) -> bool:
    """A name without a value is true."""
    from sampan.golang import boolean

    text = attributes.get(name)
    if text is None:
        return default
    try:
        return boolean(text or "true")
    except ValueError:
        raise CliError(f"ERROR: non-bool value {text} specified for {name}") from None


class _Reader:
    """What `tarfile` reads from: as many bytes as it asks for."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0 and (data := self._response.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


def _extract(response: Response, destination: str) -> None:
    """An archive's files, none outside of `destination`. Python's own `filter` is only there from 3.11.4 on."""
    from ..container.tarreading import unpack

    os.makedirs(destination, exist_ok=True)
    unpack(_Reader(response), destination, lambda name: name, devices=False)
    response.body()


def extract_cache(cli: Cli, token: str, destination: str) -> None:
    """A cache as an OCI layout's directory. Caches of other tags in it stay."""
    from json import dump, load

    place = os.path.join(destination, "index.json")
    name = "org.opencontainers.image.ref.name"

    def entries() -> list[dict[str, Any]]:
        try:
            with open(place, encoding="utf-8") as file:
                found = load(file).get("manifests")
        except (OSError, ValueError, AttributeError):
            return []
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    before = entries()
    _extract(cli.client.request("GET", f"/build/exports/{token}"), destination)
    now = entries()
    tags = {(one.get("annotations") or {}).get(name) for one in now}
    if others := [one for one in before if (one.get("annotations") or {}).get(name) not in tags]:
        media_type = "application/vnd.oci.image.index.v1+json"
        with open(f"{place}.new", "w", encoding="utf-8") as file:
            dump({"schemaVersion": 2, "mediaType": media_type, "manifests": [*others, *now]}, file)
        os.replace(f"{place}.new", place)


def outputs(flags: Flags) -> list[Output]:
    """Empty is the image alone. Raises `CliError`."""
    found = [_output(text) for text in flags.many("output")]
    if flags.yes("push"):
        found = _pushed(flags, found)
    if flags.yes("load") and not any(output.type == "docker" for output in found):
        found.append(Output("docker", "", {}))
    _annotate(found, flags)
    if sum(output.to_stdout for output in found) > 1:
        raise CliError("ERROR: only one output can go to stdout")
    return found


def _pushed(flags: Flags, found: list[Output]) -> list[Output]:
    """`--push`: into every image output, or one of its own."""
    images = [output for output in found if output.type in ("image", "registry")]
    for output in images:
        output.attributes["push"] = "true"
        output.pushes = True
    return found if images else [*found, Output("image", "", {"push": "true"})]


def _annotate(found: list[Output], flags: Flags) -> None:
    texts = flags.many("annotation")
    if not texts:
        return
    if not found:
        found.append(Output("image", "", {}))
    images = [output for output in found if output.type not in ("local", "tar")]
    for text in texts:
        for name, value in annotation(text):
            for output in images:
                output.attributes[name] = value


def annotation(text: str) -> list[tuple[str, str]]:
    """`[TYPE,…][[PLATFORM]]:KEY=VALUE` as an exporter's attributes."""
    key, equals, value = text.partition("=")
    if not equals:
        raise CliError(f'ERROR: invalid annotation "{text}": expected key=value')
    match = _ANNOTATION.fullmatch(key)
    if match is None:
        raise CliError(f"ERROR: invalid annotation format, expected <type>:<key>=<value>, got {text}")
    found = []
    for place in (match[1] or "manifest").split(","):
        if place not in _PLACES:
            raise CliError(f'ERROR: unknown annotation type "{place}"')
        found.append((f"annotation-{place}" + (f"[{match[2]}]" if match[2] else "") + f".{match[3]}", value))
    return found


def _output(text: str) -> Output:
    if "=" not in text:
        kind, destination, attributes = ("tar", "-", {}) if text == "-" else ("local", text, {})
    else:
        values = {}
        for part in fields(text):
            key, equals, value = part.partition("=")
            if not equals:
                raise CliError(f"ERROR: invalid value {part}")
            values[key.strip().lower() if not key.startswith("annotation") else key] = value
        kind, destination = values.pop("type", ""), values.pop("dest", "")
        attributes = values
    if not kind:
        raise CliError("ERROR: type is required for output")
    if kind not in _TYPES:
        raise CliError(f"ERROR: --output type {kind} is not supported; there are {', '.join(_TYPES)}")
    if kind in ("image", "registry") and destination:
        raise CliError(f"ERROR: dest is not supported for {kind} exporter")
    if kind == "local" and not destination:
        raise CliError("ERROR: dest is required for local exporter")
    if kind in ("oci", "tar") and not destination:
        destination = "-"
    made = Output(kind, destination, attributes)
    if destination == "-":
        if made.unpacks:
            raise CliError(f"ERROR: dest cannot be stdout for {kind} exporter")
        if os.isatty(1):
            raise CliError(f"ERROR: dest file is required for {kind} exporter. refusing to write to console")
    return made
