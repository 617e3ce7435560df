"""`login`: let the daemon try credentials at a registry and keep them."""

from __future__ import annotations

import os
import sys

from ..commands import Command
from ..config import HUB
from ..errors import ApiError, CliError
from ..flags import Flag
from .stored import hostname, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli

_REGISTER = (
    "Log in with your Docker ID or email address to push and pull images from Docker Hub. "
    "If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.\n"
    "You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT grants better "
    "security and is required for organizations using SSO. Learn more at https://docs.docker.com/go/access-tokens/\n\n"
)


def _check(flags: Flags) -> None:
    if flags.changed("password-stdin"):
        if flags.changed("password"):
            raise CliError("conflicting options: cannot specify both --password and --password-stdin")
        if not flags.changed("username"):
            raise CliError("the --password-stdin option requires --username to be set")
    for name in ("username", "password"):
        if flags.changed(name) and not flags.text(name):
            raise CliError(f"{name} is empty")


def _try(cli: Cli, server: str, username: str, password: str) -> str:
    """Log in and keep the credentials; the daemon's words for it. Raises ApiError for wrong ones."""
    body = {"username": username, "password": password, "serveraddress": server}
    answer = cli.client.post("/auth", body=body) or {}
    store(cli, server, username, password, answer.get("IdentityToken") or "")
    status: str = answer.get("Status", "")
    return status


def _ask(cli: Cli, server: str, username: str, password: str, known: str) -> tuple[str, str]:
    """What was not given, from the terminal."""
    if (not username or not password) and not os.isatty(0):
        raise CliError("Error: Cannot perform an interactive login from a non TTY device")
    if not username:
        if server == HUB:
            cli.out(_REGISTER)
        cli.out(f"Username ({known}): " if known else "Username: ")
        sys.stdout.flush()
        username = sys.stdin.readline().strip() or known
        if not username:
            raise CliError("Error: Non-null Username Required")
    if not password:
        from getpass import getpass

        password = getpass("Password: ").strip()
        if not password:
            raise CliError("Error: Password Required")
    return username, password


def _login(cli: Cli, flags: Flags, args: list[str]) -> int:
    _check(flags)
    username, password = flags.text("username"), flags.text("password")
    if password:
        cli.err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if flags.yes("password-stdin"):
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    server = args[0] if args and args[0] not in ("", "docker.io") else HUB
    if server != HUB:
        server = hostname(server)
    known: dict[str, str] = {} if username or password else cli.config.credentials(server)
    status = ""
    if known.get("username") and known.get("password"):
        status = _with_known(cli, server, known["username"], known["password"])
    if not status:
        before = known.get("username", "")
        username, password = _ask(cli, server, username.strip(), password.strip(), before)
        status = _try(cli, server, username, password)
    if status:
        cli.out(f"{status}\n")
    return 0


def _with_known(cli: Cli, server: str, username: str, password: str) -> str:
    """Try what is kept; "" when the registry does not take it any more."""
    cli.err(f"Authenticating with existing credentials... [Username: {username}]\n")
    cli.err("\n Info -> To login with a different account, run 'sampan logout' followed by 'sampan login'\n\n\n")
    try:
        return _try(cli, server, username, password)
    except ApiError as error:
        if error.status == 401:
            cli.err("Stored credentials invalid or expired\n")
        else:
            cli.err(f"Login did not succeed, error: {error.message}\n")
    return ""


COMMAND = Command(
    "[OPTIONS] [SERVER]",
    _login,
    most=1,
    long="Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    flags=(
        Flag("username", "string", "Username", short="u"),
        Flag("password", "string", "Password or Personal Access Token (PAT)", short="p"),
        Flag("password-stdin", "bool", "Take the Password or Personal Access Token (PAT) from stdin"),
    ),
)
