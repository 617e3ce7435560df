"""A blocking iterator of bytes, read from the event loop. Memory stays bounded: a chunk or two. (The other way:
`images.pipe`.)"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator


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
