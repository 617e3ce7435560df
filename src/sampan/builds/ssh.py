"""`--ssh`: agents of the client's, for `RUN --mount=type=ssh`, `ADD git@…` and contexts behind ssh.

A socket here speaks the agent protocol and asks the client for each answer, so no key ever comes to the daemon. As
BuildKit's, the agent is read-only: identities can be listed and used for signing; everything else is refused here.

Source: draft-miller-ssh-agent; BuildKit session/sshforward/sshprovider.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from sampan.errors import SampanError

Ask = Callable[[bytes], Awaitable[bytes]]
"""One message to an agent, and its answer, both without their length."""

FAILURE = b"\x05"
_ALLOWED = (11, 13)
"""SSH_AGENTC_REQUEST_IDENTITIES, SSH_AGENTC_SIGN_REQUEST."""
_LENGTH = struct.Struct(">I")
LIMIT = 256 << 10
"""Bytes of a message: OpenSSH's own."""


class Agents:
    """Those of clients that are connected, by the token that their build names them with."""

    def __init__(self) -> None:
        self._asks: dict[str, Callable[[str, bytes], Awaitable[bytes]]] = {}

    @contextlib.contextmanager
    def registered(self, token: str, ask: Callable[[str, bytes], Awaitable[bytes]]) -> Iterator[None]:
        """`ask` gets an agent's id with each message."""
        if token in self._asks:
            raise SampanError("this ssh session is open already")
        self._asks[token] = ask
        try:
            yield
        finally:
            del self._asks[token]

    def of(self, token: str, id: str) -> Ask:
        """Raises `SampanError` when no client is there."""
        if token not in self._asks:
            raise SampanError(f"no client forwards ssh key {id}")

        async def ask(message: bytes) -> bytes:
            found = self._asks.get(token)
            return FAILURE if found is None else await found(id, message)

        return ask


@contextlib.asynccontextmanager
async def served(ask: Ask, directory: Path, name: str, mode: int, uid: int, gid: int) -> AsyncIterator[Path]:
    """A socket with the agent behind it. The path may be longer than the 107 bytes that bind(2) takes."""
    with contextlib.ExitStack() as stack:
        opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, opened)
        listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listening.bind(f"/proc/self/fd/{opened}/{name}")
        place = directory / name
        stack.callback(place.unlink, missing_ok=True)
        place.chmod(mode)
        os.chown(place, uid, gid)
        talking: set[asyncio.Task[None]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            talking.add(task)
            try:
                await _talk(reader, writer, ask)
            finally:
                talking.discard(task)
                writer.close()

        server = await asyncio.start_unix_server(talk, sock=listening)
        try:
            yield place
        finally:
            server.close()
            for task in tuple(talking):
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if not 0 < length <= LIMIT:
                return
            message = await reader.readexactly(length)
            answer = await ask(message) if message[0] in _ALLOWED else FAILURE
            writer.write(_LENGTH.pack(len(answer)) + answer)
            await writer.drain()
