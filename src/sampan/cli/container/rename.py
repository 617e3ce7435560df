"""`sampan rename`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _rename(cli: Cli, flags: Flags, args: list[str]) -> int:
    old, new = (arg.strip() for arg in args)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    try:
        cli.client.post(f"/containers/{quote(old)}/rename", {"name": new})
    except CliError as error:
        raise CliError(f"{error.message}\nError: failed to rename container named {old}") from None
    return 0


COMMAND = Command("CONTAINER NEW_NAME", _rename, least=2, most=2, aliases=("container rename", "rename"))
