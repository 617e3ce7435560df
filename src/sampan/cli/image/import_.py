"""`import`: an image out of a tarball of a file system."""

from __future__ import annotations

import os
import sys

from ..commands import Command
from ..flags import Flag
from ..progress import show
from .load import chunks, open_for_reading
from .platform import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _import(cli: Cli, flags: Flags, args: list[str]) -> int:
    source = args[0]
    target = args[1] if len(args) > 1 else ""
    if target:
        from ..references import parse

        parse(target)
    platform = flags.text("platform").lower()
    encoded(platform, "")
    query: dict[str, str | list[str] | None] = {
        "fromSrc": "-",
        "repo": target,
        "message": flags.text("message"),
        "changes": flags.many("change"),
        "platform": platform,
    }
    if source.startswith(("http://", "https://")):
        query["fromSrc"] = source
        show(cli.client.request("POST", "/images/create", query).documents(), sys.stdout)
        return 0
    descriptor = 0 if source == "-" else open_for_reading(source)
    try:
        response = cli.client.request("POST", "/images/create", query, stream=chunks(descriptor))
        show(response.documents(), sys.stdout)
    finally:
        if descriptor:
            os.close(descriptor)
    return 0


COMMAND = Command(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    _import,
    least=1,
    aliases=("image import", "import"),
    flags=(
        Flag("change", "list", "Apply Dockerfile instruction to the created image", short="c"),
        Flag("message", "string", "Set commit message for imported image", short="m"),
        Flag(
            "platform",
            "string",
            "Set platform if server is multi-platform capable",
            default=os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
        ),
    ),
)
