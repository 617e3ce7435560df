"""`-o FILE`: an archive from the daemon into a file that appears whole or not at all, or onto stdout."""

from __future__ import annotations

import os
import sys

from .errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Response


def write_stdout(response: Response) -> None:
    sys.stdout.flush()
    while data := response.read():
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


def _refuse(path: str, problem: str) -> None:
    """CliError, begun with `problem`, where no regular file can be put at `path`."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        if not os.path.isdir(folder):
            os.stat(os.path.join(folder, "."))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise CliError(f"{problem}invalid output path: stat {os.path.dirname(path) or folder}: {reason}") from None
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    kind = mode & 0o170000
    names = {
        0o040000: "directory", 0o020000: "character device file", 0o060000: "block device file",
        0o010000: "named pipe", 0o140000: "socket",
    }  # fmt: skip
    if kind in names:
        raise CliError(f"{problem}cannot write to a {names[kind]}")


def write_atomically(path: str, ask: Callable[[], Response], problem: str) -> None:
    """Put what `ask()` answers into `path`, mode 0600. `problem` begins the message when there is no place for it."""
    _refuse(path, problem)
    response = ask()
    beside = os.path.join(os.path.dirname(path), f".tmp-{os.path.basename(path)}{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        response.close()
        raise CliError(f"{problem}open {beside}: {(error.strerror or '').lower()}") from None
    try:
        with open(descriptor, "wb", buffering=0) as file:
            while data := response.read():
                file.write(data)
        os.rename(beside, path)
    except BaseException as error:
        os.unlink(beside)
        if isinstance(error, OSError):
            raise CliError(f"{problem}write {path}: {(error.strerror or '').lower()}") from None
        raise
