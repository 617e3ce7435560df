"""The composition root: builds the services once, hands them to the api, reconciles at start.

Nothing here knows HTTP: `api` is one front door, others (BuildKit's gRPC, CRI) stand beside it on the same `Engine`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sampan.builds import BuildCache, Builds
from sampan.containers import Containers
from sampan.errors import Conflict
from sampan.images import Images, Snapshots
from sampan.linux.claims import Claims, Taken
from sampan.networks import Networks
from sampan.registry.linked import Linked
from sampan.runtime import Runtime, cgroups
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
    _held: Held

    @classmethod
    async def open(cls, settings: Settings) -> Engine:
        """Takes what one daemon alone may use (`Held`), opens the state and reconciles it with what really runs.

        Raises `Conflict` when another daemon has some of it.
        """
        held = Held(settings)
        try:
            return await cls._open(settings, held)
        except BaseException:
            held.close()
            raise

    @classmethod
    async def _open(cls, settings: Settings, held: Held) -> Engine:
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
            keepers=(cache.kept, linked),
        )
        images.configure(settings)
        volumes = Volumes(settings.data_root, database, events)
        networks = Networks(settings, database, events)
        runtime = Runtime(settings.exec_root, settings.runtimes, settings.default_runtime)
        containers = Containers(settings, database, events, images, snapshots, networks, volumes, runtime)
        images.users = containers.users_of_image
        volumes.users = containers.users_of_volume
        await containers.open()
        if settings.image_gc is not None:
            images.expire(*settings.image_gc)
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
            _held=held,
        )

    def reload(self, changes: Mapping[str, Any]) -> None:
        """Settings that change, by attribute (`configuration.reloaded`). Publishes `reload`. What is under way goes on
        with those it began with."""
        for name, value in changes.items():
            setattr(self.settings, name, value)
        self.images.configure(self.settings)
        if "runtimes" in changes or "default_runtime" in changes:
            self.runtime.configure(self.settings.runtimes, self.settings.default_runtime)
        self.events.publish("daemon", "reload", self.id, _reload_attributes(self.settings))

    async def close(self) -> None:
        """Stops watching; containers go on running."""
        await self.containers.close()
        await self.networks.close(keep=True)
        await self.images.close()
        self.database.close()
        self._held.close()


class Held:
    """Data root, exec root, nftables table and bridge of one daemon. A second one on any of them would take the first
    one's containers, mounts or rules for leftovers, and remove them."""

    def __init__(self, settings: Settings) -> None:
        """Raises `Conflict` when another daemon has one of them."""
        self._locks: list[int] = []
        self._claims: Claims | None = None
        try:
            settings.data_root.mkdir(parents=True, exist_ok=True)
            settings.data_root.chmod(0o710)
            self._lock(settings.data_root, "data root")
            settings.exec_root.mkdir(parents=True, exist_ok=True)
            self._lock(settings.exec_root, "exec root")
            names = [f"nftables table {settings.nft_table}"]
            if settings.bridge != "none":
                names.append(f"bridge {settings.bridge}")
            self._claims = Claims(names)
        except BaseException as error:
            self.close()
            if isinstance(error, Taken):
                raise _in_use(error.name, str(error.pid)) from None
            raise

    def _lock(self, root: Path, what: str) -> None:
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._locks.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(f"{what} {root}", os.pread(descriptor, 32, 0).decode().strip()) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        while self._locks:
            os.close(self._locks.pop())
        if self._claims is not None:
            self._claims.close()


def _reload_attributes(settings: Settings) -> dict[str, str]:
    """As dockerd's `daemon reload` event has them: lists as JSON, maps as Go prints them."""
    unified = cgroups.mode() is cgroups.Mode.V2
    features = " ".join(f"{name}:{str(on).lower()}" for name, on in sorted(settings.features.items()))
    return {
        "allow-nondistributable-artifacts": _json(settings.nondistributable_registries),
        "debug": str(settings.debug).lower(),
        "default-cgroupns-mode": settings.default_cgroupns_mode or ("private" if unified else "host"),
        "default-ipc-mode": settings.default_ipc_mode,
        "default-runtime": settings.default_runtime,
        "default-shm-size": str(settings.default_shm_size),
        "features": f"map[{features}]",
        "insecure-registries": _json(settings.insecure_registries),
        "labels": _json(settings.labels),
        "live-restore": "true",
        "max-concurrent-downloads": str(settings.max_concurrent_downloads),
        "max-concurrent-uploads": str(settings.max_concurrent_uploads),
        "max-download-attempts": str(settings.max_download_attempts),
        "name": os.uname().nodename,
        "registry-mirrors": _json(settings.registry_mirrors),
        "runtimes": " ".join(f"{name}:{words[0]}" for name, words in settings.runtimes.items()),
        "shutdown-timeout": str(settings.shutdown_timeout),
    }


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()


def _in_use(what: str, pid: str) -> Conflict:
    return Conflict(
        f"another sampand (pid {pid}) already uses the {what}; "
        "stop it, or give this one its own --data-root, --exec-root, --host, --bridge and --nft-table"
    )


def check_free(settings: Settings) -> None:
    """Raises `Conflict` when another daemon has what this one would use."""
    Held(settings).close()


def _engine_id(data_root: Path) -> str:
    """A stable identity, as `docker info` shows it under ID."""
    import uuid

    path = data_root / "engine-id"
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.write_text(str(uuid.uuid4()))
        temporary.replace(path)
    return path.read_text().strip()
