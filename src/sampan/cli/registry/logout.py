"""`logout`: forget a registry's credentials."""

from __future__ import annotations

from ..commands import Command
from ..config import HUB
from .stored import erase, hostname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _logout(cli: Cli, flags: Flags, args: list[str]) -> int:
    server = args[0] if args and args[0] else HUB
    cli.out(f"Removing login credentials for {server if server == HUB else hostname(server)}\n")
    erase(cli, server)
    return 0


COMMAND = Command(
    "[SERVER]",
    _logout,
    most=1,
    long="Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
)
