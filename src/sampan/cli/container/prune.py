"""`sampan container prune`."""

from __future__ import annotations

from ..commands import Command
from ..filters import filter_flag
from ..flags import Flag
from ..pruning import confirmed, prune_containers, prune_filters, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

_WARNING = "WARNING! This will remove all stopped containers."


def _prune(cli: Cli, flags: Flags, args: list[str]) -> int:
    pairs = prune_filters(cli, flags.many("filter"))
    if flags.yes("force") or confirmed(cli, _WARNING):
        tell(cli, prune_containers(cli, pairs))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _prune,
    most=0,
    flags=(
        Flag("force", "bool", "Do not prompt for confirmation", short="f"),
        filter_flag('Provide filter values (e.g. "until=<timestamp>")', short=""),
    ),
)
