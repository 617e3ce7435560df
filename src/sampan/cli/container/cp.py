"""`sampan cp`: files between a container and here, or a tar archive through stdin and stdout."""

from __future__ import annotations

import os
import sys

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..http import quote
from ..terminal import is_terminal
from ..wire import loads
from . import paths
from .paths import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ..flags import Flags
    from ..session import Cli

# Go's os.FileMode, which the stat header carries
_DIR, _SYMLINK, _DEVICE, _IRREGULAR = 1 << 31, 1 << 27, 1 << 26, 1 << 19


def _cp(cli: Cli, flags: Flags, args: list[str]) -> int:
    if not args[0]:
        raise CliError("source can not be empty")
    if not args[1]:
        raise CliError("destination can not be empty")
    source, source_path = _split(args[0])
    target, target_path = _split(args[1])
    if source and target:
        raise CliError("copying between containers is not supported")
    if not source and not target:
        raise CliError("must specify at least one container source")
    quiet = flags.yes("quiet") if flags.changed("quiet") else not is_terminal(1)
    if source:
        _out_of(cli, source, source_path, target_path, flags.yes("follow-link"), quiet)
    else:
        _into(cli, target, target_path, source_path, flags, quiet)
    return 0


def _split(text: str) -> tuple[str, str]:
    """(container, path); a path with a colon is local when it begins with / or a dot."""
    container, colon, path = text.partition(":")
    if text.startswith("/") or not colon or container.startswith("."):
        return "", text
    return container, path


def _stat(cli: Cli, container: str, path: str) -> dict[str, Any]:
    response = cli.client.request("HEAD", f"/containers/{quote(container)}/archive", {"path": path})
    return _stat_header(response.headers)


def _stat_header(headers: dict[str, str]) -> dict[str, Any]:
    from binascii import a2b_base64

    found: dict[str, Any] = loads(a2b_base64(headers.get("x-docker-container-path-stat", "")))
    return found


def _out_of(cli: Cli, container: str, path: str, here: str, follow: bool, quiet: bool) -> None:
    if here != "-":
        here = paths.local(here)
        _check_output(here)
    rename = ""
    if follow:
        path, rename = _follow(cli, container, path)
    response = cli.client.request("GET", f"/containers/{quote(container)}/archive", {"path": path})
    if here == "-":
        from ..output_file import write_stdout

        write_stdout(response)
        return
    is_dir = bool(_stat_header(response.headers)["mode"] & _DIR)
    origin = Place(path, exists=True, is_dir=is_dir, name=rename)
    with _Progress("Copying from container - ", quiet) as progress:
        _unpack(iter(response.read, b""), origin, paths.destination(here), progress)
    if not quiet:
        cli.err(f"Successfully copied {progress.size} to {here}\n")


def _unpack(pieces: Iterable[bytes], origin: Place, target: Place, progress: _Progress) -> None:
    from .tarreading import Joined, unpack

    directory, name = paths.arrange(origin, target)
    own = paths.split(origin.path)[1]
    first = paths.renamer(own, origin.name) if origin.name else None
    then = paths.renamer(origin.name or own, name) if name is not None else None

    def rename(entry: str) -> str:
        entry = first(entry) if first is not None else entry
        return then(entry) if then is not None else entry

    try:
        unpack(Joined(pieces, progress.add), directory, rename)
    except OSError as error:
        raise CliError(f"{error.filename or directory}: {(error.strerror or '').lower()}") from None


def _follow(cli: Cli, container: str, path: str) -> tuple[str, str]:
    """The source with its last link followed, and the name it keeps."""
    try:
        found = _stat(cli, container, path)
    except ApiError:
        return path, ""
    if not found["mode"] & _SYMLINK:
        return path, ""
    target = os.path.join(paths.split(path)[0], found["linkTarget"])
    return paths.followed(path, paths.clean(target))


