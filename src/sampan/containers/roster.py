"""Every container in memory: found by id, name or id prefix, and what waits on each.

Words: a *record* is a container's document with what only this daemon's life knows of it: its lock, who waits for it,
who is attached. The documents in the database are the truth; the roster is their cache, written through by
`Context.save`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan.containers.model import Container
from sampan.errors import InvalidParameter, NotFound

if TYPE_CHECKING:
    from sampan.containers.attaching import ClientStream

Outcome = tuple[int, str | None]
"""(exit code, error)."""


@dataclass(slots=True, eq=False)
class Record:
    """One container. `lock` is held for changes of state; never while waiting for a process to end, so that a stop that
    hangs blocks nobody."""

    container: Container
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    exit_waiters: set[asyncio.Future[Outcome]] = field(default_factory=set)
    removed_waiters: set[asyncio.Future[Outcome]] = field(default_factory=set)
    healthy_waiters: set[asyncio.Future[Outcome]] = field(default_factory=set)
    attaching: set[ClientStream] = field(default_factory=set)
    """Clients that attached before the start."""
    run: int = 0
    """Counts runs: what follows one run ends when this changes or the container does not run."""
    followers: set[asyncio.Event] = field(default_factory=set)
    """Set when a run ends: log followers look again."""
    restart_delay: float = 0
    restart_pending: asyncio.Task[None] | None = None
    restarts: int = 0
    """Made by the policy since the user's last start."""
    stop_requested: bool = False
    """By `stop` or a killing signal: even `always` does not restart this run."""
    counted_restarts: int = 0
    """What `RestartCount` is after the next start that no policy makes."""
    restarting_by_hand: bool = False
    removing: bool = False
    health: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.container.id

    def wake_exit(self, outcome: Outcome) -> None:
        self.run += 1
        _resolve(self.exit_waiters, outcome)
        for event in self.followers:
            event.set()

    def wake_removed(self, outcome: Outcome) -> None:
        _resolve(self.exit_waiters, outcome)
        _resolve(self.removed_waiters, outcome)

    def wake_healthy(self) -> None:
        _resolve(self.healthy_waiters, (0, None))

    def healthy(self) -> asyncio.Future[Outcome]:
        """The next time that its probes find it healthy."""
        return _waiter(self.healthy_waiters)

    def exit(self) -> asyncio.Future[Outcome]:
        """The next exit (or the removal)."""
        return _waiter(self.exit_waiters)

    def removal(self) -> asyncio.Future[Outcome]:
        return _waiter(self.removed_waiters)


def _waiter(waiters: set[asyncio.Future[Outcome]]) -> asyncio.Future[Outcome]:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    waiters.add(future)
    future.add_done_callback(waiters.discard)
    return future


def _resolve(waiters: set[asyncio.Future[Outcome]], outcome: Outcome) -> None:
    for future in tuple(waiters):
        if not future.done():
            future.set_result(outcome)
    waiters.clear()


class Roster:
    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._names: dict[str, str] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    def __contains__(self, id: str) -> bool:
        return id in self._records

    def by_id(self, id: str) -> Record | None:
        return self._records.get(id)

    def find(self, ref: str) -> Record:
        """By full id, then name, then unique id prefix (Docker's order). Raises `NotFound`, `InvalidParameter`."""
        if record := self._records.get(ref) or self._records.get(self._names.get(ref.removeprefix("/"), "")):
            return record
        found = [id for id in self._records if id.startswith(ref)] if ref else []
        if len(found) > 1:
            raise InvalidParameter(f"multiple IDs found with provided prefix: {ref}")
        if not found:
            raise NotFound(f"No such container: {ref}")
        return self._records[found[0]]

    def add(self, record: Record) -> None:
        self._records[record.id] = record
        self._names[record.container.name] = record.id

    def discard(self, record: Record) -> None:
        self._records.pop(record.id, None)
        self.release(record.container.name, record.id)

    # -- names -------------------------------------------------------------------------------------
    def owner(self, name: str) -> str | None:
        """The id that has (or has reserved) a name."""
        return self._names.get(name)

    def reserve(self, name: str, id: str) -> None:
        self._names[name] = id

    def release(self, name: str, id: str) -> None:
        if self._names.get(name) == id:
            del self._names[name]
