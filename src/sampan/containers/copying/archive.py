"""`docker cp`: GET, HEAD and PUT of `/containers/{id}/archive`, on running, stopped and created containers alike.

Paths are the container's, resolved inside it by the kernel (`linux.openat2` on a `views.View`); nothing of the
container is executed or loaded. A trailing `/` or `/.` counts, as for cp(1): it follows a final symlink and wants a
directory, and `/.` means a directory's contents.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sampan.containers.copying.extracting import Rules, extract
from sampan.containers.copying.views import Views
from sampan.containers.model import Container
from sampan.errors import Forbidden, InvalidParameter, NotFound, SampanError
from sampan.images.tar.packing import pack
from sampan.linux import openat2
from sampan.runtime import users

_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_MAX_LINKS = 255


@dataclass(frozen=True, slots=True)
class PathStat:
    """`X-Docker-Container-Path-Stat`: `mode` is a Go os.FileMode, `mtime` nanoseconds since the epoch, `link_target`
    the path a symlink leads to inside the container, as far as it leads."""

    name: str
    size: int
    mode: int
    mtime: int
    link_target: str = ""


def go_mode(mode: int) -> int:
    """st_mode as Go's os.FileMode, whose bits the API hands out."""
    bits = mode & 0o777 | _GO_KINDS.get(stat.S_IFMT(mode), 0)
    for mask, bit in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        if mode & mask:
            bits |= bit
    return bits


def stat_path(views: Views, container: Container, rootfs: Path, path: str, ref: str) -> PathStat:
    """HEAD. `ref` is the container as the user named it, for the message of `NotFound`. Blocks."""
    with views.open(container, rootfs) as view:
        return _stat(view.root, absolute(path), ref, path)


class Download:
    """GET: `stat`, then an iterator of tar chunks (see `images.tar.packing`). `close` it, also unread."""

    def __init__(self, views: Views, container: Container, rootfs: Path, path: str, ref: str) -> None:
        """Blocks."""
        wanted = absolute(path)
        with ExitStack() as stack:
            view = stack.enter_context(views.open(container, rootfs))
            self.stat = _stat(view.root, wanted, ref, path)
            head, base = posixpath.split(wanted)
            if self.stat.mode & 1 << 31:
                parent, base = _open(view.root, wanted, os.O_PATH | os.O_DIRECTORY), "."
            else:
                parent = _open(view.root, head, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, parent)
            self._chunks = pack(parent, base, go_base(wanted))
            stack.callback(self._chunks.close)
            self._stack = stack.pop_all()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Idempotent. Must not run while a chunk is being made in another thread."""
        self._stack.close()


def put_archive(
    views: Views,
    container: Container,
    rootfs: Path,
    path: str,
    ref: str,
    chunks: Iterable[bytes],
    *,
    keep_kind: bool = False,
    copy_owner: bool = False,
) -> None:
    """PUT: unpacks a tar into the directory `path`. `keep_kind` is noOverwriteDirNonDir, `copy_owner` is copyUIDGID:
    everything then belongs to the container's user. Blocks; raises before it reads a chunk when the path cannot be."""
    with views.open(container, rootfs, writing=True) as view:
        try:
            opened = openat2.open_in_root(view.root, absolute(path), os.O_PATH)
        except OSError as error:
            raise _explained(error, path, ref) from None
        try:
            if not stat.S_ISDIR(os.fstat(opened).st_mode):
                raise InvalidParameter("extraction point is not a directory")
            _check_writable(container, view.root, opened)
        finally:
            os.close(opened)
        target = evaluate(view.root, absolute(path))
        owner: tuple[int, int] | None = None
        if copy_owner and container.config.user:
            user = users.resolve(view.root, container.config.user)
            owner = user.uid, user.gid
        extract(chunks, view.root, target, Rules(keep_kind, owner))


def absolute(path: str) -> str:
    """The path from the container's root, cleaned but for a trailing `/` or `/.`, which mean something."""
    cleaned = posixpath.normpath("/" + path)
    if cleaned.startswith("//"):
        cleaned = cleaned[1:]
    last = path.rpartition("/")[2]
    if last == "." and not cleaned.endswith("/."):
        return cleaned.rstrip("/") + "/."
    if path.endswith("/") and not cleaned.endswith("/"):
        return cleaned + "/"
    return cleaned


def go_base(path: str) -> str:
    """Go's filepath.Base: the last element without trailing slashes; "/" for the root."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def _stat(root: int, wanted: str, ref: str, given: str) -> PathStat:
    try:
        opened = openat2.open_in_root(root, wanted, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        raise _explained(error, given, ref) from None
    try:
        found = os.fstat(opened)
    finally:
        os.close(opened)
    target = evaluate(root, wanted) if stat.S_ISLNK(found.st_mode) else ""
    return PathStat(go_base(wanted), found.st_size, go_mode(found.st_mode), found.st_mtime_ns, target)


def _open(root: int, path: str, flags: int) -> int:
    try:
        return openat2.open_in_root(root, path, flags)
    except OSError as error:
        raise SampanError(f"lstat {path}: {(error.strerror or '').lower()}") from None


def _explained(error: OSError, path: str, ref: str) -> SampanError:
    if error.errno == errno.ENOENT:
        return NotFound(f"Could not find the file {path} in container {ref}")
    return InvalidParameter(f"lstat {path}: {(error.strerror or str(error)).lower()}")


def evaluate(root: int, path: str) -> str:
    """The path without symlinks, inside the root, as far as it exists (Docker's FollowSymlinkInScope). For messages
    and for `_check_writable`; whoever opens the result does so in the root again."""
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    walked: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            walked = walked[:-1]
            continue
        link = _read_link(root, "/".join([*walked, part]))
        if link is None:
            walked.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidParameter(f"lstat {path}: too many links")
        if link.startswith("/"):
            walked = []
        pending.extend(part for part in reversed(link.split("/")) if part not in ("", "."))
    return "/" + "/".join(walked)


def _read_link(root: int, path: str) -> str | None:
    try:
        opened = openat2.open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return os.readlink("", dir_fd=opened) if stat.S_ISLNK(os.fstat(opened).st_mode) else None
    finally:
        os.close(opened)


def _check_writable(container: Container, root: int, target: int) -> None:
    """Docker refuses before it unpacks, by the mount that holds the target: a read-only one, or a read-only root."""
    if _mount_id(target) != _mount_id(root):
        if os.fstatvfs(target).f_flag & os.ST_RDONLY:
            raise Forbidden("mounted volume is marked read-only")
    elif container.host_config.readonly_rootfs:
        raise Forbidden("container rootfs is marked read-only")


def _mount_id(descriptor: int) -> str:
    """proc_pid_fdinfo(5)."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))
