"""Removal: the document says so first, then everything goes, the document last. A daemon killed in between finishes
it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

from sampan.containers.attaching import Attaching
from sampan.containers.context import Context
from sampan.containers.life import transitions
from sampan.containers.life.execs import Execs
from sampan.containers.life.starting import Starting
from sampan.containers.life.stopping import Stopping
from sampan.containers.model import Container, Status
from sampan.containers.roster import Record
from sampan.errors import Conflict, SampanError


class Removing:
    def __init__(
        self, context: Context, starting: Starting, stopping: Stopping, attaching: Attaching, execs: Execs
    ) -> None:
        self._context = context
        self._starting = starting
        self._stopping = stopping
        self._attaching = attaching
        self._execs = execs

    async def remove(self, record: Record, ref: str, force: bool, volumes: bool) -> None:
        """Raises `Conflict` for a running container without `force`."""
        if record.removing:
            raise Conflict(f"removal of container {ref} is already in progress")
        record.removing = True
        try:
            await self._context.whole(self._remove(record, force, volumes))
        except SampanError as error:
            error.message = f'cannot remove container "{ref}": {error.message}'
            raise
        finally:
            record.removing = False

    async def after_run(self, record: Record) -> None:
        """`--rm`, under the lock, right after the end of the run, whose mounts and network are still there."""
        context, container = self._context, record.container
        record.removing = True
        bundle = context.bundle(container)
        transitions.change(container.state, Status.REMOVING)
        container.remove_volumes = True
        if _owes_nothing(container) and not context.forwarding.owes(record):
            # Nobody can tell the difference but by its latency: id and name are free, and what is left has no document.
            self._forget(record)
            await self._starting.undo(container, bundle, lambda: self._erase(container))
            return
        try:
            context.save_what_happened(record)
            await self._starting.undo(container, bundle)
            await self.finish(record)
        finally:
            record.removing = False

    async def automatic(self, record: Record) -> None:
        """`--rm` after a start that failed. Somebody may have removed it already."""
        if not record.removing and record.id in self._context.roster:
            with contextlib.suppress(Conflict):
                await self.remove(record, record.id, force=True, volumes=True)

    async def _remove(self, record: Record, force: bool, volumes: bool) -> None:
        context, container = self._context, record.container
        if container.state.running:
            if not force:
                if container.state.status is Status.PAUSED:
                    raise Conflict("container is paused and must be unpaused first")
                raise Conflict(
                    f"container is {container.state.status}: stop the container before removing or force remove"
                )
            with contextlib.suppress(Conflict):  # it ended by itself
                await self._stopping.kill(record)
        async with record.lock:
            if record.id not in context.roster:
                return
            if container.state.running:  # started again meanwhile
                raise Conflict("container is running: stop the container before removing or force remove")
            if container.state.status is not Status.REMOVING:
                transitions.change(container.state, Status.REMOVING)
            container.remove_volumes = volumes
            context.save_what_happened(record)
            await self.finish(record)

    async def finish(self, record: Record) -> None:
        """Under the lock, with the document saying `removing`. Reconciling comes here too."""
        context, container = self._context, record.container
        await context.forwarding.settle(record)
        try:
            await asyncio.to_thread(self._erase, container)
        except Exception as error:
            transitions.change(container.state, Status.DEAD)
            container.state.error = str(error)
            context.save_what_happened(record)
            record.wake_removed((container.state.exit_code, f"unable to remove filesystem: {error}"))
            raise SampanError(f"unable to remove filesystem: {error}") from error
        self._forget(record)

    def _forget(self, record: Record) -> None:
        """The document goes, and everybody who waits is told."""
        context, container = self._context, record.container
        self._attaching.let_go(record)
        self._execs.forget_all(container)
        context.documents.delete(container.id)
        context.roster.discard(record)
        context.publish(container, "destroy")
        record.wake_removed((container.state.exit_code, None))

    def _erase(self, container: Container) -> None:
        """Blocks."""
        context = self._context
        context.snapshots.remove(container.id)
        if container.remove_volumes:
            context.mounting.remove_anonymous(container.mounts)
        shutil.rmtree(context.directory(container.id), ignore_errors=True)


def _owes_nothing(container: Container) -> bool:
    """No volume and no user-defined network is in use by it: their removal may be the client's next request."""
    return all(network in ("bridge", "host", "none") for network in container.networking) and not any(
        point.type in ("volume", "image") for point in container.mounts
    )
