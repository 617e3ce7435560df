"""`network rm`."""

from __future__ import annotations

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..http import quote as escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _remove(cli: Cli, flags: Flags, names: list[str]) -> int:
    failed = False
    for name in names:
        try:
            cli.client.delete(f"/networks/{escape(name)}")
        except ApiError as error:
            if flags.yes("force") and error.status == 404:
                continue
            cli.err(f"{error.message}\n")
            failed = True
            continue
        cli.out(f"{name}\n")
    if failed:
        raise CliError("exit status 1")
    return 0


COMMAND = Command(
    "NETWORK [NETWORK...]",
    _remove,
    least=1,
    aliases=("network rm", "network remove"),
    flags=(Flag("force", "bool", "Do not error if the network does not exist", short="f"),),
)
