"""A bounded pipe from the event loop into a thread: async code puts chunks, a blocking consumer iterates over them.

Back-pressure: `put` waits while more than `LIMIT` bytes are under way. Whichever side fails, the other hears of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from sampan.errors import InvalidParameter

T = TypeVar("T")

LIMIT = 4 << 20
_GATHER = 256 << 10


class Pipe:
    """Made on the event loop; iterated in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._under_way = 0
        self._room = asyncio.Event()
        self._room.set()
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._closed = False

    # -- the event loop's side ---------------------------------------------------------------------
    async def put(self, chunk: bytes) -> None:
        """Small chunks are gathered: a hand-over costs more than a copy."""
        self._gathered.append(chunk)
        self._gathered_size += len(chunk)
        if self._gathered_size >= _GATHER:
            self._flush()
            await self._room.wait()
        if self._closed:
            raise BrokenPipeError("the consumer stopped")

    def _flush(self) -> None:
        if not self._gathered:
            return
        data = b"".join(self._gathered) if len(self._gathered) > 1 else self._gathered[0]
        self._gathered, self._gathered_size = [], 0
        with self._lock:
            self._under_way += len(data)
            if self._under_way > LIMIT and not self._closed:  # nobody will make room any more
                self._room.clear()
        self._queue.put(data)

    def end(self) -> None:
        """No more chunks."""
        self._flush()
        self._queue.put(None)

    def fail(self, error: BaseException) -> None:
        """The consumer's next step raises `error`."""
        self._queue.put(error)

    def closed(self, _: object = None) -> None:
        """The consumer is done, well or not: `put` must not wait for it any more (a future's done callback)."""
        self._closed = True
        self._room.set()

    # -- the thread's side -------------------------------------------------------------------------
    def __iter__(self) -> Pipe:
        return self

    def __next__(self) -> bytes:
        item = self._queue.get()
        if item is None:
            self._queue.put(None)  # stays at its end however often it is asked
            raise StopIteration
        if isinstance(item, BaseException):
            self._queue.put(item)
            raise item
        with self._lock:
            was_full = self._under_way > LIMIT
            self._under_way -= len(item)
            wake = was_full and self._under_way <= LIMIT
        if wake:
            self._loop.call_soon_threadsafe(self._room.set)
        return item


async def feed(archive: AsyncIterator[bytes], consume: Callable[[Pipe], T]) -> T:
    """What `consume` makes of all that comes from `archive`, in a thread of its own: it waits for whoever sends, and a
    pool's threads would be used up by a few clients that send nothing.

    A consumer that stops early says why itself; when the archive breaks off, or the caller is cancelled, the consumer
    is failed and waited for first.
    """
    pipe = Pipe()
    consumer = _alone(lambda: consume(pipe))
    consumer.add_done_callback(pipe.closed)
    try:
        async for chunk in archive:
            await pipe.put(chunk)
        pipe.end()
    except BrokenPipeError:
        pass
    except BaseException:
        pipe.fail(InvalidParameter("unexpected EOF"))
        await asyncio.wait([consumer])
        consumer.exception()
        raise
    return await finished(consumer)


def _alone(work: Callable[[], T]) -> asyncio.Future[T]:
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=run, name="sampan-archive", daemon=True).start()
    return asyncio.wrap_future(outcome)


async def finished(future: asyncio.Future[T]) -> T:
    """Waits for a thread's result even when cancelled meanwhile: nothing of ours may go on running behind the
    caller's back.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        raise
