"""What the forwarder asks of a driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sampan.containers.logs.remote.messages import Message


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between attempts: the first, what each following one is longer by, the longest. After `tries` of them
    only one every `afterwards` seconds: lines are kept as long as the cache has them."""

    first: float = 1.0
    factor: float = 1.5
    longest: float = 10.0
    tries: int = 1 << 31
    afterwards: float = 30.0

    def before(self, attempt: int) -> float:
        """`attempt` counts from 1."""
        if attempt > self.tries:
            return self.afterwards
        return min(self.first * self.factor ** min(attempt - 1, 64), self.longest)


class Destination(Protocol):
    """One container's. `eager`: a start waits for the first connection, and fails with it."""

    eager: bool
    pauses: Pauses
    batch: int
    """Messages to send at once, at most."""

    @property
    def connected(self) -> bool: ...

    async def connect(self) -> None:
        """Raises `links.DialError`."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Returns when they have arrived. Raises `OSError`: then some may have, and all are sent again."""

    def close(self) -> None: ...
