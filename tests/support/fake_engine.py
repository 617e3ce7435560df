"""An engine without a kernel: enough of the services for the api to be tested over a real socket."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sampan.api.server import Api
from sampan.containers.model import Config, Container, Exec, ExecConfig, HostConfig, State, Status
from sampan.containers.streams import LogLine
from sampan.errors import NotFound
from sampan.networks import Network
from sampan.settings import Settings
from sampan.store import Database, EventLog


class FakeStream:
    """A stream whose output the test feeds, and whose input it reads."""

    def __init__(self, tty: bool = False) -> None:
        self.tty = tty
        self.output: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self.input = b""
        self.ended = False
        self.closed = asyncio.Event()
        self.changed = asyncio.Event()

    async def read(self) -> tuple[int, bytes] | None:
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        self.input += data
        self.changed.set()

    async def close_input(self) -> None:
        self.ended = True
        self.changed.set()

    async def close(self) -> None:
        self.closed.set()


class FakeContainers:
    def __init__(self) -> None:
        self.known: dict[str, Container] = {}
        self.created: list[tuple[str, Config, HostConfig, Any, str | None]] = []
        self.streams: dict[str, FakeStream] = {}
        self.lines: list[LogLine] = []
        self.exits: dict[str, asyncio.Future[tuple[int, str | None]]] = {}
        self.detachments: list[str] = []
        self.failure: Exception | None = None

    def add(self, name: str, **fields: Any) -> Container:
        container = Container(
            id=f"{len(self.known) + 1:064x}",
            name=name,
            image_id="sha256:1",
            image_name="busybox",
            log_path=f"/x/{name}/log",
            **fields,
        )
        self.known[name] = container
        return container

    def get(self, ref: str) -> Container:
        for container in self.known.values():
            if ref in (container.id, container.name):
                return container
        raise NotFound(f"No such container: {ref}")

    def all(self) -> list[Container]:
        return list(reversed(self.known.values()))

    async def create(self, name: str, config: Config, host: HostConfig, networking: Any, platform: str | None) -> Any:
        if self.failure is not None:
            raise self.failure
        self.created.append((name, config, host, networking, platform))
        return SimpleNamespace(id="f" * 64, warnings=[])

    async def start(self, ref: str) -> None:
        self.get(ref)

    async def kill(self, ref: str, signal: str) -> None:
        self.get(ref)

    async def wait(self, ref: str, condition: str) -> tuple[int, str | None]:
        return await self.exits.setdefault(ref, asyncio.get_running_loop().create_future())

    async def attach(self, ref: str, options: Any) -> FakeStream:
        return self.streams[self.get(ref).name]

    def detached(self, ref: str) -> None:
        self.detachments.append(ref)

    async def logs(self, ref: str, options: Any) -> AsyncIterator[list[LogLine]]:
        yield self.lines

    def exec_get(self, id: str) -> Exec:
        if id not in self.streams:
            raise NotFound(f"No such exec instance: {id}")
        config = ExecConfig(attach_stdin=True, attach_stdout=True, attach_stderr=True)
        return Exec(id=id, container_id=id, config=config)

    async def exec_start(self, id: str, detach: bool, tty: bool | None = None) -> FakeStream | None:
        return None if detach else self.streams[id]


def running(**fields: Any) -> State:
    return State(status=Status.RUNNING, pid=7, started_at=1_000_000_000, **fields)


class FakeEngine:
    """What `Api` needs of an `Engine`."""

    def __init__(self) -> None:
        self.settings = Settings(data_root=Path("/x"), exec_root=Path("/y"))
        self.events = EventLog(Database(None))
        self.events.bind(asyncio.get_running_loop())
        self.containers = FakeContainers()
        self.images = SimpleNamespace(resolve=self._no_image, list=lambda *a, **k: [])
        self.snapshots = SimpleNamespace()
        self.networks = SimpleNamespace(all=lambda: [Network(id="a" * 64, name="bridge")], endpoints=lambda id: {})
        self.volumes = SimpleNamespace()

    def _no_image(self, ref: str, *_: Any) -> Any:
        raise NotFound(f"No such image: {ref}:latest")


class Served:
    """A fake engine behind a real unix socket. Use as an asynchronous context manager."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self.path = f"{self._directory.name}/s.sock"

    async def __aenter__(self) -> Served:
        self.engine = FakeEngine()
        self.api = Api(self.engine)  # type: ignore[arg-type]
        self._server = await asyncio.get_running_loop().create_unix_server(self.api.server, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.api.close(1)
        self._directory.cleanup()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: (status, headers in lower case, body)."""
        reader, writer = await self.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n"
        if body is not None:
            head += f"Content-Length: {len(body)}\r\n"
            headers.setdefault("Content_Type", "application/json")
        head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(head.encode() + b"\r\n" + (body or b""))
        answer = await reader.read()
        writer.close()
        first, _, rest = answer.partition(b"\r\n\r\n")
        lines = first.decode().split("\r\n")
        fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        if fields.get("transfer-encoding") == "chunked":
            rest = unchunked(rest)
        return int(lines[0].split()[1]), fields, rest


def unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            break
    return body
