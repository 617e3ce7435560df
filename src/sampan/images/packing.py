"""Writing tar: one header at a time, or a whole directory tree as a stream of bounded chunks.

The dialect is what Go's archive/tar writes for Docker: ustar, with a PAX header only where ustar cannot say it (names
over 100 bytes or not ASCII, numbers too large, extended attributes), times cut to seconds.

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
from struct import Struct

BLOCK = 512
CHUNK = 1 << 20
"""About how many bytes one chunk of the stream has."""

_HEADER = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_END = bytes(2 * BLOCK)
_PATH_MAX = 4096
_NODES = {stat.S_IFCHR: b"3", stat.S_IFBLK: b"4", stat.S_IFIFO: b"6"}


@dataclass(slots=True)
class Member:
    """What one header says. `mtime` is nanoseconds; `type` is tar's own letter (0 file, 1 link, 2 symlink, 5
    directory…)."""

    name: bytes
    type: bytes = b"0"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    device: int = 0
    xattrs: dict[str, bytes] | None = None


def header(member: Member, *, nanoseconds: bool = False) -> bytes:
    """The header's blocks, a PAX header first where one is needed."""
    name, link = member.name, member.link
    if member.type == b"5" and not name.endswith(b"/"):
        name += b"/"
    records: dict[str, bytes] = {}
    if len(name) > 100 or not name.isascii():
        records["path"] = name
    if len(link) > 100 or not link.isascii():
        records["linkpath"] = link
    seconds, fraction = divmod(member.mtime, 1_000_000_000)
    if seconds < 0 or seconds >= 1 << 33 or (nanoseconds and fraction):
        records["mtime"] = b"%d.%09d" % (seconds, fraction) if seconds >= 0 else b"%d" % seconds
    numbers = []
    for key, number, limit in (
        ("uid", member.uid, 1 << 21),
        ("gid", member.gid, 1 << 21),
        ("size", member.size, 1 << 33),
    ):
        if number >= limit:
            records[key] = b"%d" % number
            number = 0
        numbers.append(number)
    for key, value in (member.xattrs or {}).items():
        records[f"SCHILY.xattr.{key}"] = value
    uid, gid, size = numbers
    own = _ustar(name, link, member, uid, gid, size, min(max(seconds, 0), (1 << 33) - 1))
    return _pax(name, records) + own if records else own


