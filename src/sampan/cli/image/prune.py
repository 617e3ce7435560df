"""`image prune`."""

from __future__ import annotations

from ..commands import Command
from ..filters import filter_flag
from ..flags import Flag
from ..pruning import confirmed, prune_filters, prune_images, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _prune(cli: Cli, flags: Flags, args: list[str]) -> int:
    pairs = prune_filters(cli, flags.many("filter"))
    all_unused = flags.yes("all")
    which = "images without at least one container associated to them" if all_unused else "dangling images"
    if not flags.yes("force") and not confirmed(cli, f"WARNING! This will remove all {which}."):
        return 0
    tell(cli, prune_images(cli, pairs, all_unused))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _prune,
    most=0,
    flags=(
        Flag("force", "bool", "Do not prompt for confirmation", short="f"),
        Flag("all", "bool", "Remove all unused images, not just dangling ones", short="a"),
        filter_flag('Provide filter values (e.g. "until=<timestamp>")', short=""),
    ),
)
