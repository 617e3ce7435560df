"""The front door of containers: one method an operation of the Engine API, in domain terms.

Methods take an id, an id prefix or a name where `ref` is written, and raise `errors.NotFound("No such container: …")`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sampan.containers.model import Config, Container, EndpointSettings, Exec, ExecConfig, HostConfig, NetworkingConfig
from sampan.containers.streams import LogLine, Stream


@dataclass(frozen=True, slots=True)
class AttachOptions:
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    logs: bool = False
    stream: bool = True


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`since` and `until` are nanoseconds since the epoch (0: unbounded); `tail` None means all."""

    stdout: bool = False
    stderr: bool = False
    follow: bool = False
    since: int = 0
    until: int = 0
    tail: int | None = None


@dataclass(frozen=True, slots=True)
class Created:
    id: str
    warnings: list[str] = field(default_factory=list)


class Containers:
    """See the module. Built once by `sampan.engine`."""

    # -- finding -----------------------------------------------------------------------------------
    def get(self, ref: str) -> Container:
        """By full id, then name, then unique id prefix (Docker's order)."""
        raise NotImplementedError

    def all(self) -> list[Container]:
        """Every container, newest first."""
        raise NotImplementedError

    # -- life --------------------------------------------------------------------------------------
    async def create(
        self,
        name: str,
        config: Config,
        host_config: HostConfig,
        networking: NetworkingConfig,
        platform: str | None = None,
    ) -> Created:
        raise NotImplementedError

    async def start(self, ref: str) -> None:
        """Raises `NotModified` when it runs already."""
        raise NotImplementedError

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        raise NotImplementedError

    async def restart(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        raise NotImplementedError

    async def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        raise NotImplementedError

    async def pause(self, ref: str) -> None:
        raise NotImplementedError

    async def unpause(self, ref: str) -> None:
        raise NotImplementedError

    async def rename(self, ref: str, name: str) -> None:
        raise NotImplementedError

    async def remove(self, ref: str, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        raise NotImplementedError

    async def wait(self, ref: str, condition: str = "not-running") -> tuple[int, str | None]:
        """(exit code, error). Condition: not-running, next-exit, removed. The subscription is made before the first await,
        so a client that waits and then starts misses nothing."""
        raise NotImplementedError

    async def resize(self, ref: str, height: int, width: int) -> None:
        raise NotImplementedError

    async def update(self, ref: str, changes: HostConfig, given: frozenset[str]) -> list[str]:
        """`POST …/update`: the fields named in `given` (lower case, `memory`, `restartpolicy`) change; returns warnings."""
        raise NotImplementedError

    async def connect(self, ref: str, network: str, settings: EndpointSettings) -> None:
        """`POST /networks/{id}/connect`, for running and stopped containers."""
        raise NotImplementedError

    async def disconnect(self, ref: str, network: str, force: bool = False) -> None:
        raise NotImplementedError

    # -- streams -----------------------------------------------------------------------------------
    async def attach(self, ref: str, options: AttachOptions) -> Stream:
        """Works on a created container too: the stream begins with its start. Several at once all get everything."""
        raise NotImplementedError

    def detached(self, ref: str) -> None:
        """The detach keys were typed on an attachment: publishes `detach`."""
        raise NotImplementedError

    def exec_detached(self, id: str) -> None:
        """The same for an exec: publishes `exec_detach`."""
        raise NotImplementedError

    def logs(self, ref: str, options: LogOptions) -> AsyncIterator[list[LogLine]]:
        """Batches of lines, in order. With follow it ends when the container stops."""
        raise NotImplementedError

    # -- exec --------------------------------------------------------------------------------------
    async def exec_create(self, ref: str, config: ExecConfig) -> str:
        raise NotImplementedError

    def exec_get(self, id: str) -> Exec:
        raise NotImplementedError

    async def exec_start(self, id: str, detach: bool, tty: bool | None = None) -> Stream | None:
        """The stream, or None when detached."""
        raise NotImplementedError

    async def exec_resize(self, id: str, height: int, width: int) -> None:
        raise NotImplementedError
