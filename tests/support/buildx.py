"""What buildx does, in Python: a session that shares files, secrets and credentials, and the calls of one build.

The machines that run the tests need not have the plugin; where it is, tests/compat/test_buildx.py uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpclib.client import UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from sampan.buildkit.sending import Sender
from sampan.buildkit.transport import Called, Carried, Served
from sampan.buildkit.wire_pb2 import (
    Bytes,
    Credentials,
    CredentialsRequest,
    Empty,
    Exporter,
    FrontendRequest,
    FrontendResponse,
    Packet,
    Ref,
    Result,
    ReturnRequest,
    SecretRequest,
    SolveRequest,
    SolveResponse,
    StatusRequest,
    StatusResponse,
)
from sampan.builds.ignore import Ignore
from sampan.builds.indexing import Index

_CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"


async def upgraded(path: Path, request: str, headers: Sequence[tuple[str, str]], make: Callable[[], Any]) -> Carried:
    """A connection that has left HTTP/1.1."""
    loop = asyncio.get_running_loop()
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    await loop.sock_connect(client, str(path))
    lines = [f"POST {request} HTTP/1.1", "Host: d", "Connection: Upgrade", "Upgrade: h2c"]
    text = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers)]) + "\r\n\r\n"
    await loop.sock_sendall(client, text.encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await loop.sock_recv(client, 1)
        assert data, head
        head += data
    assert b" 101 " in head, head
    carried = Carried(make(), lambda error: None)
    transport, _ = await loop.create_connection(lambda: carried, sock=client)
    carried.begin(transport)
    return carried


@dataclass
class Client:
    """Directories by the name they are shared as, each a mapping of paths to contents."""

    directories: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    credentials: dict[str, tuple[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Hosts whose credentials the engine wanted, and paths of directories it read."""
    contents: list[int] = field(default_factory=list)
    """Of each time that the context was read: how many files' contents travelled."""
    shared_key: str = ""
    received: dict[str, bytes] = field(default_factory=dict)
    """What came back: files of outputs, or "archive"."""

    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/moby.filesync.v1.FileSync/DiffCopy": Handler(self.files, Cardinality.STREAM_STREAM, Packet, Packet),
            "/moby.filesync.v1.FileSend/DiffCopy": Handler(self.take, Cardinality.STREAM_STREAM, Bytes, Bytes),
            "/moby.filesync.v1.Auth/Credentials": Handler(
                self.login, Cardinality.UNARY_UNARY, CredentialsRequest, Credentials
            ),
            "/moby.buildkit.secrets.v1.Secrets/GetSecret": Handler(
                self.secret, Cardinality.UNARY_UNARY, SecretRequest, Bytes
            ),
        }

    async def files(self, stream: Any) -> None:
        name = stream.metadata["dir-name"]
        if name not in self.directories:
            raise GRPCError(Status.NOT_FOUND, f'no access allowed to dir "{name}"')
        only = stream.metadata.getall("followpaths", [])
        rules = Ignore(stream.metadata.getall("exclude-patterns", []))
        wanted = {
            path: data
            for path, data in self.directories[name].items()
            if not rules.excludes(path) and (not only or any(path == one or path.startswith(f"{one}/") for one in only))
        }
        self.asked += [f"{name}/{path}" for path in wanted]
        with contextlib.closing(_index(wanted)) as index:
            sender = _Counting(index)
            await sender.run(stream)
            if name == "context":
                self.contents.append(sender.count)
            await stream.send_message(Packet(type=Packet.FIN))

    async def take(self, stream: Any) -> None:
        data = b""
        async for piece in stream:
            data += piece.data
        self.received["archive"] = data

    async def login(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.asked.append(request.host)
        name, secret = self.credentials.get(request.host, ("", ""))
        await stream.send_message(Credentials(username=name, secret=secret))

    async def secret(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.id not in self.secrets:
            raise GRPCError(Status.NOT_FOUND, f"secret {request.id}: not found")
        await stream.send_message(Bytes(data=self.secrets[request.id]))


class _Counting(Sender):
    count = 0

    async def _content(self, stream: Any, number: int) -> None:
        self.count += 1
        await super()._content(stream, number)


def _index(files: Mapping[str, bytes]) -> Index:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(files):
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.mtime = len(files[path]), 0o644, 1_700_000_000
            tar.addfile(info, io.BytesIO(files[path]))
    place = Path(f"/tmp/sampan-buildx-{os.urandom(6).hex()}")
    index = Index(place)
    place.unlink()
    index.fill([buffer.getvalue()])
    return index


@dataclass
class Told:
    """`vertexes` by name, as they were last told; `logs` of all."""

    response: dict[str, str] = field(default_factory=dict)
    vertexes: dict[str, Any] = field(default_factory=dict)
    logs: bytes = b""
    warnings: list[Any] = field(default_factory=list)


class Buildx:
    """One connection to an engine's BuildKit door, and one session beside it."""

    def __init__(self, socket: Path, client: Client) -> None:
        self._socket, self.client = socket, client
        self.session = os.urandom(8).hex()
        self._ref = os.urandom(8).hex()
        self._channel = Called()

    async def __aenter__(self) -> Buildx:
        self._control = await upgraded(self._socket, "/grpc", (), self._channel.connection)
        served = Served([self.client])
        offers = [("X-Docker-Expose-Session-Grpc-Method", path) for path in self.client.__mapping__()]
        headers = [
            ("X-Docker-Expose-Session-Uuid", self.session),
            ("X-Docker-Expose-Session-Sharedkey", self.client.shared_key),
            *offers,
        ]
        self._shared = await upgraded(self._socket, "/session", headers, served.connection)
        return self

    async def __aexit__(self, *arguments: object) -> None:
        self._channel.close()
        with contextlib.suppress(Exception):
            self._shared._inner.connection.close()  # type: ignore[attr-defined]

    def unary(self, path: str, request: type, reply: type) -> UnaryUnaryMethod[Any, Any]:
        return UnaryUnaryMethod(self._channel, path, request, reply)

    async def build(
        self, attrs: Mapping[str, str], exports: Sequence[tuple[str, Mapping[str, str]]] = (("moby", {}),), **more: Any
    ) -> Told:
        """As buildx builds: Control.Solve, and what it is to export by way of the bridge. Raises `GRPCError`."""
        told = Told()
        exporters = [Exporter(type=kind, attrs=dict(given)) for kind, given in exports]
        request = SolveRequest(ref=self._ref, session=self.session, exporters=exporters, **more)
        solving = asyncio.ensure_future(self.unary(_CONTROL + "Solve", SolveRequest, SolveResponse)(request))
        watching = asyncio.ensure_future(self._watch(told))
        try:
            await self._steer(attrs)
            told.response = dict((await solving).exporter_response)
        finally:
            solving.cancel()
            await asyncio.gather(solving, return_exceptions=True)
            with contextlib.suppress(asyncio.CancelledError, StreamTerminatedError):
                await watching
        return told

    async def _steer(self, attrs: Mapping[str, str]) -> None:
        metadata = {"buildkit-controlapi-buildid": self._ref}
        solve = self.unary(_BRIDGE + "Solve", FrontendRequest, FrontendResponse)
        asked = FrontendRequest(frontend="dockerfile.v0", frontend_opt=dict(attrs))
        found = await solve(asked, metadata=metadata)
        self.answer = dict(found.result.metadata)
        back = self.unary(_BRIDGE + "Return", ReturnRequest, Empty)
        await back(ReturnRequest(result=Result(ref=Ref(id=found.result.ref.id))), metadata=metadata)

    async def _watch(self, told: Told) -> None:
        status = UnaryStreamMethod(self._channel, _CONTROL + "Status", StatusRequest, StatusResponse)
        async with status.open() as stream:
            await stream.send_message(StatusRequest(ref=self._ref), end=True)
            async for message in _all(stream):
                told.vertexes |= {vertex.name: vertex for vertex in message.vertexes}
                told.logs += b"".join(log.msg for log in message.logs)
                told.warnings += message.warnings


async def _all(stream: Any) -> AsyncIterator[StatusResponse]:
    async for message in stream:
        yield message
