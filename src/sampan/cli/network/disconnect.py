"""`network disconnect`."""

from __future__ import annotations

from ..commands import Command
from ..flags import Flag
from ..http import quote as escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _disconnect(cli: Cli, flags: Flags, args: list[str]) -> int:
    body = {"Container": args[1], "Force": flags.yes("force")}
    cli.client.request("POST", f"/networks/{escape(args[0])}/disconnect", body=body).body()
    return 0


COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _disconnect,
    least=2,
    most=2,
    flags=(Flag("force", "bool", "Force the container to disconnect from a network", short="f"),),
)
