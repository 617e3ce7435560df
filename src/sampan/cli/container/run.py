"""`sampan run`: create, attach, start, and be the container's terminal until it ends or the person detaches."""

from __future__ import annotations

from ..commands import Command
from ..errors import ApiError, CliError
from ..http import quote
from ..terminal import detach_keys, is_terminal
from .attaching import ExitWait, Remote, attach, check_tty
from .creating import create, read_flags, with_help
from .options import RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _run(cli: Cli, flags: Flags, args: list[str]) -> int:
    body = read_flags(cli, flags, args)
    if flags.yes("detach"):
        if flags.many("attach"):
            raise CliError("conflicting options: cannot specify both --attach and --detach")
        for name in ("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"):
            body[name] = False
    else:
        check_tty(body["AttachStdin"], body["Tty"])
    keys = flags.text("detach-keys")
    detach_keys(keys)
    if not keys and cli.has_config:
        keys = cli.config.text("detachKeys")
    try:
        identity = create(cli, flags, body)
    except CliError as error:
        raise _as_exit(cli, error) from None
    if not (body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]):
        return _detached(cli, identity)
    return _foreground(cli, flags, body, identity, keys)


def _detached(cli: Cli, identity: str) -> int:
    # the id first, and flushed: whoever waits for it may be the one to feed the container
    cli.out(f"{identity}\n")
    cli.flush()
    try:
        cli.client.post(f"/containers/{identity}/start")
    except CliError as error:
        raise _as_exit(cli, error) from None
    return 0


def _foreground(cli: Cli, flags: Flags, body: dict[str, Any], identity: str, keys: str) -> int:
    from ..signals import Signals
    from ..streams import Pump

    tty = body["Tty"]
    proxied = flags.yes("sig-proxy")
    remote = Remote(cli, f"/containers/{identity}", tty=tty and is_terminal(1), forward=proxied)
    with Signals(forward=proxied) as signals:
        connection = attach(
            cli,
            identity,
            stdin=body["AttachStdin"],
            stdout=body["AttachStdout"],
            stderr=body["AttachStderr"],
            keys=keys,
        )
        pump = Pump(
            connection,
            tty=tty,
            stdin=0 if body["AttachStdin"] else None,
            stdout=1 if body["AttachStdout"] else None,
            stderr=2 if body["AttachStderr"] else None,
            keys=detach_keys(keys),
        )
        with pump:
            wait = ExitWait(cli, identity, "removed" if flags.yes("rm") else "next-exit")
            try:
                cli.client.post(f"/containers/{quote(identity)}/start")
            except CliError as error:
                pump.close()
                if flags.yes("rm"):
                    _until_removed(wait)
                raise _as_exit(cli, error) from None
            if tty and is_terminal(1):
                remote.first_resize()
            pump.run(signals, remote, wait.sock)
            if pump.detached:
                return 0
            return wait.status(signals, remote)


def _until_removed(wait: ExitWait) -> None:
    try:
        wait.status()
    except CliError:
        pass


def _as_exit(cli: Cli, error: CliError) -> CliError:
    """126 and 127 for a command that cannot be run or is not there, else 125, told by the daemon's words."""
    text = error.reason if isinstance(error, ApiError) else error.message
    code = 125
    if any(
        words in text
        for words in (
            "executable file not found",
            "no such file or directory",
            "system cannot find the file specified",
        )
    ):
        code = 127
    elif "permission denied" in text or "is a directory" in text:
        code = 126
    return with_help(cli, error, code)


COMMAND = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    _run,
    flags=RUN,
    least=1,
    interspersed=False,
    aliases=("container run", "run"),
)
