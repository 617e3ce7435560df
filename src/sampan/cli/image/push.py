"""`push`: an image to a registry."""

from __future__ import annotations

import sys

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..http import quote as escape
from ..progress import show
from ..references import parse
from .platform import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from ..flags import Flags
    from ..references import Reference
    from ..session import Cli


def _push(cli: Cli, flags: Flags, args: list[str]) -> int:
    platform = encoded(flags.text("platform"), "")
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
    if reference.digest:
        raise CliError("cannot push a digest reference")
    push(cli, reference, "" if all_tags else reference.tag, platform, None if quiet else sys.stdout)
    if quiet:
        cli.out(f"{reference}\n")
    return 0


def push(cli: Cli, reference: Reference, tag: str, platform: str | None, out: TextIO | None) -> None:
    """Push one tag, all tags of a repository for ""; tells on `out` how it goes."""
    headers = {"X-Registry-Auth": cli.config.registry_auth(reference.domain)}
    path = f"/images/{escape(reference.name, safe='/:')}/push"
    response = cli.client.request("POST", path, {"tag": tag, "platform": platform}, headers=headers)
    show(response.documents(), out)


COMMAND = Command(
    "[OPTIONS] NAME[:TAG]",
    _push,
    least=1,
    most=1,
    aliases=("image push", "push"),
    flags=(
        Flag("all-tags", "bool", "Push all tags of an image to the repository", short="a"),
        Flag("quiet", "bool", "Suppress verbose output", short="q"),
        Flag(
            "platform",
            "string",
            "Push a platform-specific manifest as a single-platform image to the registry.\n"
            "Image index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n"
            "'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
        ),
        Flag("disable-content-trust", "bool", "Skip image signing", default=True, shown="true", hidden=True),
    ),
)
