"""Small things every request needs: origins, what a lost connection raises, pauses, bodies with a limit."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from sampan.errors import SampanError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_PAUSE = 0.5
PAUSE_LIMIT = 30.0
_ERROR_LIMIT = 64 << 10


def origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].lower()}"


def lost() -> tuple[type[BaseException], ...]:
    """What a broken or impossible connection raises."""
    import aiohttp

    return (aiohttp.ClientError, ConnectionError, TimeoutError)


def worth_retrying(error: BaseException) -> bool:
    """Resets and timeouts pass; refused connections, unknown names and bad certificates do not."""
    import aiohttp

    return not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientSSLError | aiohttp.InvalidURL)


async def pause(tries: int) -> None:
    """Exponential, with jitter so that many clients do not come back at once."""
    await asyncio.sleep(min(PAUSE_LIMIT, _PAUSE * 2 ** (tries - 1)) * (0.75 + random.random() / 2))


async def read(response: ClientResponse, limit: int, what: str) -> bytes:
    """A whole body of at most `limit` bytes."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise SampanError(f"{what} is too large: the limit is {limit} bytes")
    return bytes(data)


async def error_body(response: ClientResponse) -> bytes:
    try:
        return await read(response, _ERROR_LIMIT, "error")
    except SampanError:
        return b""
    except lost():
        return b""
    finally:
        response.close()
