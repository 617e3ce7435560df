"""`ps`, `container ls`: the containers there are."""

from __future__ import annotations

import time

from ..commands import Command
from ..errors import CliError
from ..filters import encode, filter_flag
from ..flags import Flag
from ..format import FORMAT_HELP, columns, render
from .row import HEADERS, ContainerRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

_COLUMNS = "ID Image Command RunningFor Status Ports Names"
_RAW = """container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
"""


def container_format(format: str, quiet: bool, size: bool) -> str:
    """What `table`, `raw` and "" stand for."""
    if format == "raw":
        return "container_id: {{.ID}}" if quiet else _RAW + ("size: {{.Size}}\\n" if size else "")
    if quiet:
        return "{{.ID}}"
    return columns(_COLUMNS + " Size" * size) if format in ("", "table") else format


def _asks_for_size(format: str) -> bool:
    """Try the format out on no container, as docker does; CliError for one that cannot work."""
    if format in ("table", "json", "raw"):
        return False  # plain words to the template engine: they name no field
    from ..template import Template, TemplateError

    probe = ContainerRow({}, False, 0)
    try:
        template = Template(format)
    except TemplateError as error:
        raise CliError(f"failed to parse template: {error}") from None
    try:
        template.render(probe)
    except TemplateError as error:
        raise CliError(f"failed to execute template: {error}") from None
    return probe.size_used


def _ps(cli: Cli, flags: Flags, args: list[str]) -> int:
    format, quiet, size = flags.text("format"), flags.yes("quiet"), flags.yes("size")
    if not format:
        format = cli.config.text("psFormat") if cli.has_config else ""
    elif quiet:
        cli.err("WARNING: Ignoring custom format, because both --format and --quiet are set.\n")
    if format and _asks_for_size(format) and not quiet and not flags.changed("size"):
        size = True
    last = flags.number("last")
    if flags.yes("latest") and last == -1:
        last = 1
    query = {
        "all": True if flags.yes("all") else None,
        "limit": last if last > 0 else None,
        "size": True if size else None,
        "filters": encode(flags.many("filter")),
    }
    found = cli.client.get("/containers/json", query) or []
    now = int(time.time())
    trunc = not flags.yes("no-trunc")
    rows = (ContainerRow(summary, trunc, now) for summary in found)
    cli.out(render(container_format(format, quiet, size), rows, HEADERS))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _ps,
    most=0,
    aliases=("container ls", "container list", "container ps", "ps"),
    flags=(
        Flag("quiet", "bool", "Only display container IDs", short="q"),
        Flag("size", "bool", "Display total file sizes", short="s"),
        Flag("all", "bool", "Show all containers (default shows just running)", short="a"),
        Flag("no-trunc", "bool", "Don't truncate output"),
        Flag("latest", "bool", "Show the latest created container (includes all states)", short="l"),
        Flag("last", "int", "Show n last created containers (includes all states)", short="n", default=-1, shown="-1"),
        Flag("format", "string", FORMAT_HELP),
        filter_flag(),
    ),
)
