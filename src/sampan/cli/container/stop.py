"""`sampan stop` and `sampan restart`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from .each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _stopping(cli: Cli, flags: Flags, names: list[str], verb: str) -> int:
    if flags.changed("time") and flags.changed("timeout"):
        raise CliError("conflicting options: cannot specify both --timeout and --time")
    seconds = next((str(flags.number(name)) for name in ("timeout", "time") if flags.changed(name)), None)
    query = {"t": seconds, "signal": flags.text("signal")}
    return for_each(cli, names, "POST", f"/{verb}", query)


def _stop(cli: Cli, flags: Flags, names: list[str]) -> int:
    return _stopping(cli, flags, names, "stop")


def _restart(cli: Cli, flags: Flags, names: list[str]) -> int:
    return _stopping(cli, flags, names, "restart")


_FLAGS = (
    Flag("signal", "string", "Signal to send to the container", short="s"),
    Flag("timeout", "int", "Seconds to wait before killing the container", short="t"),
    Flag("time", "int", "Seconds to wait before killing the container", deprecated="use --timeout instead"),
)

STOP = Command("[OPTIONS] CONTAINER [CONTAINER...]", _stop, flags=_FLAGS, least=1, aliases=("container stop", "stop"))
RESTART = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]", _restart, flags=_FLAGS, least=1, aliases=("container restart", "restart")
)
