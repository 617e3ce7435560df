"""A local file or directory as a tar stream, for `cp` into a container.

`tarfile` wants a file to write to; here blocks are produced as they are sent, with PAX records only where the old
header is too small (POSIX.1-2017, pax: names over 100 bytes, sizes from 8 GiB, ids from 2 Mi) or for capabilities.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 18
_CAPABILITY = "security.capability"
END = b"\0" * 1024
_MAGIC = b"ustar\00000" + b"\0" * 64
_REST = b"\0" * 167


def pack(directory: str, base: str, name: str) -> Iterator[bytes]:
    """`directory`/`base` and all below it, called `name` in the archive; the end-of-archive blocks are included."""
    links: dict[tuple[int, int], bytes] = {}
    yield from _entry(os.path.join(directory, base), os.fsencode(name), links)
    yield END


def pack_inside(directory: str, prefix: str, skip: Callable[[str, bool], bool]) -> Iterator[bytes]:
    """What is in `directory`, as root's: all but what `skip` (of relative path, and is it a directory?) leaves out,
    and below `prefix` in the archive: a build's context. Without the end-of-archive blocks."""
    links: dict[tuple[int, int], bytes] = {}
    start = len(directory.rstrip("/")) + 1

    def keeps(path: str, is_directory: bool) -> bool:
        return not skip(path[start:], is_directory)

    for child in sorted(os.listdir(directory)):
        name = os.fsencode(prefix + child)
        yield from _entry(os.path.join(directory, child), name, links, keeps, as_root=True)


def file(name: str, data: bytes, mode: int = 0o644) -> bytes:
    """One regular file of root's with these bytes."""
    block = _block(os.fsencode(name), mode, (0, 0), len(data), 0, b"0", b"", (0, 0))
    return block + data + b"\0" * (-len(data) % 512)


def _entry(
    path: str,
    name: bytes,
    links: dict[tuple[int, int], bytes],
    keeps: Callable[[str, bool], bool] | None = None,
    as_root: bool = False,
) -> Iterator[bytes]:
    found = os.lstat(path)
    if keeps is not None and not keeps(path, stat.S_ISDIR(found.st_mode)):
        return
    if as_root and (found.st_uid or found.st_gid):
        fields = list(found)
        fields[stat.ST_UID] = fields[stat.ST_GID] = 0
        found = os.stat_result((*fields, *found[10:]), {"st_rdev": found.st_rdev})
    if stat.S_ISDIR(found.st_mode):
        yield _header(path, name.rstrip(b"/") + b"/", found, b"5")
        for child in sorted(os.listdir(path)):
            inner = name.rstrip(b"/") + b"/" + os.fsencode(child)
            yield from _entry(os.path.join(path, child), inner, links, keeps, as_root)
        return
    if stat.S_ISSOCK(found.st_mode):
        return  # a tar archive cannot hold a socket
    inode = (found.st_dev, found.st_ino)
    if found.st_nlink > 1 and inode in links:
        yield _header(path, name, found, b"1", links[inode])
        return
    if found.st_nlink > 1:
        links[inode] = name
    if stat.S_ISLNK(found.st_mode):
        yield _header(path, name, found, b"2", os.fsencode(os.readlink(path)))
    elif stat.S_ISREG(found.st_mode):
        yield from _file(path, name, found)
    else:
        kind = b"3" if stat.S_ISCHR(found.st_mode) else b"4" if stat.S_ISBLK(found.st_mode) else b"6"
        yield _header(path, name, found, kind)


def _file(path: str, name: bytes, found: os.stat_result) -> Iterator[bytes]:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        piece = _header(path, name, found, b"0", size=found.st_size)
        left = found.st_size
        while left:
            data = os.read(opened, min(left, _CHUNK))
            if not data:  # it shrank while we read: the header has promised its old size
                raise OSError(0, f"file {path} changed size while it was copied")
            left -= len(data)
            if left:
                yield piece + data
                piece = b""
            else:
                piece += data
    finally:
        os.close(opened)
    yield piece + b"\0" * (-found.st_size % 512)


def _number(value: int, width: int) -> bytes:
    """Octal, or zero where it does not fit and a PAX record says it."""
    digits = b"%0*o" % (width - 1, value)
    return (digits if len(digits) < width else b"0" * (width - 1)) + b"\0"


def _header(path: str, name: bytes, found: os.stat_result, kind: bytes, link: bytes = b"", size: int = 0) -> bytes:
    records = _records(path, name, found, kind, link, size)
    block = _block(
        name,
        stat.S_IMODE(found.st_mode),
        (found.st_uid, found.st_gid),
        size,
        int(found.st_mtime),
        kind,
        link,
        (os.major(found.st_rdev), os.minor(found.st_rdev)) if kind in b"34" else (0, 0),
    )
    if not records:
        return block
    head = _block(b"PaxHeaders/" + name[-80:].lstrip(b"/"), 0o644, (0, 0), len(records), 0, b"x", b"", (0, 0))
    return head + records + b"\0" * (-len(records) % 512) + block


def _records(path: str, name: bytes, found: os.stat_result, kind: bytes, link: bytes, size: int) -> bytes:
    records = b""
    if len(name) > 100:
        records += _record(b"path", name)
    if len(link) > 100:
        records += _record(b"linkpath", link)
    if size >= 1 << 33:
        records += _record(b"size", b"%d" % size)
    for key, value in ((b"uid", found.st_uid), (b"gid", found.st_gid)):
        if value >= 1 << 21:
            records += _record(key, b"%d" % value)
    if kind == b"0":
        try:
            records += _record(b"SCHILY.xattr." + _CAPABILITY.encode(), os.getxattr(path, _CAPABILITY))
        except OSError:
            pass
    return records


def _record(key: bytes, value: bytes) -> bytes:
    """ "LENGTH key=value\\n", where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _block(
    name: bytes,
    mode: int,
    owner: tuple[int, int],
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    numbers = (mode, owner[0], owner[1], size, max(mtime, 0), device[0], device[1])
    if max(mode, *owner, *device) < 1 << 21 and max(size, mtime) < 1 << 33:
        before, after = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % numbers[:5], b"%07o\0%07o\0" % numbers[5:]
    else:
        widths = (8, 8, 8, 12, 12, 8, 8)
        fields = [_number(value, width) for value, width in zip(numbers, widths, strict=True)]
        before, after = b"".join(fields[:5]), b"".join(fields[5:])
    before = name[:100].ljust(100, b"\0") + before
    after = kind + link[:100].ljust(100, b"\0") + _MAGIC + after + _REST
    # The checksum counts its own place as spaces.
    return before + b"%06o\0 " % (sum(before) + sum(after) + 8 * 32) + after
