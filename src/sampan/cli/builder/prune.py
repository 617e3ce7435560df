"""`builder prune`: what the build cache need not keep."""

from __future__ import annotations

from ..commands import Command
from ..filters import encode, filter_flag
from ..flags import Flag
from ..pruning import confirmed, prune_filters
from ..units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

_SOME = "WARNING! This will remove all dangling build cache."
_ALL = "WARNING! This will remove all build cache."


def _prune(cli: Cli, flags: Flags, args: list[str]) -> int:
    everything = flags.yes("all")
    if not flags.yes("force") and not confirmed(cli, _ALL if everything else _SOME):
        return 0
    query = {
        "filters": encode(prune_filters(cli, flags.many("filter"))),
        "all": 1 if everything else None,
        "keep-storage": flags.number("keep-storage") or None,
    }
    report = cli.client.post("/build/prune", query) or {}
    gone = report.get("CachesDeleted") or []
    if gone:
        cli.out("Deleted build cache objects:\n" + "".join(f"{name}\n" for name in gone) + "\n")
    cli.out(f"Total reclaimed space: {human_size(report.get('SpaceReclaimed') or 0)}\n")
    return 0


COMMAND = Command(
    "",
    _prune,
    most=0,
    flags=(
        Flag("all", "bool", "Remove all unused build cache, not just dangling ones", short="a"),
        filter_flag('Provide filter values (e.g., "until=24h")', short=""),
        Flag("force", "bool", "Do not prompt for confirmation", short="f"),
        Flag("keep-storage", "bytes", "Amount of disk space to keep for cache"),
    ),
)
