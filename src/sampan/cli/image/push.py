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
    from collections.abc import Callable
    from typing import Any, TextIO

    from ..flags import Flags
    from ..references import Reference
    from ..session import Cli

_ONE_PLATFORM = """\
Using --platform pushes only the specified platform manifest of a multi-platform image index.
Other components, like attestations, will not be included.
To push the complete multi-platform image, remove the --platform flag.
"""
_ONLY_ONE = "Not all multiplatform-content is present and only the available single-platform image was pushed"


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
    if platform:
        _note(cli, _ONE_PLATFORM)
    notes: list[str] = []
    try:
        tag = "" if all_tags else reference.tag
        push(cli, reference, tag, platform, None if quiet else sys.stdout, lambda aux: notes.extend(_told(aux)))
        if quiet:
            cli.out(f"{reference}\n")
    finally:
        for note in notes:
            _note(cli, note)
    return 0


def _told(aux: Any) -> list[str]:
    """What a message for programs is worth to people: an index of which only one image could go."""
    if not isinstance(aux, dict) or not aux.get("manifestPushedInsteadOfIndex"):
        return []
    index, pushed = aux["originalIndex"]["digest"], aux["selectedManifest"]["digest"]
    if sys.stdout.isatty():
        index, pushed = f"\033[31m{index}\033[0m", f"\033[32m{pushed}\033[0m"
    return [f"{_ONLY_ONE}\n{index} -> {pushed}"]


def _note(cli: Cli, text: str) -> None:
    """As the docker CLI draws its notes, on a terminal in colours."""
    if not sys.stdout.isatty():
        cli.out("\n Info -> " + text.replace("\n", "\n         ") + "\n")
        return
    head = "\n\033[1m\033[106m\033[30mi\033[0m\033[0m \033[96mInfo \u2192 \033[0m\033[0m"
    text = text.replace("--platform", "\033[1m--platform\033[0m")
    cli.out(head + "\n         ".join(f"\033[3m{line}\033[0m" for line in text.split("\n")) + "\n")


def push(
    cli: Cli,
    reference: Reference,
    tag: str,
    platform: str | None,
    out: TextIO | None,
    on_aux: Callable[[Any], None] | None = None,
) -> None:
    """Push one tag, all tags of a repository for ""; tells on `out` how it goes."""
    headers = {"X-Registry-Auth": cli.config.registry_auth(reference.domain)}
    path = f"/images/{escape(reference.name, safe='/:')}/push"
    response = cli.client.request("POST", path, {"tag": tag, "platform": platform}, headers=headers)
    show(response.documents(), out, on_aux)


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
