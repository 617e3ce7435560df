"""Byte streams between the event loop and the threads that do blocking work. Memory stays bounded: a chunk or two
each way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from sampan.errors import InvalidParameter

CHUNK = 1 << 19
"""How many bytes are gathered before they cross into a thread: a crossing costs about 50 microseconds."""


async def out_of_threads(chunks: Iterator[bytes], close: Callable[[], None]) -> AsyncIterator[bytes]:
    """The chunks of a blocking iterator; the next is made while the last is sent. `close` (blocking too) runs at the
    end, never beside a step of the iterator."""
    coming = asyncio.ensure_future(asyncio.to_thread(next, chunks, b""))
    try:
        while chunk := await asyncio.shield(coming):
            coming = asyncio.ensure_future(asyncio.to_thread(next, chunks, b""))
            yield chunk
    finally:
        await asyncio.shield(_finish(coming, close))


async def _finish(coming: asyncio.Future[bytes], close: Callable[[], None]) -> None:
    await asyncio.wait([coming])
    if not coming.cancelled():
        coming.exception()  # seen: the consumer left before it was asked for
    await asyncio.to_thread(close)


class IntoThread:
    """An asynchronous stream as an iterator for one worker thread. Make it on the loop.

    A stream that breaks (the client went away) is `InvalidParameter("unexpected EOF")` to the reader: an `OSError`
    there would pass for one of the disk.
    """

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()

    def __iter__(self) -> Iterator[bytes]:
        while chunk := asyncio.run_coroutine_threadsafe(self._gather(), self._loop).result():
            yield chunk

    async def _gather(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size < CHUNK:
            try:
                part = await anext(self._source, b"")
            except OSError:
                raise InvalidParameter("unexpected EOF") from None
            if not part:
                break
            parts.append(part)
            size += len(part)
        return b"".join(parts)
