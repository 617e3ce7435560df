"""`pull`: an image from a registry."""

from __future__ import annotations

import os
import sys

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..pulling import pull
from ..references import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _pull(cli: Cli, flags: Flags, args: list[str]) -> int:
    if not flags.yes("disable-content-trust"):
        raise CliError("content trust is not supported")
    reference = parse(args[0])
    all_tags, quiet = flags.yes("all-tags"), flags.yes("quiet")
    if all_tags and not reference.name_only:
        raise CliError("tag can't be used with --all-tags/-a")
    if not all_tags and reference.name_only:
        reference.tag = "latest"
        if not quiet:
            cli.out("Using default tag: latest\n")
    pull(
        cli,
        reference,
        platform=flags.text("platform"),
        all_tags=all_tags,
        out=None if quiet else sys.stdout,
        referrers=flags.yes("referrers"),
    )
    cli.out(f"{reference}\n")
    return 0


COMMAND = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    _pull,
    least=1,
    most=1,
    aliases=("image pull", "pull"),
    flags=(
        Flag("all-tags", "bool", "Download all tagged images in the repository", short="a"),
        Flag("quiet", "bool", "Suppress verbose output", short="q"),
        Flag(
            "platform",
            "string",
            "Set platform if server is multi-platform capable",
            default=os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
        ),
        Flag("referrers", "bool", "Also pull signatures, SBOMs and the like; a push takes them along"),
        Flag("disable-content-trust", "bool", "Skip image verification", default=True, shown="true", hidden=True),
    ),
)
