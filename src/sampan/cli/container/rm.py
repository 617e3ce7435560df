"""`sampan rm`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from .each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _rm(cli: Cli, flags: Flags, names: list[str]) -> int:
    force = flags.yes("force")
    query = {
        "force": force or None,
        "link": flags.yes("link") or None,
        "v": flags.yes("volumes") or None,
    }
    named = [name for name in names if name.strip("/")]
    problems = ["container name cannot be empty"] * (len(names) - len(named))

    try:
        return for_each(cli, named, "DELETE", "", query, problems)
    except CliError as error:
        # `rm -f` of what is not there is no failure, but is told
        if force and not problems and all("No such container" in line for line in error.message.split("\n")):
            cli.err(f"{error.message}\n")
            return 0
        raise


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _rm,
    least=1,
    aliases=("container rm", "container remove", "rm"),
    flags=(
        Flag("volumes", "bool", "Remove anonymous volumes associated with the container", short="v"),
        Flag("link", "bool", "Remove the specified link", short="l"),
        Flag("force", "bool", "Force the removal of a running container (uses SIGKILL)", short="f"),
    ),
)
