"""A streaming tar reader: ustar, GNU (long names, sparse, base-256) and PAX, strict about what is damaged.

Why not `tarfile`: its per-header cost (about 60 µs) alone is more than GNU tar needs for the whole entry, and it
accepts what a
layer must not contain. The reader makes one pass, copies nothing but headers, and names the entry in every error.

Sources: POSIX.1-2017 pax, "pax Interchange Format"; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from sampan.images.tar.headers import (
    BLOCKDEV,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    BadArchive,
    Entry,
    apply_pax,
    number,
    records,
)

__all__ = [
    "BLOCKDEV",
    "CHARACTER",
    "DIRECTORY",
    "FIFO",
    "FILE",
    "LINK",
    "SYMLINK",
    "BadArchive",
    "Entry",
    "TarReader",
]

BLOCK = 512
SPECIAL_LIMIT = 1 << 20
"""Largest PAX header or long name, bytes (Go's archive/tar has the same limit, so Docker refuses more too)."""
_SPARSE_LIMIT = 1 << 16
_ZERO = bytes(BLOCK)
_PAD = b"\0 "
_HEADER = struct.Struct("100s24s12s12s8sc100s8s64x8s8s155s12s")
"""name, mode with uid with gid, size, mtime, checksum, type, link, magic, (uname, gname), major, minor, prefix, rest.
Owner and mode are one field here, because few combinations occur and their numbers are remembered."""
_MEMO = 4096

_FILE_TYPES = frozenset((b"0", b"\0", b"7", b"S"))
_EMPTY_TYPES = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))


