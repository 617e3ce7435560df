"""What a tar entry is, and how its numbers and PAX records are read: the values behind `archive`'s reader. Pure
functions.
"""

from __future__ import annotations

from sampan.errors import InvalidParameter

FILE, LINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


class BadArchive(InvalidParameter):
    """Not a tar, damaged, or cut short. The message names the entry."""


class Entry:
    """One member. `name` and `link` are the archive's own bytes; `mtime` is nanoseconds; `size` the bytes that are
    stored.
    """

    __slots__ = (
        "gid",
        "link",
        "major",
        "minor",
        "mode",
        "mtime",
        "name",
        "real_size",
        "size",
        "sparse",
        "type",
        "uid",
        "xattrs",
    )

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[str, bytes] | None
    sparse: list[tuple[int, int]] | None
    """(offset, length) of each stored piece, in order."""
    real_size: int
    """Bytes of the file when expanded."""

    @property
    def shown(self) -> str:
        return self.name.decode(errors="replace")


def number(field: bytes, what: str, name: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        if field[0] & 0x40:
            value -= 1 << (8 * len(field))
        else:
            value &= (1 << (8 * len(field) - 1)) - 1
        return value
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        raise BadArchive(
            f"archive/tar: invalid tar header: bad {what} of entry {name.decode(errors='replace')!r}"
        ) from None


def decimal(value: bytes) -> int:
    """PAX time, seconds with a fraction, to nanoseconds."""
    text = value.decode("ascii", errors="replace")
    whole, _, fraction = text.partition(".")
    negative = whole.startswith("-")
    nanoseconds = int(whole or "0") * 1_000_000_000
    extra = int((fraction + "000000000")[:9]) if fraction else 0
    return nanoseconds - extra if negative else nanoseconds + extra


def apply_pax(entry: Entry, records: dict[str, bytes]) -> None:
    """What a PAX header says instead of the ustar fields; an empty value takes a record back."""
    try:
        for key, value in records.items():
            if key.startswith("SCHILY.xattr."):
                entry.xattrs = entry.xattrs or {}
                entry.xattrs[key[13:]] = value
            elif not value:
                continue
            elif key == "path":
                entry.name = value
            elif key == "linkpath":
                entry.link = value
            elif key == "mtime":
                entry.mtime = decimal(value)
            elif key == "size":
                entry.size = entry.real_size = int(value)
            elif key == "uid":
                entry.uid = int(value)
            elif key == "gid":
                entry.gid = int(value)
    except ValueError:
        raise BadArchive(f"archive/tar: invalid PAX record {key} of entry {entry.shown!r}") from None
    if b"\0" in entry.name or b"\0" in entry.link:
        raise BadArchive(f"archive/tar: NUL in the name of entry {entry.shown!r}")


def records(data: bytes, pairs: list[bytes], where: str) -> dict[str, bytes]:
    """PAX records `LEN KEY=VALUE\\n`. Sparse 0.0 repeats its keys, so those go to `pairs` in order. `where` is for
    messages.
    """
    found: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        try:
            length = int(data[position:space]) if space > position else 0
        except ValueError:
            length = 0
        end = position + length
        if length < 5 or end > len(data) or data[end - 1 : end] != b"\n":
            if not data[position:].strip(b"\0"):
                break
            raise BadArchive(f"archive/tar: invalid PAX record {where}")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or b"\0" in key:
            raise BadArchive(f"archive/tar: invalid PAX record {where}")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)
        if key.startswith(b"GNU.sparse"):
            found["_sparse"] = b"GNU.sparse"
        found[key.decode(errors="surrogateescape")] = value
        position = end
    return found
