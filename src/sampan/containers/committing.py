"""`commit`: a container's changes and configuration as a new image. Rules are dockerd's (moby daemon/commit.go)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from sampan.containers.context import Context
from sampan.containers.life.stopping import Stopping
from sampan.containers.model import Config, Status
from sampan.containers.roster import Record
from sampan.errors import Conflict, NotFound, SampanError
from sampan.images import references
from sampan.images.model import Healthcheck, RunConfig


def run_config(config: Config) -> RunConfig:
    """What an image keeps of a container's configuration."""
    health = config.healthcheck
    return RunConfig(
        user=config.user,
        exposed_ports=config.exposed_ports,
        env=config.env,
        entrypoint=_words(config.entrypoint),
        cmd=_words(config.cmd),
        volumes=config.volumes,
        working_dir=config.working_dir,
        labels=config.labels,
        stop_signal=config.stop_signal,
        healthcheck=msgspec.convert(msgspec.to_builtins(health), Healthcheck) if health is not None else None,
        on_build=config.on_build,
        shell=_words(config.shell),
    )


def _words(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value


def merged(config: RunConfig, below: RunConfig) -> RunConfig:
    """`config` with what it leaves open taken from `below`."""
    result = msgspec.structs.replace(config)
    result.user = config.user or below.user
    result.exposed_ports = {**(below.exposed_ports or {}), **(config.exposed_ports or {})} or None
    result.volumes = {**(below.volumes or {}), **(config.volumes or {})} or None
    result.labels = {**(below.labels or {}), **(config.labels or {})} or None
    given = {entry.partition("=")[0] for entry in config.env or []}
    result.env = [*(config.env or []), *(one for one in below.env or [] if one.partition("=")[0] not in given)] or None
    if not config.entrypoint:
        if not config.cmd:
            result.cmd = below.cmd
        if config.entrypoint is None:
            result.entrypoint = below.entrypoint
    result.working_dir = config.working_dir or below.working_dir
    result.stop_signal = config.stop_signal or below.stop_signal
    result.healthcheck = config.healthcheck or below.healthcheck
    result.on_build = config.on_build or below.on_build
    result.shell = config.shell or below.shell
    return result


class Committing:
    """Images out of containers."""

    def __init__(self, context: Context, stopping: Stopping) -> None:
        self._context, self._stopping = context, stopping

    async def commit(
        self, record: Record, config: RunConfig, *, reference: str, author: str, comment: str, pause: bool
    ) -> str:
        """Returns the image's id. `config` is laid over the container's own."""
        context, container = self._context, record.container
        if container.state.status is Status.DEAD:
            raise Conflict(f"You cannot commit container {container.id} which is Dead")
        if container.state.status is Status.REMOVING:
            raise Conflict(f"You cannot commit container {container.id} which is being removed")
        own = run_config(container.config)
        base = container.image_id or None
        if base is not None and base not in context.images.holdings.catalog.images:
            raise NotFound(f"No such image: {base}")
        async with self._still(record, pause):
            changes = await asyncio.to_thread(context.snapshots.changes, record.id)
            id = await context.images.commit(
                base,
                record.id,
                merged(config, own),
                reference=reference,
                author=author,
                comment=comment,
                created_by=" ".join(own.cmd or []),
                empty=not changes,
            )
        name = references.parse(reference).tagged().familiar if reference else ""
        context.publish(container, "commit", comment=comment, imageID=id, imageRef=name)
        return id

    @asynccontextmanager
    async def _still(self, record: Record, pause: bool) -> AsyncIterator[None]:
        """Its files do not change meanwhile: paused, or, when it does not run, kept from starting."""
        if not record.container.state.running:
            async with record.lock:
                yield
            return
        paused = False
        if pause and record.container.state.status is Status.RUNNING:
            with suppress(SampanError):  # it may have ended this very moment
                await self._stopping.pause(record)
                paused = True
        try:
            yield
        finally:
            if paused:
                with suppress(SampanError):
                    await asyncio.shield(self._stopping.unpause(record))
