"""`sampan exec`: another process in a running container."""

from __future__ import annotations

from ..commands import Command
from ..flags import Flag
from ..http import quote
from ..terminal import detach_keys, is_terminal, size
from .attaching import Remote, check_tty
from .environment import env_flag, read_pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _exec(cli: Cli, flags: Flags, args: list[str]) -> int:
    name, command = args[0], args[1:]
    body = _request(cli, flags, command)
    if not flags.yes("detach") and body["AttachStdin"] and body["Tty"] and not is_terminal(0):
        # A container that is not there is the more important news, so docker looks for it first.
        cli.client.get(f"/containers/{quote(name)}/json")
        check_tty(True, True)
    identity = cli.client.post(f"/containers/{quote(name)}/exec", None, body)["Id"]
    start: dict[str, Any] = {"Detach": flags.yes("detach"), "Tty": body["Tty"]}
    if body.get("ConsoleSize"):
        start["ConsoleSize"] = body["ConsoleSize"]
    if flags.yes("detach"):
        cli.client.post(f"/exec/{identity}/start", None, start)
        return 0
    return _foreground(cli, identity, body, start)


def _request(cli: Cli, flags: Flags, command: list[str]) -> dict[str, Any]:
    keys = flags.text("detach-keys")
    detach_keys(keys)
    if not keys and cli.has_config:
        keys = cli.config.text("detachKeys")
    attached = not flags.yes("detach")
    body: dict[str, Any] = {
        "User": flags.text("user"),
        "Privileged": flags.yes("privileged"),
        "Tty": flags.yes("tty"),
        "AttachStdin": attached and flags.yes("interactive"),
        "AttachStderr": attached,
        "AttachStdout": attached,
        "DetachKeys": keys,
        "Env": read_pairs(flags.many("env-file"), flags.many("env"), lookup=True) or None,
        "WorkingDir": flags.text("workdir"),
        "Cmd": command,
    }
    if body["Tty"] and any(size(1)):
        body["ConsoleSize"] = list(size(1))
    return body


def _foreground(cli: Cli, identity: str, body: dict[str, Any], start: dict[str, Any]) -> int:
    from ..errors import CliError
    from ..signals import Signals
    from ..streams import Pump

    tty = body["Tty"]
    remote = Remote(cli, f"/exec/{identity}", tty=tty and is_terminal(0), forward=False)
    # Signals are not passed on to an exec: the API has no kill for it. As docker, we go at the third ctrl-C.
    with Signals(forward=False) as signals:
        connection, _ = cli.client.hijack(f"/exec/{identity}/start", None, start)
        pump = Pump(
            connection,
            tty=tty,
            stdin=0 if body["AttachStdin"] else None,
            stdout=1,
            stderr=2,
            keys=detach_keys(body["DetachKeys"]),
        )
        with pump:
            if tty and is_terminal(0):
                remote.first_resize()
            pump.run(signals, remote)
            if pump.detached:
                raise CliError("read escape sequence")
    return int(cli.client.get(f"/exec/{identity}/json")["ExitCode"] or 0)


COMMAND = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    _exec,
    least=2,
    interspersed=False,
    aliases=("container exec", "exec"),
    flags=(
        Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
        Flag("interactive", "bool", "Keep STDIN open even if not attached", short="i"),
        Flag("tty", "bool", "Allocate a pseudo-TTY", short="t"),
        Flag("detach", "bool", "Detached mode: run command in the background", short="d"),
        Flag("user", "string", 'Username or UID (format: "<name|uid>[:<group|gid>]")', short="u"),
        Flag("privileged", "bool", "Give extended privileges to the command"),
        Flag("env", "list", "Set environment variables", short="e", parse=env_flag),
        Flag("env-file", "list", "Read in a file of environment variables"),
        Flag("workdir", "string", "Working directory inside the container", short="w"),
    ),
)
