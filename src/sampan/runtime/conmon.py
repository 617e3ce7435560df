"""conmon: one small process that holds a container's (or exec's) stdio, log and exit code, and outlives the daemon.

The protocol (conmon 2.1, `src/conmon.c`), `--api-version 1`:

* `_OCI_SYNCPIPE`: conmon writes `{"data": pid}` when the runtime's create or exec succeeded, `{"data": -1, "message":
stderr}` or nothing at all when it failed; for an exec it writes `{"data": exit code}` at the end. * `_OCI_STARTPIPE`:
conmon waits for a byte before it forks; with `--exec-attach` for a second one before it runs the exec. *
`_OCI_ATTACHPIPE`: `{"data": 0}` when an exec's attach socket listens.

conmon forks once to detach; the first process ends at once and is reaped here. The process that stays becomes a
session leader and a subreaper: the container's init is its child. Its working directory is the bundle, because it
writes the file `oom` there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sampan.errors import SampanError, Unavailable
from sampan.linux import pidfd


class _Message(msgspec.Struct):
    data: int
    message: str = ""


class ConmonFailed(Exception):
    """`reason` is what the runtime (or conmon itself) said, as far as the sync pipe carried it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Pipe:
    """The daemon's read end of one of conmon's pipes: JSON lines."""

    descriptor: int
    _buffer: bytes = b""

    async def message(self) -> _Message | None:
        """The next message; None at the end of the pipe."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._buffer:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_reader(self.descriptor, _wake, ready)
                try:
                    await ready
                finally:
                    loop.remove_reader(self.descriptor)
                continue
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return msgspec.json.decode(line, type=_Message)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


@dataclass(frozen=True, slots=True)
class Command:
    """What one conmon is to do. `directory` is its bundle (of an exec: the exec's own directory)."""

    conmon: str
    runtime: str
    runtime_arguments: Sequence[str]
    id: str
    directory: Path
    log: str
    """`none`, or `k8s-file:PATH`."""
    tty: bool = False
    stdin: bool = False
    leave_stdin_open: bool = False
    exit_directory: Path | None = None
    process: Path | None = None
    """The OCI process file: makes it an exec."""
    attach: bool = False
    """For an exec: somebody attaches before it runs."""

    def arguments(self) -> list[str]:
        place = os.fspath(self.directory)
        given = [self.conmon, "--api-version", "1", "-c", self.id, "-u", self.id, "-r", self.runtime, "-b", place]
        given += [
            "-p",
            f"{place}/pidfile",
            "-P",
            f"{place}/conmon.pid",
            "--full-attach",
            "--no-sync-log",
            "-l",
            self.log,
        ]
        given += [f"--runtime-arg={argument}" for argument in self.runtime_arguments]
        given += [
            flag
            for flag, on in (("-t", self.tty), ("-i", self.stdin), ("--leave-stdin-open", self.leave_stdin_open))
            if on
        ]
        if self.exit_directory is not None:
            given += ["--exit-dir", os.fspath(self.exit_directory)]
        if self.process is not None:
            # In an exit directory two execs of one container would share a name; in a persist directory it is `exit`.
            given += ["-e", "--exec-process-spec", os.fspath(self.process), "--persist-dir", place]
            given += ["--exec-attach"] if self.attach else []
        return given


@dataclass(slots=True)
class Conmon:
    """A conmon that was just started."""

    sync: Pipe
    _process: subprocess.Popen[bytes]
    _errors: int
    attach: Pipe | None = None
    _start: int = -1
    pid: int = 0
    """Of the process that stays; known after `created`."""
    _log_reason: str = field(default="", repr=False)

    async def created(self) -> int:
        """Waits for the runtime; the pid of the container's init (or of the exec). Raises `ConmonFailed`."""
        message = await self.sync.message()
        await self._reap()
        if message is None:
            raise ConmonFailed(self._stderr() or "conmon ended without a word")
        if message.data <= 0:
            raise ConmonFailed(message.message)
        return message.data

    async def attachable(self) -> None:
        """Waits until an exec's attach socket listens. Raises `ConmonFailed`."""
        assert self.attach is not None
        message = await self.attach.message()
        if message is None:
            await self._reap()
            raise ConmonFailed(self._stderr() or "conmon ended before its attach socket was there")

    def go(self) -> None:
        """Lets an attached exec begin."""
        if self._start >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._start, b"\0")

    async def _reap(self) -> None:
        if self._process.poll() is None:
            descriptor = pidfd.open_pidfd(self._process.pid)
            if descriptor is not None:
                try:
                    await pidfd.ended(descriptor)
                finally:
                    os.close(descriptor)
            self._process.wait()

    def _stderr(self) -> str:
        """What conmon itself said before it detached."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._errors, 4096).decode(errors="replace").strip()
        return ""

    def close(self, *, keep_sync: bool = False) -> None:
        if not keep_sync:
            self.sync.close()
        if self.attach is not None:
            self.attach.close()
        for descriptor in (self._errors, self._start):
            if descriptor >= 0:
                os.close(descriptor)
        self._errors = self._start = -1


def spawn(command: Command, environment: Mapping[str, str]) -> Conmon:
    """Starts conmon (vfork, about a millisecond) with exactly the descriptors it needs. Raises `Unavailable`."""
    ours: list[int] = []
    theirs: list[int] = []
    arguments = command.arguments()

    def pipe(to_conmon: bool) -> tuple[int, int]:
        read, write = os.pipe2(os.O_CLOEXEC)
        ours.append(write if to_conmon else read)
        theirs.append(read if to_conmon else write)
        return ours[-1], theirs[-1]

    try:
        sync, sync_there = pipe(False)
        errors, errors_there = pipe(False)
        variables = {**environment, "_OCI_SYNCPIPE": str(sync_there)}
        if not all(map(str.isascii, arguments)):
            # conmon takes its arguments in the locale's encoding. A locale costs it, and all it starts, the opening
            # of a dozen files each.
            variables["LANG"] = "C.UTF-8"
        attach = start = -1
        if command.attach:
            attach, attach_there = pipe(False)
            start, start_there = pipe(True)
            variables |= {"_OCI_ATTACHPIPE": str(attach_there), "_OCI_STARTPIPE": str(start_there)}
        for descriptor in (sync, errors, attach):
            if descriptor >= 0:
                os.set_blocking(descriptor, False)
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors_there,
            env=variables,
            cwd=command.directory,
            close_fds=True,
            pass_fds=[descriptor for descriptor in theirs if descriptor != errors_there],
        )
    except BaseException as error:
        for descriptor in ours:
            os.close(descriptor)
        if isinstance(error, FileNotFoundError):
            raise Unavailable(f"conmon is not installed ({error.filename}); install the package conmon") from None
        if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM):
            raise SampanError(f"cannot start conmon: {error.strerror}") from error
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    if start >= 0:
        os.write(start, b"\0")  # the first byte: fork
    return Conmon(Pipe(sync), process, errors, Pipe(attach) if attach >= 0 else None, start)


def is_conmon_of(pid: int, id: str) -> bool:
    """Is this process the conmon of that container (not one that took over its pid)?"""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return id.encode() in arguments and any(part.rsplit(b"/", 1)[-1] == b"conmon" for part in arguments[:1])
