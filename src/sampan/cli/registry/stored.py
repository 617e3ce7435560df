"""Credentials as docker keeps them: in config.json under "auths", or with a docker-credential-NAME helper."""

from __future__ import annotations

import os

from ..config import HUB
from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..session import Cli


def hostname(address: str) -> str:
    """A registry's address without scheme and path."""
    return address.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _helper(cli: Cli, server: str) -> str:
    values = cli.config.values
    helpers = values.get("credHelpers")
    if isinstance(helpers, dict) and helpers.get(server):
        return str(helpers[server])
    return cli.config.text("credsStore")


def _ask(helper: str, verb: str, data: str) -> None:
    import subprocess

    try:
        answer = subprocess.run(
            [f"docker-credential-{helper}", verb], input=data.encode(), capture_output=True, check=False
        )
    except FileNotFoundError:
        raise CliError(
            f'error storing credentials - err: exec: "docker-credential-{helper}": executable file not found in $PATH, '
            "out: ``"
        ) from None
    except OSError as error:
        raise CliError(f"error storing credentials - err: {error.strerror}, out: ``") from None
    if answer.returncode:
        text = answer.stdout.decode("utf-8", "replace").strip()
        raise CliError(f"error storing credentials - err: exit status {answer.returncode}, out: `{text}`")


def _save(cli: Cli, values: dict[str, Any]) -> None:
    """Write config.json whole or not at all, readable by its owner only."""
    from json import dumps

    path = os.path.realpath(os.path.join(cli.config_dir, "config.json"))
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w") as file:
            file.write(dumps(values, indent="\t", ensure_ascii=False))
        os.rename(beside, path)
    except OSError:
        os.unlink(beside)
        raise


def store(cli: Cli, server: str, username: str, password: str, token: str) -> None:
    """Keep what logged in to `server`; a `token` takes the password's place."""
    helper = _helper(cli, server)
    if helper:
        from json import dumps

        secret = {"ServerURL": server, "Username": "<token>" if token else username, "Secret": token or password}
        try:
            _ask(helper, "store", dumps(secret))
        except CliError as error:
            raise CliError(f"Error saving credentials: {error}") from None
        _remember(cli, server, {})  # as docker does, so that it is seen which servers are logged in to
        return
    from binascii import b2a_base64

    text = f"{username}:{'' if token else password}"
    entry = {"auth": b2a_base64(text.encode(), newline=False).decode()}
    if token:
        entry["identitytoken"] = token
    if not _remember(cli, server, entry) or token:  # a token can be taken back: docker does not warn of it
        return
    path = os.path.join(cli.config_dir, "config.json")
    cli.err(
        f"\nWARNING! Your credentials are stored unencrypted in '{path}'.\n"
        "Configure a credential helper to remove this warning. See\n"
        "https://docs.docker.com/go/credential-store/\n\n"
    )


def _remember(cli: Cli, server: str, entry: dict[str, str]) -> bool:
    """Write an entry of "auths"; False when it is there already."""
    auths = cli.config.values.get("auths")
    known = auths if isinstance(auths, dict) else {}
    if known.get(server) == entry:
        return False
    cli.config.values["auths"] = dict(sorted({**known, server: entry}.items()))
    _save(cli, cli.config.values)
    return True


def erase(cli: Cli, server: str) -> None:
    """Forget what is kept for `server` under any of the spellings that were ever used."""
    names = [server]
    if server != HUB:
        bare = hostname(server)
        names = list(dict.fromkeys((server, bare, f"http://{bare}", f"https://{bare}")))
    helper = _helper(cli, server)
    problems: list[str] = []
    if helper:
        for name in names:
            try:
                _ask(helper, "erase", name)
            except CliError as error:
                problems.append(f"{name}: {error}")
        if len(problems) == len(names):
            cli.err("WARNING: could not erase credentials:\n" + "".join(f"{line}\n" for line in problems))
    auths = cli.config.values.get("auths")
    if not isinstance(auths, dict) or not any(name in auths for name in names):
        return
    cli.config.values["auths"] = {name: entry for name, entry in auths.items() if name not in names}
    _save(cli, cli.config.values)
