"""`build --output`: what becomes of the result besides the image that the daemon keeps."""

from __future__ import annotations

import os

from ..csvline import fields
from ..errors import CliError
from ..output_file import write_atomically, write_stdout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Response
    from ..flags import Flags
    from ..session import Cli

_TYPES = ("local", "tar", "oci", "docker", "image")


class Output:
    """`names` are tags that `type=image,name=…` gives. `keeps`: the image is wanted, with or without a name."""

    def __init__(self, type: str, destination: str, names: list[str], tagged: bool) -> None:
        self.type = type
        self.destination = destination
        self.names = names
        self.to_stdout = destination == "-"
        self.keeps = tagged or type == "image" or (type == "docker" and not destination)

    def write(self, cli: Cli, image: str) -> None:
        if self.type == "image" or not self.destination:
            return
        if self.type in ("oci", "docker"):
            self._save(lambda: cli.client.request("GET", f"/images/{image}/get"))
        else:
            self._files(cli, image)
        if not self.keeps and not cli.client.get(f"/images/{image}/json").get("RepoTags"):
            cli.client.delete(f"/images/{image}")

    def _files(self, cli: Cli, image: str) -> None:
        """The root file system, out of a container that never runs."""
        made = cli.client.post("/containers/create", None, {"Image": image, "Cmd": ["-"], "Entrypoint": []})
        try:
            path = f"/containers/{made['Id']}/export"
            if self.type == "tar":
                self._save(lambda: cli.client.request("GET", path))
            else:
                _extract(cli.client.request("GET", path), self.destination)
        finally:
            cli.client.delete(f"/containers/{made['Id']}", {"force": 1})

    def _save(self, ask: Callable[[], Response]) -> None:
        if not self.to_stdout:
            write_atomically(self.destination, ask, "failed to write the output: ")
            return
        if os.isatty(1):
            raise CliError("dest file is required for tar exporter. refusing to write to console")
        write_stdout(ask())


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
    """The image's files, none outside of `destination`. Python's own `filter` for this is only there from 3.11.4 on."""
    from ..container.tarreading import unpack

    os.makedirs(destination, exist_ok=True)
    unpack(_Reader(response), destination, lambda name: name, devices=False)


def outputs(flags: Flags) -> list[Output]:
    """Of `--output`; none is the image alone. Raises `CliError`."""
    found = []
    tagged = bool(flags.many("tag"))
    for text in flags.many("output"):
        if "=" not in text:
            kind, destination, names = ("tar", "-", "") if text == "-" else ("local", text, "")
        else:
            values = dict(part.partition("=")[::2] for part in fields(text))
            kind, destination = values.get("type", ""), values.get("dest", "")
            names = values.get("name", "")
            unknown = set(values) - {"type", "dest", "name", "push", "tar"}
            if unknown or values.get("push") in ("true", "1"):
                raise CliError(f"--output {text} is not supported ({', '.join(sorted(unknown)) or 'push'})")
        if kind not in _TYPES:
            raise CliError(f"--output type {kind or text} is not supported; there are {', '.join(_TYPES)}")
        if kind in ("local", "tar") and not destination:
            raise CliError(f"dest is required for {kind} exporter")
        if kind == "oci" and not destination:
            destination = "-"
        found.append(Output(kind, destination, [name for name in names.split(",") if name], tagged))
    return found
