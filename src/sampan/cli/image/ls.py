"""`images`, `image ls`."""

from __future__ import annotations

import time

from sampan.golang import quote

from ..commands import Command
from ..errors import CliError
from ..filters import encode, filter_flag
from ..flags import Flag
from ..format import FORMAT_HELP, columns, is_table, render
from .row import HEADERS, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

_SUBCOMMANDS = (
    "build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm", "save", "tag",
)  # fmt: skip
"""What people mean by `images NAME` when no image has that name."""


def image_format(format: str, quiet: bool, digests: bool) -> str:
    """What `table` and `raw` stand for."""
    if format == "table":
        if quiet:
            return "{{.ID}}"
        return columns(f"Repository Tag {'Digest ' if digests else ''}ID CreatedSince Size")
    if format == "raw":
        if quiet:
            return "image_id: {{.ID}}"
        digest = "digest: {{.Digest}}\n" if digests else ""
        return (
            f"repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\n{digest}"
            "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
        )
    if is_table(format) and digests and "{{.Digest}}" not in format:
        return format + "\t{{.Digest}}"
    return format


def _tree(cli: Cli, flags: Flags, name: str) -> int:
    from . import tree

    tree.check(flags)
    if not cli.client.at_least("1.47"):
        version = cli.client.negotiate()
        raise CliError(f'"--tree" requires API version 1.47, but the Docker daemon API version is {version}')
    pairs = flags.many("filter") + ([("reference", name)] if name else [])
    query = {"all": True if flags.yes("all") else None, "filters": encode(pairs), "manifests": 1}
    found = cli.client.get("/images/json", query) or []
    cli.out(tree.tree(found, flags.yes("all"), *tree.screen()))
    return 0


def _list(cli: Cli, flags: Flags, args: list[str]) -> int:
    name = args[0] if args else ""
    if flags.yes("tree"):
        return _tree(cli, flags, name)
    quiet, digests = flags.yes("quiet"), flags.yes("digests")
    pairs = flags.many("filter") + ([("reference", name)] if name else [])
    query = {"all": True if flags.yes("all") else None, "filters": encode(pairs)}
    found = cli.client.get("/images/json", query) or []
    format = flags.text("format")
    if not format:
        configured = cli.config.text("imagesFormat") if cli.has_config and not quiet else ""
        format = configured or "table"
    format = image_format(format, quiet, digests)
    trunc, now = not flags.yes("no-trunc"), int(time.time())
    digest_shown = digests or "{{.Digest}}" in format
    cli.out(
        render(format, (row for summary in found for row in rows(summary, trunc, now, digests, digest_shown)), HEADERS)
    )
    if name in _SUBCOMMANDS and not found and cli.path == "sampan images":
        cli.err(f'\nNo images found matching {quote(name)}: did you mean "sampan image {name}"?\n')
    return 0


_FLAGS = (
    Flag("quiet", "bool", "Only show image IDs", short="q"),
    Flag("all", "bool", "Show all images (default hides intermediate images)", short="a"),
    Flag("no-trunc", "bool", "Don't truncate output"),
    Flag("digests", "bool", "Show digests"),
    Flag("format", "string", FORMAT_HELP),
    filter_flag(),
    Flag("tree", "bool", "List multi-platform images as a tree (EXPERIMENTAL)"),
)
_ALIASES = ("image ls", "image list", "images")
IMAGES = Command("[OPTIONS] [REPOSITORY[:TAG]]", _list, most=1, flags=_FLAGS, aliases=_ALIASES)
LS = Command("[OPTIONS] [REPOSITORY[:TAG]]", _list, most=1, flags=_FLAGS, aliases=_ALIASES)
