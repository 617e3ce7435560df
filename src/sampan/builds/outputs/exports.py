"""What a client takes away from a build: a stream it fetches by a token, while the build's own answer waits for it. So
nothing has to be kept for clients that never come: the build ends with its connection."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable

from sampan.errors import NotFound, SampanError


class Exports:
    """One daemon's. Lives on the event loop."""

    def __init__(self) -> None:
        self._offers: dict[str, tuple[AsyncIterator[bytes], asyncio.Future[None]]] = {}

    async def offer(self, stream: AsyncIterator[bytes], tell: Callable[[str], None]) -> None:
        """Tells the token, and returns when all was fetched."""
        token = secrets.token_hex(16)
        fetched: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._offers[token] = (stream, fetched)
        try:
            tell(token)
            await fetched
        finally:
            self._offers.pop(token, None)

    async def take(self, token: str) -> AsyncIterator[bytes]:
        """Once. Raises `NotFound`, and what making the stream raises: then the build fails with it too."""
        if token not in self._offers:
            raise NotFound(f"no such export: {token}")
        stream, fetched = self._offers.pop(token)
        try:
            async with contextlib.aclosing(stream):  # type: ignore[type-var]
                async for piece in stream:
                    yield piece
        except BaseException as error:
            if not fetched.done():
                known = error if isinstance(error, SampanError) else SampanError("the client did not take the result")
                fetched.set_exception(known)
            raise
        if not fetched.done():
            fetched.set_result(None)
