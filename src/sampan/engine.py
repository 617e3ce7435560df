"""The composition root: builds the services once, hands them to the api, reconciles at start.

Nothing here knows HTTP: `api` is one front door, others (BuildKit's gRPC, CRI) stand beside it on the same `Engine`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from sampan.builds import BuildCache, Builds
from sampan.containers import Containers
from sampan.errors import Conflict
from sampan.images import Images, Snapshots
from sampan.networks import Networks
from sampan.registry.linked import Linked
from sampan.runtime import Runtime
from sampan.settings import Settings
from sampan.store import Database, EventLog
from sampan.volumes import Volumes


@dataclass(slots=True)
class Engine:
    """The running engine. Make one with `Engine.open`."""

    settings: Settings
    database: Database
    events: EventLog
    images: Images
    snapshots: Snapshots
    networks: Networks
    volumes: Volumes
    runtime: Runtime
    containers: Containers
    builds: Builds
    linked: Linked
    """What the built-in registry has of the content store."""
    id: str
    _lock: int

    @classmethod
    async def open(cls, settings: Settings) -> Engine:
        """Locks the data root, opens the state and reconciles it with what really runs.

        Raises `Conflict` when another daemon holds the data root.
        """
        lock = _lock_data_root(settings.data_root)
        try:
            return await cls._open(settings, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    async def _open(cls, settings: Settings, lock: int) -> Engine:
        settings.exec_root.mkdir(parents=True, exist_ok=True)
        database = Database(settings.data_root / "state.db")
        events = EventLog(database)
        events.bind(asyncio.get_running_loop())
        snapshots = Snapshots(settings.data_root)
        cache = BuildCache(database)
        linked = Linked(settings.data_root)
        images = Images(
            settings.data_root,
            database,
            events,
            snapshots,
            insecure_registries=settings.insecure_registries,
            mirrors=settings.registry_mirrors,
            keepers=(cache.kept, linked),
        )
        volumes = Volumes(settings.data_root, database, events)
        networks = Networks(settings, database, events)
        runtime = Runtime(settings.exec_root, settings.runtimes, settings.default_runtime)
        containers = Containers(settings, database, events, images, snapshots, networks, volumes, runtime)
        images.users = containers.users_of_image
        volumes.users = containers.users_of_volume
        await containers.open()
        builds = Builds(settings, cache, images, snapshots, containers)
        return cls(
            settings=settings,
            database=database,
            events=events,
            images=images,
            snapshots=snapshots,
            networks=networks,
            volumes=volumes,
            runtime=runtime,
            containers=containers,
            builds=builds,
            linked=linked,
            id=_engine_id(settings.data_root),
            _lock=lock,
        )

    async def close(self) -> None:
        """Stops watching; containers go on running."""
        await self.containers.close()
        await self.networks.close(keep=True)
        await self.images.close()
        self.database.close()
        os.close(self._lock)


def check_data_root(data_root: Path) -> None:
    """Raises `Conflict` when another daemon holds the data root."""
    os.close(_lock_data_root(data_root))


def _lock_data_root(data_root: Path) -> int:
    data_root.mkdir(parents=True, exist_ok=True)
    data_root.chmod(0o710)
    descriptor = os.open(data_root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode().strip()
        os.close(descriptor)
        raise Conflict(
            f"another sampand (pid {owner}) already uses the data root {data_root}; "
            "stop it, or give this one its own --data-root, --exec-root, --host and --bridge"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _engine_id(data_root: Path) -> str:
    """A stable identity, as `docker info` shows it under ID."""
    import uuid

    path = data_root / "engine-id"
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.write_text(str(uuid.uuid4()))
        temporary.replace(path)
    return path.read_text().strip()
