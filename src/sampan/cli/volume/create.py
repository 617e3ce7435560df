"""`volume create`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..keyvalues import label, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _create(cli: Cli, flags: Flags, args: list[str]) -> int:
    name = flags.text("name")
    if args:
        if name:
            raise CliError(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
            )
        name = args[0]
    body = {
        "Driver": flags.text("driver"),
        "DriverOpts": pairs(flags.many("opt")),
        "Labels": pairs(flags.many("label")),
        "Name": name,
    }
    cli.out(f"{cli.client.post('/volumes/create', body=body)['Name']}\n")
    return 0


COMMAND = Command(
    "[OPTIONS] [VOLUME]",
    _create,
    most=1,
    flags=(
        Flag("driver", "string", "Specify volume driver name", short="d", default="local", shown='"local"'),
        Flag("name", "string", "Specify volume name", hidden=True),
        Flag("opt", "map", "Set driver specific options", short="o", shown="map[]"),
        Flag("label", "list", "Set metadata for a volume", parse=label),
    ),
)
