"""Starting a container: from a document to a process, all or nothing.

The order the kernel and conmon need: root filesystem and network namespace (at the same time), the files of /etc, the
spec, conmon with the runtime's create, whoever attached before, the runtime's start. Only then does the document say
"running": a daemon killed before that finds a process nobody was told of, and removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from sampan.containers.attaching import Attaching
from sampan.containers.context import Context
from sampan.containers.life import transitions
from sampan.containers.logs.remote.links import DialError
from sampan.containers.model import Container, Status
from sampan.containers.mountpoints import mounts as mount_points
from sampan.containers.roster import Record
from sampan.containers.spec import etc_files, linking, networking, oci
from sampan.containers.spec.security_options import Defaults
from sampan.errors import Conflict, NotModified, SampanError
from sampan.networks import Sandbox
from sampan.runtime import Bundle, Created, StartFailed, shm
from sampan.runtime.failures import logging_failed

log = logging.getLogger(__name__)

Mounted = tuple[list[dict[str, Any]], Path | None]
"""The user's mounts in OCI form; the directory of a shareable /dev/shm."""

EXIT_UNKNOWN = 128
"""What a container that could not be started shows, unless the runtime's failure says more (126, 127)."""


class Starting:
    """`remove` takes an AutoRemove container away whose start failed; set by `service`. `started` is told of each
    start."""

    def __init__(self, context: Context, attaching: Attaching) -> None:
        self._context = context
        self._attaching = attaching
        self.remove: Callable[[Record], Coroutine[Any, Any, None]]
        self.started: Callable[[Record], None]

    async def start(self, record: Record) -> None:
        """The user's start. Raises `NotModified` when it runs already."""
        async with record.lock:
            check(record.container)
            record.stop_requested = False
            record.restarts = 0
            record.container.restart_count = record.counted_restarts  # a user's start begins anew
            record.restart_delay = 0
            record.container.state.manually_stopped = False
            await self.run(record, by_hand=True)

    async def run(self, record: Record, by_hand: bool = False) -> None:
        """Under the lock. On failure everything is undone, and the state says why, before it raises. A start that no
        user asked for does not fail for want of a log server: that may come back too."""
        context, container = self._context, record.container
        try:
            await self._prepare_log(record, by_hand)
            await self._run(record)
        except BaseException as error:
            message = error.message if isinstance(error, SampanError) else str(error) or type(error).__name__
            code = error.exit_code if isinstance(error, StartFailed) else container.state.exit_code or EXIT_UNKNOWN
            transitions.failed_to_start(container.state, code, message)
            with contextlib.suppress(Exception):
                context.save(record)
            self._attaching.let_go(record)
            context.forwarding.ended(record)
            if container.host_config.auto_remove:
                context.keep(self.remove(record))
            raise
        context.publish(container, "start")
        if record.attaching:  # attached while the start was under way
            await self._attaching.connect_waiting(record, context.bundle(container))
        self.started(record)

    async def _prepare_log(self, record: Record, by_hand: bool) -> None:
        try:
            await self._context.forwarding.prepare(record, by_hand)
        except (DialError, SampanError) as error:
            raise logging_failed(str(error)) from None

    async def _run(self, record: Record) -> None:
        context, container = self._context, record.container
        bundle = context.bundle(container)
        host = container.host_config
        shared = self._shared_network(container)
        network = _Network(self._context, container) if shared is None else None
        try:
            mounts, shared_memory = await asyncio.to_thread(self._mount, container, bundle)
            if network is not None:
                sandbox = await network.reserved()
                etc = etc_files.write(context, container, sandbox)
            else:
                assert shared is not None
                sandbox = Sandbox(netns=None)
                etc = etc_files.of(context.directory(shared.id))
            document = oci.container_spec(
                container,
                oci.Prepared(
                    rootfs=bundle.rootfs,
                    cgroup_parent=context.settings.cgroup_parent,
                    netns=sandbox.netns,
                    mounts=mounts,
                    files=etc.mounts(mounts),
                    shm=shared_memory,
                    rootfs_propagation=mount_points.rootfs_propagation(container.mounts),
                    linked=linking.environment(context, container),
                    defaults=Defaults.of(context.settings),
                    peer=lambda ref: self._peer(container, ref),
                ),
            )
            created = await context.runtime.create(
                bundle,
                document,
                tty=container.config.tty,
                stdin=container.config.open_stdin,
                stdin_once=container.config.stdin_once,
                runtime=host.runtime,
            )
            context.mounting.unstage(bundle.path)
            if network is not None:
                sandbox = await network.up()
            await self._attaching.connect_waiting(record, bundle)
            started_at = time.time_ns()
            await context.runtime.start(bundle, created.runtime)
            container.runtime = created.runtime
            container.log_path = str(bundle.log_path) if bundle.log_path else ""
            if network is not None:
                networking.record(container, sandbox)
            self._say_running(record, created, started_at)
        except BaseException:
            if network is not None:
                await network.settled()
            await context.whole(self.undo(container, bundle))
            raise

    def _say_running(self, record: Record, created: Created, started_at: int) -> None:
        """What cannot be written down (a full disk) does not run."""
        state = record.container.state
        before = msgspec.structs.replace(state)
        transitions.running(state, created.pid, created.conmon_pid, started_at)
        try:
            self._context.save(record)
        except BaseException:
            record.container.state = before
            raise

    def _shared_network(self, container: Container) -> Container | None:
        """The container whose network this one joins. Raises `Conflict` when that does not run."""
        mode = container.host_config.network_mode
        if not mode.startswith(networking.CONTAINER):
            return None
        return running_other(self._context, mode, "network", container.id)

    def _peer(self, container: Container, ref: str) -> oci.Peer:
        """For `container:ID` modes. Raises `Conflict` when that does not run."""
        other = running_other(self._context, ref, "namespaces", container.id)
        place = shm.path(self._context.bundle(other).path)
        return oci.Peer(other.state.pid, place if other.host_config.ipc_mode == "shareable" else None)

    def _mount(self, container: Container, bundle: Bundle) -> Mounted:
        """Blocks. The root filesystem at the bundle, the user's mounts staged (in OCI form), a /dev/shm to share."""
        bundle.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if bundle.log_path is not None:
            bundle.log_path.parent.mkdir(mode=0o710, parents=True, exist_ok=True)
        self._context.snapshots.mount(container.id, bundle.rootfs, volatile=container.host_config.auto_remove)
        shared = None
        if container.host_config.ipc_mode == "shareable":
            shared = shm.mount(bundle.path, container.host_config.shm_size)
        return self._context.mounting.stage(container, bundle.path), shared

    async def undo(self, container: Container, bundle: Bundle, erase: Callable[[], None] | None = None) -> None:
        """Takes away all that a run has, in whatever state it is, at the same time: the processes are gone, or are
        killed. Idempotent, and goes on past failures. `erase` (blocking) follows when nothing is mounted any more."""
        context = self._context
        results = await asyncio.gather(
            context.runtime.delete(bundle, container.runtime or container.host_config.runtime),
            context.networks.down(container.id),
            asyncio.to_thread(self._unmount, container, bundle, erase),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                log.error("taking down container %s: %s", container.id, result, exc_info=result)
        networking.clear(container)
        if not bundle.rootfs.exists():  # whatever is mounted there still must not be deleted through
            shutil.rmtree(bundle.path, ignore_errors=True)

    def _unmount(self, container: Container, bundle: Bundle, erase: Callable[[], None] | None) -> None:
        """Blocks."""
        context = self._context
        context.mounting.unstage(bundle.path)
        shm.unmount(bundle.path)
        if bundle.rootfs.exists():
            context.snapshots.unmount(bundle.rootfs)
            bundle.rootfs.rmdir()  # fails while anything is still mounted there: nothing below it can be lost
        context.mounting.release(container)
        if erase is not None:
            erase()


def check(container: Container) -> None:
    """May it be started? Raises `Conflict`, `NotModified`."""
    match container.state.status:
        case Status.PAUSED:
            raise Conflict("cannot start a paused container, try unpause instead")
        case Status.RUNNING | Status.RESTARTING:
            raise NotModified("container is already running")
        case Status.REMOVING | Status.DEAD:
            raise Conflict("container is marked for removal and cannot be started")


def running_other(context: Context, mode: str, what: str, own: str) -> Container:
    """The container that a `container:ID` mode names. Raises `NotFound`, `Conflict`."""
    ref = mode.removeprefix(networking.CONTAINER)
    other = context.roster.find(ref).container
    if other.id == own:
        raise Conflict(f"cannot join own {what}: {own}")
    if other.state.status is Status.RESTARTING:
        raise Conflict(f"Container {other.id} is restarting, wait until the container is running")
    if not other.state.running:
        raise Conflict(f"cannot join {what} of a non running container: {other.id}")
    return other


class _Network:
    """A sandbox in the making: begun at once, beside the mounts, and finished beside the runtime's create."""

    def __init__(self, context: Context, container: Container) -> None:
        host = container.host_config
        sysctls = {name: value for name, value in (host.sysctls or {}).items() if name.startswith("net.")}
        self._reserved: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
        self._up = asyncio.ensure_future(
            context.networks.up(
                container.id,
                "none" if container.config.network_disabled else host.network_mode,
                networking.requests(container),
                networking.port_requests(container),
                sysctls,
                host.dns or context.settings.dns,
                # The runtime sets sysctls too, and those of an interface need it to be there.
                None if sysctls else self._reserved.set_result,
            )
        )

    async def reserved(self) -> Sandbox:
        """When its namespace can be joined. Raises what `Networks.up` does."""
        await asyncio.wait({self._up, self._reserved}, return_when=asyncio.FIRST_COMPLETED)
        return self._reserved.result() if self._reserved.done() else self._up.result()

    async def up(self) -> Sandbox:
        """When it is whole."""
        return await self._up

    async def settled(self) -> None:
        """When nothing of it is under way any more, however it went."""
        await asyncio.wait({self._up})
