"""`tag`: another name for an image."""

from __future__ import annotations

from sampan.golang import quote

from ..commands import Command
from ..errors import CliError
from ..http import quote as escape
from ..references import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _tag(cli: Cli, flags: Flags, args: list[str]) -> int:
    source, target = args
    try:
        parse(source)
    except CliError as error:
        if "64-byte" not in error.message:
            raise CliError(f"Error parsing reference: {quote(source)} is not a valid repository/tag: {error}") from None
    try:
        reference = parse(target)
    except CliError as error:
        raise CliError(f"Error parsing reference: {quote(target)} is not a valid repository/tag: {error}") from None
    if reference.digest:
        raise CliError("refusing to create a tag with a digest reference")
    query = {"repo": reference.name, "tag": reference.tag or "latest"}
    cli.client.request("POST", f"/images/{escape(source, safe='/:@')}/tag", query).body()
    return 0


COMMAND = Command(
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", _tag, least=2, most=2, interspersed=False, aliases=("image tag", "tag")
)
