"""A directory tree as a tar stream of bounded chunks: `docker cp` out of a container, `docker export`.

The tree is walked by descriptors and may belong to a hostile, running container: every entry is first opened O_PATH
with O_NOFOLLOW and looked at, then only regular files are opened for reading, through /proc/self/fd. A file swapped
for a symlink, a FIFO or a device between two calls is seen as what it is and never opened (CVE-2018-15664,
CVE-2026-41568). A file that grows or shrinks while it is read still fills exactly the size its header announced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from sampan.images.tar import sparse, writer
from sampan.images.tar.headers import BLOCKDEV, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK
from sampan.images.tar.writer import Meta

CHUNK = 1 << 17
"""About how many bytes one chunk of the stream has: half of what `daemon` has malloc take from the kernel anew each
time (page faults then cost more than the copy), and a client waits less for the first."""
_SMALL = 1 << 16

_PATH_MAX = 4096
_NODES = {stat.S_IFCHR: CHARACTER, stat.S_IFBLK: BLOCKDEV, stat.S_IFIFO: FIFO}


@dataclass(frozen=True, slots=True)
class Options:
    """`xattrs`: which attributes go along, by prefix (Docker's archives carry file capabilities only). `faithful`:
    holes stay holes (GNU's sparse format 1.0) and times keep their nanoseconds."""

    xattrs: tuple[str, ...] = ("security.capability",)
    one_filesystem: bool = False
    faithful: bool = False


def pack(
    parent: int, base: str | bytes, name: str | bytes, options: Options | None = None
) -> Generator[bytes, None, None]:
    """The tar of what `base` is in the open directory `parent`, with everything below it; "." is the directory itself.

    `name` takes the place of `base` in the archive; with b"" the directory itself has no entry. Entries come in name
    order, as Go's filepath.Walk gives them. Runs in any thread, step by step; nothing but descriptors is kept, and
    they are closed when the iterator is.
    """
    with contextlib.closing(Packer(options or Options())) as packer:
        yield from gathered(packer.tree(parent, os.fsencode(base), os.fsencode(name)), tail=writer.END)


def gathered(pieces: Iterator[bytes], least: int = CHUNK, tail: bytes = b"") -> Iterator[bytes]:
    """Small pieces joined to chunks, `tail` behind them."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= least:
            yield b"".join(waiting) if len(waiting) > 1 else piece
            waiting, size = [], 0
    waiting.append(tail)
    if last := b"".join(waiting):
        yield last


class Packer:
    """Writes members, remembering inodes for hard links. `close` it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._links: dict[tuple[int, int], bytes] = {}
        # What /proc/self/fd/N costs is mostly the way there.
        self._open: list[int] = [os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def tree(self, parent: int, base: bytes, name: bytes) -> Iterator[bytes]:
        """Depth first with a stack of its own: a container can nest directories deeper than Python recurses."""
        if name:
            yield from self.entry(parent, base, name)
        first = self._enter(parent, base)
        if first is None:
            return
        device = os.fstat(first).st_dev
        stack = [(first, name, iter(_names(first)))]
        while stack:
            directory, prefix, names = stack[-1]
            child = next(names, None)
            if child is None:
                stack.pop()
                os.close(self._open.pop())
                continue
            inner_name = prefix + child if not prefix or prefix.endswith(b"/") else prefix + b"/" + child
            if len(inner_name) > _PATH_MAX:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(inner_name[:200]) + "…")
            is_directory = yield from self.entry(directory, child, inner_name)
            if not is_directory:
                continue
            inner = self._enter(directory, child)
            if inner is None:
                continue
            if self._options.one_filesystem and os.fstat(inner).st_dev != device:
                os.close(self._open.pop())
                continue
            stack.append((inner, inner_name, iter(_names(inner))))

    def _enter(self, parent: int, base: bytes) -> int | None:
        try:
            descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # no directory (any more)
                return None
            raise
        self._open.append(descriptor)
        return descriptor

    def entry(self, parent: int, base: bytes, name: bytes) -> Generator[bytes, None, bool]:
        """One member; the generator's value tells whether it is a directory. What vanished meanwhile is left out."""
        try:
            opened = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except FileNotFoundError:
            return False
        try:
            found = os.fstat(opened)
            kind = stat.S_IFMT(found.st_mode)
            meta = Meta(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, int(found.st_mtime))
            extra = self._times(found)
            if kind != stat.S_IFDIR and found.st_nlink > 1 and (first := self._first_link(found, name)):
                yield writer.header(name, LINK, meta, link=first)
            elif kind == stat.S_IFREG:
                yield from self._file(opened, name, meta, found, extra)
            elif kind == stat.S_IFDIR:
                shown = name if name.endswith(b"/") else name + b"/"
                xattrs = self._xattrs(f"/proc/self/fd/{opened}")  # flistxattr(2) takes no O_PATH
                yield writer.header(shown, DIRECTORY, meta, xattrs=xattrs, extra=extra)
            elif kind == stat.S_IFLNK:
                target = os.fsencode(os.readlink(b"", dir_fd=opened))
                yield writer.header(name, SYMLINK, meta, link=target, extra=extra)
            elif kind in _NODES:
                major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
                yield writer.header(name, _NODES[kind], meta, major=major, minor=minor, extra=extra)
            # A socket belongs to a process; tar has no word for it.
            return kind == stat.S_IFDIR
        finally:
            os.close(opened)

    def _first_link(self, found: os.stat_result, name: bytes) -> bytes | None:
        """The name under which this inode is in the archive already."""
        first = self._links.setdefault((found.st_dev, found.st_ino), name)
        return None if first == name else first

    def _times(self, found: os.stat_result) -> sparse.Records:
        seconds, fraction = divmod(found.st_mtime_ns, 1_000_000_000)
        if not self._options.faithful or not fraction or seconds < 0:
            return []
        return [(b"mtime", b"%d.%09d" % (seconds, fraction))]

    def _file(
        self, opened: int, name: bytes, meta: Meta, found: os.stat_result, extra: sparse.Records
    ) -> Iterator[bytes]:
        reading = os.open(str(opened), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._open[0])
        try:
            xattrs = self._xattrs(reading)
            if self._options.faithful and sparse.has_holes(found):
                pieces = sparse.extents(reading, found.st_size)
                shown, table, records = sparse.member(name, pieces, found.st_size)
                size = len(table) + sum(length for _, length in pieces)
                yield writer.header(shown, FILE, meta, size=size, xattrs=xattrs, extra=[*extra, *records])
                yield table
            else:
                pieces, size = [(0, found.st_size)], found.st_size
                header = writer.header(name, FILE, meta, size=size, xattrs=xattrs, extra=extra)
                if size <= _SMALL:
                    yield b"".join((header, *_data(reading, 0, size), writer.padding(size)))
                    return
                yield header
            for offset, length in pieces:
                yield from _data(reading, offset, length)
            if size % 512:
                yield writer.padding(size)
        finally:
            os.close(reading)

    def _xattrs(self, file: int | str) -> dict[str, bytes] | None:
        wanted = self._options.xattrs
        if not wanted:
            return None
        try:
            names = os.listxattr(file)
        except OSError:  # a filesystem without them
            return None
        found: dict[str, bytes] = {}
        for name in names:
            if name.startswith(wanted) and not name.startswith(("trusted.overlay.", "user.overlay.")):
                with contextlib.suppress(OSError):
                    found[name] = os.getxattr(file, name)
        return found or None


def _names(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def _data(reading: int, offset: int, length: int) -> Iterator[bytes]:
    """Exactly `length` bytes, whatever has become of the file."""
    while length:
        data = os.pread(reading, min(length, CHUNK), offset)
        if not data:
            yield from _zeros(length)
            return
        offset, length = offset + len(data), length - len(data)
        yield data


def _zeros(count: int) -> Iterator[bytes]:
    while count:
        step = min(count, CHUNK)
        yield bytes(step)
        count -= step
