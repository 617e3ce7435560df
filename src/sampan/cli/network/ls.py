"""`network ls`."""

from __future__ import annotations

from ..commands import Command
from ..filters import encode, filter_flag
from ..flags import Flag
from ..format import FORMAT_HELP, columns, join_labels, natural_key, render, short_id
from ..row import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli

_HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


class NetworkRow(Row):
    go_type = "network.networkContext"
    unexported = ("trunc", "n")

    def __init__(self, network: dict[str, Any], trunc: bool) -> None:
        self.network = network
        self.trunc = trunc

    def _bool(self, key: str) -> str:
        return "true" if self.network.get(key) else "false"

    def ID(self) -> str:
        identifier: str = self.network.get("Id", "")
        return short_id(identifier) if self.trunc else identifier

    def Name(self) -> str:
        name: str = self.network.get("Name", "")
        return name

    def Driver(self) -> str:
        driver: str = self.network.get("Driver", "")
        return driver

    def Scope(self) -> str:
        scope: str = self.network.get("Scope", "")
        return scope

    def IPv4(self) -> str:
        return self._bool("EnableIPv4")

    def IPv6(self) -> str:
        return self._bool("EnableIPv6")

    def Internal(self) -> str:
        return self._bool("Internal")

    def Labels(self) -> str:
        return join_labels(self.network.get("Labels"))

    def Label(self, name: str) -> str:
        value: str = (self.network.get("Labels") or {}).get(name, "")
        return value

    def CreatedAt(self) -> str:
        from ..template.gotime import Time

        return str(Time(self.network.get("Created", "")))


def _list(cli: Cli, flags: Flags, args: list[str]) -> int:
    found = cli.client.get("/networks", {"filters": encode(flags.many("filter"))}) or []
    quiet = flags.yes("quiet")
    format = flags.text("format")
    if not format:
        configured = cli.config.text("networksFormat") if cli.has_config and not quiet else ""
        format = configured or "table"
    if format == "table":
        format = "{{.ID}}" if quiet else columns("ID Name Driver Scope")
    elif format == "raw":
        format = (
            "network_id: {{.ID}}"
            if quiet
            else "network_id: {{.ID}}\\nname: {{.Name}}\\ndriver: {{.Driver}}\\nscope: {{.Scope}}\\n"
        )
    found.sort(key=lambda network: natural_key(network["Name"]))
    trunc = not flags.yes("no-trunc")
    cli.out(render(format, (NetworkRow(network, trunc) for network in found), _HEADERS))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _list,
    most=0,
    aliases=("network ls", "network list"),
    flags=(
        Flag("quiet", "bool", "Only display network IDs", short="q"),
        Flag("no-trunc", "bool", "Do not truncate the output"),
        Flag("format", "string", FORMAT_HELP),
        filter_flag('Provide filter values (e.g. "driver=bridge")'),
    ),
)
