"""`sampan wait`: exit codes, one a line, in the order asked for; 0 for one that has become healthy."""

from __future__ import annotations

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _wait(cli: Cli, flags: Flags, names: list[str]) -> int:
    problems = []
    condition = flags.text("condition")
    if condition == "healthy":
        cli.client.require_sampan("--condition healthy")
    for name in names:
        if not name:
            problems.append("invalid container name or ID: value is empty")
            continue
        try:
            answer = cli.client.post(f"/containers/{quote(name)}/wait", {"condition": condition})
        except ApiError as error:
            problems.append(error.message)
            continue
        problem = (answer.get("Error") or {}).get("Message")
        if problem:
            problems.append(problem)
            continue
        cli.out(f"{answer['StatusCode']}\n")
        cli.flush()
    if problems:
        raise CliError("\n".join(problems))
    return 0


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _wait,
    flags=(
        Flag("condition", "string", 'Wait until the container is "not-running", "next-exit", "removed" or "healthy"'),
    ),
    least=1,
    aliases=("container wait", "wait"),
)
