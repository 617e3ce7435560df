"""`image inspect`."""

from __future__ import annotations

from ..commands import Command
from ..flags import Flag
from ..format import INSPECT_FORMAT_HELP
from ..inspecting import inspect
from ..system.inspect import fetch_one
from .platform import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _inspect(cli: Cli, flags: Flags, names: list[str]) -> int:
    platform = encoded(flags.text("platform"))
    return inspect(cli, names, flags.text("format"), lambda name: fetch_one(cli, "image", name, platform=platform))


COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _inspect,
    least=1,
    flags=(
        Flag("format", "string", INSPECT_FORMAT_HELP, short="f"),
        Flag(
            "platform",
            "string",
            "Inspect a specific platform of the multi-platform image.\n"
            "If the image or the server is not multi-platform capable, the command will error out if the platform does "
            "not match.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
        ),
    ),
)
