"""Compression of layers and archives: found by the first bytes, never by the name, undone in bounded steps.

Everything is an iterator of chunks, and no step yields more than about `STEP` bytes, whatever the ratio: a bomb fills
the disk's allowance (see `layers`), never the memory. The C code underneath drops the GIL.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from sampan.errors import InvalidParameter

if TYPE_CHECKING:
    from types import TracebackType

STEP = 1 << 20
_WINDOW_LIMIT = 1 << 27  # zstd's own default limit (--long=27); more is a memory bomb


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def detect(head: bytes) -> str:
    """gzip, zstd, bzip2, xz or "" (plain) by magic number; `head` is six bytes or more."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head.startswith(b"BZh"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    return ""


def decompress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The plain bytes. Raises `InvalidParameter` on damaged or truncated input."""
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= 6:
            break
    kind = detect(head)
    rest = _prepend(head, source)
    if kind == "gzip":
        return _members(rest, _gzip, "gzip")
    if kind == "zstd":
        return _zstd(rest)
    if kind == "bzip2":
        return _members(rest, _bzip2, "bzip2")
    if kind == "xz":
        return _members(rest, _xz, "xz")
    return rest


def _prepend(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _gzip() -> _Decompressor:
    from isal import isal_zlib

    return _Bounded(isal_zlib.decompressobj(wbits=31))


def _bzip2() -> _Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> _Decompressor:
    import lzma

    return lzma.LZMADecompressor(memlimit=512 << 20)


class _Bounded:
    """zlib's interface (unconsumed_tail) turned into bz2's (feed b"" for more)."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        tail = self._inner.unconsumed_tail
        return bytes(self._inner.decompress(tail + data if tail else data, max_length))


def _members(source: Iterator[bytes], make: Callable[[], _Decompressor], kind: str) -> Iterator[bytes]:
    """A file may be several compressed members end to end (pigz -i, bgzip, eStargz); zero padding may follow the
    last.
    """
    current: _Decompressor | None = None
    finished = False
    for chunk in source:
        data = chunk
        while data:
            if current is None:
                if finished and not data.strip(b"\0"):
                    break
                current = make()
            try:
                out = current.decompress(data, STEP)
                data = b""
                while True:
                    if out:
                        yield out
                    if current.eof or len(out) < STEP:
                        break
                    out = current.decompress(b"", STEP)
            except Exception as error:  # each library has its own error class
                raise InvalidParameter(f"damaged {kind} data: {error}") from None
            if current.eof:
                data, current, finished = current.unused_data, None, True
    if current is not None:
        raise InvalidParameter(f"truncated {kind} data: unexpected EOF")


def _zstd(source: Iterator[bytes]) -> Iterator[bytes]:
    """A cut inside a frame ends quietly here (the library's reader does); the tar reader and the diffID behind it
    notice.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT)
    feed = _Reader(source)
    with decompressor.stream_reader(feed, read_across_frames=True) as reader:  # type: ignore[arg-type]
        while True:
            try:
                out = reader.read(STEP)
            except zstandard.ZstdError as error:
                raise InvalidParameter(f"damaged zstd data: {error}") from None
            if not out:
                break
            yield out


class _Reader:
    """A file object over chunks, for the stream reader."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source, self._left = source, b""

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            self._left = next(self._source, b"")
        if size < 0 or size >= len(self._left):
            out, self._left = self._left, b""
        else:
            out, self._left = self._left[:size], self._left[size:]
        return out


class Ahead:
    """Runs an iterator in a thread of its own, a few chunks ahead: decompression and hashing overlap with what the
    caller does.

    A context manager; leaving it early stops the thread. An exception of the source is raised at the reader.
    """

    def __init__(self, source: Iterable[bytes], depth: int = 8) -> None:
        self._source = source
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="sampan-decompress", daemon=True)

    def _run(self) -> None:
        try:
            for chunk in self._source:
                if self._stopped:
                    return
                self._queue.put(chunk)
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._items()

    def _items(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.02)
            except queue.Empty:
                continue
