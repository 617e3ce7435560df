"""Mounts of a container that runs: attached to and taken from its own mount namespace, while its processes go on.

The new mount API (Linux 5.2) makes it possible: `open_tree` clones the source into a detached tree in the daemon's
namespace, where host paths mean what they say; a thread that has entered the container's namespace moves that tree to
its place. Every look-up there is by `openat2` below the container's root, so that no symlink of the container's leads
the mount elsewhere, and never onto its /proc.

A mount that is in use is not taken away: files that a process has open would go on living in a volume that nothing
shows any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sampan.containers.model import MountPoint
from sampan.containers.mountpoints.mount_syntax import NON_RECURSIVE, READ_ONLY_NON_RECURSIVE, tmpfs_options
from sampan.errors import Conflict, InvalidParameter
from sampan.linux import mounts, namespaces, openat2
from sampan.linux.mounts import Mount

_PROC_SUPER_MAGIC = 0x9FA0
_TMPFS_FLAGS = {"ro": mounts.RDONLY, "nosuid": mounts.NOSUID, "nodev": mounts.NODEV, "noexec": mounts.NOEXEC}
_TMPFS_CLEAR = {"rw": mounts.RDONLY, "suid": mounts.NOSUID, "dev": mounts.NODEV, "exec": mounts.NOEXEC}
_TMPFS_SAYINGS = frozenset({"mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"})


@dataclass(slots=True)
class Tree:
    """A mount that waits for its place. Close it when it has (or will never have) one."""

    destination: str
    mount: Mount
    directory: bool
    keep_mode: bool = False
    """A tmpfs without a mode of its own gets that of the directory it covers."""

    def close(self) -> None:
        self.mount.close()


# -- in the daemon's namespace -----------------------------------------------------------------------


def tree(point: MountPoint, source: str) -> Tree:
    """A detached tree of a bind's, volume's or image's files (`Mounting.source`), or a new tmpfs. Blocks."""
    if point.type == "tmpfs":
        return _tmpfs(point)
    directory = Path(source).is_dir()
    made = mounts.clone(source, recursive=NON_RECURSIVE not in point.options)
    try:
        kind = point.propagation.removeprefix("r") or "private"
        # A clone of a shared mount is shared with it already.
        made.set(0, recursive=True, propagation=kind if kind != "shared" else "")
        if not point.rw:
            made.set(mounts.RDONLY, recursive=READ_ONLY_NON_RECURSIVE not in point.options)
    except BaseException:
        made.close()
        raise
    return Tree(point.destination, made, directory)


def _tmpfs(point: MountPoint) -> Tree:
    attributes = 0
    options: dict[str, str | None] = {}
    for word in tmpfs_options(point.options):
        name, _, value = word.partition("=")
        attributes |= _TMPFS_FLAGS.get(word, 0)
        attributes &= ~_TMPFS_CLEAR.get(word, 0)
        if name in _TMPFS_SAYINGS:
            options[name] = value
    made = mounts.filesystem("tmpfs", options, source="tmpfs", attributes=attributes)
    return Tree(point.destination, made, True, keep_mode="mode" not in options)


# -- in the container's namespace --------------------------------------------------------------------


def change(
    namespace: str, pid: int, rootfs: Path, remove: Sequence[str], trees: Sequence[Tree], keep: Sequence[str]
) -> None:
    """Takes the mounts at `remove` away, then puts `trees` in their places (both parents first). All or nothing.

    `namespace` is a path of the container's mount namespace, `pid` a process in it, `rootfs` the engine's own mount of
    its root filesystem, for mount points under a read-only one; `keep` are the destinations of mounts that stay. Raises
    `Conflict` for what is in use, `InvalidParameter` for a destination that cannot be one. Blocks.
    """
    table = {mount.mount_point for mount in mounts.mountinfo(pid)}
    with openat2.root(rootfs) as outside:

        def work() -> None:
            # Nothing may be imported in here: it would be the container's.
            with ExitStack() as always:
                root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                always.callback(os.close, root)
                inside = _Inside(root, outside, table, always, always.enter_context(ExitStack()))
                for destination in reversed(remove):
                    inside.take(destination, keep)
                for one in trees:
                    inside.put(one)
                inside.undo.pop_all()

        namespaces.in_mount_namespace(namespace, work)


