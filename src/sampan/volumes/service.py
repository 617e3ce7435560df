"""The front door of volumes: named and anonymous directories that outlive containers.

Layout: `volumes/<name>/_data` under the data root, as Docker lays it out. A volume is *held* by containers that are
being made, *used* by containers whose document names it, and *acquired* by those that run: the first acquisition
mounts what the driver options ask for, the last release unmounts it.

Crash safety: a directory is made before its document and set aside as `.removed-<random>-<name>` before the document
goes, so `reconcile` can tell a half-made volume (empty, no document: away with it), a half-removed one (set aside:
finish) and data whose document is lost (kept, as a volume).

Methods block for as long as the disk does; removing and pruning large volumes belong in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sampan.errors import Conflict, InvalidParameter, NotFound, SampanError
from sampan.linux import mounts, trees
from sampan.store import Database, Documents, EventLog
from sampan.volumes import filters as volume_filters
from sampan.volumes import local
from sampan.volumes.model import ANONYMOUS_LABEL, Volume, check_name, random_name

log = logging.getLogger(__name__)

_REMOVED = ".removed-"


class Volumes:
    """`users` is set by `engine`: container ids that mount a volume, by name."""

    users: Callable[[str], list[str]] = staticmethod(lambda name: [])

    def __init__(self, data_root: Path, database: Database, events: EventLog) -> None:
        self._root = data_root / "volumes"
        self._root.mkdir(parents=True, exist_ok=True)
        self._root.chmod(0o711)
        self._documents = Documents(database, "volume", Volume)
        self._events = events
        self._lock = threading.RLock()
        self._held: dict[str, set[str]] = {}
        self._acquired: dict[str, set[str]] = {}
        self._reconcile()

    # -- the objects -------------------------------------------------------------------------------

    def create(
        self,
        name: str = "",
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        holder: str = "",
    ) -> Volume:
        """The volume of that name, made when there is none; an existing one keeps its options and labels. An empty
        name: an anonymous volume. `holder`, a container to be, keeps it from being removed until `drop` or its
        document does.
        """
        if (driver or "local") != "local":
            raise NotFound(
                f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found'
                if name
                else f'error looking up volume plugin {driver}: plugin "{driver}" not found'
            )
        if name:
            check_name(name)
        with self._lock:
            volume = self._documents.get(name) if name else None
            if volume is None:
                volume = self._make(name, dict(options or {}), dict(labels or {}))
            if holder:
                self._held.setdefault(volume.name, set()).add(holder)
            return volume

    def _make(self, name: str, options: dict[str, str], labels: dict[str, str]) -> Volume:
        anonymous = not name
        name = name or random_name()
        try:
            local.parse(options)
        except InvalidParameter as error:
            raise InvalidParameter(f"create {name}: {error.message}") from None
        if anonymous:
            labels[ANONYMOUS_LABEL] = ""
        volume = Volume(name=name, options=options, labels=labels, created=time.time_ns(), anonymous=anonymous)
        self._make_directory(name)
        try:
            self._documents.put(name, volume, name)
        except Exception:  # a full disk
            trees.remove(self._root / name)
            raise
        self._events.publish("volume", "create", name, {"driver": "local"})
        return volume

    def _make_directory(self, name: str) -> None:
        directory = self._root / name
        try:
            directory.mkdir(mode=0o701, exist_ok=True)
            data = directory / "_data"
            data.mkdir(exist_ok=True)
            data.chmod(0o755)
        except OSError as error:
            with contextlib.suppress(OSError):
                directory.rmdir()
            reason = (error.strerror or str(error)).lower()
            raise SampanError(f"create {name}: error while creating volume path '{directory}': {reason}") from None

    def unmake(self, name: str) -> None:
        """The directory of a volume whose document was rolled back; nothing happens to one that exists."""
        with self._lock:
            if self._documents.get(name) is None and (self._root / name).exists():
                self._adopt_directory(self._root / name)

    def get(self, name: str) -> Volume:
        """Raises `NotFound("get …: no such volume")`."""
        volume = self._documents.get(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    def all(self) -> list[Volume]:
        """Every volume, by name."""
        return [volume for _, volume in self._documents.all()]

    def list(self, filters: volume_filters.Filters | None = None) -> Sequence[Volume]:
        """`GET /volumes`: filters dangling, driver, label, name."""
        return volume_filters.matching(self.all(), filters or {}, self.in_use)

    def in_use(self, name: str) -> bool:
        return bool(self._users(name))

    def _users(self, name: str) -> Sequence[str]:
        return tuple(dict.fromkeys([*self.users(name), *self._held.get(name, ()), *self._acquired.get(name, ())]))

    def remove(self, name: str, force: bool = False) -> None:
        """`Conflict("remove …: volume is in use - [ids]")`. `force` forgives a volume that does not exist, nothing
        else."""
        with self._lock:
            if self._documents.get(name) is None:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            if users := self._users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            aside = self._set_aside(name)
            self._documents.delete(name)
        self._events.publish("volume", "destroy", name, {"driver": "local"})
        self._erase(aside)

    def prune(self, filters: volume_filters.Filters | None = None) -> tuple[Sequence[str], int]:
        """(names, bytes won back). Anonymous volumes nobody uses; with filter `all` named ones too."""
        names: list[str] = []
        reclaimed = 0
        for volume in volume_filters.prunable(self.all(), filters or {}):
            if self.in_use(volume.name):
                continue
            size = self.usage(volume.name)
            try:
                self.remove(volume.name)
            except (Conflict, NotFound):  # taken, or removed, meanwhile
                continue
            names.append(volume.name)
            reclaimed += size
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return names, reclaimed

    def usage(self, name: str) -> int:
        """Bytes of the files in it, hard links once."""
        return trees.size(self.mountpoint(name))

    def is_empty(self, name: str) -> bool:
        """Has it no files? One with driver options counts as empty while it is not mounted."""
        try:
            with os.scandir(self.mountpoint(name)) as entries:
                return next(entries, None) is None
        except FileNotFoundError:  # `acquire` makes it again
            return True

    def mountpoint(self, name: str) -> Path:
        """The directory as `inspect` shows it (present on disk)."""
        return self._root / name / "_data"

    # -- containers --------------------------------------------------------------------------------

    def drop(self, name: str, holder: str) -> None:
        """Ends what `create(holder=…)` began: the container's document says it now, or the container was never made."""
        with self._lock:
            _discard(self._held, name, holder)

    def acquire(self, name: str, container_id: str) -> Path:
        """The directory to mount into a container; a driver-option mount (tmpfs, nfs, bind) is made first. Blocks."""
        with self._lock:
            volume = self.get(name)
            target = self.mountpoint(name)
            if not target.is_dir():
                self._make_directory(name)
            options = local.parse(volume.options)
            if options is not None and not mounts.is_mounted(target):
                local.mount(options, target)
            self._acquired.setdefault(name, set()).add(container_id)
            return target

    def adopt(self, name: str, container_id: str) -> None:
        """At daemon start: a container that goes on running still has it acquired."""
        with self._lock:
            self._acquired.setdefault(name, set()).add(container_id)

    def release(self, name: str, container_id: str) -> bool:
        """Idempotent: False when there was nothing to release."""
        with self._lock:
            had = container_id in self._acquired.get(name, ())
            _discard(self._acquired, name, container_id)
            if had and name not in self._acquired:
                self._unmount(name)
            return had

    def sweep(self) -> None:
        """At daemon start, after every `adopt`: unmounts what no running container has."""
        with self._lock:
            for volume in self.all():
                if volume.options and volume.name not in self._acquired:
                    self._unmount(volume.name)

    def mounted(self, name: str, container_id: str, destination: str, read_write: bool, propagation: str) -> None:
        """Announces that a container mounted it."""
        attributes = {
            "container": container_id,
            "destination": destination,
            "driver": "local",
            "propagation": propagation,
            "read/write": "true" if read_write else "false",
        }
        self._events.publish("volume", "mount", name, attributes)

    def unmounted(self, name: str, container_id: str) -> None:
        self._events.publish("volume", "unmount", name, {"container": container_id, "driver": "local"})

    def _unmount(self, name: str) -> None:
        volume = self._documents.get(name)
        if volume is not None and volume.options:
            mounts.unmount(self.mountpoint(name), detach=True)

    # -- the disk ----------------------------------------------------------------------------------

    def _set_aside(self, name: str) -> Path:
        directory, aside = self._root / name, self._root / f"{_REMOVED}{secrets.token_hex(4)}-{name}"
        mounts.unmount_below(directory, detach=True)
        with contextlib.suppress(FileNotFoundError):
            directory.rename(aside)
        return aside

    def _erase(self, aside: Path) -> None:
        """Deletes a set-aside directory, unless something is (still) mounted in it: a mount's files are never ours."""
        prefix = f"{aside}/"
        if any(mount.mount_point.startswith(prefix) for mount in mounts.mountinfo()):
            raise SampanError(f"{aside} has mounts inside; not deleted")
        try:
            trees.remove(aside)
        except OSError as error:  # the volume is gone all the same; the next daemon start tries again
            log.error("removing %s: %s", aside, error)

    def _reconcile(self) -> None:
        known = {name for name, _ in self._documents.all()}
        for entry in list(os.scandir(self._root)):
            path = Path(entry.path)
            if entry.name.startswith(_REMOVED):
                self._finish_removal(path)
            elif entry.name not in known and entry.is_dir(follow_symlinks=False):
                self._adopt_directory(path)

    def _finish_removal(self, aside: Path) -> None:
        name = aside.name.removeprefix(_REMOVED).partition("-")[2]
        if not (self._root / name).exists():  # else: a new volume of that name
            self._documents.delete(name)
        with contextlib.suppress(SampanError):
            self._erase(aside)

    def _adopt_directory(self, path: Path) -> None:
        data = path / "_data"
        if not data.is_dir() or not any(data.iterdir()):
            for leftover in (data, path):
                with contextlib.suppress(OSError):
                    leftover.rmdir()
            return
        volume = Volume(name=path.name, created=path.stat().st_mtime_ns)
        self._documents.put(path.name, volume, path.name)


def _discard(table: dict[str, set[str]], key: str, member: str) -> None:
    members = table.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del table[key]
