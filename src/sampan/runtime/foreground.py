"""A container that lives and dies with its caller: the OCI runtime's `run`, without conmon.

For what nobody attaches to later and no restart of the daemon must survive (a build's steps). It saves a process, the
attach socket and the exit file: about a third of a short run. The runtime's own process holds the container's stdout
and stderr, which are our pipes, and ends with its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from sampan.errors import Unavailable
from sampan.linux import pidfd
from sampan.runtime import cgroups, failures
from sampan.runtime.attachment import STDERR, STDOUT
from sampan.runtime.binaries import OCIRuntime
from sampan.runtime.bundle import Bundle
from sampan.runtime.invocation import Invocation

Output = Callable[[int, bytes], Awaitable[None] | None]
"""(1 stdout or 2 stderr, bytes), in the event loop, as they come. While what it returns is not done nothing more is
read, and the container's writes wait: back-pressure."""

_CHUNK = 65536
_PATIENCE = 0.1


async def run(
    bundle: Bundle, spec: Mapping[str, Any], chosen: OCIRuntime, invocation: Invocation, output: Output
) -> int:
    """The exit code (128 + signal for a signal). Raises `failures.StartFailed`. When cancelled, every process of the
    container is killed first. Nothing stays but the bundle's directory."""
    bundle.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    bundle.spec.write_bytes(msgspec.json.encode(spec))
    bundle.runtime_log.unlink(missing_ok=True)
    cgroup = str(spec["linux"]["cgroupsPath"])
    arguments = [*invocation.arguments(chosen, bundle.runtime_log), "run", "--pid-file", str(bundle.pidfile)]
    errors = _Errors(bundle, output)
    command = [chosen.command[0], *arguments, "--bundle", str(bundle.path), bundle.id]
    process, readers = _spawn(command, invocation.environment, errors.heard)
    try:
        await _ended(process)
        # A process of the container may have left the pipe to another that lives on: the kernel kills the pid
        # namespace with its init, so the end of the pipes follows at once.
        await asyncio.gather(*(reader.done for reader in readers))
    except asyncio.CancelledError:
        await asyncio.shield(_abandon(process, cgroup))
        raise
    finally:
        for reader in readers:
            reader.close()
        shutil.rmtree(invocation.state(chosen, bundle.id), ignore_errors=True)
        with contextlib.suppress(OSError):
            await cgroups.remove(cgroup)
    code = process.returncode
    if code and (reason := failures.last_error(bundle.runtime_log)):
        raise failures.create_failed(reason, spec["process"]["args"][0])
    errors.flush()
    return code if code >= 0 else 128 - code


def _spawn(
    command: list[str], environment: Mapping[str, str], output: Output
) -> tuple[subprocess.Popen[bytes], list[_Reader]]:
    pipes = [os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipes[0][1], stderr=pipes[1][1], env=environment, close_fds=True
        )
    except OSError as error:
        for read, _ in pipes:
            os.close(read)
        raise Unavailable(f"cannot run {command[0]}: {error.strerror}") from error
    finally:
        for _, write in pipes:
            os.close(write)
    return process, [_Reader(read, stream, output) for (read, _), stream in zip(pipes, (STDOUT, STDERR), strict=True)]


async def _ended(process: subprocess.Popen[bytes]) -> None:
    descriptor = pidfd.open_pidfd(process.pid)
    if descriptor is not None:
        try:
            await pidfd.ended(descriptor)
        finally:
            os.close(descriptor)
    process.wait()


async def _abandon(process: subprocess.Popen[bytes], cgroup: str) -> None:
    """Kills what runs until the runtime itself has ended: it may have been about to start more."""
    ending = asyncio.ensure_future(_ended(process))
    try:
        while not ending.done():
            await cgroups.kill(cgroup)
            await asyncio.wait({ending}, timeout=0.2)
            if not ending.done() and not cgroups.pids(cgroup):
                process.kill()
    finally:
        await ending
        await cgroups.kill(cgroup)


class _Errors:
    """The runtime says on stderr, too, why it could not start a container. What comes before the pid file is there may
    be that, and is kept back."""

    def __init__(self, bundle: Bundle, output: Output) -> None:
        self._bundle, self._output = bundle, output
        self._held: list[bytes] = []
        self._started = False

    def heard(self, stream: int, data: bytes) -> Awaitable[None] | None:
        if stream != STDERR or self._has_started():
            return self._output(stream, data)
        self._held.append(data)
        asyncio.get_running_loop().call_later(_PATIENCE, self._has_started)
        return None

    def _has_started(self) -> bool:
        if not self._started and self._bundle.pidfile.exists():
            self.flush()
        return self._started

    def flush(self) -> None:
        self._started = True
        for data in self._held:
            self._output(STDERR, data)
        self._held = []


class _Reader:
    """One of the container's streams."""

    def __init__(self, descriptor: int, stream: int, output: Output) -> None:
        self._descriptor, self._stream, self._output = descriptor, stream, output
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(descriptor, False)
        self._pause: asyncio.Future[None] | None = None
        self._loop.add_reader(descriptor, self._ready)

    def _ready(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.close()
        elif (full := self._output(self._stream, data)) is not None:
            self._loop.remove_reader(self._descriptor)
            self._pause = asyncio.ensure_future(full)
            self._pause.add_done_callback(self._resume)

    def _resume(self, pause: asyncio.Future[None]) -> None:
        if self._descriptor >= 0 and not pause.cancelled():
            self._loop.add_reader(self._descriptor, self._ready)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        if self._pause is not None:
            self._pause.cancel()
        if not self.done.done():
            self.done.set_result(None)
