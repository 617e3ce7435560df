"""A container's files as `docker cp` sees them: its root filesystem with its volumes and binds mounted, in a mount
namespace of their own that nothing else enters.

Docker's rule, kept here: of a running container one sees the root filesystem and what the *user* mounted, not what is
mounted inside it meanwhile. That is also what is safe: no /proc, /sys or /dev whose files act when they are written, no
FUSE filesystem of the container's that hangs the daemon, no mount race (CVE-2026-41567).

The namespace is held by two descriptors only (its root and itself). Closing them, or dying, takes all its mounts away:
there is nothing to clean up after a crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sampan.containers.model import Container, MountPoint
from sampan.containers.mountpoints.mount_syntax import NON_RECURSIVE, clean
from sampan.errors import SampanError
from sampan.images import Images, Snapshots
from sampan.linux import mounts, namespaces, openat2
from sampan.linux.libc import failure, libc
from sampan.volumes import Volumes


@dataclass(frozen=True, slots=True)
class View:
    """`root` is an O_PATH descriptor of the container's "/". Use it with `linux.openat2` only."""

    root: int


def _no_files(container: Container) -> Mapping[str, Path]:
    return {}


class Views:
    """Opens views. `scratch` is an empty directory of the exec root; nothing is ever visible in it. `files` tells
    what the engine itself binds into a container, /etc/hosts and the like: destination → source."""

    def __init__(
        self,
        scratch: Path,
        volumes: Volumes,
        images: Images,
        snapshots: Snapshots,
        files: Callable[[Container], Mapping[str, Path]] = _no_files,
    ) -> None:
        self._scratch = scratch
        self._files = files
        self._volumes = volumes
        self._images = images
        self._snapshots = snapshots

    @contextmanager
    def open(
        self, container: Container, rootfs: Path, *, with_mounts: bool = True, writing: bool = False
    ) -> Iterator[View]:
        """The container's files; `rootfs` is where its root filesystem is mounted if it is. Blocks (about a
        millisecond; after `writing` into a stopped container, until the disk has it).

        A stopped container's snapshot is mounted for the view alone: the caller keeps it from being started meanwhile.
        """
        self._scratch.mkdir(parents=True, exist_ok=True)
        covered = {clean(path) for path in container.host_config.tmpfs or {}}
        points = tuple(
            point
            for point in container.mounts
            if with_mounts and point.type != "tmpfs" and point.destination not in covered
        )
        with ExitStack() as stack:
            sources = self._acquire(container, points, stack)
            mounted = mounts.is_mounted(rootfs)
            files = self._files(container) if with_mounts else {}
            chains = {p.image: self._images.resolve(p.image).chain_id for p in points if p.type == "image"}

            def build() -> tuple[int, int]:
                if not mounted:  # what only reads has nothing to sync: mount points that were missing, at most
                    make_root = partial(self._snapshots.mount, container.id, volatile=not writing)
                else:
                    make_root = partial(mounts.bind, rootfs, recursive=False)
                return self._build(make_root, points, sources, chains, files)

            root, namespace = namespaces.in_thread(build)
            stack.callback(os.close, namespace)
            stack.callback(os.close, root)
            yield View(root)

    def _acquire(self, container: Container, points: Sequence[MountPoint], stack: ExitStack) -> dict[str, Path]:
        """Host paths by volume name, held until the view closes."""
        sources: dict[str, Path] = {}
        holder = f"{container.id}:view"
        for point in points:
            if point.type == "volume" and point.name not in sources:
                sources[point.name] = self._volumes.acquire(point.name, holder)
                stack.callback(self._volumes.release, point.name, holder)
        return sources

    def _build(
        self,
        make_root: Callable[[Path], None],
        points: Sequence[MountPoint],
        volumes: dict[str, Path],
        chains: dict[str, str | None],
        files: Mapping[str, Path],
    ) -> tuple[int, int]:
        """Runs in a thread that ends afterwards: it takes on a mount namespace. Returns (root, namespace)
        descriptors."""
        namespaces.unshare(namespaces.CLONE_FS | namespaces.CLONE_NEWNS)
        mounts.set_propagation("/", "private", recursive=True)
        mounts.mount("tmpfs", self._scratch, {"mode": "0700"}, attributes=mounts.NOSUID | mounts.NODEV)
        base = self._scratch / "root"
        base.mkdir()
        make_root(base)
        with ExitStack() as stack:
            root = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            keep = stack.enter_context(ExitStack())
            keep.callback(os.close, root)
            for number, point in enumerate(points):
                self._mount(point, number, root, volumes, chains)
            for destination, source in files.items():
                point = MountPoint(source=str(source), destination=destination)
                with contextlib.suppress(SampanError):  # /etc/resolv.conf is a link to nowhere in many images
                    self._mount(point, 0, root, volumes, chains)
            namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            keep.callback(os.close, namespace)
            _leave_host(base)
            keep.pop_all()
        return root, namespace

    def _mount(
        self, point: MountPoint, number: int, root: int, volumes: dict[str, Path], chains: dict[str, str | None]
    ) -> None:
        if point.type == "image":
            source = self._scratch / f"image{number}"
            self._snapshots.mount_chain(chains[point.image], source)
        else:
            source = volumes[point.name] if point.type == "volume" else Path(point.source)
        try:
            opened = _open_source(source, point.subpath)
        except OSError:
            return  # the source is gone: Docker shows the container without it
        try:
            target = _target(root, point.destination, stat.S_ISDIR(os.fstat(opened).st_mode))
            try:
                with mounts.clone(opened, recursive=NON_RECURSIVE not in point.options) as tree:
                    tree.set(0 if point.rw else mounts.RDONLY, recursive=True, propagation="private")
                    tree.attach_to(target)
            finally:
                os.close(target)
        finally:
            os.close(opened)


def _open_source(source: Path, subpath: str) -> int:
    if not subpath:
        return os.open(source, os.O_PATH | os.O_CLOEXEC)
    with openat2.root(source) as root:
        return openat2.open_beneath(root, subpath, os.O_PATH)


def _target(root: int, destination: str, is_directory: bool) -> int:
    """The mount point in the root filesystem, made when missing, as starting the container would make it."""
    try:
        return openat2.mount_point_in_root(root, destination, directory=is_directory)
    except FileExistsError:
        raise SampanError(f"cannot mount on {destination}: a dangling symlink is there") from None


def _leave_host(base: Path) -> None:
    """Makes the view the namespace's root and drops the copies of the host's mounts, which would keep them busy."""
    os.chdir(base)
    if libc.pivot_root(b".", b"."):
        if ctypes.get_errno() == errno.EINVAL:  # the host runs from an initramfs: they stay until the view closes
            return
        raise failure(base, "pivot_root")
    with contextlib.suppress(OSError):
        mounts.unmount(".", detach=True)
