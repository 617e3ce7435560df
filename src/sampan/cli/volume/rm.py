"""`volume rm`."""

from __future__ import annotations

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..http import quote as escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _remove(cli: Cli, flags: Flags, names: list[str]) -> int:
    query = {"force": 1 if flags.yes("force") else None}
    problems = []
    for name in names:
        try:
            cli.client.delete(f"/volumes/{escape(name)}", query)
        except ApiError as error:
            problems.append(error.message)
            continue
        cli.out(f"{name}\n")
    if problems:
        raise CliError("\n".join(problems))
    return 0


COMMAND = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    _remove,
    least=1,
    aliases=("volume rm", "volume remove"),
    long="Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    flags=(Flag("force", "bool", "Force the removal of one or more volumes", short="f"),),
)
