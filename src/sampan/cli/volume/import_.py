"""`volume import`: a tar archive into a volume that exists. Not in docker; the name is podman's."""

from __future__ import annotations

import os

from ..commands import Command
from ..errors import CliError
from ..http import quote
from ..image.load import chunks, open_for_reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _import(cli: Cli, flags: Flags, args: list[str]) -> int:
    source = args[1] if len(args) > 1 else "-"
    if source == "-" and os.isatty(0):
        raise CliError("requested import from stdin, but stdin is empty")
    descriptor = open_for_reading(source) if source != "-" else 0
    try:
        cli.client.request(
            "POST",
            f"/volumes/{quote(args[0])}/import",
            stream=chunks(descriptor),
            headers={"Content-Type": "application/x-tar"},
        ).read()
    finally:
        if source != "-":
            os.close(descriptor)
    return 0


COMMAND = Command("VOLUME [FILE|-]", _import, least=1, most=2)
