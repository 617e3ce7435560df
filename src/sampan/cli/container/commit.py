"""`commit`: an image out of a container's changes."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..references import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _commit(cli: Cli, flags: Flags, args: list[str]) -> int:
    query: dict[str, str | int | list[str] | None] = {
        "container": args[0],
        "comment": flags.text("message"),
        "author": flags.text("author"),
        "changes": flags.many("change"),
        "pause": None if flags.yes("pause") else 0,
    }
    if len(args) > 1 and args[1]:
        reference = parse(args[1])
        if reference.digest:
            raise CliError("refusing to create a tag with a digest reference")
        query["repo"], query["tag"] = reference.name, reference.tag or "latest"
    cli.out(f"{cli.client.post('/commit', query)['Id']}\n")
    return 0


COMMAND = Command(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    _commit,
    least=1,
    most=2,
    interspersed=False,
    aliases=("container commit", "commit"),
    flags=(
        Flag("pause", "bool", "Pause container during commit", short="p", default=True, shown="true"),
        Flag("message", "string", "Commit message", short="m"),
        Flag("author", "string", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', short="a"),
        Flag("change", "list", "Apply Dockerfile instruction to the created image", short="c"),
    ),
)
