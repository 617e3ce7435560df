"""Tar headers, written: ustar where it fits, PAX where it does not. Deterministic: the same entry gives the same bytes.

Reading is in `archive`. Callers write `header()`, the data, `padding(size)`, and `END` last.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
END = bytes(1024)
_OCTAL_SIZE = 0o77777777777
_OCTAL_ID = 0o7777777


class Meta(NamedTuple):
    """What every kind of entry has. `mtime` is whole seconds, as Docker writes layers."""

    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0


_DEFAULT = Meta()


def padding(size: int) -> bytes:
    """What fills the last block of `size` bytes of data."""
    return bytes(-size % 512)


def _record(key: bytes, value: bytes) -> bytes:
    """`LEN KEY=VALUE\\n`, where LEN counts itself."""
    body = len(key) + len(value) + 3
    length = body + len(str(body))
    if len(str(length)) != len(str(body)):
        length = body + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """(prefix, name) for ustar's two fields; None when the name does not fit."""
    if len(name) <= 100:
        return b"", name
    if len(name) > 256:
        return None
    cut = name.find(b"/", len(name) - 101)
    while 0 <= cut <= 155:
        if cut > 0 and len(name) - cut - 1 <= 100 and cut + 1 < len(name):
            return name[:cut], name[cut + 1 :]
        cut = name.find(b"/", cut + 1)
    return None


def header(
    name: bytes,
    kind: bytes,
    meta: Meta = _DEFAULT,
    *,
    size: int = 0,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
    xattrs: dict[str, bytes] | None = None,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """The header blocks of one entry. `extra` are further PAX records."""
    mode, uid, gid, mtime = meta
    records: list[tuple[bytes, bytes]] = list(extra)
    fitted = _split(name)
    if fitted is None or not name.isascii():
        records.append((b"path", name))
    if len(link) > 100 or not link.isascii():
        records.append((b"linkpath", link))
    for key, value, limit in ((b"size", size, _OCTAL_SIZE), (b"uid", uid, _OCTAL_ID), (b"gid", gid, _OCTAL_ID)):
        if value > limit:
            records.append((key, b"%d" % value))
    if not 0 <= mtime <= _OCTAL_SIZE:
        records.append((b"mtime", b"%d" % mtime))
        mtime = 0
    records += [(b"SCHILY.xattr." + key.encode(), value) for key, value in sorted((xattrs or {}).items())]
    prefix, short = fitted or (b"", name[:100])
    block = _block(
        short,
        kind,
        prefix,
        mode=mode,
        uid=min(uid, _OCTAL_ID),
        gid=min(gid, _OCTAL_ID),
        size=min(size, _OCTAL_SIZE),
        mtime=mtime,
        link=link[:100],
        major=major,
        minor=minor,
    )
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in records)
    extended = _block(b"PaxHeaders.0/" + short.rstrip(b"/").rpartition(b"/")[2][:80], b"x", b"", size=len(data))
    return extended + data + padding(len(data)) + block


def _block(
    name: bytes,
    kind: bytes,
    prefix: bytes,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
) -> bytes:
    device = kind in (b"3", b"4")
    fields = [
        name,
        b"%07o" % mode,
        b"%07o" % uid,
        b"%07o" % gid,
        b"%011o" % size,
        b"%011o" % mtime,
        b"        ",
        kind,
        link,
        b"ustar\x0000",
        b"",
        b"",
        b"%07o" % major if device else b"",
        b"%07o" % minor if device else b"",
        prefix,
    ]
    block = _HEADER.pack(*fields)
    checksum = sum(b"".join(fields))  # the block's other bytes are zeros, three quarters of it
    return block[:148] + b"%06o\0 " % checksum + block[156:]
