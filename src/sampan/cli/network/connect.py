"""`network connect`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..http import quote as escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _link(text: str) -> str:
    """NAME or NAME:ALIAS."""
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    return text


def _driver_options(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise CliError("invalid key/value pair format in driver options")
        found[key.strip()] = value.strip()
    return found


def _connect(cli: Cli, flags: Flags, args: list[str]) -> int:
    addresses = {
        "IPv4Address": flags.text("ip"),
        "IPv6Address": flags.text("ip6"),
        "LinkLocalIPs": flags.many("link-local-ip"),
    }
    endpoint = {
        "IPAMConfig": {key: value for key, value in addresses.items() if value},
        "Links": flags.many("link") or None,
        "Aliases": flags.many("alias"),
        "DriverOpts": _driver_options(flags.many("driver-opt")),
        "GwPriority": flags.number("gw-priority"),
    }
    body = {"Container": args[1], "EndpointConfig": endpoint}
    cli.client.request("POST", f"/networks/{escape(args[0])}/connect", body=body).body()
    return 0


def _split(text: str) -> list[str]:
    return text.split(",")


COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _connect,
    least=2,
    most=2,
    flags=(
        Flag("ip", "string", 'IPv4 address (e.g., "172.30.100.104")'),
        Flag("ip6", "string", 'IPv6 address (e.g., "2001:db8::33")'),
        Flag("link", "list", "Add link to another container", parse=_link),
        Flag("alias", "strings", "Add network-scoped alias for the container", parse=_split),
        Flag("link-local-ip", "strings", "Add a link-local address for the container", parse=_split),
        Flag("driver-opt", "strings", "driver options for the network", parse=_split),
        Flag(
            "gw-priority",
            "int",
            "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
        ),
    ),
)