class TarReader:
    """Iterate for entries; between two steps `data()` yields the current entry's stored bytes. Unread data is
    skipped.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._position = 0
        self._left = 0
        self._padding = 0
        self._name = b""
        self._owners: dict[bytes, tuple[int, int, int]] = {}
        self._times: dict[bytes, int] = {}
        self.offset = 0
        """Bytes of the archive before the current buffer; `offset + position` is where the reader stands."""

    @property
    def position(self) -> int:
        """Where in the archive the reader stands; just after an entry came, where its data begin."""
        return self.offset + self._position

    # -- bytes -------------------------------------------------------------------------------------
    def _refill(self) -> bool:
        self.offset += len(self._buffer)
        self._buffer = next(self._chunks, b"")
        self._position = 0
        return bool(self._buffer)

    def _block(self) -> bytes:
        """The next 512 bytes; b"" at the end of the input."""
        start = self._position
        end = start + BLOCK
        if end <= len(self._buffer):
            self._position = end
            return self._buffer[start:end]
        parts = self._buffer[start:]
        while len(parts) < BLOCK:
            if not self._refill():
                if parts.strip(b"\0"):
                    raise BadArchive(f"unexpected EOF: the archive ends {self._where()}")
                return b""
            need = BLOCK - len(parts)
            parts += self._buffer[:need]
            self._position = min(need, len(self._buffer))
        return parts

    def _shown(self) -> str:
        return repr(self._name.decode(errors="replace"))

    def _where(self) -> str:
        return f"after entry {self._shown()}" if self._name else "before its first entry"

    def data(self) -> Iterator[memoryview]:
        """What is left of the current entry's bytes, in pieces."""
        while self._left:
            available = len(self._buffer) - self._position
            if not available:
                if not self._refill():
                    raise BadArchive(f"unexpected EOF: the archive ends in entry {self._shown()}")
                continue
            take = self._left if self._left < available else available
            piece = memoryview(self._buffer)[self._position : self._position + take]
            self._position += take
            self._left -= take
            yield piece

    def small(self) -> memoryview | None:
        """The whole data at once when it lies in the buffer already: most files, without a generator."""
        end = self._position + self._left
        if end > len(self._buffer):
            return None
        piece = memoryview(self._buffer)[self._position : end]
        self._position, self._left = end, 0
        return piece

    def _skip(self) -> None:
        left = self._left + self._padding
        self._left = self._padding = 0
        while left:
            available = len(self._buffer) - self._position
            if available >= left:
                self._position += left
                return
            left -= available
            if not self._refill():
                if left < BLOCK:  # only padding is missing: writers that omit it exist
                    return
                raise BadArchive(f"unexpected EOF: the archive ends in entry {self._shown()}")

    def _special(self, size: int, what: str) -> bytes:
        if size > SPECIAL_LIMIT:
            raise BadArchive(f"archive/tar: {what} of {size} bytes is too large, near entry {self._shown()}")
        self._left, self._padding = size, -size % BLOCK
        data = b"".join(bytes(piece) for piece in self.data())
        self._skip()
        return data

    def drain(self) -> None:
        """Reads the input to its end (padding after the last entry): the hash over it must see every byte."""
        while self._refill():
            pass

    # -- entries -----------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Entry]:
        common: dict[str, bytes] = {}
        own: dict[str, bytes] = {}
        sparse_pairs: list[bytes] = []
        long_name = long_link = b""
        while True:
            if self._left or self._padding:
                self._skip()
            block = self._block()
            if not block:
                return
            if block == _ZERO:
                following = self._block()
                if not following or following == _ZERO:
                    return
                raise BadArchive(f"archive/tar: invalid tar header {self._where()}: lone zero block")
            fields = _HEADER.unpack(block)
            self._checksum(block, fields[4])
            kind = fields[5]
            if kind == b"x" or kind == b"g":
                size = number(fields[2], "size", fields[0])
                found = records(self._special(size, "PAX header"), sparse_pairs, self._where())
                if kind == b"x":
                    own.update(found)
                else:
                    common.update(found)
                    common = {key: value for key, value in common.items() if value}
                continue
            if kind == b"L":
                long_name = self._special(number(fields[2], "size", fields[0]), "long name").partition(b"\0")[0]
                continue
            if kind == b"K":
                long_link = self._special(number(fields[2], "size", fields[0]), "long link").partition(b"\0")[0]
                continue
            entry = self._entry(fields)
            if long_name:
                entry.name = long_name
            if long_link:
                entry.link = long_link
            if own or common:
                apply_pax(entry, {**common, **own} if common else own)
            self._name = entry.name
            self._begin(entry, fields, own, sparse_pairs)
            if own:
                own = {}
            if sparse_pairs:
                sparse_pairs = []
            long_name = long_link = b""
            yield entry

    def _checksum(self, block: bytes, field: bytes) -> None:
        """adler32's low half is one plus the sum of the bytes (mod 65521): fifty times faster than summing in
        Python.
        """
        try:
            stored = int(field.strip(_PAD), 8)
        except ValueError:
            stored = -1
        blanked = block[:148] + b"        " + block[156:]
        if (zlib.adler32(blanked) & 0xFFFF) - 1 == stored % 65521 or sum(blanked) == stored:
            return
        if sum(byte - 256 if byte > 127 else byte for byte in blanked) == stored:  # ancient tars sum signed bytes
            return
        raise BadArchive(f"archive/tar: invalid tar header: bad checksum {self._where()}")

    def _entry(self, fields: tuple[bytes, ...]) -> Entry:
        entry = Entry()
        name = fields[0].partition(b"\0")[0]
        if fields[10][0] and fields[7] == b"ustar\x0000":
            prefix = fields[10].partition(b"\0")[0]
            name = prefix + b"/" + name
        entry.name = name
        owner = self._owners.get(fields[1])
        entry.mode, entry.uid, entry.gid = owner if owner is not None else self._owner(fields[1], name)
        try:  # the plain octal case, one C call: this was half of the cost of a header
            entry.size = entry.real_size = int(fields[2].strip(_PAD), 8)
        except ValueError:
            entry.size = entry.real_size = number(fields[2], "size", name)
        mtime = self._times.get(fields[3])
        entry.mtime = mtime if mtime is not None else self._mtime(fields[3], name)
        kind = fields[5]
        entry.type = kind
        link = fields[6]
        entry.link = link.partition(b"\0")[0] if link[0] else b""
        if kind == b"3" or kind == b"4":
            entry.major = number(fields[8], "device number", name)
            entry.minor = number(fields[9], "device number", name)
        else:
            entry.major = entry.minor = 0
        entry.xattrs = None
        entry.sparse = None
        return entry

    def _owner(self, field: bytes, name: bytes) -> tuple[int, int, int]:
        """(mode, uid, gid), remembered."""
        if len(self._owners) >= _MEMO:
            self._owners.clear()
        mode, uid, gid = field[:8], field[8:16], field[16:]
        found = number(mode, "mode", name) & 0o7777, number(uid, "uid", name), number(gid, "gid", name)
        self._owners[field] = found
        return found

    def _mtime(self, field: bytes, name: bytes) -> int:
        """Nanoseconds, remembered: a distribution's files share few times."""
        if len(self._times) >= _MEMO:
            self._times.clear()
        found = self._times[field] = number(field, "mtime", name) * 1_000_000_000
        return found

    def _begin(self, entry: Entry, fields: tuple[bytes, ...], own: dict[str, bytes], pairs: list[bytes]) -> None:
        """Sets how much data follows, after all headers of the entry are known."""
        kind = entry.type
        if kind in _FILE_TYPES:
            if kind == b"\0" and entry.name.endswith(b"/"):
                entry.type = DIRECTORY
                entry.size = entry.real_size = 0
            elif kind == b"S":
                self._old_sparse(entry, fields)
                entry.type = FILE
            else:
                entry.type = FILE
        elif kind in _EMPTY_TYPES:
            entry.size = entry.real_size = 0
        if entry.size < 0:
            raise BadArchive(f"archive/tar: invalid tar header: negative size of entry {self._shown()}")
        self._left, self._padding = entry.size, -entry.size % BLOCK
        if own and (b"GNU.sparse" in own.get("_sparse", b"")):
            self._pax_sparse(entry, own, pairs)

    # -- sparse ------------------------------------------------------------------------------------
    def _old_sparse(self, entry: Entry, fields: tuple[bytes, ...]) -> None:
        """GNU's own: four pieces in the header, then blocks of twenty-one."""
        tail = fields[10] + fields[11]  # header bytes 345..511; the map begins at 386
        pieces: list[tuple[int, int]] = []
        more = self._sparse_pieces(tail[41 : 41 + 96], pieces, entry.name) and tail[137] != 0
        entry.real_size = number(tail[138:150], "real size", entry.name)
        while more:
            block = self._block()
            if not block or len(pieces) > _SPARSE_LIMIT:
                raise BadArchive(f"archive/tar: invalid sparse map of entry {self._shown()}")
            more = self._sparse_pieces(block[:504], pieces, entry.name) and block[504] != 0
        self._set_sparse(entry, pieces)

    def _sparse_pieces(self, data: bytes, pieces: list[tuple[int, int]], name: bytes) -> bool:
        for at in range(0, len(data), 24):
            if not data[at]:
                return False
            offset = number(data[at : at + 12], "sparse map", name)
            pieces.append((offset, number(data[at + 12 : at + 24], "sparse map", name)))
        return True

    def _pax_sparse(self, entry: Entry, own: dict[str, bytes], pairs: list[bytes]) -> None:
        if name := own.get("GNU.sparse.name"):
            entry.name = self._name = name
        try:
            if own.get("GNU.sparse.major") == b"1":
                entry.real_size = int(own["GNU.sparse.realsize"])
                pieces = self._sparse_map_in_data(entry)
            else:
                entry.real_size = int(own["GNU.sparse.size"])
                numbers = (
                    [int(n) for n in own["GNU.sparse.map"].split(b",")]
                    if "GNU.sparse.map" in own
                    else [int(n) for n in pairs]
                )
                pieces = list(zip(numbers[::2], numbers[1::2], strict=True))
        except (KeyError, ValueError):
            raise BadArchive(f"archive/tar: invalid sparse map of entry {self._shown()}") from None
        self._set_sparse(entry, pieces)

    def _sparse_map_in_data(self, entry: Entry) -> list[tuple[int, int]]:
        """Format 1.0: the map comes first in the data, decimal lines padded to whole blocks."""
        blocks: list[bytes] = []
        ended, wanted = 0, -1
        while True:
            if wanted < 0 and ended:
                wanted = int(b"".join(blocks).partition(b"\n")[0])
                if not 0 <= wanted <= _SPARSE_LIMIT:
                    raise ValueError
            if wanted >= 0 and ended >= 1 + 2 * wanted:
                break
            if self._left < BLOCK or len(blocks) * BLOCK > SPECIAL_LIMIT:
                raise ValueError
            self._left -= BLOCK
            blocks.append(self._block())
            ended += blocks[-1].count(b"\n")
        entry.size = self._left
        lines = b"".join(blocks).split(b"\n")
        numbers = [int(line) for line in lines[1 : 1 + 2 * wanted]]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _set_sparse(self, entry: Entry, pieces: list[tuple[int, int]]) -> None:
        end = 0
        for offset, length in pieces:
            if offset < end or length < 0:
                raise BadArchive(f"archive/tar: invalid sparse map of entry {self._shown()}")
            end = offset + length
        if end > entry.real_size or sum(length for _, length in pieces) != entry.size:
            raise BadArchive(f"archive/tar: invalid sparse map of entry {self._shown()}")
        entry.sparse = [piece for piece in pieces if piece[1]]