def _ustar(name: bytes, link: bytes, member: Member, uid: int, gid: int, size: int, mtime: int) -> bytes:
    major = minor = b"0000000\0"
    if member.device:
        major, minor = b"%07o\0" % os.major(member.device), b"%07o\0" % os.minor(member.device)
    block = _HEADER.pack(
        name[:100],
        b"%07o\0" % (member.mode & 0o7777),
        b"%07o\0" % uid,
        b"%07o\0" % gid,
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b"        ",
        member.type,
        link[:100],
        b"ustar\00000",
        b"",
        b"",
        major,
        minor,
        b"",
        b"",
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax(name: bytes, records: dict[str, bytes]) -> bytes:
    data = b"".join(_record(key.encode(errors="surrogateescape"), value) for key, value in sorted(records.items()))
    base = name.rstrip(b"/").rpartition(b"/")[2].decode("ascii", errors="replace").replace("�", "_").encode()
    member = Member(b"PaxHeaders.0/" + base[:80], type=b"x", size=len(data))
    return _ustar(member.name, b"", member, 0, 0, len(data), 0) + data + bytes(-len(data) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH key=value\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


@dataclass(frozen=True, slots=True)
class Options:
    """`xattrs`: which attributes go along, by prefix (Docker's archives carry file capabilities only)."""

    xattrs: tuple[str, ...] = ("security.capability",)
    nanoseconds: bool = False
    one_filesystem: bool = False


def pack(parent: int, base: str | bytes, name: str | bytes, options: Options | None = None) -> Iterator[bytes]:
    """The tar of what `base` is in the open directory `parent`, with everything below it; "." is the directory itself.

    `name` takes the place of `base` in the archive. Entries come in name order, as Go's filepath.Walk gives them.
    Runs in any thread, step by step; nothing but descriptors is kept, and they are closed when the iterator is.
    """
    with contextlib.closing(_Packer(options or Options())) as packer:
        yield from _gathered(packer.tree(parent, os.fsencode(base), os.fsencode(name)))


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces joined to chunks, the archive's end added."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(waiting) if len(waiting) > 1 else piece
            waiting, size = [], 0
    waiting.append(_END)
    yield b"".join(waiting)


class _Packer:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._links: dict[tuple[int, int], bytes] = {}
        self._open: list[int] = []

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def tree(self, parent: int, base: bytes, name: bytes) -> Iterator[bytes]:
        """Depth first with a stack of its own: a container can nest directories deeper than Python recurses."""
        yield from self._entry(parent, base, name)
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
            inner_name = prefix + child if prefix.endswith(b"/") else prefix + b"/" + child
            if len(inner_name) > _PATH_MAX:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(inner_name[:200]) + "…")
            is_directory = yield from self._entry(directory, child, inner_name)
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

    def _entry(self, parent: int, base: bytes, name: bytes) -> Generator[bytes, None, bool]:
        """One member; the generator's value tells whether it is a directory. What vanished meanwhile is left out."""
        try:
            opened = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except FileNotFoundError:
            return False
        try:
            found = os.fstat(opened)
            kind = stat.S_IFMT(found.st_mode)
            member = Member(
                name,
                mode=stat.S_IMODE(found.st_mode),
                uid=found.st_uid,
                gid=found.st_gid,
                mtime=found.st_mtime_ns,
            )
            if kind != stat.S_IFDIR and found.st_nlink > 1 and self._is_linked(found, member):
                yield header(member, nanoseconds=self._options.nanoseconds)
            elif kind == stat.S_IFREG:
                yield from self._file(opened, member, found.st_size)
            elif kind == stat.S_IFDIR:
                member.type = b"5"
                member.xattrs = self._xattrs(opened)
                yield header(member, nanoseconds=self._options.nanoseconds)
            elif kind == stat.S_IFLNK:
                member.type, member.link = b"2", os.fsencode(os.readlink(b"", dir_fd=opened))
                yield header(member, nanoseconds=self._options.nanoseconds)
            elif kind in _NODES:
                member.type, member.device = _NODES[kind], found.st_rdev
                yield header(member, nanoseconds=self._options.nanoseconds)
            # A socket belongs to a process; tar has no word for it.
            return kind == stat.S_IFDIR
        finally:
            os.close(opened)

    def _is_linked(self, found: os.stat_result, member: Member) -> bool:
        first = self._links.setdefault((found.st_dev, found.st_ino), member.name)
        if first == member.name:
            return False
        member.type, member.link = b"1", first
        return True

    def _file(self, opened: int, member: Member, size: int) -> Iterator[bytes]:
        reading = os.open(f"/proc/self/fd/{opened}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            member.size = size
            member.xattrs = self._xattrs(reading)
            yield header(member, nanoseconds=self._options.nanoseconds)
            left = size
            while left:
                data = os.read(reading, min(left, CHUNK))
                if not data:
                    yield from _zeros(left)
                    break
                left -= len(data)
                yield data
            if size % BLOCK:
                yield bytes(-size % BLOCK)
        finally:
            os.close(reading)

    def _xattrs(self, descriptor: int) -> dict[str, bytes] | None:
        wanted = self._options.xattrs
        if not wanted:
            return None
        path = f"/proc/self/fd/{descriptor}"
        try:
            names = os.listxattr(path)
        except OSError:  # a filesystem without them
            return None
        found: dict[str, bytes] = {}
        for name in names:
            if name.startswith(wanted) and not name.startswith(("trusted.overlay.", "user.overlay.")):
                with contextlib.suppress(OSError):
                    found[name] = os.getxattr(path, name)
        return found or None


def _names(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def _zeros(count: int) -> Iterator[bytes]:
    while count:
        step = min(count, CHUNK)
        yield bytes(step)
        count -= step
