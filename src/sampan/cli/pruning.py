"""The `prune` commands of containers, images, networks and volumes, which `system prune` runs together."""

from __future__ import annotations

import sys

from .filters import encode, with_configured
from .units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .filters import Pair
    from .session import Cli

Pruned = tuple[int, str]
"""Bytes won, and the text that tells what went."""


def confirmed(cli: Cli, warning: str) -> bool:
    """Warn and ask on stdout; only y or Y is a yes. A no ends the command without a word and with exit code 0."""
    cli.out(f"{warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "y"


def prune_filters(cli: Cli, pairs: Sequence[Pair]) -> list[Pair]:
    configured = cli.config.values.get("pruneFilters") if cli.has_config else None
    return with_configured(pairs, configured)


def _prune(cli: Cli, path: str, pairs: Sequence[Pair]) -> dict[str, object]:
    report: dict[str, object] = cli.client.post(path, {"filters": encode(pairs)}) or {}
    return report


def _listed(report: dict[str, object], key: str, title: str) -> Pruned:
    gone = report.get(key)
    if not isinstance(gone, list) or not gone:
        return 0, ""
    won = report.get("SpaceReclaimed")
    return won if isinstance(won, int) else 0, f"{title}:\n" + "".join(f"{name}\n" for name in gone)


def prune_containers(cli: Cli, pairs: Sequence[Pair]) -> Pruned:
    return _listed(_prune(cli, "/containers/prune", pairs), "ContainersDeleted", "Deleted Containers")


def prune_networks(cli: Cli, pairs: Sequence[Pair]) -> Pruned:
    return _listed(_prune(cli, "/networks/prune", pairs), "NetworksDeleted", "Deleted Networks")


def prune_volumes(cli: Cli, pairs: Sequence[Pair]) -> Pruned:
    return _listed(_prune(cli, "/volumes/prune", pairs), "VolumesDeleted", "Deleted Volumes")


def prune_images(cli: Cli, pairs: Sequence[Pair], all_unused: bool) -> Pruned:
    report = _prune(cli, "/images/prune", [*pairs, ("dangling", "false" if all_unused else "true")])
    gone = report.get("ImagesDeleted")
    if not isinstance(gone, list) or not gone:
        return 0, ""
    text = "Deleted Images:\n"
    for item in gone:
        text += f"untagged: {item['Untagged']}\n" if item.get("Untagged") else f"deleted: {item.get('Deleted', '')}\n"
    won = report.get("SpaceReclaimed")
    return won if isinstance(won, int) else 0, text


def prune_build_cache(cli: Cli, pairs: Sequence[Pair], all_unused: bool) -> Pruned:
    query = {"filters": encode(pairs), "all": 1 if all_unused else None}
    report = cli.client.post("/build/prune", query) or {}
    gone = report.get("CachesDeleted") or []
    if not gone:
        return report.get("SpaceReclaimed") or 0, ""
    return report.get("SpaceReclaimed") or 0, "Deleted build cache objects:\n" + "".join(f"{name}\n" for name in gone)


def tell(cli: Cli, pruned: Pruned) -> None:
    won, text = pruned
    if text:
        cli.out(f"{text}\n")
    cli.out(f"Total reclaimed space: {human_size(won)}\n")
