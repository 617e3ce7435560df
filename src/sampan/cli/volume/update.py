"""`volume update`: of cluster volumes only, which need a Swarm."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _update(cli: Cli, flags: Flags, args: list[str]) -> int:
    raise CliError("volume update is not supported: only cluster volumes can be updated, and there is no Swarm")


COMMAND = Command(
    "[OPTIONS] VOLUME",
    _update,
    most=1,
    flags=(Flag("availability", "string", 'Cluster Volume availability ("active", "pause", "drain")'),),
)
