"""`inspect`: the first thing of that name among containers, images, networks and volumes, or of the type asked for."""

from __future__ import annotations

from sampan.golang import quote

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..format import INSPECT_FORMAT_HELP
from ..http import quote as escape
from ..inspecting import Found, inspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

_TYPES = ["config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"]
_LOOKED_UP = ("container", "image", "network", "volume", "plugin")


def fetch_one(
    cli: Cli, kind: str, name: str, *, size: bool = False, verbose: bool = False, platform: str | None = None
) -> Found:
    """The JSON of one object of the type `kind`; ApiError when there is none."""
    place = escape(name, safe="/:@")
    if kind == "container":
        query: dict[str, str | int | None] = {"size": 1 if size else None}
        return "container.InspectResponse", cli.client.request("GET", f"/containers/{place}/json", query).body()
    if kind == "image":
        query = {"platform": platform}
        return "image.InspectResponse", cli.client.request("GET", f"/images/{place}/json", query).body()
    if kind == "network":
        query = {"verbose": True if verbose else None}
        return "network.Inspect", cli.client.request("GET", f"/networks/{place}", query).body()
    if kind == "volume":
        return "volume.Volume", cli.client.request("GET", f"/volumes/{place}").body()
    # swarm's objects and plugins: the daemon says that it has none of them
    path = f"/plugins/{place}/json" if kind == "plugin" else f"/{kind}s/{place}"
    return "any", cli.client.request("GET", path).body()


def _skippable(error: ApiError) -> bool:
    """An error that only says that there is no such thing of this type."""
    return (
        error.status == 404
        or error.status == 501
        or "not supported" in error.message
        or "invalid reference format" in error.message
    )


def _inspect(cli: Cli, flags: Flags, names: list[str]) -> int:
    wanted = flags.text("type")
    choices = ", ".join(f'"{name}"' for name in _TYPES)
    if flags.changed("type") and not wanted:
        raise CliError(f"type is empty: must be one of {choices}")
    if wanted and wanted not in _TYPES:
        raise CliError(f"unknown type: {quote(wanted)}: must be one of {choices}")
    size = flags.yes("size")

    def fetch(name: str) -> Found:
        for kind in (wanted,) if wanted else _LOOKED_UP:
            try:
                found = fetch_one(cli, kind, name, size=size)
            except ApiError as error:
                if wanted or not _skippable(error):
                    raise
                continue
            if size and kind != "container":
                cli.err(f"WARNING: --size ignored for {kind}\n")
            return found
        raise CliError(f"Error: No such object: {name}")

    return inspect(cli, names, flags.text("format"), fetch)


COMMAND = Command(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    _inspect,
    least=1,
    flags=(
        Flag("format", "string", INSPECT_FORMAT_HELP, short="f"),
        Flag("type", "string", "Only inspect objects of the given type"),
        Flag("size", "bool", "Display total file sizes if the type is container", short="s"),
    ),
)
