"""`sampan attach`: come back to a running container."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..http import quote
from ..terminal import detach_keys, is_terminal
from .attaching import ExitWait, Remote, attach, check_tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _attach(cli: Cli, flags: Flags, args: list[str]) -> int:
    from ..signals import Signals
    from ..streams import Pump

    name = args[0]
    keys = flags.text("detach-keys") or (cli.config.text("detachKeys") if cli.has_config else "")
    codes = detach_keys(keys)
    found = _running(cli, name)
    config = found["Config"]
    tty = config["Tty"]
    check_tty(not flags.yes("no-stdin"), tty)
    wait = ExitWait(cli, name)
    stdin = not flags.yes("no-stdin") and config["OpenStdin"]
    proxied = flags.yes("sig-proxy") and not tty
    remote = Remote(cli, f"/containers/{quote(name)}", tty=tty and is_terminal(1), forward=proxied)
    with Signals(forward=proxied) as signals:
        connection = attach(cli, name, stdin=stdin, stdout=True, stderr=True, keys=keys)
        with Pump(connection, tty=tty, stdin=0 if stdin else None, stdout=1, stderr=2, keys=codes) as pump:
            _running(cli, name)  # it may have stopped meanwhile, and would never say anything more
            if tty and is_terminal(1):
                # A shell draws its prompt again only when the size changes, so it is changed twice.
                remote.resize(more=1)
                remote.first_resize()
            pump.run(signals, remote)
            if pump.detached:
                raise CliError("read escape sequence")
            return wait.status(signals, remote)


def _running(cli: Cli, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cli.client.get(f"/containers/{quote(name)}/json")
    state = found["State"]
    if not state["Running"]:
        raise CliError("cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise CliError("cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise CliError("cannot attach to a restarting container, wait until it is running")
    return found


COMMAND = Command(
    "[OPTIONS] CONTAINER",
    _attach,
    least=1,
    most=1,
    aliases=("container attach", "attach"),
    flags=(
        Flag("no-stdin", "bool", "Do not attach STDIN"),
        Flag("sig-proxy", "bool", "Proxy all received signals to the process", default=True, shown="true"),
        Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
    ),
)
