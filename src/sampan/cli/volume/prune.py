"""`volume prune`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..filters import filter_flag
from ..flags import Flag
from ..pruning import confirmed, prune_filters, prune_volumes, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _prune(cli: Cli, flags: Flags, args: list[str]) -> int:
    pairs = prune_filters(cli, flags.many("filter"))
    which = "anonymous local volumes"
    if not cli.client.at_least("1.42"):  # before, named volumes went too
        which = "all local volumes"
    elif flags.yes("all"):
        if any(key == "all" for key, _ in pairs):
            raise CliError("conflicting options: cannot specify both --all and --filter all=1")
        pairs.append(("all", "true"))
        which = "all local volumes"
    warning = f"WARNING! This will remove {which} not used by at least one container."
    if not flags.yes("force") and not confirmed(cli, warning):
        return 0
    tell(cli, prune_volumes(cli, pairs))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _prune,
    most=0,
    flags=(
        Flag("all", "bool", "Remove all unused volumes, not just anonymous ones", short="a"),
        Flag("force", "bool", "Do not prompt for confirmation", short="f"),
        filter_flag('Provide filter values (e.g. "label=<label>")', short=""),
    ),
)
