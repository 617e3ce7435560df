"""`POST /containers/{id}/update`: limits, the restart policy, and (not in Docker) ports and mounts of a container that
exists.

Limits take effect first, then ports, then mounts; each is all or nothing, and what came before a failure is undone. The
document is written before a running container's limits, ports and mounts change, with a note (`Container.changing`): a
daemon that is killed in between makes the kernel agree with the document when it starts again (`recovered`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path

import msgspec

from sampan.containers.context import Context
from sampan.containers.life import changes
from sampan.containers.life.changes import Changes, MountPlan
from sampan.containers.life.creating import claim
from sampan.containers.model import Changing, Container, HostConfig, MountPoint, Status
from sampan.containers.mountpoints import live_mounts
from sampan.containers.mountpoints.mounting import STAGE
from sampan.containers.roster import Record
from sampan.containers.rules import resources, validation
from sampan.containers.rules.host import host
from sampan.containers.spec import networking, oci_resources
from sampan.errors import Conflict, SampanError

log = logging.getLogger(__name__)

_NAMES = (
    "cpu_shares memory nano_cpus blkio_weight cpu_period cpu_quota cpu_realtime_period cpu_realtime_runtime "
    "cpuset_cpus cpuset_mems memory_reservation memory_swap memory_swappiness pids_limit oom_kill_disable "
    "kernel_memory kernel_memory_tcp restart_policy"
)
_FIELDS = {name.replace("_", ""): name for name in _NAMES.split()}
"""By the API's spelling in lower case: what may change."""


class Updating:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def update(
        self, record: Record, wanted: HostConfig, given: frozenset[str], also: Changes | None = None
    ) -> list[str]:
        """Warnings. All or nothing."""
        context, container, also = self._context, record.container, also or Changes()
        async with record.lock:
            if container.state.status in (Status.REMOVING, Status.DEAD):
                raise Conflict(
                    f'Cannot update container {container.id}: container is marked for removal and cannot be "update"'
                )
            try:
                updated, warnings = _updated(container.host_config, wanted, given)
            except Conflict as error:
                raise Conflict(f"Cannot update container {container.id}: {error.message}") from None
            plan = MountPlan(container.mounts)
            if also.of_ports:
                changes.ports(container, updated, also)
            if also.of_mounts:
                plan = changes.mounts(container, updated, also, str(context.settings.data_root))
            async with AsyncExitStack() as undo:
                changed = oci_resources.resources(updated) != oci_resources.resources(container.host_config)
                if changed and container.state.running and container.state.pid:
                    await self._give_limits(record, updated, undo)
                if also.of_ports or also.of_mounts:
                    await self._rearrange(record, updated, plan)
                undo.pop_all()
            container.host_config, container.changing = updated, None
            if "restartpolicy" in given:
                record.restarts = 0
            context.save(record)
            context.publish(container, "update")
            return warnings

    async def _give_limits(self, record: Record, updated: HostConfig, undo: AsyncExitStack) -> None:
        """In the kernel. The note comes before and goes with the document that says the same."""
        container = record.container
        container.changing = Changing(limits=True)
        undo.push_async_callback(self._limits_as_before, record)
        self._context.save(record)
        await self._limit(container, updated)

    async def _limits_as_before(self, record: Record) -> None:
        container = record.container
        await self._limit(container, container.host_config)
        container.changing = None
        self._context.save(record)

    async def _limit(self, container: Container, limits: HostConfig) -> None:
        await self._context.runtime.update(
            self._context.bundle(container), container.runtime, oci_resources.resources(limits)
        )

    # -- ports and mounts ------------------------------------------------------------------------------

    async def _rearrange(self, record: Record, updated: HostConfig, plan: MountPlan) -> None:
        """Under the lock. The document says the new things afterwards; on failure the old ones, and nothing is left."""
        context, container = self._context, record.container
        before, points, noted = container.host_config, container.mounts, container.changing
        live = container.state.status in (Status.RUNNING, Status.PAUSED)
        container.host_config = updated  # `claim` reads the volumes' options there
        try:
            await asyncio.to_thread(self._prepare, container, plan.added, live)
            container.mounts = plan.points
            if live:
                container.changing = Changing(
                    unmount=_places(plan.removed), mount=_places(plan.added), limits=noted is not None
                )
            with context.database.transaction():
                context.save(record)
                context.intents.delete(container.id)
            context.mounting.settle(container.id, plan.added)
            if live:
                await self._carry_out(container, before, plan)
        except BaseException:
            container.host_config, container.mounts, container.changing = before, points, noted
            context.save(record)
            await asyncio.to_thread(context.mounting.abandon, container.id, plan.added)
            context.intents.delete(container.id)
            raise

    def _prepare(self, container: Container, added: list[MountPoint], live: bool) -> None:
        """Blocks. Volumes made, and filled with what the container has at their place."""
        context, bundle = self._context, self._context.bundle(container)
        if not added:
            return
        claim(context, container, added)
        try:
            if not (unfilled := context.mounting.unfilled(added)):
                return
            with ExitStack() as undo:
                if not live:
                    bundle.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    undo.callback(bundle.path.rmdir)
                    context.snapshots.mount(container.id, bundle.rootfs)
                    undo.callback(bundle.rootfs.rmdir)
                    undo.callback(context.snapshots.unmount, bundle.rootfs)
                context.mounting.populate(container.id, unfilled, bundle.rootfs)
        except BaseException:
            context.mounting.abandon(container.id, added)
            raise

    async def _carry_out(self, container: Container, before: HostConfig, plan: MountPlan) -> None:
        """In the kernel."""
        await self._publish(container)
        try:
            await asyncio.to_thread(self._mount, container, plan)
        except BaseException:
            after, container.host_config = container.host_config, before
            with contextlib.suppress(SampanError):
                await self._publish(container)
            container.host_config = after
            raise

    async def _publish(self, container: Container) -> None:
        context, requests = self._context, networking.port_requests(container)
        if container.host_config.network_mode.startswith(networking.CONTAINER):
            return
        if requests and not context.networks.can_publish(container.id):
            raise Conflict(
                f"cannot publish ports of container {container.name}: none of its networks has a way to the outside"
            )
        container.ports = networking.bindings(await context.networks.publish(container.id, requests))

    def _mount(self, container: Container, plan: MountPlan) -> None:
        """Blocks."""
        if not plan.removed and not plan.added:
            return
        context, bundle = self._context, self._context.bundle(container)
        pid = container.state.pid
        stay = [point for point in plan.points if point not in plan.added]
        with ExitStack() as stack:
            stack.callback(context.mounting.unstage, bundle.path)
            undo = stack.enter_context(ExitStack())
            undo.callback(self._let_go, container, plan.added, stay + plan.removed)
            trees = []
            for number, point in enumerate(plan.added):
                target = bundle.path / STAGE / str(number)
                source = "" if point.type == "tmpfs" else context.mounting.source(point, container.id, target)
                trees.append(live_mounts.tree(point, source))
                stack.callback(trees[-1].close)
            namespace = stack.enter_context(Path(f"/proc/{pid}/ns/mnt").open("rb"))
            if context.runtime.alive(bundle) is None:  # so that the pid is nobody else's
                raise Conflict(f"container {container.id} is not running")
            live_mounts.change(
                f"/proc/self/fd/{namespace.fileno()}",
                pid,
                bundle.rootfs,
                _places(plan.removed),
                trees,
                [*_places(stay), *(container.host_config.tmpfs or {})],
            )
            undo.pop_all()
        self._let_go(container, plan.removed, plan.points)
        context.mounting.announce(container.id, plan.added)

    def _let_go(self, container: Container, points: list[MountPoint], others: list[MountPoint]) -> None:
        """Volumes of `points` that are none of `others`."""
        names = {point.name for point in others if point.type == "volume"}
        self._context.mounting.let_go(container.id, [point for point in points if point.name not in names])

    # -- after a crash ---------------------------------------------------------------------------------

    async def recovered(self, record: Record) -> None:
        """At daemon start: a change that was cut short is finished. The document says already what shall be."""
        context, container = self._context, record.container
        changing = container.changing
        if changing is None:
            return
        async with record.lock:
            try:
                if container.state.status in (Status.RUNNING, Status.PAUSED):
                    if changing.limits:
                        await self._limit(container, container.host_config)
                    await self._publish(container)
                    await asyncio.to_thread(partial(self._finish, container, changing))
            except (SampanError, OSError) as error:
                log.error("finishing the update of container %s: %s", container.id, error)
            container.changing = None
            context.save(record)

    def _finish(self, container: Container, changing: Changing) -> None:
        """Blocks. What is new and there already stays, unless it may be the old one of the same place."""
        removed = [MountPoint(type="tmpfs", destination=place) for place in changing.unmount]
        added = []
        for point in container.mounts:
            if point.destination in changing.mount:
                source = point.source
                if point.type == "volume":
                    source = str(self._context.volumes.mountpoint(point.name) / point.subpath)
                there = live_mounts.present(container.state.pid, point, source)
                if not there or point.destination in changing.unmount:
                    added.append(point)
        self._mount(container, MountPlan(container.mounts, removed, added))


