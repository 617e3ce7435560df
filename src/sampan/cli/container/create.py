"""`sampan create`."""

from __future__ import annotations

from ..commands import Command
from .creating import create, read_flags
from .options import CREATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _create(cli: Cli, flags: Flags, args: list[str]) -> int:
    body = read_flags(cli, flags, args)
    cli.out(f"{create(cli, flags, body)}\n")
    return 0


COMMAND = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    _create,
    flags=CREATE,
    least=1,
    interspersed=False,
    aliases=("container create", "create"),
)
