"""The pipe between the event loop and a thread that reads: whoever stops first, the other hears of it."""

from __future__ import annotations

import asyncio

import pytest

from sampan.images.pipe import LIMIT, Pipe


def test_a_consumer_that_stops_between_two_puts_ends_the_producer() -> None:
    """A load into a full disk: the consumer fails while the producer waits for its client, not for room."""

    async def body() -> None:
        pipe = Pipe()
        await pipe.put(bytes(LIMIT))
        pipe.closed()
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(pipe.put(bytes(1 << 20)), 5)

    asyncio.run(body())


def test_a_producer_waits_for_room_and_is_woken_by_the_end_of_its_consumer() -> None:
    async def body() -> None:
        pipe = Pipe()
        waiting = asyncio.create_task(pipe.put(bytes(LIMIT + 1)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        pipe.closed()
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(body())