def _places(points: list[MountPoint]) -> list[str]:
    return [point.destination for point in points]


def _updated(current: HostConfig, wanted: HostConfig, given: frozenset[str]) -> tuple[HostConfig, list[str]]:
    """(a copy with the new limits and restart policy, warnings)."""
    _refuse_conflicts(current, wanted)
    updated = msgspec.structs.replace(current)
    for spelled in given:
        if (name := _FIELDS.get(spelled)) is not None:
            _apply(updated, wanted, name)
    if updated.restart_policy is not None:
        validation.check_restart_policy(updated.restart_policy)
        if updated.auto_remove and updated.restart_policy.name not in ("", "no"):
            raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    return updated, resources.check(updated, host(), update=True)


def _refuse_conflicts(current: HostConfig, wanted: HostConfig) -> None:
    """Between what is set and what is to be (moby's `Container.UpdateContainer`). Raises `Conflict`."""
    for new, word, old, taken in (
        (wanted.nano_cpus, "Nano CPUs", current.cpu_period, "CPU Period"),
        (wanted.nano_cpus, "Nano CPUs", current.cpu_quota, "CPU Quota"),
        (wanted.cpu_period, "CPU Period", current.nano_cpus, "NanoCPUs"),
        (wanted.cpu_quota, "CPU Quota", current.nano_cpus, "NanoCPUs"),
    ):
        if new > 0 and old > 0:
            raise Conflict(f"Conflicting options: {word} cannot be updated as {taken} has already been set")
    if wanted.memory > current.memory_swap and not wanted.memory_swap:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )


def _apply(updated: HostConfig, wanted: HostConfig, name: str) -> None:
    """Zero means "leave it", as Docker reads it."""
    value = getattr(wanted, name)
    if name == "restart_policy":
        if value is not None and value.name:
            updated.restart_policy = value
    elif name == "pids_limit":
        if value is not None:
            updated.pids_limit = value
    elif value:
        setattr(updated, name, value)
