"""Files with holes in a tar: GNU's sparse format 1.0 (GNU tar manual, "Storing Sparse Files").

The member's data begins with a map, decimal lines padded to whole blocks, of what is stored; PAX records say the rest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

Extents = list[tuple[int, int]]
"""(offset, length) of each piece that is not a hole, in order."""

Records = list[tuple[bytes, bytes]]


def has_holes(found: os.stat_result) -> bool:
    """Is less on the disk than the size says? (Compressing filesystems say so too; then there is one extent.)"""
    return found.st_blocks * 512 < found.st_size


def extents(descriptor: int, size: int) -> Extents:
    """By SEEK_DATA and SEEK_HOLE; a filesystem that knows neither shows one extent."""
    found: Extents = []
    offset = 0
    while offset < size:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                break
            return [(0, size)]
        if start >= size:
            break
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        found.append((start, end - start))
        offset = end
    return found


def member(name: bytes, pieces: Sequence[tuple[int, int]], size: int) -> tuple[bytes, bytes, Records]:
    """(the header's name, the map, the PAX records) for a file of `size` bytes of which `pieces` are stored."""
    if not pieces or sum(pieces[-1]) < size:
        pieces = [*pieces, (size, 0)]  # GNU tar marks a hole at the end so
    numbers = [len(pieces), *(number for piece in pieces for number in piece)]
    text = b"".join(b"%d\n" % number for number in numbers)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]
    head, slash, base = name.rpartition(b"/")
    return head + slash + b"GNUSparseFile.0/" + base, text + bytes(-len(text) % 512), records
