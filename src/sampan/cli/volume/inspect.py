"""`volume inspect`."""

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
    return inspect(cli, names, flags.text("format"), lambda name: fetch_one(cli, "volume", name), typed_only=True)


COMMAND = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    _inspect,
    least=1,
    flags=(Flag("format", "string", INSPECT_FORMAT_HELP, short="f"),),
)
