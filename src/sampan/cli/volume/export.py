"""`volume export`: a volume's content as a tar archive. Not in docker; the name and flag are podman's."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..http import quote
from ..output_file import write_atomically, write_stdout
from ..terminal import is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..connection import Response
    from ..flags import Flags
    from ..session import Cli


def _export(cli: Cli, flags: Flags, args: list[str]) -> int:
    def ask() -> Response:
        return cli.client.request("GET", f"/volumes/{quote(args[0])}/export")

    output = flags.text("output")
    if output:
        write_atomically(output, ask, "failed to export volume: ")
        return 0
    if is_terminal(1):
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    write_stdout(ask())
    return 0


COMMAND = Command(
    "[OPTIONS] VOLUME",
    _export,
    least=1,
    most=1,
    flags=(Flag("output", "string", "Write to a file, instead of STDOUT", short="o"),),
)
