"""`network prune`."""

from __future__ import annotations

from ..commands import Command
from ..filters import filter_flag
from ..flags import Flag
from ..pruning import confirmed, prune_filters, prune_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _prune(cli: Cli, flags: Flags, args: list[str]) -> int:
    pairs = prune_filters(cli, flags.many("filter"))
    warning = "WARNING! This will remove all custom networks not used by at least one container."
    if not flags.yes("force") and not confirmed(cli, warning):
        return 0
    _, text = prune_networks(cli, pairs)
    if text:
        cli.out(f"{text}\n")
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
