"""`build --ssh`: this side's agents, asked on behalf of the build. A key never leaves this machine, nor the process
that holds it: files are given to an `ssh-agent` of the build's own.

The wire: see the daemon's `POST /build/ssh`.
"""

from __future__ import annotations

import _socket
import os
import stat

from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..connection import Connection
    from ..session import Cli

_FAILURE = b"\x05"


class Agents:
    """`close` it: agents that were started for key files end."""

    def __init__(self, texts: list[str]) -> None:
        self._started: list[tuple[Any, str]] = []
        self._places: dict[str, str] = {}
        self.token = os.urandom(16).hex()
        try:
            for text in texts:
                id, _, paths = text.partition("=")
                self._places[id] = self._place(id, [path for path in paths.split(",") if path])
        except BaseException:
            self.close()
            raise

    @property
    def ids(self) -> list[str]:
        return list(self._places)

    def _place(self, id: str, paths: list[str]) -> str:
        """The agent's socket."""
        if not paths:
            place = os.environ.get("SSH_AUTH_SOCK", "")
            if not place:
                raise CliError(
                    f"ERROR: invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set (--ssh {id or 'default'})"
                )
            paths = [place]
        sockets = []
        for path in paths:
            try:
                sockets.append(stat.S_ISSOCK(os.stat(path).st_mode))
            except OSError as error:
                raise CliError(f"ERROR: failed to stat {path}: {(error.strerror or '').lower()}") from None
        if any(sockets):
            if len(paths) > 1:
                raise CliError("ERROR: only single socket allowed for one ssh id")
            return paths[0]
        return self._agent_of(paths)

    def _agent_of(self, keys: list[str]) -> str:
        from shutil import which
        from subprocess import DEVNULL, Popen
        from tempfile import mkdtemp

        if not all(which(program) for program in ("ssh-agent", "ssh-add")):
            raise CliError("ERROR: --ssh with key files needs ssh-agent and ssh-add, which are not installed here")
        for key in keys:
            _check(key)
        directory = mkdtemp(prefix="sampan-ssh-")
        place = os.path.join(directory, "agent")
        process = Popen(["ssh-agent", "-D", "-a", place], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        self._started.append((process, directory))
        from time import sleep

        while not os.path.exists(place) and process.poll() is None:
            sleep(0.01)
        for key in keys:
            _add(key, place)
        return place

    def close(self) -> None:
        from shutil import rmtree

        for process, directory in self._started:
            process.terminate()
            process.wait()
            rmtree(directory, ignore_errors=True)
        self._started = []

    # -- answering ---------------------------------------------------------------------------------
    def forward(self, cli: Cli) -> None:
        """Answers the daemon in a thread until the connection ends."""
        from threading import Thread

        connection, _ = cli.client.hijack("/build/ssh", {"session": self.token})
        Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            while head := _exactly(connection, 4):
                body = _exactly(connection, int.from_bytes(head, "big"))
                name = body[1 : 1 + body[0]].decode()
                answer = self._ask(self._places.get(name, ""), body[1 + body[0] :])
                connection.send(len(answer).to_bytes(4, "big") + answer)
        except (OSError, EOFError):
            pass
        finally:
            connection.close()

    @staticmethod
    def _ask(place: str, message: bytes) -> bytes:
        """A connection each: what the daemon lets through leaves nothing behind in an agent's connection."""
        agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            agent.connect(place)
            agent.sendall(len(message).to_bytes(4, "big") + message)
            data = b""
            while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
                piece = agent.recv(1 << 16)
                if not piece:
                    return _FAILURE
                data += piece
            return data[4:]
        except OSError:
            return _FAILURE
        finally:
            agent.close()


def _exactly(connection: Connection, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.some(size - len(data))
        if not piece:
            if data:
                raise EOFError
            return b""
        data += piece
    return data


def _check(key: str) -> None:
    """As BuildKit: a key behind a passphrase is for an agent. Source: OpenSSH PROTOCOL.key; PEM's own header."""
    from binascii import Error, a2b_base64

    text = _read(key)
    encrypted = b"ENCRYPTED" in text
    if b"OPENSSH PRIVATE KEY" in text:
        try:
            data = a2b_base64(b"".join(line for line in text.splitlines() if not line.startswith(b"-----")))
        except Error:
            data = b""
        magic = b"openssh-key-v1\0"
        if not data.startswith(magic):
            raise CliError(f"ERROR: failed to parse ssh key {key}: it is damaged")
        encrypted = data[len(magic) + 4 :][:4] != b"none"
    elif b"PRIVATE KEY" not in text:
        raise CliError(f"ERROR: failed to parse ssh key {key}: ssh: no key found")
    if encrypted:
        raise CliError(f"ERROR: failed to load ssh key {key}: it has a passphrase: add it to an agent")


def _read(key: str) -> bytes:
    try:
        with open(key, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise CliError(f"ERROR: failed to read ssh key {key}: {(error.strerror or '').lower()}") from None


def _add(key: str, place: str) -> None:
    from subprocess import DEVNULL, run

    environment = {**os.environ, "SSH_AUTH_SOCK": place, "SSH_ASKPASS_REQUIRE": "never"}
    told = run(
        ["ssh-add", "-q", "-"],
        input=_read(key),
        env=environment,
        stdout=DEVNULL,
        stderr=-1,
        check=False,
        start_new_session=True,
    )
    if told.returncode:
        raise CliError(f"ERROR: failed to load ssh key {key}: {told.stderr.decode('utf-8', 'replace').strip()}")
