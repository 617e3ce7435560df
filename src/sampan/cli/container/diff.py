"""`diff`: what a container changed in its image's files."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..http import quote as escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

_KINDS = "CAD"
"""Kinds 0, 1, 2 of the API: modified, added, deleted."""


def _diff(cli: Cli, flags: Flags, args: list[str]) -> int:
    if not args[0]:
        raise CliError("Container name cannot be empty")
    changes = cli.client.get(f"/containers/{escape(args[0])}/changes") or []
    cli.out("".join(f"{_KINDS[change['Kind']]} {change['Path']}\n" for change in changes))
    return 0


COMMAND = Command("CONTAINER", _diff, least=1, most=1, aliases=("container diff", "diff"))
