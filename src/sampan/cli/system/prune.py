"""`system prune`: everything that nothing uses."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..filters import filter_flag
from ..flags import Flag
from ..format import natural_key
from ..pruning import (
    confirmed,
    prune_build_cache,
    prune_containers,
    prune_filters,
    prune_images,
    prune_networks,
    prune_volumes,
    tell,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..filters import Pair
    from ..flags import Flags
    from ..pruning import Pruned
    from ..session import Cli


def _question(pairs: list[Pair], all_unused: bool, volumes: bool, build_cache: bool) -> str:
    warnings = ["all stopped containers", "all networks not used by at least one container"]
    if volumes:
        warnings.append("all anonymous volumes not used by at least one container")
    warnings.append(
        "all images without at least one container associated to them" if all_unused else "all dangling images"
    )
    if build_cache:
        warnings.append("all build cache" if all_unused else "unused build cache")
    text = "WARNING! This will remove:" + "".join(f"\n  - {warning}" for warning in warnings) + "\n"
    shown = sorted((f"{k}={v}" for k, v in pairs if k in ("label", "label!", "until")), key=natural_key)
    if shown:
        text += "\n  Items to be pruned will be filtered with:" + "".join(f"\n  - {item}" for item in shown) + "\n"
    return text


def _prune(cli: Cli, flags: Flags, args: list[str]) -> int:
    volumes, all_unused = flags.yes("volumes"), flags.yes("all")
    if volumes and any(key == "until" for key, _ in flags.many("filter")):
        raise CliError('ERROR: The "until" filter is not supported with "--volumes"')
    pairs = prune_filters(cli, flags.many("filter"))
    build_cache = cli.client.at_least("1.31")
    if not flags.yes("force") and not confirmed(cli, _question(pairs, all_unused, volumes, build_cache)):
        return 0
    won = 0
    steps: list[Callable[[], Pruned]] = [lambda: prune_containers(cli, pairs), lambda: prune_networks(cli, pairs)]
    if volumes:
        steps.append(lambda: prune_volumes(cli, pairs))
    steps.append(lambda: prune_images(cli, pairs, all_unused))
    if build_cache:
        steps.append(lambda: prune_build_cache(cli, pairs, all_unused))
    for step in steps:
        bytes_won, text = step()
        won += bytes_won
        if text:
            cli.out(f"{text}\n")
    tell(cli, (won, ""))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _prune,
    most=0,
    flags=(
        Flag("force", "bool", "Do not prompt for confirmation", short="f"),
        Flag("all", "bool", "Remove all unused images not just dangling ones", short="a"),
        Flag("volumes", "bool", "Prune anonymous volumes"),
        filter_flag('Provide filter values (e.g. "label=<key>=<value>")', short=""),
    ),
)
