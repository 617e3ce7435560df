"""`pause` and `unpause`: the cgroup freezer on and off."""

from __future__ import annotations

from ..commands import Command
from .each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _pause(cli: Cli, flags: Flags, names: list[str]) -> int:
    return for_each(cli, names, "POST", "/pause")


def _unpause(cli: Cli, flags: Flags, names: list[str]) -> int:
    return for_each(cli, names, "POST", "/unpause")


PAUSE = Command("CONTAINER [CONTAINER...]", _pause, least=1, aliases=("container pause", "pause"))
UNPAUSE = Command("CONTAINER [CONTAINER...]", _unpause, least=1, aliases=("container unpause", "unpause"))
