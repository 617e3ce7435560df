"""`top`: the processes of a container."""

from __future__ import annotations

from ..commands import Command
from ..http import quote as escape
from ..tabs import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _top(cli: Cli, flags: Flags, args: list[str]) -> int:
    query = {"ps_args": " ".join(args[1:])}
    found = cli.client.get(f"/containers/{escape(args[0])}/top", query)
    lines = [found.get("Titles") or [], *(found.get("Processes") or [])]
    cli.out(align("".join("\t".join(line) + "\n" for line in lines), least=20))
    return 0


COMMAND = Command("CONTAINER [ps OPTIONS]", _top, least=1, interspersed=False, aliases=("container top", "top"))
