"""What the parts of this room share: the services below, the documents, and where a container's things are."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sampan.containers.logs import log_drivers
from sampan.containers.logs.forwarding import Forwarding
from sampan.containers.logs.log_reading import Growth
from sampan.containers.model import Container, Exec, LogConfig
from sampan.containers.mountpoints.mounting import Mounting
from sampan.containers.roster import Record, Roster
from sampan.errors import Conflict
from sampan.images import Images, Snapshots
from sampan.networks import Networks
from sampan.runtime import Bundle, Runtime
from sampan.settings import Settings
from sampan.store import Database, DiskFull, Documents, EventLog, NameTaken
from sampan.volumes import Volumes

log = logging.getLogger(__name__)

T = TypeVar("T")

LOG = "container.log"
_SAVE_AGAIN = 2.0
"""Seconds until a state that did not fit on the disk is written again."""


class Intent(msgspec.Struct):
    """A container that is being made: what goes when the daemon is killed before its document stands."""

    volumes: list[str]


@dataclass(slots=True)
class Context:
    settings: Settings
    database: Database
    documents: Documents[Container]
    exec_documents: Documents[Exec]
    intents: Documents[Intent]
    events: EventLog
    images: Images
    snapshots: Snapshots
    networks: Networks
    volumes: Volumes
    runtime: Runtime
    mounting: Mounting
    roster: Roster = field(default_factory=Roster)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    unsaved: set[Record] = field(default_factory=set)
    """What happened to them could not be written yet."""
    growth: Growth = field(default_factory=Growth)
    forwarding: Forwarding = field(init=False)

    def __post_init__(self) -> None:
        self.forwarding = Forwarding(self.growth, lambda container: self.directory(container.id) / LOG)

    @property
    def default_log(self) -> LogConfig:
        return LogConfig(type=self.settings.log_driver, config=self.settings.log_options)

    # -- places ------------------------------------------------------------------------------------
    @property
    def bundles(self) -> Path:
        return self.settings.exec_root / "containers"

    @property
    def directories(self) -> Path:
        return self.settings.data_root / "containers"

    def directory(self, id: str) -> Path:
        """Log, hosts, hostname, resolv.conf: what outlives a run."""
        return self.directories / id

    def bundle(self, container: Container) -> Bundle:
        kept = log_drivers.has_file(container.host_config.log_config)
        return Bundle(container.id, self.bundles / container.id, self.directory(container.id) / LOG if kept else None)

    # -- documents and events ----------------------------------------------------------------------
    def save(self, record: Record) -> None:
        """Writes the document. Raises `Conflict` when another container has its name."""
        container = record.container
        try:
            self.documents.put(container.id, container, container.name)
        except NameTaken as taken:
            raise name_conflict(container.name, taken.owner) from None

    def save_what_happened(self, record: Record) -> None:
        """For changes that nobody can refuse any more: a full disk is logged, and memory knows better until a later
        write succeeds, or until reconciling finds out again."""
        try:
            self.save(record)
            self.unsaved.discard(record)
        except (DiskFull, sqlite3.Error) as error:
            log.error("the state of container %s is not saved yet: %s", record.id, error)
            if not self.unsaved:
                asyncio.get_running_loop().call_later(_SAVE_AGAIN, self._save_again)
            self.unsaved.add(record)

    def _save_again(self) -> None:
        for record in tuple(self.unsaved):
            if record.id in self.roster:
                try:
                    self.save(record)
                except (DiskFull, sqlite3.Error):
                    asyncio.get_running_loop().call_later(_SAVE_AGAIN, self._save_again)
                    return
            self.unsaved.discard(record)

    def publish(self, container: Container, action: str, **attributes: str) -> None:
        labels = container.config.labels or {}
        attributes = {**labels, **attributes, "image": container.image_name, "name": container.name}
        try:
            self.events.publish("container", action, container.id, attributes)
        except (DiskFull, sqlite3.Error) as error:  # a full disk: what happened has happened all the same
            log.error("event %s of container %s is lost: %s", action, container.id, error)

    # -- tasks -------------------------------------------------------------------------------------
    async def whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to its end even when the caller is cancelled (a client that went away): half an operation must
        not be abandoned, and Docker does not either."""
        return await asyncio.shield(self.keep(work))

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


def name_conflict(name: str, owner: str) -> Conflict:
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def not_running(id: str) -> Conflict:
    return Conflict(f"container {id} is not running")
