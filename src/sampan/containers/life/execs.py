"""Execs: a further process in a running container. The document outlives the process, so that its exit code can be
asked for, and goes with the container, or some minutes after the end."""

from __future__ import annotations

import asyncio
import secrets
import time

from sampan.containers.attaching import AttachOptions, ClientStream
from sampan.containers.context import Context, not_running
from sampan.containers.model import Container, Exec, ExecConfig, Status
from sampan.containers.roster import Record
from sampan.containers.spec import oci
from sampan.containers.spec.security_options import Defaults
from sampan.errors import Conflict, InvalidParameter, NotFound, SampanError
from sampan.runtime import Exit, StartFailed

FORGOTTEN_AFTER = 600
"""Seconds for which an ended exec can still be inspected; Docker forgets after 5 to 10 minutes."""
EXIT_CANNOT_INVOKE = 126
_READY = 10
"""Seconds a resize waits for the process, as in dockerd."""


class Execs:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._execs: dict[str, Exec] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._begun: dict[str, asyncio.Event] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    # -- documents ---------------------------------------------------------------------------------
    def create(self, record: Record, ref: str, config: ExecConfig) -> str:
        container = record.container
        check_active(container, ref)
        if not config.cmd:
            raise InvalidParameter("No exec command specified")
        for entry in config.env or []:
            if not entry.partition("=")[0]:
                raise InvalidParameter(f"invalid environment variable: {entry}")
        exec_ = Exec(id=secrets.token_hex(32), container_id=container.id, config=config)
        self._put(exec_)
        container.exec_ids.append(exec_.id)
        self._context.publish(container, f"exec_create: {_words(exec_)}", execID=exec_.id)
        self._sweep_later()
        return exec_.id

    def get(self, id: str) -> Exec:
        """Raises `NotFound`."""
        exec_ = self._execs.get(id)
        if exec_ is None or self._context.roster.by_id(exec_.container_id) is None:
            raise NotFound(f"No such exec instance: {id}")
        return exec_

    def _put(self, exec_: Exec) -> None:
        self._execs[exec_.id] = exec_
        self._context.exec_documents.put(exec_.id, exec_)

    def forget_all(self, container: Container) -> None:
        """The container is removed."""
        for exec_ in [exec_ for exec_ in self._execs.values() if exec_.container_id == container.id]:
            self._forget(exec_.id)

    def forget(self, id: str) -> None:
        """An ended exec nobody will ask for (a health probe)."""
        self._forget(id)

    def _forget(self, id: str) -> None:
        self._execs.pop(id, None)
        self._ended.pop(id, None)
        self._tell(id)
        self._context.exec_documents.delete(id)

    # -- processes ---------------------------------------------------------------------------------
    async def start(self, id: str, detach: bool, tty: bool | None) -> ClientStream | None:
        """The stream; None when detached. `tty` is how the client wants to be sent the output, whatever the process
        has. Raises `Conflict`, `StartFailed`."""
        context = self._context
        exec_ = self.get(id)
        record = context.roster.find(exec_.container_id)
        container = record.container
        check_active(container, container.id)
        if exec_.exit_code is not None:
            raise Conflict(f"exec command {id} has already run")
        if exec_.started:
            raise Conflict(f"exec command {id} is already running")
        exec_.started = exec_.running = True
        context.publish(container, f"exec_start: {_words(exec_)}", execID=id)
        return await context.whole(self._start(exec_, record, detach, exec_.config.tty if tty is None else tty))

    async def _start(self, exec_: Exec, record: Record, detach: bool, raw: bool) -> ClientStream | None:
        context, container = self._context, record.container
        config = exec_.config
        bundle = context.bundle(container)
        ended = self._ended[exec_.id] = asyncio.Event()
        try:
            created, source = await context.runtime.exec(
                bundle,
                exec_.id,
                oci.exec_process(container, config, bundle.rootfs, Defaults.of(self._context.settings)),
                tty=config.tty,
                stdin=config.attach_stdin and not detach,
                attached=not detach,
                runtime=container.runtime,
            )
        except BaseException as error:
            code = error.exit_code if isinstance(error, StartFailed) else EXIT_CANNOT_INVOKE
            self._finish(exec_, code, time.time_ns())
            raise
        exec_.pid = created.pid
        self._tell(exec_.id)
        if exec_.exit_code is None:
            self._put(exec_)
        if source is None:
            return None
        options = AttachOptions(stdin=config.attach_stdin, stdout=config.attach_stdout, stderr=config.attach_stderr)
        stream = ClientStream(options, tty=config.tty, stdin=config.attach_stdin, ended=ended.wait, raw=raw)
        stream.connect(source)
        return stream

    def _tell(self, id: str) -> None:
        """Those who wait for its process."""
        if (event := self._begun.pop(id, None)) is not None:
            event.set()

    async def resize(self, id: str, height: int, width: int) -> None:
        exec_ = self.get(id)
        container = self._context.roster.find(exec_.container_id).container
        check_active(container, container.id)
        if exec_.exit_code is None and not exec_.pid:
            # Clients resize as soon as they have the answer to their start, which comes before the process.
            try:
                async with asyncio.timeout(_READY):
                    await self._begun.setdefault(id, asyncio.Event()).wait()
            except TimeoutError:
                raise SampanError("timeout waiting for exec session ready") from None
        if not exec_.running or not exec_.pid:
            raise InvalidParameter("exec process is not started")
        await self._context.runtime.resize(self._context.bundle(container), height, width, id)

    def ended(self, exit: Exit) -> None:
        exec_ = self._execs.get(exit.exec_id or "")
        if exec_ is not None and exec_.exit_code is None:
            self._finish(exec_, exit.exit_code, exit.time)
            if (record := self._context.roster.by_id(exec_.container_id)) is not None:
                self._context.publish(record.container, "exec_die", execID=exec_.id, exitCode=str(exit.exit_code))

    def _finish(self, exec_: Exec, code: int, at: int) -> None:
        exec_.running, exec_.exit_code, exec_.ended, exec_.pid = False, code, at, 0
        self._put(exec_)
        self._tell(exec_.id)
        record = self._context.roster.by_id(exec_.container_id)
        if record is not None and exec_.id in record.container.exec_ids:
            record.container.exec_ids.remove(exec_.id)
        if (event := self._ended.pop(exec_.id, None)) is not None:
            event.set()

    def container_ended(self, record: Record) -> None:
        """The kernel killed what ran in the container's pid namespace; what was never started never will be."""
        for id in list(record.container.exec_ids):
            exec_ = self._execs.get(id)
            if exec_ is not None and exec_.started:
                self._finish(exec_, 137, time.time_ns())
            else:
                record.container.exec_ids.remove(id)

    # -- the daemon's life -------------------------------------------------------------------------
    def load(self) -> None:
        """At daemon start, before exits are consumed: what was recorded, without what was never acknowledged."""
        for id, exec_ in self._context.exec_documents.all():
            record = self._context.roster.by_id(exec_.container_id)
            if record is None:
                self._context.exec_documents.delete(id)
                continue
            self._execs[id] = exec_
            if exec_.exit_code is None:
                record.container.exec_ids.append(id)
        self._sweep_later()

    def recovered(self, record: Record, running: list[str]) -> None:
        """Of a container that goes on running: execs that do too (`Runtime.recover_execs`)."""
        for id in list(record.container.exec_ids):
            exec_ = self._execs[id]
            if id in running:
                exec_.started = exec_.running = True
                self._ended[id] = asyncio.Event()

    def _sweep_later(self) -> None:
        if self._sweeper is None and self._execs:
            self._sweeper = asyncio.get_running_loop().call_later(FORGOTTEN_AFTER / 2, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        before = time.time_ns() - FORGOTTEN_AFTER * 10**9
        for exec_ in list(self._execs.values()):
            if exec_.exit_code is not None and exec_.ended < before:
                self._forget(exec_.id)
        self._sweep_later()

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()


def check_active(container: Container, ref: str) -> None:
    """Raises `Conflict` unless it runs, and is not paused."""
    if not container.state.running:
        raise not_running(container.id)
    if container.state.status is Status.PAUSED:
        raise Conflict(f"Container {ref} is paused, unpause the container before exec")
    if container.state.status is Status.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")


def _words(exec_: Exec) -> str:
    command = exec_.config.cmd or [""]
    return f"{command[0]} {' '.join(command[1:])}"  # with the trailing space that Docker has
