"""How many layers travel at once, and that a reload changes it."""

from __future__ import annotations

import asyncio

from sampan.images.transfers import Transfers


async def at_once(transfers: Transfers, wanted: int) -> int:
    """The most of `wanted` downloads that were under way together."""
    under_way = most = 0

    async def download() -> None:
        nonlocal under_way, most
        async with transfers.downloads:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(download() for _ in range(wanted)))
    return most


async def test_dockerds_defaults_and_other_limits() -> None:
    transfers = Transfers()
    assert await at_once(transfers, 10) == 3
    transfers.limit(1, 1)
    assert await at_once(transfers, 10) == 1
    transfers.limit(0, 0)
    assert await at_once(transfers, 10) == 10


async def test_what_is_under_way_goes_on_when_the_limit_changes() -> None:
    transfers = Transfers()
    async with transfers.downloads:
        transfers.limit(1, 1)
        assert await at_once(transfers, 2) == 1
    assert await at_once(transfers, 2) == 1
