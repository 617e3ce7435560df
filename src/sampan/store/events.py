"""Events: what happened to which object, in order, to every listener and to a bounded history that survives a restart.

Source of the shape: `GET /events` of the Docker Engine API (type, action, actor, scope, time, timeNano).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from sampan.store.database import Database, DiskFull

log = logging.getLogger(__name__)

HISTORY = 4096
"""How many events the history keeps; Docker keeps 256 and loses them with the daemon."""

BACKLOG = 16384
"""Events that wait for one listener, some 10 MiB. One that takes none for that long is let go: its stream ends, so that
it knows; Docker would drop events without a word."""


class Event(msgspec.Struct, frozen=True):
    """One event. `time` is nanoseconds since the epoch; `type` is container, image, network, volume or daemon."""

    type: str
    action: str
    id: str
    attributes: dict[str, str]
    time: int


class Subscription:
    """One listener's queue. Leave with `close()`; iterate to receive."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def _offer(self, event: Event) -> None:
        if self._queue.qsize() >= BACKLOG:
            log.warning("a listener that reads no events is let go")
            self.close()
        else:
            self._queue.put_nowait(event)

    def close(self) -> None:
        self._log._subscriptions.discard(self)
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event


class EventLog:
    """Publishes events. `publish` may be called from any thread once `bind` named the event loop."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._clock = clock
        self._subscriptions: set[Subscription] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last = 0
        self.observers: list[Callable[[Event], None]] = []
        """Called with each event, on the loop; no listeners in the sense of `info`."""

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Names the loop that listeners live on."""
        self._loop = loop

    def publish(self, type: str, action: str, id: str, attributes: Mapping[str, str] | None = None) -> Event:
        """Records and announces one event; times never run backwards, so order by time is order of publication."""
        try:
            with self._database.transaction() as connection:
                event = self._next(type, action, id, attributes)
                self._announce(event)  # first: a full disk keeps nobody from hearing it
                sequence = connection.execute(
                    "INSERT INTO events (time, body) VALUES (?, ?)", (event.time, msgspec.json.encode(event))
                ).lastrowid
                connection.execute("DELETE FROM events WHERE seq <= ?", ((sequence or 0) - HISTORY,))
        except DiskFull:
            log.error("the event %s %s of %s is not in the history: the disk is full", type, action, id)
        return event

    def _next(self, type: str, action: str, id: str, attributes: Mapping[str, str] | None) -> Event:
        self._last = max(self._clock(), self._last + 1)
        return Event(type, action, id, dict(attributes or {}), self._last)

    def _announce(self, event: Event) -> None:
        if self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._deliver, event)

    def _deliver(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)
        for subscription in tuple(self._subscriptions):
            subscription._offer(event)

    @property
    def listeners(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    def subscribe(self) -> Subscription:
        """Everything published from now on."""
        subscription = Subscription(self)
        self._subscriptions.add(subscription)
        return subscription

    def history(self, since: int, until: int | None = None) -> list[Event]:
        """The remembered events with since <= time <= until (nanoseconds)."""
        rows = self._database.read(
            "SELECT body FROM events WHERE time >= ? AND time <= ? ORDER BY seq", (since, until or 2**63 - 1)
        )
        return [msgspec.json.decode(body, type=Event) for (body,) in rows]
