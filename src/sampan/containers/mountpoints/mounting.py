"""Mount points made real: volumes claimed, filled and acquired, sources staged for the OCI runtime.

In a container's life: `claim` at create (volumes exist, sources are known), `populate` once its root filesystem is
mounted (the image's content goes into new volumes), `stage` at each start, `release` at each end, `forget` when it is
removed.

What the runtime could not bind safely by name, a *subpath* or an image, is staged: bound from an open descriptor into
`<bundle>/mounts/<n>`. The container's own mount namespace keeps what it needs, so `unstage` may follow as soon as the
runtime has created the container.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sampan.containers.model import Container, HostConfig, MountPoint
from sampan.containers.mountpoints.mount_syntax import CREATE_SOURCE, IMPLIED_PROPAGATION, source_missing
from sampan.containers.mountpoints.mounts import oci_mounts
from sampan.errors import InvalidParameter, SampanError
from sampan.images import Images, Snapshots
from sampan.linux import mounts, openat2
from sampan.linux.copying import copy_tree
from sampan.volumes import Volumes

STAGE = "mounts"
"""The staging directory's name in a bundle."""


class Mounting:
    """Stateless but for the services it uses. Every method blocks."""

    def __init__(self, volumes: Volumes, images: Images, snapshots: Snapshots) -> None:
        self._volumes = volumes
        self._images = images
        self._snapshots = snapshots

    # -- create ------------------------------------------------------------------------------------

    def claim(self, container_id: str, points: Sequence[MountPoint], host_config: HostConfig) -> None:
        """Makes missing volumes and fills in names, drivers and sources. Volumes stay held for the container until
        `settle` (its document is written) or `abandon` (it was never made). All or nothing."""
        wishes = {os.path.normpath(m.target): m.volume_options for m in host_config.mounts or [] if m.type == "volume"}
        with ExitStack() as undo:
            for point in points:
                if point.type == "bind":
                    _check_source(point)
                elif point.type == "image":
                    point.image = point.image or self._images.resolve(point.name).id
                    point.source = point.source or point.image
                elif point.type == "volume":
                    wish = wishes.get(point.destination)
                    made = self._volumes.create(
                        point.name,
                        point.driver or "local",
                        (wish.driver_config.options if wish and wish.driver_config else None) or {},
                        (wish.labels if wish else None) or {},
                        holder=container_id,
                    )
                    undo.callback(self._volumes.drop, made.name, container_id)
                    if not point.name:
                        undo.callback(self._volumes.remove, made.name)
                        # An ExitStack runs backwards: the hold must go before the volume can.
                        undo.callback(self._volumes.drop, made.name, container_id)
                    point.name, point.driver = made.name, made.driver
                    point.source = str(self._volumes.mountpoint(made.name))
            undo.pop_all()

    def unclaim(self, container_id: str, points: Sequence[MountPoint]) -> None:
        """The transaction around `claim` failed: documents of volumes it made are gone, directories are not."""
        self.settle(container_id, points)
        for point in points:
            if point.type == "volume" and point.name:
                self._volumes.unmake(point.name)

    def settle(self, container_id: str, points: Sequence[MountPoint]) -> None:
        """The container's document names the volumes now: that keeps them."""
        for point in points:
            if point.type == "volume":
                self._volumes.drop(point.name, container_id)

    def abandon(self, container_id: str, points: Sequence[MountPoint]) -> None:
        """The container was not made after all: anonymous volumes made for it go."""
        self.settle(container_id, points)
        self.remove_anonymous(points)

    def unfilled(self, points: Sequence[MountPoint]) -> list[MountPoint]:
        """Those that `populate` may have to fill: empty volumes, or volumes not mounted yet."""
        return [
            point
            for point in points
            if point.type == "volume" and not (point.no_copy or point.subpath) and self._volumes.is_empty(point.name)
        ]

    def populate(self, container_id: str, points: Sequence[MountPoint], rootfs: Path) -> None:
        """Copies what the image has at a volume's destination into the volume, when that is empty (VOLUME's and `-v
        name:`'s copy-up), with owners, modes, times and xattrs. `rootfs` is the container's mounted root."""
        with openat2.root(rootfs) as root:
            for point in self.unfilled(points):
                self._populate(container_id, point, root)

    def _populate(self, container_id: str, point: MountPoint, root: int) -> None:
        try:
            source = openat2.open_in_root(root, point.destination, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise
        try:
            if not stat.S_ISDIR(os.fstat(source).st_mode):
                if not point.anonymous:
                    return  # the OCI runtime says it: a directory cannot be mounted onto a file
                raise InvalidParameter(f"cannot mount volume over existing file, file exists {point.destination}")
            # An empty one too: owner and mode are content, and databases insist on them.
            with _readable(source) as reading:
                self._fill(container_id, point, reading)
        finally:
            os.close(source)

    def _fill(self, container_id: str, point: MountPoint, reading: int) -> None:
        owner = f"{container_id}-populate"
        volume = self._volumes.acquire(point.name, owner)
        try:
            with openat2.root(volume) as opened, _readable(opened) as writing:
                if _is_empty(writing):
                    copy_tree(reading, writing)
        finally:
            self._volumes.release(point.name, owner)

    # -- start and end -----------------------------------------------------------------------------

    def stage(self, container: Container, bundle: Path) -> list[dict[str, object]]:
        """Acquires the container's volumes, makes missing `-v` directories, stages subpaths and images under `bundle`,
        and returns the user's mounts in OCI form. All or nothing; undone by `unstage` and `release`."""
        stage = bundle / STAGE
        sources: dict[str, str] = {}
        covered = {os.path.normpath(path) for path in container.host_config.tmpfs or {}}
        points = [point for point in container.mounts if point.destination not in covered]
        with ExitStack() as undo:
            undo.callback(self.unstage, bundle)
            for number, point in enumerate(points):
                if point.type == "volume":
                    undo.callback(self._volumes.release, point.name, container.id)
                if point.type != "tmpfs":
                    sources[point.destination] = self.source(point, container.id, stage / str(number))
            files = {destination for destination, source in sources.items() if not Path(source).is_dir()}
            entries = oci_mounts(points, container.host_config.tmpfs, sources, files)
            with openat2.root(bundle / "rootfs") as root:
                _plant_marks(root)
                _keep_modes(root, entries)
            undo.pop_all()
        self.announce(container.id, points)
        return entries

    def announce(self, container_id: str, points: Sequence[MountPoint]) -> None:
        """Volumes were mounted into a container."""
        for point in points:
            if point.type == "volume":
                self._volumes.mounted(point.name, container_id, point.destination, point.rw, point.propagation)

    def source(self, point: MountPoint, container_id: str, target: Path) -> str:
        """The host path of a bind's, volume's or image's files; staged at `target` where a path would not be safe. A
        volume is acquired for the container."""
        if point.type == "bind":
            path = _host_path(point)
            _check_propagation(point)
            return path
        if point.type == "volume":
            return _below(self._volumes.acquire(point.name, container_id), point.subpath, target)
        return self._stage_image(point, target)

    def _stage_image(self, point: MountPoint, target: Path) -> str:
        chain = self._images.resolve(point.image).chain_id
        whole = target.with_name(f"{target.name}-image")
        whole.mkdir(parents=True, exist_ok=True)
        self._snapshots.mount_chain(chain, whole)
        return _below(whole, point.subpath, target)

    def unstage(self, bundle: Path) -> None:
        """Takes the staged mounts away. Idempotent; a container that is created or runs keeps its own copies."""
        stage = bundle / STAGE
        if not stage.is_dir():
            return
        mounts.unmount_below(stage, detach=True)
        for leftover in stage.iterdir():
            leftover.rmdir() if leftover.is_dir() else leftover.unlink()
        stage.rmdir()

    def release(self, container: Container) -> None:
        """The container's run is over: driver-option mounts nobody else has are unmounted. Idempotent."""
        self.let_go(container.id, container.mounts)

    def let_go(self, container_id: str, points: Sequence[MountPoint]) -> None:
        """`release`, of some of a container's mount points."""
        for point in points:
            if point.type == "volume" and self._volumes.release(point.name, container_id):
                self._volumes.unmounted(point.name, container_id)

    def adopt(self, container: Container) -> None:
        """At daemon start, for a container that goes on running (then `Volumes.sweep`)."""
        for point in container.mounts:
            if point.type == "volume":
                self._volumes.adopt(point.name, container.id)

    # -- removal -----------------------------------------------------------------------------------

    def remove_anonymous(self, points: Sequence[MountPoint]) -> None:
        """`rm -v`: anonymous volumes that no other container uses (call it once the document is gone)."""
        for point in points:
            if point.type == "volume" and point.anonymous and not self._volumes.in_use(point.name):
                self._volumes.remove(point.name, force=True)


def users_of_volume(containers: Sequence[Container], name: str) -> list[str]:
    """Ids of the containers whose document names a volume: for `Volumes.users`."""
    return [c.id for c in containers if any(p.type == "volume" and p.name == name for p in c.mounts)]


@contextmanager
def _readable(descriptor: int) -> Iterator[int]:
    """A readable descriptor of an O_PATH directory."""
    opened = openat2.reopen(descriptor, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield opened
    finally:
        os.close(opened)


def _is_empty(directory: int) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def _plant_marks(root: int) -> None:
    """What Docker puts in every container besides the mounts: /.dockerenv, by which programs know where they are, and
    /etc/mtab."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(".dockerenv", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o755, dir_fd=root))
    with contextlib.suppress(OSError):  # no /etc, or an mtab of the image's own
        parent, name = openat2.open_parent(root, "/etc/mtab")
        try:
            os.symlink("/proc/mounts", name, dir_fd=parent)
        finally:
            os.close(parent)


def _keep_modes(root: int, entries: Sequence[dict[str, object]]) -> None:
    """A tmpfs over a directory of the image has that directory's mode unless another is given, as with runc."""
    for entry in entries:
        options = entry["options"]
        if entry["type"] != "tmpfs" or not isinstance(options, list):
            continue
        if any(option.startswith("mode=") for option in options):
            continue
        with contextlib.suppress(OSError):
            found = openat2.open_in_root(root, str(entry["destination"]), os.O_PATH | os.O_DIRECTORY)
            options.append(f"mode={stat.S_IMODE(os.fstat(found).st_mode):o}")
            os.close(found)


def _check_source(point: MountPoint) -> None:
    """`--mount type=bind` refuses a missing source at once; `-v` makes the directory when the container starts."""
    if CREATE_SOURCE not in point.options and not os.path.lexists(point.source):
        raise source_missing(point.source)


def _host_path(point: MountPoint) -> str:
    _check_source(point)
    if CREATE_SOURCE in point.options:
        try:
            Path(point.source).mkdir(mode=0o755, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            pass  # a file, a socket, a device: bound as it is
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise InvalidParameter(
                f"error while creating mount source path '{point.source}': mkdir {point.source}: {reason}"
            ) from None
    return point.source


def _check_propagation(point: MountPoint) -> None:
    """Mounts cannot travel where the source's own mount is private: Docker refuses rather than disappoint."""
    shared = point.propagation in ("shared", "rshared")
    if IMPLIED_PROPAGATION in point.options or not (shared or point.propagation in ("slave", "rslave")):
        return
    with contextlib.suppress(OSError):
        found = _mount_of(os.path.realpath(point.source))
        kinds = {tag.partition(":")[0] for tag in found.tags}
        if not kinds & ({"shared"} if shared else {"shared", "master"}):
            wanted = "shared" if shared else "shared or slave"
            raise InvalidParameter(
                f"path {point.source} is mounted on {found.mount_point} but it is not a {wanted} mount"
            )


def _mount_of(path: str) -> mounts.MountInfo:
    """The mount a path lies on: of those above it the deepest, and of several there the last."""
    above = [
        mount
        for mount in mounts.mountinfo()
        if mount.mount_point in ("/", path) or path.startswith(mount.mount_point + "/")
    ]
    return max(reversed(above), key=lambda mount: len(mount.mount_point))


def _below(base: Path, subpath: str, target: Path) -> str:
    """The host path of `base`/`subpath`. The subpath is looked up so that no symlink leads out of `base`, and staged at
    `target` from the descriptor: the name could lead elsewhere by the time the runtime looks (as in CVE-2024-45310).
    """
    if not subpath:
        return str(base)
    with openat2.root(base) as root:
        try:
            found = openat2.open_beneath(root, subpath, os.O_PATH)
        except FileNotFoundError:
            raise InvalidParameter(
                f"cannot access path {base}/{subpath}: lstat {base}/{subpath}: no such file or directory"
            ) from None
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise InvalidParameter(
                    f"path concatenation escapes the base directory, base: {base}, subpath: {subpath}"
                ) from None
            raise SampanError(f"cannot access path {base}/{subpath}: {(error.strerror or '').lower()}") from None
    try:
        mounts.touch_target(target, f"/proc/self/fd/{found}")
        mounts.bind(found, target, propagation="private")
    finally:
        os.close(found)
    return str(target)
