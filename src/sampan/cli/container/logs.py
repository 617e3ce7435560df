"""`sampan logs`: stdout and stderr kept apart, as they were written."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _logs(cli: Cli, flags: Flags, args: list[str]) -> int:
    from ..streams import copy_output

    name = quote(args[0])
    response = cli.client.request(
        "GET",
        f"/containers/{name}/logs",
        {
            "stdout": 1,
            "stderr": 1,
            "since": _moment(flags, "since"),
            "until": _moment(flags, "until"),
            "timestamps": flags.yes("timestamps") or None,
            "follow": flags.yes("follow") or None,
            "tail": flags.text("tail"),
            "details": flags.yes("details") or None,
        },
    )
    kind = response.headers.get("content-type", "")
    if "multiplexed" in kind:
        tty = False
    elif "raw-stream" in kind and cli.client.at_least("1.42"):
        tty = True
    else:  # daemons before API 1.42 call both raw
        tty = cli.client.get(f"/containers/{name}/json")["Config"]["Tty"]
    copy_output(response, tty=tty, stdout=1, stderr=2)
    return 0


def _moment(flags: Flags, name: str) -> str:
    from ..timestamps import timestamp

    try:
        return timestamp(flags.text(name))
    except CliError as error:
        raise CliError(f'invalid value for "{name}": {error.message}') from None


COMMAND = Command(
    "[OPTIONS] CONTAINER",
    _logs,
    least=1,
    most=1,
    aliases=("container logs", "logs"),
    flags=(
        Flag("follow", "bool", "Follow log output", short="f"),
        Flag(
            "since",
            "string",
            'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
        ),
        Flag(
            "until",
            "string",
            'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
        ),
        Flag("timestamps", "bool", "Show timestamps", short="t"),
        Flag("details", "bool", "Show extra details provided to logs"),
        Flag(
            "tail",
            "string",
            "Number of lines to show from the end of the logs",
            short="n",
            default="all",
            shown='"all"',
        ),
    ),
)
