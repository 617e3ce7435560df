"""At daemon start: documents against what really runs. The daemon is crash-only, so this is the only kind of start.

A container whose document says it runs is taken over when it does, and its end is recorded when it does not. Whatever
has no document (a bundle, a snapshot, a directory, a process) was half made, or half removed: it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from pathlib import Path

from sampan.containers.context import Context
from sampan.containers.life import restarts, transitions
from sampan.containers.life.execs import Execs
from sampan.containers.life.removing import Removing
from sampan.containers.life.starting import Starting
from sampan.containers.model import Container, Status
from sampan.containers.roster import Record
from sampan.containers.spec import networking
from sampan.errors import Conflict, SampanError
from sampan.linux import mounts
from sampan.networks import Sandbox
from sampan.runtime import Bundle, cgroups

log = logging.getLogger(__name__)

EXIT_LOST = 255
"""The exit code of a container that ended unseen, as dockerd records it after a reboot."""


class Reconcile:
    def __init__(self, context: Context, starting: Starting, removing: Removing, execs: Execs) -> None:
        self._context = context
        self._starting = starting
        self._removing = removing
        self._execs = execs

    async def run(self) -> list[Record]:
        """Returns the containers that go on running."""
        context = self._context
        for _, container in context.documents.all():
            container.exec_ids = []
            context.roster.add(Record(container))
        live: list[Record] = []
        lost: list[Record] = []
        for record in context.roster:
            if record.container.state.status in (Status.RUNNING, Status.PAUSED):
                (live if self._take_over(record) else lost).append(record)
        await self._networks(live)
        self._execs.load()
        for record in live:
            self._execs.recovered(record, context.runtime.recover_execs(context.bundle(record.container)))
        for record in lost:
            self._lost(record)
        await asyncio.to_thread(self._forget_intents)
        await self._sweep({record.id for record in live})
        await self._finish_removals()
        return live

    def _take_over(self, record: Record) -> bool:
        container = record.container
        alive = self._context.runtime.alive(self._context.bundle(container))
        if alive is None:
            return False
        state = container.state
        if (state.pid, state.conmon_pid) != alive:
            state.pid, state.conmon_pid = alive
            self._context.save(record)
        self._context.mounting.adopt(container)
        return True

    async def _networks(self, live: list[Record]) -> None:
        sandboxes: dict[str, Sandbox] = {
            record.id: networking.sandbox(record.container)
            for record in live
            if not record.container.host_config.network_mode.startswith(networking.CONTAINER)
        }
        await self._context.networks.open(sandboxes)

    def _lost(self, record: Record) -> None:
        """It ended while no daemon watched. conmon wrote the code, unless the machine went down too."""
        context, container = self._context, record.container
        exit = context.runtime.exit_of(context.bundle(container))
        code, at = (exit.exit_code, exit.time) if exit else (EXIT_LOST, time.time_ns())
        transitions.ended(container.state, Status.EXITED, code, at, exit.oom_killed if exit else False)
        networking.clear(container)
        context.save_what_happened(record)
        ran = max(at - container.state.started_at, 0) // 10**9
        context.publish(container, "die", exitCode=str(code), execDuration=str(ran))

    def _forget_intents(self) -> None:
        """Creates that were cut short: the volumes made for them alone go."""
        for id, intent in self._context.intents.all():
            for name in intent.volumes:
                try:
                    self._context.volumes.remove(name, force=True)
                except Conflict:
                    pass  # another container's, by --volumes-from
                except SampanError:
                    log.exception("removing volume %s of container %s, which was never made", name, id)
            self._context.intents.delete(id)

    async def _sweep(self, live: set[str]) -> None:
        """Bundles, snapshots and directories that nobody has."""
        context = self._context
        bundles = await asyncio.to_thread(_names, context.bundles)
        for id in bundles:
            if id not in live:
                record = context.roster.by_id(id)
                container = record.container if record else Container(id=id)
                bundle = Bundle(id, context.bundles / id, None)
                await self._starting.undo(container, bundle)
        await self._sweep_cgroups(live)
        await asyncio.to_thread(self._sweep_disk)

    async def _sweep_cgroups(self, live: set[str]) -> None:
        """Of containers whose bundle is gone, with the exec root. Those of unknown ids may be another engine's."""
        parent = self._context.settings.cgroup_parent
        found = {name for place in cgroups.directories(parent) for name in _names(place)}
        for id in found:
            if id in self._context.roster and id not in live:
                cgroup = f"{parent}/{id}"
                await cgroups.kill(cgroup)
                await cgroups.remove(cgroup)

    def _sweep_disk(self) -> None:
        context = self._context
        keys = context.snapshots.keys()
        for key in keys:
            if len(key) == 64 and key not in context.roster:
                context.snapshots.remove(key)
        for id in _names(context.directories):
            if id not in context.roster:
                shutil.rmtree(context.directory(id), ignore_errors=True)
        for mount in mounts.mountinfo():
            place = Path(mount.mount_point)
            if place.is_relative_to(context.bundles) and place.relative_to(context.bundles).parts[:1]:
                id = place.relative_to(context.bundles).parts[0]
                if id not in context.roster:
                    with contextlib.suppress(OSError):
                        context.snapshots.unmount(place)

    async def _finish_removals(self) -> None:
        for record in self._context.roster:
            status = record.container.state.status
            if status in (Status.CREATED, Status.EXITED, Status.RESTARTING):
                if self._stale(record):
                    self._context.save(record)
                wanted = record.container.host_config.auto_remove and record.container.state.started_at
                if not wanted:
                    continue
                record.container.remove_volumes = True
                transitions.change(record.container.state, Status.REMOVING)
                self._context.save(record)
            elif status is not Status.REMOVING:
                continue
            try:
                async with record.lock:
                    await self._removing.finish(record)
            except Exception:
                log.exception("removing container %s", record.id)

    def _stale(self, record: Record) -> bool:
        """A restart that waited when the daemon ended; endpoints of a run that is over."""
        container = record.container
        changed = bool(container.ports) or any(settings.endpoint_id for settings in container.networking.values())
        networking.clear(container)
        if container.state.status is Status.RESTARTING:
            state = container.state
            transitions.ended(state, Status.EXITED, state.exit_code, state.finished_at)
            changed = True
        return changed

    # -- after the daemon is open --------------------------------------------------------------------
    def to_restart(self, live: list[Record]) -> list[Record]:
        """Those whose policy starts them with the daemon, as Docker decides it."""
        running = {record.id for record in live}
        return [
            record
            for record in self._context.roster
            if record.id not in running
            and record.container.state.status is Status.EXITED
            and record.container.state.started_at
            and restarts.wanted(
                record.container.host_config.restart_policy,
                record.container.state.exit_code,
                record.container.state.manually_stopped,
                record.container.restart_count,
            )
        ]

    async def restart(self, records: list[Record]) -> None:
        """One after another in the order of their creation: what others join (`container:ID`) is older."""
        for record in sorted(records, key=lambda record: record.container.created):
            async with record.lock:
                if record.container.state.status is not Status.EXITED or record.id not in self._context.roster:
                    continue
                try:
                    await self._starting.run(record)
                except Exception as error:
                    log.error("starting container %s: %s", record.id, error)


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
