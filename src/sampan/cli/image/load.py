"""`load`: images from an archive."""

from __future__ import annotations

import os
import sys

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..progress import show
from .platform import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..flags import Flags
    from ..session import Cli

_CHUNK = 1 << 18


def chunks(descriptor: int) -> Iterator[bytes]:
    """What can be read from a file descriptor, as it comes."""
    while data := os.read(descriptor, _CHUNK):
        yield data


def open_for_reading(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None


def _load(cli: Cli, flags: Flags, args: list[str]) -> int:
    path = flags.text("input")
    if not path and os.isatty(0):
        raise CliError("requested load from stdin, but stdin is empty")
    platform = encoded(flags.text("platform"))
    descriptor = open_for_reading(path) if path else 0
    query = {
        "quiet": 1 if flags.yes("quiet") or not os.isatty(1) else 0,
        "platform": platform,
    }
    try:
        response = cli.client.request(
            "POST",
            "/images/load",
            query,
            stream=chunks(descriptor),
            headers={"Content-Type": "application/x-tar"},
        )
        if response.headers.get("content-type", "").startswith("application/json"):
            show(response.documents(), sys.stdout)
            return 0
        while data := response.read():
            sys.stdout.buffer.write(data)
    finally:
        if path:
            os.close(descriptor)
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _load,
    most=0,
    aliases=("image load", "load"),
    flags=(
        Flag("input", "string", "Read from tar archive file, instead of STDIN", short="i"),
        Flag("quiet", "bool", "Suppress the load output", short="q"),
        Flag(
            "platform",
            "string",
            'Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
        ),
    ),
)
