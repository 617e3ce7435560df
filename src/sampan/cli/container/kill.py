"""`sampan kill`."""

from __future__ import annotations

from ..commands import Command
from ..flags import Flag
from .each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _kill(cli: Cli, flags: Flags, names: list[str]) -> int:
    return for_each(cli, names, "POST", "/kill", {"signal": flags.text("signal")})


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _kill,
    least=1,
    aliases=("container kill", "kill"),
    flags=(Flag("signal", "string", "Signal to send to the container", short="s"),),
)
