"""The two entrances of this front door: a client's control connection, and the sessions it opens beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from sampan.buildkit.control import Control
from sampan.buildkit.gateway import Gateway
from sampan.buildkit.sessions import Session, Sessions
from sampan.buildkit.solving import Request, Solve, Wanted
from sampan.buildkit.transport import Carried, Lost, Served

if TYPE_CHECKING:
    from sampan.engine import Engine

_WAIT = 5.0
"""Seconds for a build to begin: its client asks for its status at the same time."""
_KEPT = 60.0
"""Seconds that an ended build's status can still be asked for."""
_REMEMBERED = 1000


class Solves:
    """The builds that are running, and those that have just ended."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine, self._sessions = engine, sessions
        self._known: dict[str, Solve] = {}
        self._requests: dict[str, Request] = {}
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def begun(self, ref: str, wanted: Wanted) -> AsyncIterator[Solve]:
        solve = Solve(self._engine, self._sessions, ref, wanted)
        async with self._changed:
            self._known[ref] = solve
            self._changed.notify_all()
        try:
            yield solve
        finally:
            solve.feed.end()
            asyncio.get_running_loop().call_later(_KEPT, self._known.pop, ref, None)

    async def get(self, ref: str) -> Solve | None:
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WAIT):
                    await self._changed.wait_for(lambda: ref in self._known)
        return self._known.get(ref)

    # -- results that other builds may be based on -----------------------------------------------------
    def remember(self, id: str, request: Request) -> None:
        self._requests[id] = request
        while len(self._requests) > _REMEMBERED:
            del self._requests[next(iter(self._requests))]

    def known(self, inputs: Mapping[str, str]) -> dict[str, Request]:
        return {name: self._requests[id] for name, id in inputs.items() if id in self._requests}


class BuildKit:
    """One daemon's. Lives on the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._sessions = Sessions()
        solves = Solves(engine, self._sessions)
        self._served = Served([Control(engine, solves), Gateway(engine, solves)])

    def control(self, lost: Lost) -> Carried:
        """For a connection on which the client calls. `lost` hears of its end."""
        return Carried(self._served.connection(), lost)

    async def session(self, headers: Mapping[str, str], offers: list[str], lost: Lost) -> tuple[Session, Carried]:
        """For one on which the engine calls. `forget` it at its end. Raises `SampanError`."""
        session = await self._sessions.add(headers, offers)
        return session, Carried(session.channel.connection(), lost)

    def forget(self, session: Session) -> None:
        self._sessions.remove(session)
        session.channel.close()
