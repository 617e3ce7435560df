"""`port`: where a container's ports are published."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..format import natural_key
from ..http import quote as escape
from ..values import uint16
from .ports import join_host_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _port(cli: Cli, flags: Flags, args: list[str]) -> int:
    found = cli.client.get(f"/containers/{escape(args[0])}/json")
    ports = (found.get("NetworkSettings") or {}).get("Ports") or {}
    out: list[str] = []
    if len(args) > 1 and args[1]:
        number, _, protocol = args[1].partition("/")
        try:
            uint16(number)
        except ValueError as error:
            raise CliError(f"Error: invalid port ({number}): {error}") from None
        bindings = ports.get(f"{number}/{protocol or 'tcp'}")
        if not bindings:
            raise CliError(f"Error: No public port '{args[1]}' published for {args[0]}")
        out = [join_host_port(binding["HostIp"], binding["HostPort"]) for binding in bindings]
    else:
        for inside, bindings in ports.items():
            for binding in bindings or ():
                out.append(f"{inside} -> {join_host_port(binding['HostIp'], binding['HostPort'])}")
    if out:
        cli.out("\n".join(sorted(out, key=natural_key)) + "\n")
    return 0


COMMAND = Command("CONTAINER [PRIVATE_PORT[/PROTO]]", _port, least=1, most=2, aliases=("container port", "port"))
