"""`sampan start`: several in the background, or one in the foreground with -a or -i."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..http import quote
from ..terminal import detach_keys, is_terminal
from .attaching import ExitWait, Remote, attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _start(cli: Cli, flags: Flags, names: list[str]) -> int:
    keys = flags.text("detach-keys") or (cli.config.text("detachKeys") if cli.has_config else "")
    detach_keys(keys)
    if flags.yes("attach") or flags.yes("interactive"):
        if len(names) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _foreground(cli, names[0], keys, flags.yes("interactive"))
    failed = []
    for name in names:
        try:
            cli.client.post(f"/containers/{quote(name)}/start")
        except CliError as error:
            cli.err(f"{error.message}\n")
            failed.append(name)
        else:
            cli.out(f"{name}\n")
    if failed:
        raise CliError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _foreground(cli: Cli, name: str, keys: str, interactive: bool) -> int:
    from ..signals import Signals
    from ..streams import Pump

    found: dict[str, Any] = cli.client.get(f"/containers/{quote(name)}/json")
    identity, tty = found["Id"], found["Config"]["Tty"]
    stdin = interactive and found["Config"]["OpenStdin"]
    remote = Remote(cli, f"/containers/{identity}", tty=tty and is_terminal(1), forward=not tty)
    with Signals(forward=not tty) as signals:
        connection = attach(cli, identity, stdin=stdin, stdout=True, stderr=True, keys=keys)
        with Pump(connection, tty=tty, stdin=0 if stdin else None, stdout=1, stderr=2, keys=detach_keys(keys)) as pump:
            removed = found["HostConfig"].get("AutoRemove")
            wait = ExitWait(cli, identity, "removed" if removed else "next-exit")
            try:
                cli.client.post(f"/containers/{identity}/start")
            except CliError:
                pump.close()
                if removed:
                    wait.status()
                raise
            if tty and is_terminal(1):
                remote.first_resize()
            pump.run(signals, remote)
            return 0 if pump.detached else wait.status(signals, remote)


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _start,
    least=1,
    aliases=("container start", "start"),
    flags=(
        Flag("attach", "bool", "Attach STDOUT/STDERR and forward signals", short="a"),
        Flag("interactive", "bool", "Attach container's STDIN", short="i"),
        Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
    ),
)
