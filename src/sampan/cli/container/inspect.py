"""`container inspect`."""

from __future__ import annotations

from ..commands import Command
from ..flags import Flag
from ..format import INSPECT_FORMAT_HELP
from ..inspecting import inspect
from ..system.inspect import fetch_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _inspect(cli: Cli, flags: Flags, names: list[str]) -> int:
    size = flags.yes("size")
    return inspect(cli, names, flags.text("format"), lambda name: fetch_one(cli, "container", name, size=size))


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _inspect,
    least=1,
    flags=(
        Flag("format", "string", INSPECT_FORMAT_HELP, short="f"),
        Flag("size", "bool", "Display total file sizes", short="s"),
    ),
)
