"""Creating a container: the request, the pull when the image is missing, the id file. For `run` and `create`."""

from __future__ import annotations

import os
import sys

from .. import platforms, references
from ..errors import ApiError, CliError
from ..pulling import pull
from ..terminal import size
from .options import WINDOWS_ONLY
from .spec import build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..flags import Flags
    from ..session import Cli

_PULL = ("always", "missing", "never", "")


def with_help(cli: Cli, error: CliError, code: int) -> CliError:
    """docker's way to end a failed `run` or `create`: the program's name before, a hint behind."""
    return CliError(f"sampan: {error.message}\n\nRun '{cli.path} --help' for more information", code)


def read_flags(cli: Cli, flags: Flags, args: Sequence[str]) -> dict[str, Any]:
    """The request's body; what is wrong with the flags ends the program with 125."""
    for name in WINDOWS_ONLY:
        if flags.changed(name):
            raise CliError(
                f'"--{name}" is only supported on a Docker daemon running on windows, '
                "but the Docker daemon is running on linux"
            )
    try:
        if flags.text("pull") not in _PULL:
            raise CliError(
                f'invalid pull option: \'{flags.text("pull")}\': must be one of "always", "missing" or "never"'
            )
        return build(flags, args[0], args[1:], _proxies(cli))
    except ApiError:
        raise
    except CliError as error:
        raise with_help(cli, error, 125) from None


def _proxies(cli: Cli) -> Mapping[str, str]:
    return cli.config.proxies(cli.host) if cli.has_config else {}


def create(cli: Cli, flags: Flags, body: dict[str, Any]) -> str:
    """Make the container; its id. Writes `--cidfile`, which must not exist before."""
    image: str = body["Image"]
    platform = platforms.normal(flags.text("platform"))
    with _IdFile(flags.text("cidfile")) as id_file:
        reference = _reference(image)
        body["HostConfig"]["ConsoleSize"] = list(size(1))
        out = None if flags.yes("quiet") else sys.stderr
        if flags.text("health-on-failure") not in ("", "none"):
            cli.client.require_sampan("--health-on-failure")
        wanted = flags.text("pull") or "missing"
        if wanted == "always" and reference is not None:
            pull(cli, reference, platform=platform, out=out)
        query = {"name": flags.text("name"), "platform": platform}
        try:
            answer = cli.client.post("/containers/create", query, body)
        except ApiError as error:
            if error.status != 404 or wanted != "missing" or reference is None or not _is_image(error):
                raise
            if out is not None:
                cli.err(f"Unable to find image '{reference.familiar}' locally\n")
            pull(cli, reference, platform=platform, out=out)
            answer = cli.client.post("/containers/create", query, body)
        for warning in answer.get("Warnings") or ():
            cli.err(f"WARNING: {warning}\n")
        identity = str(answer["Id"])
        id_file.write(identity)
    return identity


def _is_image(error: ApiError) -> bool:
    """A 404 of create may also mean a network or a container to join; pulling does not mend those."""
    return "image" in error.reason.lower() or "no such container" not in error.reason.lower()


def _reference(image: str) -> references.Reference | None:
    """The image as a reference with a tag; None for a bare id, which cannot be pulled."""
    if len(image) == 64 and not set(image) - set("0123456789abcdef"):
        return None
    reference = references.parse(image)
    if reference.name_only:
        reference.tag = "latest"
    return reference


class _IdFile:
    """`--cidfile`: made before the container, so that two runs cannot share it; removed when nothing was written."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._written = False

    def __enter__(self) -> _IdFile:
        if not self._path:
            return self
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            raise CliError(
                "container ID file found, make sure the other container isn't running or delete " + self._path
            ) from None
        except OSError as error:
            reason = f"open {self._path}: {(error.strerror or '').lower()}"
            raise CliError(f"failed to create the container ID file: {reason}") from None
        return self

    def write(self, identity: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, identity.encode())
            self._written = True

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            if not self._written:
                os.unlink(self._path)
