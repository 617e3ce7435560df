"""A tar stream unpacked into a directory of a container (`PUT /containers/{id}/archive`), by Docker's rules.

Names are resolved by the kernel with the container's root as "/" (openat2, RESOLVE_IN_ROOT) and files are made
relative to open directories with O_NOFOLLOW and O_EXCL: whatever the archive says and whatever a process of the
container swaps meanwhile, nothing outside the container is touched (CVE-2018-15664, CVE-2024-45310). Unlike a
layer's, names that begin with `.wh.` are plain files here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sampan.errors import InvalidParameter, SampanError
from sampan.images.compression import decompress
from sampan.images.tar import headers
from sampan.images.tar.headers import Entry
from sampan.images.tar.reader import TarReader
from sampan.linux import openat2, trees

_NODES = {headers.CHARACTER: stat.S_IFCHR, headers.BLOCKDEV: stat.S_IFBLK, headers.FIFO: stat.S_IFIFO}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PARENTS = 64


@dataclass(frozen=True, slots=True)
class Rules:
    """`keep_kind`: a directory does not replace a file, nor a file a directory (noOverwriteDirNonDir).
    `owner`: (uid, gid)
    for everything, in place of the archive's own."""

    keep_kind: bool = False
    owner: tuple[int, int] | None = None
    root: bool = False
    """The archive's entry for the directory itself counts too."""


def extract(chunks: Iterable[bytes], root: int, base: str, rules: Rules) -> None:
    """Unpacks a tar (plain, gzip, bzip2, xz or zstd) into `base`, an absolute path without symlinks below the open
    directory `root`. Blocks. What was written before a failure stays, as in Docker."""
    with contextlib.closing(_Extractor(root, base, rules)) as extractor:
        reader = TarReader(decompress(chunks))
        for entry in reader:
            extractor.add(entry, reader)
        reader.drain()
        extractor.finish()


