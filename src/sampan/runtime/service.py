"""The front door of the runtime: conmon holds, crun or runc runs.

The order of one run: `create` (conmon starts the OCI runtime's create; the container's init waits), `attach` whoever wants the
first byte, `start`, then an `Exit` from `exits()`; `delete` clears the runtime's own state. conmon writes the exit code to
`<exec-root>/exits/<id>` when nobody listens, so an exit is never lost: `exits()` begins with those files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.runtime.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` gives: the pids of the container's init and of its conmon, and the runtime that holds it."""

    pid: int
    conmon_pid: int
    runtime: str


@dataclass(frozen=True, slots=True)
class Exit:
    """`exec_id` is None when the container itself ended. `time` is nanoseconds since the epoch."""

    id: str
    exec_id: str | None
    exit_code: int
    time: int
    oom_killed: bool = False


class Attachment:
    """A connection to conmon's attach socket; a `containers.streams.Stream`, structurally."""

    tty: bool

    async def read(self) -> tuple[int, bytes] | None:
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        raise NotImplementedError

    async def close_input(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class Runtime:
    """`runtimes` maps a name (crun, runc, or daemon.json's own) to a path; `default` is tried first, and where crun refuses the
    host (cgroup hybrid with controllers on v2) runc takes its place, with one log line. Failures of the OCI runtime raise
    `errors.SampanError` subclasses with Docker's wording ("OCI runtime create failed: … executable file not found in $PATH");
    the container's exit code for them (125, 126, 127) is in `StartFailed.exit_code`."""

    def __init__(self, exec_root: Path, runtimes: Mapping[str, str], default: str) -> None:
        raise NotImplementedError

    def name(self, requested: str = "") -> str:
        """The runtime that will really be used for `--runtime requested`. Raises `InvalidParameter` for an unknown one."""
        raise NotImplementedError

    async def create(
        self, bundle: Bundle, spec: Mapping[str, Any], *, tty: bool, stdin: bool, stdin_once: bool, runtime: str
    ) -> Created:
        raise NotImplementedError

    async def attach(self, bundle: Bundle, *, tty: bool) -> Attachment:
        raise NotImplementedError

    async def start(self, bundle: Bundle, runtime: str) -> None:
        raise NotImplementedError

    async def kill(self, bundle: Bundle, runtime: str, signal: int, all: bool = False) -> None:
        """Signals init (by pidfd when it can); `all` signals every process of the cgroup."""
        raise NotImplementedError

    async def pause(self, bundle: Bundle, runtime: str) -> None:
        raise NotImplementedError

    async def resume(self, bundle: Bundle, runtime: str) -> None:
        raise NotImplementedError

    async def update(self, bundle: Bundle, runtime: str, resources: Mapping[str, Any]) -> None:
        """OCI `linux.resources`."""
        raise NotImplementedError

    async def resize(self, bundle: Bundle, height: int, width: int, exec_id: str | None = None) -> None:
        raise NotImplementedError

    async def delete(self, bundle: Bundle, runtime: str) -> None:
        """Forgets a stopped (or half-made) container: runtime state, cgroup, conmon. Idempotent."""
        raise NotImplementedError

    async def exec(
        self,
        bundle: Bundle,
        exec_id: str,
        process: Mapping[str, Any],
        *,
        tty: bool,
        stdin: bool,
        attached: bool,
        runtime: str,
    ) -> tuple[Created, Attachment | None]:
        """Runs an OCI `process` in the container. With `attached`, the attachment is made before the process starts."""
        raise NotImplementedError

    def alive(self, bundle: Bundle) -> tuple[int, int] | None:
        """(pid, conmon pid) when both run and are really ours (start times, cgroup or cmdline checked); for reconciling."""
        raise NotImplementedError

    def exits(self) -> AsyncIterator[Exit]:
        """Every exit since the daemon last looked, then live, by inotify. The consumer calls `acknowledge` when it recorded one."""
        raise NotImplementedError

    def acknowledge(self, exit: Exit) -> None:
        """Removes the exit file."""
        raise NotImplementedError

    async def pids(self, bundle: Bundle, runtime: str) -> list[int]:
        """Host pids in the container's cgroup."""
        raise NotImplementedError
