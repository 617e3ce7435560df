"""Layers stored once: a blob that is not compressed holds the same bytes as the layer unpacked from it.

A *recipe* says how to make such a blob again: the bytes between the files (headers, padding, what a later entry
replaced), and which file of the layer stands where. A blob is *folded* when its recipe has been tried, byte for byte
against its digest, and its file is gone; who reads it *unfolds* it. What a registry sent compressed is not folded:
nobody else compresses to the same bytes, and its digest must survive.

Format of a recipe: "sampan recipe 1\\n", the blob's size (8 bytes, big-endian), then, compressed with zstd, records of
a kind (1 byte) and a length (4 bytes): literal bytes, or a path that is followed by the file's size (8 bytes).
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sampan.errors import SampanError
from sampan.images.content import CHUNK
from sampan.images.layers import clean_name
from sampan.images.tar.headers import FILE
from sampan.images.tar.packing import gathered
from sampan.images.tar.reader import TarReader
from sampan.linux import openat2

_MAGIC = b"sampan recipe 1\n"
_SIZE, _RECORD = struct.Struct(">Q"), struct.Struct(">cI")
_LITERAL, _FILE = b"L", b"F"
_SMALLEST_FILE = 256
"""A smaller file costs less as it is than as a path."""
_RESOLVE = openat2.RESOLVE_BENEATH | openat2.RESOLVE_NO_SYMLINKS | openat2.RESOLVE_NO_MAGICLINKS
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Unfoldable(SampanError):
    """The layer does not give the blob again."""


# -- writing -----------------------------------------------------------------------------------------
def write(blob: int, recipe: BinaryIO, going_on: Callable[[], bool]) -> None:
    """The recipe of the plain tar behind a descriptor. `going_on` is asked now and then; `InterruptedError` when it
    says no.
    """
    import zstandard

    size = os.fstat(blob).st_size
    recipe.write(_MAGIC + _SIZE.pack(size))
    with zstandard.ZstdCompressor(level=3).stream_writer(recipe, closefd=False) as out:
        at = 0
        for offset, length, name in _files(blob, going_on):
            _literal(out, blob, at, offset)
            out.write(_RECORD.pack(_FILE, len(name)) + name + _SIZE.pack(length))
            at = offset + length
        _literal(out, blob, at, size)


def _files(blob: int, going_on: Callable[[], bool]) -> list[tuple[int, int, bytes]]:
    """(where its bytes are, how many, path) of each file that is in the layer as the tar has it."""
    reader = TarReader(_chunks(blob, going_on))
    found: dict[bytes, tuple[int, int, bytes] | None] = {}
    for entry in reader:
        name = clean_name(entry.name)
        found.pop(name, None)  # a later entry replaces an earlier one
        if entry.type == FILE and entry.sparse is None and entry.size >= _SMALLEST_FILE:
            found[name] = (reader.position, entry.size, name)
    return [place for place in found.values() if place is not None]


def _chunks(blob: int, going_on: Callable[[], bool]) -> Iterator[bytes]:
    at = 0
    while chunk := os.pread(blob, CHUNK, at):
        if not going_on():
            raise InterruptedError
        at += len(chunk)
        yield chunk


def _literal(out: BinaryIO, blob: int, start: int, stop: int) -> None:
    while start < stop:
        data = os.pread(blob, min(CHUNK, stop - start), start)
        out.write(_RECORD.pack(_LITERAL, len(data)) + data)
        start += len(data)


# -- reading -----------------------------------------------------------------------------------------
def size_of(recipe: Path) -> int:
    """The blob's size. Raises `Unfoldable` for what is no recipe."""
    with recipe.open("rb", buffering=0) as file:
        head = file.read(len(_MAGIC) + _SIZE.size)
    if len(head) != len(_MAGIC) + _SIZE.size or not head.startswith(_MAGIC):
        raise Unfoldable(f"{recipe} is no recipe")
    size: int = _SIZE.unpack(head[len(_MAGIC) :])[0]
    return size


def blob(recipe: Path, layer: Path) -> Iterator[bytes]:
    """The blob again, from a recipe and the directory of the layer's files; the caller checks its digest."""
    import zstandard

    try:
        with recipe.open("rb") as file, openat2.root(layer) as root:
            file.seek(len(_MAGIC) + _SIZE.size)
            with zstandard.ZstdDecompressor().stream_reader(file) as records:
                yield from _pieces(records, root)
    except (OSError, zstandard.ZstdError) as error:
        raise Unfoldable(f"recipe {recipe} cannot be followed: {error}") from None


def _pieces(records: BinaryIO, root: int) -> Iterator[bytes]:
    while head := _exactly(records, _RECORD.size, end=True):
        kind, length = _RECORD.unpack(head)
        if length > CHUNK:
            raise Unfoldable("a recipe is damaged")
        data = _exactly(records, length)
        if kind == _LITERAL:
            yield data
        else:
            yield from _file(root, data, _SIZE.unpack(_exactly(records, _SIZE.size))[0])


def _exactly(records: BinaryIO, count: int, *, end: bool = False) -> bytes:
    parts = b""
    while len(parts) < count:
        more = records.read(count - len(parts))
        if not more:
            if end and not parts:
                return b""
            raise Unfoldable("a recipe is cut")
        parts += more
    return parts


def _file(root: int, name: bytes, size: int) -> Iterator[bytes]:
    try:
        descriptor = openat2.openat2(root, name, _FLAGS, resolve=_RESOLVE)
    except OSError as error:
        raise Unfoldable(f"{os.fsdecode(name)!r} of a layer: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            raise Unfoldable(f"{os.fsdecode(name)!r} of a layer is not what its blob had")
        while size:
            data = os.read(descriptor, min(CHUNK, size))
            if not data:
                raise Unfoldable(f"{os.fsdecode(name)!r} of a layer is shorter than its blob had")
            size -= len(data)
            yield data
    finally:
        os.close(descriptor)


def check(recipe: Path, layer: Path, digest: str, going_on: Callable[[], bool]) -> None:
    """Raises `Unfoldable` unless recipe and layer give the blob of this digest."""
    counted = hashlib.sha256()
    for data in gathered(blob(recipe, layer), CHUNK):
        if not going_on():
            raise InterruptedError
        counted.update(data)
    if f"sha256:{counted.hexdigest()}" != digest:
        raise Unfoldable(f"layer {layer} does not give blob {digest} again")