def _check_output(path: str) -> None:
    parent = os.path.dirname(paths.clean(path))
    if parent and not os.path.exists(parent):
        raise CliError(f'invalid output path: directory "{parent}" does not exist')
    try:
        mode = os.stat(path).st_mode & 0o170000
    except FileNotFoundError:
        return
    except OSError as error:
        raise CliError(f"stat {path}: {(error.strerror or '').lower()}") from None
    if mode in (0o020000, 0o060000):
        raise CliError(f'invalid output path: "{path}" must be a directory or a regular file: got a device')


def _into(cli: Cli, container: str, path: str, here: str, flags: Flags, quiet: bool) -> None:
    target = _remote_target(cli, container, path)
    if here == "-":
        if not target.is_dir:
            raise CliError(f'destination "{container}:{path}" must be a directory')
        directory, pieces = target.path, _stdin()
    else:
        from .tarwriting import pack

        origin = paths.source(paths.local(here), flags.yes("follow-link"))
        directory, name = paths.arrange(origin, target)
        folder, own = paths.split(origin.path)
        pieces = pack(folder, own, name if name is not None else origin.name or own)
    query = {
        "path": directory,
        "noOverwriteDirNonDir": "true",
        "copyUIDGID": "true" if flags.yes("archive") else None,
    }
    with _Progress("Copying to container - ", quiet) as progress:
        cli.client.request(
            "PUT",
            f"/containers/{quote(container)}/archive",
            query,
            stream=progress.counted(pieces),
            headers={"Content-Type": "application/x-tar"},
        ).body()
    if not quiet:
        cli.err(f"Successfully copied {progress.size} to {container}:{target.path}\n")


def _remote_target(cli: Cli, container: str, path: str) -> Place:
    """The destination inside; one that is not there yet may be made by the copy, so that is no error here."""
    target = Place(path)
    try:
        found = _stat(cli, container, path)
        if found["mode"] & _SYMLINK:
            target.path = paths.clean(os.path.join(paths.split(path)[0], found["linkTarget"]))
            found = _stat(cli, container, target.path)
    except ApiError:
        return target
    if found["mode"] & (_DEVICE | _IRREGULAR):
        kind = "a device" if found["mode"] & _DEVICE else "an irregular file"
        raise CliError(f'destination "{container}:{path}" must be a directory or a regular file: got {kind}')
    target.exists, target.is_dir = True, bool(found["mode"] & _DIR)
    return target


def _stdin() -> Iterator[bytes]:
    while data := os.read(0, 1 << 16):
        yield data


class _Progress:
    """What has gone through, on stderr while it goes when that is a terminal."""

    def __init__(self, title: str, quiet: bool) -> None:
        self._title = title
        self._total = 0
        self._drawn = 0.0
        self._screen = not quiet and is_terminal(2)

    @property
    def size(self) -> str:
        from ..units import human_size

        return human_size(self._total, 3)

    def add(self, count: int) -> None:
        self._total += count
        if self._screen:
            from time import monotonic

            if monotonic() - self._drawn >= 0.075:  # docker's pace
                self._drawn = monotonic()
                sys.stderr.write(f"\r\x1b[2K{self._title}{self.size}")
                sys.stderr.flush()

    def counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.add(len(piece))
            yield piece

    def __enter__(self) -> _Progress:
        if self._screen:
            sys.stderr.write("\x1b[?25l")
        return self

    def __exit__(self, *_: object) -> None:
        if self._screen:
            sys.stderr.write("\r\x1b[2K\x1b[?25h")
            sys.stderr.flush()


COMMAND = Command(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tsampan cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    _cp,
    least=2,
    most=2,
    aliases=("container cp", "cp"),
    long=(
        "Copy files/folders between a container and the local filesystem\n\n"
        "Use '-' as the source to read a tar archive from stdin\n"
        "and extract it to a directory destination in a container.\n"
        "Use '-' as the destination to stream a tar archive of a\n"
        "container source to stdout."
    ),
    flags=(
        Flag("follow-link", "bool", "Always follow symbol link in SRC_PATH", short="L"),
        Flag("archive", "bool", "Archive mode (copy all uid/gid information)", short="a"),
        Flag(
            "quiet",
            "bool",
            "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is "
            "attached",
            short="q",
        ),
    ),
)
