"""The front door of containers: one method an operation of the Engine API, in domain terms.

Methods take an id, an id prefix or a name where `ref` is written, and raise `errors.NotFound("No such container: …")`.
The work is in the modules beside this one, a verb each; what they share is `context.Context`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.containers.attaching import Attaching, AttachOptions
from sampan.containers.committing import Committing, run_config
from sampan.containers.context import Context, Intent, not_running
from sampan.containers.copying.archive import PathStat
from sampan.containers.copying.files import Files
from sampan.containers.copying.volume_archive import VolumeArchives
from sampan.containers.life import renaming
from sampan.containers.life.changes import Changes
from sampan.containers.life.connecting import Connecting
from sampan.containers.life.creating import Creating
from sampan.containers.life.ending import Ending
from sampan.containers.life.execs import Execs
from sampan.containers.life.health import Checking
from sampan.containers.life.reconcile import Reconcile
from sampan.containers.life.removing import Removing
from sampan.containers.life.starting import Starting
from sampan.containers.life.stopping import Stopping
from sampan.containers.life.unhealthy import Unhealthy
from sampan.containers.life.updating import Updating
from sampan.containers.logs import log_drivers, log_reading
from sampan.containers.logs.log_reading import LogOptions
from sampan.containers.logs.log_rotation import Rotating
from sampan.containers.logs.remote.identity import Identity
from sampan.containers.model import (
    Config,
    Container,
    EndpointSettings,
    Exec,
    ExecConfig,
    HostConfig,
    NetworkingConfig,
    Status,
)
from sampan.containers.mountpoints.mounting import Mounting, users_of_volume
from sampan.containers.oneshot import OneShots
from sampan.containers.roster import Record
from sampan.containers.rules import signals
from sampan.containers.spec import linking
from sampan.containers.spec.security_options import Defaults
from sampan.containers.streams import LogLine, Stream
from sampan.containers.top import Processes
from sampan.containers.watching import Watching
from sampan.errors import InvalidParameter, SampanError
from sampan.images import Images, Snapshots
from sampan.images.diff import Change
from sampan.images.model import RunConfig
from sampan.networks import Networks
from sampan.runtime import Runtime, cgroups
from sampan.settings import Settings
from sampan.store import Database, Documents, EventLog
from sampan.volumes import Volumes


@dataclass(frozen=True, slots=True)
class Created:
    id: str
    warnings: list[str] = field(default_factory=list)


class Containers:
    """See the module. Built once by `sampan.engine`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        events: EventLog,
        images: Images,
        snapshots: Snapshots,
        networks: Networks,
        volumes: Volumes,
        runtime: Runtime,
    ) -> None:
        self._context = context = Context(
            settings=settings,
            database=database,
            documents=Documents(database, "container", Container),
            exec_documents=Documents(database, "exec", Exec),
            intents=Documents(database, "creating", Intent),
            events=events,
            images=images,
            snapshots=snapshots,
            networks=networks,
            volumes=volumes,
            runtime=runtime,
            mounting=Mounting(volumes, images, snapshots),
        )
        self._roster = context.roster
        self._growth = context.growth
        self._creating = Creating(context)
        self._attaching = Attaching(context)
        self._starting = Starting(context, self._attaching)
        self._ending = Ending(context, self._starting, self._attaching)
        self._stopping = Stopping(context, self._ending)
        self._committing = Committing(context, self._stopping)
        self._execs = Execs(context)
        self._removing = Removing(context, self._starting, self._stopping, self._attaching, self._execs)
        self._connecting = Connecting(context)
        self._updating = Updating(context)
        self._reconcile = Reconcile(context, self._starting, self._removing, self._execs)
        self._starting.remove = self._removing.automatic
        self._ending.remove = self._removing.after_run
        self._checking = Checking(context, self._execs)
        unhealthy = Unhealthy(context, self._stopping)
        self._checking.unhealthy, unhealthy.restart = unhealthy.act, self._restart
        self._files = Files(context)
        self._volume_archives = VolumeArchives(volumes)
        self._watching = Watching(context)
        self.one_shots = OneShots(context)
        self._rotating = Rotating(context)
        self._starting.started = self._run_started
        self._ending.ended = self._run_ended
        self._ending.exec_ended = self._execs.ended
        self._watcher: asyncio.Task[None] | None = None
        self._restarter: asyncio.Task[None] | None = None

    # -- the daemon's life -------------------------------------------------------------------------
    async def open(self) -> None:
        """Reconciles, then watches. Opens networks on the way. Restart policies go to work in the background."""
        try:
            log_drivers.check(self._context.default_log)
        except SampanError as error:
            error.message = f"failed to set log opts: {error.message}"
            raise
        Defaults.of(self._context.settings)
        live = await self._reconcile.run()
        self._context.volumes.sweep()
        for record in live:
            await self._updating.recovered(record)
            self._checking.recovered(record)
            self._rotating.started(record)
        for record in self._roster:
            self._context.forwarding.recovered(record, record.container.state.running)
        self._watcher = asyncio.get_running_loop().create_task(self._ending.watch(), name="container exits")
        if records := self._reconcile.to_restart(live):
            self._restarter = asyncio.get_running_loop().create_task(self._reconcile.restart(records))

    async def close(self) -> None:
        """Stops watching; containers go on running."""
        for task in (self._watcher, self._restarter):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        for record in self._roster:
            for event in record.followers:
                event.set()
            if record.restart_pending is not None:
                record.restart_pending.cancel()
            self._attaching.let_go(record)
            self._checking.close(record)
        if self._context.tasks:
            # What is half done is finished, unless it waits for a process to end: the next daemon sees to that.
            await asyncio.wait(self._context.tasks, timeout=self._context.settings.shutdown_timeout)
            for task in tuple(self._context.tasks):
                task.cancel()
        self._rotating.close()
        self._context.forwarding.close()
        self._growth.close()
        self._execs.close()
        await self._context.runtime.close()
        for place in cgroups.directories(self._context.settings.cgroup_parent):
            with contextlib.suppress(OSError):  # in use by those that go on running
                place.rmdir()

    def _run_started(self, record: Record) -> None:
        self._checking.started(record)
        self._rotating.started(record)

    def _run_ended(self, record: Record) -> None:
        self._checking.ended(record)
        self._context.forwarding.ended(record)
        self._execs.container_ended(record)

    def users_of_image(self, image_id: str) -> list[tuple[str, bool]]:
        """(container id, running) of those made from, or mounting, an image."""
        return [
            (record.id, record.container.state.running)
            for record in self._roster
            if record.container.image_id == image_id
            or any(point.image == image_id for point in record.container.mounts)
        ] + [(id, False) for id, image in self._creating.under_way.items() if image == image_id]

    def users_of_volume(self, name: str) -> list[str]:
        """Ids of those whose document names a volume. One that goes together with its volumes does not count."""
        return users_of_volume(
            [
                record.container
                for record in self._roster
                if not (record.container.state.status is Status.REMOVING and record.container.remove_volumes)
            ],
            name,
        )

    # -- finding -----------------------------------------------------------------------------------
    def get(self, ref: str) -> Container:
        """By full id, then name, then unique id prefix (Docker's order)."""
        return self._roster.find(ref).container

    def all(self) -> list[Container]:
        """Every container, newest first."""
        return sorted((record.container for record in self._roster), key=lambda c: c.created, reverse=True)

    def files(self, ref: str) -> Path:
        """The directory of hosts, hostname, resolv.conf and the log."""
        return self._context.directory(self._roster.find(ref).id)

    # -- life --------------------------------------------------------------------------------------
    async def create(
        self,
        name: str,
        config: Config,
        host_config: HostConfig,
        networking: NetworkingConfig,
        platform: str | None = None,
    ) -> Created:
        """Raises `NotFound` for the image, `Conflict` for the name, `InvalidParameter` for what cannot be meant."""
        record, warnings = await self._creating.create(name, config, host_config, networking, platform)
        return Created(record.id, warnings)

    async def start(self, ref: str) -> None:
        """Raises `NotModified` when it runs already, `StartFailed` when the OCI runtime refuses."""
        await self._context.whole(self._starting.start(self._roster.find(ref)))

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        """Raises `NotModified` when it does not run."""
        await self._stopping.stop(self._roster.find(ref), ref, timeout, signal)

    async def restart(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        record = self._roster.find(ref)
        try:
            await self._context.whole(self._restart(record, timeout, signal))
        except SampanError as error:
            error.message = f"Cannot restart container {ref}: {error.message}"
            raise

    async def _restart(self, record: Record, timeout: int | None = None, signal: str | None = None) -> None:
        if record.container.state.running:
            record.restarting_by_hand = True  # `--rm` does not mean this end
            try:
                await self._stopping.end(record, timeout, signal)
                await self._starting.start(record)
            finally:
                record.restarting_by_hand = False
        else:
            await self._starting.start(record)
        self._context.publish(record.container, "restart")

    async def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        """With SIGKILL, waits for the end. Raises `Conflict` when it does not run."""
        number = signals.parse_deliverable(signal or "SIGKILL")
        record = self._roster.find(ref)
        if not record.container.state.running:
            raise not_running(record.id)
        if number == 9:
            await self._context.whole(self._stopping.kill(record))
        else:
            await self._context.whole(self._stopping.signal(record, number))

    async def pause(self, ref: str) -> None:
        await self._context.whole(self._stopping.pause(self._roster.find(ref)))

    async def unpause(self, ref: str) -> None:
        await self._context.whole(self._stopping.unpause(self._roster.find(ref)))

    def image_config(self, ref: str) -> RunConfig:
        """The part of a container's configuration that an image would keep."""
        return run_config(self._roster.find(ref).container.config)

    async def commit(
        self,
        ref: str,
        config: RunConfig,
        *,
        reference: str = "",
        author: str = "",
        comment: str = "",
        pause: bool = True,
    ) -> str:
        """A container as a new image; returns its id. What `config` leaves open is the container's."""
        return await self._context.whole(
            self._committing.commit(
                self._roster.find(ref), config, reference=reference, author=author, comment=comment, pause=pause
            )
        )

    async def rename(self, ref: str, name: str) -> None:
        name = name.strip()
        if not ref.strip().removeprefix("/") or not name.removeprefix("/"):
            raise InvalidParameter("Neither old nor new names may be empty")
        await self._context.whole(renaming.rename(self._context, self._roster.find(ref), name))

    async def remove(self, ref: str, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """`volumes`: its anonymous volumes too."""
        if link:
            linking.unlink(self._context, ref)
            return
        await self._removing.remove(self._roster.find(ref), ref, force, volumes)

    async def wait(self, ref: str, condition: str = "not-running") -> tuple[int, str | None]:
        """(exit code, error). Condition: not-running, next-exit, removed; not in Docker: healthy. The subscription is
        made before the first await, so a client that waits and then starts misses nothing."""
        record = self._roster.find(ref)
        state = record.container.state
        if condition == "healthy":
            return await self._checking.wait(record)
        if condition == "removed":
            return await record.removal()
        if condition == "not-running" and not state.running:
            return state.exit_code, state.error or None
        return await record.exit()

    async def resize(self, ref: str, height: int, width: int) -> None:
        container = self._roster.find(ref).container
        if not container.state.running:
            raise not_running(container.id)
        await self._context.runtime.resize(self._context.bundle(container), height, width)
        self._context.publish(container, "resize", height=str(height), width=str(width))

    async def update(
        self, ref: str, wanted: HostConfig, given: frozenset[str], also: Changes | None = None
    ) -> list[str]:
        """`POST …/update`: the fields named in `given` (lower case, `memory`, `restartpolicy`) change, and ports and
        mounts as `also` says; returns warnings."""
        return await self._context.whole(self._updating.update(self._roster.find(ref), wanted, given, also))

    async def connect(self, ref: str, network: str, settings: EndpointSettings) -> None:
        """`POST /networks/{id}/connect`, for running and stopped containers."""
        await self._context.whole(self._connecting.connect(self._roster.find(ref), network, settings))

    async def disconnect(self, ref: str, network: str, force: bool = False) -> None:
        await self._context.whole(self._connecting.disconnect(self._roster.find(ref), network, force))

    # -- streams -----------------------------------------------------------------------------------
    async def attach(self, ref: str, options: AttachOptions) -> Stream:
        """Works on a created container too: the stream begins with its start. Several at once all get everything."""
        record = self._roster.find(ref)
        backlog = None
        if options.logs:
            backlog = self.logs(ref, LogOptions(stdout=options.stdout, stderr=options.stderr))
        return await self._attaching.attach(record, ref, options, backlog)

    def detached(self, ref: str) -> None:
        """The detach keys were typed on an attachment: publishes `detach`."""
        with contextlib.suppress(SampanError):
            self._context.publish(self._roster.find(ref).container, "detach")

    def exec_detached(self, id: str) -> None:
        """The same for an exec: publishes `exec_detach`."""
        with contextlib.suppress(SampanError):
            exec_ = self._execs.get(id)
            self._context.publish(self._roster.find(exec_.container_id).container, "exec_detach", execID=id)

    def logs(self, ref: str, options: LogOptions) -> AsyncIterator[list[LogLine]]:
        """Batches of output, in order: `LogLine.data` is one line or many of one stream, prefixed as asked. With
        follow it ends when the container stops. Raises `SampanError` where the log driver keeps nothing."""
        record = self._roster.find(ref)
        if not log_drivers.keeps(record.container.host_config.log_config):
            raise SampanError("configured logging driver does not support reading")
        return self._logs(record, options)

    async def _logs(self, record: Record, options: LogOptions) -> AsyncIterator[list[LogLine]]:
        container = record.container
        run = record.run
        path = self._context.bundle(container).log_path
        assert path is not None
        details = b""
        if options.details:
            config = container.config
            details = log_drivers.details(
                container.host_config.log_config, config.labels or {}, config.env or [], self._log_tag(container)
            ).encode()
            details += b" "  # also where nothing is named
        if not options.follow:
            await first_words(record)
        wake = asyncio.Event()
        record.followers.add(wake)
        try:
            async for lines in log_reading.read(
                path,
                options,
                details=details,
                growth=self._growth,
                wake=wake,
                live=lambda: record.run == run and container.state.status in (Status.RUNNING, Status.PAUSED),
            ):
                yield lines
        finally:
            record.followers.discard(wake)

    def _log_tag(self, container: Container) -> str:
        config = container.host_config.log_config
        tagged = config is not None and config.type == "json-file" and (config.config or {}).get("tag")
        return Identity(container).tag() if tagged else ""

    # -- files -------------------------------------------------------------------------------------
    async def stat_path(self, ref: str, path: str) -> PathStat:
        """What `path` is, not following a final symlink. Raises `NotFound("Could not find the file …")`."""
        return await self._files.stat(ref, path)

    async def get_archive(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """A tar of a file or directory, in chunks of about 1 MiB. Created and stopped containers have files too."""
        return await self._files.download(ref, path)

    async def put_archive(
        self, ref: str, path: str, chunks: AsyncIterator[bytes], *, keep_kind: bool = False, copy_owner: bool = False
    ) -> None:
        """Unpacks a tar, compressed or not, into the directory `path`. `keep_kind`: no directory for a file or the
        other way round (noOverwriteDirNonDir); `copy_owner`: all belongs to the container's user (copyUIDGID)."""
        await self._files.upload(ref, path, chunks, keep_kind=keep_kind, copy_owner=copy_owner)

    async def changes(self, ref: str) -> list[Change]:
        """What differs from the image, in path order."""
        return await self._files.changes(ref)

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        """A tar of the root filesystem, without volumes."""
        return await self._files.export(ref)

    # -- volumes -----------------------------------------------------------------------------------
    async def export_volume(self, name: str) -> AsyncIterator[bytes]:
        """A tar of a volume, faithful to owners, xattrs and holes (not in Docker)."""
        return await self._volume_archives.export(name)

    async def import_volume(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Unpacks a tar into an existing volume (not in Docker)."""
        await self._volume_archives.import_(name, chunks)

    # -- processes ---------------------------------------------------------------------------------
    async def top(self, ref: str, ps_args: str = "") -> Processes:
        return await self._watching.top(ref, ps_args)

    async def stats(self, ref: str, *, stream: bool, one_shot: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Samples as `containers.stats` makes them, one a second."""
        return await self._watching.stats(ref, stream=stream, one_shot=one_shot)

    # -- exec --------------------------------------------------------------------------------------
    async def exec_create(self, ref: str, config: ExecConfig) -> str:
        return self._execs.create(self._roster.find(ref), ref, config)

    def exec_get(self, id: str) -> Exec:
        return self._execs.get(id)

    async def exec_start(self, id: str, detach: bool, tty: bool | None = None) -> Stream | None:
        """The stream, or None when detached."""
        return await self._execs.start(id, detach, tty)

    async def exec_resize(self, id: str, height: int, width: int) -> None:
        await self._execs.resize(id, height, width)


_FIRST_WORDS = 50_000_000
"""Nanoseconds from a start in which `logs` waits for what the program says at once: `start x; logs x` shows it with
dockerd, whose `start` takes that long (docker-py's tests do so)."""


async def first_words(record: Record) -> None:
    left = record.container.state.started_at + _FIRST_WORDS - time.time_ns()
    if record.container.state.running and 0 < left <= _FIRST_WORDS:
        ended = record.exit()
        await asyncio.wait([ended], timeout=left / 10**9)
        ended.cancel()
