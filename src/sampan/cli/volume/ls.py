"""`volume ls`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..filters import encode, filter_flag
from ..flags import Flag
from ..format import FORMAT_HELP, columns, natural_key, render
from .row import HEADERS, VolumeRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def volume_format(format: str, quiet: bool) -> str:
    """What `table` and `raw` stand for."""
    if format == "table":
        return "{{.Name}}" if quiet else columns("Driver Name")
    if format == "raw":
        return "name: {{.Name}}" if quiet else "name: {{.Name}}\\ndriver: {{.Driver}}\\n"
    return format


def _list(cli: Cli, flags: Flags, args: list[str]) -> int:
    if flags.yes("cluster"):
        raise CliError("--cluster is not supported: there is no Swarm")
    found = (cli.client.get("/volumes", {"filters": encode(flags.many("filter"))}) or {}).get("Volumes") or []
    quiet = flags.yes("quiet")
    format = flags.text("format")
    if not format:
        configured = cli.config.text("volumesFormat") if cli.has_config and not quiet else ""
        format = configured or "table"
    found.sort(key=lambda volume: natural_key(volume["Name"]))
    cli.out(render(volume_format(format, quiet), (VolumeRow(volume) for volume in found), HEADERS))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _list,
    most=0,
    aliases=("volume ls", "volume list"),
    flags=(
        Flag("quiet", "bool", "Only display volume names", short="q"),
        Flag("format", "string", FORMAT_HELP),
        filter_flag('Provide filter values (e.g. "dangling=true")'),
        Flag("cluster", "bool", "Display only cluster volumes, and use cluster volume list formatting", hidden=True),
    ),
)
