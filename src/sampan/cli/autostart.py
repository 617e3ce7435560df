"""Start `sampand` when root asks for something and no daemon answers on the default socket."""

from __future__ import annotations

import os
import sys
import time

from .errors import CliError

LOG = "/var/log/sampand.log"
PATIENCE = 30.0
"""Seconds to wait for the socket. A start after a crash reconciles first."""


def start_daemon(path: str) -> None:
    """Start the daemon detached from us and wait until its socket `path` answers."""
    try:
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    command = [sys.executable, "-m", "sampan.daemon"]
    pid = _detached(command, log)
    os.close(log)
    deadline = time.monotonic() + PATIENCE
    while not _answers(path):
        if _ended(pid) or time.monotonic() > deadline:
            raise CliError(
                f"Cannot connect to the Sampan daemon at unix://{path}, and starting one failed"
                f"{_last_words()}\nThe daemon's log is {LOG}. SAMPAN_AUTOSTART=0 turns starting it off."
            )
        time.sleep(0.01)


def _detached(command: list[str], log: int) -> int:
    """A process in a session of its own, with nothing of ours but the log; it stays our child only while we wait."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, null, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "SAMPAN_HOST")}
    try:
        return os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True)
    finally:
        os.close(null)


def _ended(pid: int) -> bool:
    done, _ = os.waitpid(pid, os.WNOHANG)
    return done == pid


def _last_words() -> str:
    try:
        with open(LOG, encoding="utf-8", errors="replace") as file:
            lines = file.read()[-4000:].strip().splitlines()
    except OSError:
        return ""
    return f": {lines[-1]}" if lines else ""


def _answers(path: str) -> bool:
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError:
        return False
    finally:
        sock.close()
    return True