@dataclass(slots=True)
class _Inside:
    """A thread in the container's mount namespace. `root` and `outside` (the engine's own mount of the same files) are
    O_PATH descriptors, `table` the mount points there are, `undo` runs on failure."""

    root: int
    outside: int
    table: set[str]
    always: ExitStack
    undo: ExitStack

    def take(self, destination: str, keep: Sequence[str]) -> None:
        """Unmounts what is at `destination` (nothing, if the container did that itself) with what came along in it."""
        place = "/" + os.fsdecode(openat2.resolve_in_root(self.root, destination))
        below = [path for path in self.table if path.startswith(place + "/")]
        for other in keep:
            if other.startswith(destination + "/") and place + other.removeprefix(destination) in below:
                raise Conflict(f"cannot remove the mount at {destination}: another one is inside it, at {other}")
        for path in [*sorted(below, key=len, reverse=True), place]:
            self._unmount(path, destination)

    def _unmount(self, path: str, destination: str) -> None:
        try:
            descriptor = openat2.open_in_root(self.root, path, os.O_PATH | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if not mounts.is_mount_root(descriptor) or mounts.filesystem_type(descriptor) == _PROC_SUPER_MAGIC:
                return
            backup = self.always.enter_context(mounts.clone(descriptor, recursive=False))
        finally:
            os.close(descriptor)
        try:
            self._by_name(path, detach=False)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise Conflict(
                f"cannot remove the mount at {destination}: it is in use by a process of the container"
            ) from None
        self.table.discard(path)
        self.undo.callback(self._put_back, path, backup)

    def _put_back(self, path: str, backup: Mount) -> None:
        with contextlib.suppress(OSError):
            descriptor = openat2.open_in_root(self.root, path, os.O_PATH)
            try:
                backup.attach_to(descriptor)
            finally:
                os.close(descriptor)

    def _by_name(self, path: str, detach: bool) -> None:
        """Unmounts by the last component in its (open, so unmovable) directory: umount2(2) takes no descriptor, and one
        of the mount itself would keep it busy."""
        parent, name = openat2.open_parent(self.root, path)
        try:
            os.fchdir(parent)
        finally:
            os.close(parent)
        try:
            mounts.unmount(os.fsdecode(name), detach=detach)
        finally:
            os.fchdir(self.root)

    def put(self, wanted: Tree) -> None:
        destination = wanted.destination
        try:
            target = self._target(wanted)
        except OSError as error:
            raise _refused(destination, (error.strerror or "").lower()) from None
        try:
            found = os.fstat(target)
            if mounts.filesystem_type(target) == _PROC_SUPER_MAGIC:
                raise _refused(destination, "it is inside /proc")
            if stat.S_ISDIR(found.st_mode) != wanted.directory:
                raise _refused(destination, "a directory and a file do not fit on each other")
            place = "/" + os.fsdecode(openat2.resolve_in_root(self.root, destination))
            # At a start it would lie below them.
            if hidden := next((path for path in sorted(self.table) if path.startswith(place + "/")), ""):
                raise _refused(destination, f"it would hide the mount at {hidden}")
            wanted.mount.attach_to(target)
        finally:
            os.close(target)
        self.undo.callback(self._by_name, place, detach=True)
        self.table.add(place)
        if wanted.keep_mode:
            covering = openat2.open_in_root(self.root, destination, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fchmod(covering, stat.S_IMODE(found.st_mode))
            finally:
                os.close(covering)

    def _target(self, wanted: Tree) -> int:
        """The mount point, made when it is missing, as a start would make it. Under a read-only root it is made through
        the engine's own mount, which is the same filesystem."""
        try:
            return openat2.mount_point_in_root(self.root, wanted.destination, directory=wanted.directory)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        place = openat2.resolve_in_root(self.root, wanted.destination)
        os.close(openat2.mount_point_in_root(self.outside, place, directory=wanted.directory))
        return openat2.open_in_root(self.root, wanted.destination, os.O_PATH)


def _refused(destination: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f"cannot mount at {destination} in the container: {reason}")


def present(pid: int, point: MountPoint, source: str) -> bool:
    """Does the container have this mount already? Looked at from outside, through /proc/PID/root; for finishing what
    a daemon that was killed began."""
    with contextlib.suppress(OSError), openat2.root(f"/proc/{pid}/root") as root:
        descriptor = openat2.open_in_root(root, point.destination, os.O_PATH)
        try:
            if not mounts.is_mount_root(descriptor):
                return False
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if point.type in ("bind", "volume"):
            return os.path.samestat(found, Path(source).stat())
        return True
    return False
