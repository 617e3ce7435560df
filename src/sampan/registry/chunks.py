"""Bytes on their way into storage: gathered into useful sizes, written while the next ones arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

SIZE = 1 << 20
"""Bytes of one write: a hop to a thread pays off."""


async def gathered(chunks: AsyncIterator[bytes], size: int = SIZE) -> AsyncIterator[bytes]:
    """The same bytes in pieces of at least `size`, the last one perhaps smaller."""
    pieces: list[bytes] = []
    length = 0
    async for chunk in chunks:
        if not chunk:
            continue
        pieces.append(chunk)
        length += len(chunk)
        if length >= size:
            yield b"".join(pieces) if len(pieces) > 1 else pieces[0]
            pieces, length = [], 0
    if pieces:
        yield b"".join(pieces)


async def write_behind(chunks: AsyncIterator[bytes], write: Callable[[bytes, int], int], offset: int) -> int:
    """Calls `write(data, offset) -> new offset` in a thread, one call at a time, while the next bytes arrive. Never
    returns while a thread is writing, whatever happens."""
    loop = asyncio.get_running_loop()
    writing: asyncio.Future[int] | None = None
    try:
        async for chunk in gathered(chunks):
            if writing is not None:
                offset = await asyncio.shield(writing)
            writing = loop.run_in_executor(None, write, chunk, offset)
        if writing is not None:
            offset = await asyncio.shield(writing)
        return offset
    finally:
        while writing is not None and not writing.done():
            try:
                await asyncio.wait([writing])
            except asyncio.CancelledError:
                continue
