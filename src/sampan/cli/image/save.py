"""`save`: images as an archive."""

from __future__ import annotations

import os

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..output_file import write_atomically, write_stdout
from .platform import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _save(cli: Cli, flags: Flags, names: list[str]) -> int:
    platform = encoded(flags.text("platform"))
    path = flags.text("output")
    if not path and os.isatty(1):
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    query: dict[str, str | list[str] | None] = {"names": names, "platform": platform}
    if path:
        write_atomically(path, lambda: cli.client.request("GET", "/images/get", query), "failed to save image: ")
    else:
        write_stdout(cli.client.request("GET", "/images/get", query))
    return 0


COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _save,
    least=1,
    aliases=("image save", "save"),
    flags=(
        Flag("output", "string", "Write to a file, instead of STDOUT", short="o"),
        Flag(
            "platform",
            "string",
            'Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
        ),
    ),
)