class _Extractor:
    def __init__(self, root: int, base: str, rules: Rules) -> None:
        self._root = root
        self._base = base.rstrip("/")
        self._rules = rules
        self._parents: OrderedDict[str, int] = OrderedDict()
        self._times: dict[str, int] = {}

    def close(self) -> None:
        while self._parents:
            os.close(self._parents.popitem()[1])

    def add(self, entry: Entry, reader: TarReader) -> None:
        name = posixpath.normpath(os.fsdecode(entry.name) or ".")
        if name.startswith("/"):
            name = name.lstrip("/") or "."
        if name == ".." or name.startswith("../"):
            raise SampanError(f'"{name}" is outside of "{self._base or "/"}"')
        if name == ".":
            if self._rules.root and entry.type == headers.DIRECTORY:
                self._settle_root(entry)
            return
        path = f"{self._base}/{name}"
        head, _, last = path.rpartition("/")
        try:
            parent = self._parent(head)
            merged = self._make_room(parent, last, path, entry)
            self._make(parent, last, path, entry, reader, merged)
        except OSError as error:
            operation = "write" if error.errno in (errno.ENOSPC, errno.EDQUOT) else _operation(entry)
            raise SampanError(f"{operation} {path}: {(error.strerror or str(error)).lower()}") from None

    def finish(self) -> None:
        """Times of directories, deepest first: making files in them has changed them."""
        for path, time in sorted(self._times.items(), reverse=True):
            with contextlib.suppress(OSError):  # replaced meanwhile
                opened = openat2.open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    os.utime(opened, ns=(time, time))
                finally:
                    os.close(opened)

    def _parent(self, head: str) -> int:
        descriptor = self._parents.get(head)
        if descriptor is None:
            descriptor = openat2.mkdirs_in_root(self._root, head)
            self._parents[head] = descriptor
            if len(self._parents) > _PARENTS:
                os.close(self._parents.popitem(last=False)[1])
        return descriptor

    def _make_room(self, parent: int, last: str, path: str, entry: Entry) -> bool:
        """Removes what is in the way. True: a directory that stays, to be merged with the archive's."""
        try:
            found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        old, new = stat.S_ISDIR(found.st_mode), entry.type == headers.DIRECTORY
        if old and new:
            return True
        if self._rules.keep_kind and old:
            raise InvalidParameter(f'cannot overwrite directory "{path}" with non-directory "{self._base or "/"}"')
        if self._rules.keep_kind and new:
            raise InvalidParameter(f'cannot overwrite non-directory "{path}" with directory "{self._base or "/"}"')
        if not old:
            os.unlink(last, dir_fd=parent)
        else:
            trees.remove_at(parent, os.fsencode(last))
        self._forget(path)
        return False

    def _forget(self, path: str) -> None:
        """Cached directories may have been reached through what was just removed."""
        prefix = path + "/"
        for gone in [kept for kept in self._parents if kept == path or kept.startswith(prefix)]:
            os.close(self._parents.pop(gone))

    def _make(self, parent: int, last: str, path: str, entry: Entry, reader: TarReader, merged: bool) -> None:
        if entry.type == headers.FILE:
            self._file(parent, last, entry, reader)
        elif entry.type == headers.DIRECTORY:
            if not merged:
                os.mkdir(last, 0o700, dir_fd=parent)
            opened = os.open(last, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._settle(opened, entry)
            finally:
                os.close(opened)
            self._times[path] = entry.mtime
        elif entry.type == headers.LINK:
            self._link(parent, last, entry)
        elif entry.type == headers.SYMLINK:
            os.symlink(entry.link, os.fsencode(last), dir_fd=parent)
            uid, gid = self._owner(entry)
            os.chown(last, uid, gid, dir_fd=parent, follow_symlinks=False)
            os.utime(last, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        elif entry.type in _NODES:
            device = os.makedev(entry.major, entry.minor) if entry.type != headers.FIFO else 0
            os.mknod(last, _NODES[entry.type] | 0o600, device, dir_fd=parent)
            self._settle_node(parent, last, entry)
        else:
            raise InvalidParameter(f"unhandled tar header type {entry.type[0]}")

    def _file(self, parent: int, last: str, entry: Entry, reader: TarReader) -> None:
        opened = os.open(last, _NEW, 0o600, dir_fd=parent)
        try:
            for offset, piece in _pieces(entry, reader):
                while piece:
                    written = os.pwrite(opened, piece, offset)
                    offset, piece = offset + written, piece[written:]
            if entry.sparse is not None:
                os.ftruncate(opened, entry.real_size)
            self._settle(opened, entry)
            os.utime(opened, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(opened)

    def _link(self, parent: int, last: str, entry: Entry) -> None:
        target = posixpath.normpath("/" + os.fsdecode(entry.link))
        source, name = openat2.open_parent(self._root, self._base + target)
        try:
            os.link(name, os.fsencode(last), src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _settle(self, opened: int, entry: Entry) -> None:
        """Owner before mode and capabilities: chown(2) clears set-id bits and file capabilities."""
        uid, gid = self._owner(entry)
        os.fchown(opened, uid, gid)
        os.fchmod(opened, entry.mode)
        for key, value in (entry.xattrs or {}).items():
            if key.startswith(("trusted.overlay.", "user.overlay.")):
                continue  # overlayfs' own marks are no archive's to write
            try:
                os.setxattr(opened, key, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise

    def _settle_root(self, entry: Entry) -> None:
        path = self._base or "/"
        opened = openat2.open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._settle(opened, entry)
        finally:
            os.close(opened)
        self._times[path] = entry.mtime

    def _settle_node(self, parent: int, last: str, entry: Entry) -> None:
        """By an O_PATH descriptor: a device or FIFO must not be opened, and fchmodat(2) would follow a symlink."""
        uid, gid = self._owner(entry)
        opened = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            path = f"/proc/self/fd/{opened}"
            os.chown(path, uid, gid)
            os.chmod(path, entry.mode)  # noqa: PTH101 (pathlib says no more)
            os.utime(path, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(opened)

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return self._rules.owner or (entry.uid, entry.gid)


def _pieces(entry: Entry, reader: TarReader) -> Iterator[tuple[int, memoryview]]:
    """(offset in the file, bytes) of an entry's stored data."""
    if entry.sparse is None:
        offset = 0
        for data in reader.data():
            yield offset, data
            offset += len(data)
        return
    extents = iter(entry.sparse)
    offset = left = 0
    for data in reader.data():
        while data:
            if not left:
                offset, left = next(extents)
            yield offset, data[:left]
            taken = min(left, len(data))
            offset, left, data = offset + taken, left - taken, data[taken:]


def _operation(entry: Entry) -> str:
    return {
        headers.DIRECTORY: "mkdir",
        headers.LINK: "link",
        headers.SYMLINK: "symlink",
        headers.FILE: "open",
    }.get(entry.type, "mknod")
