"""The two entrances of this front door: a client's control connection, and the sessions it opens beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from grpclib.exceptions import GRPCError

from sampan.buildkit.control import Control
from sampan.buildkit.gateway import Gateway
from sampan.buildkit.sessions import Session, Sessions
from sampan.buildkit.solving import Request, Solve, Wanted
from sampan.buildkit.transport import Carried, Lost, Served
from sampan.errors import Conflict, NotFound, SampanError

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
        """Raises `Conflict` while there is another of this name."""
        solve = Solve(self._engine, self._sessions, ref, wanted)
        async with self._changed:
            if (other := self._known.get(ref)) is not None and not other.feed.ended:
                raise Conflict(f"job ID {ref} exists")
            self._known[ref] = solve
            self._changed.notify_all()
        try:
            yield solve
        finally:
            solve.feed.end()
            asyncio.get_running_loop().call_later(_KEPT, self._forget, ref, solve)

    def _forget(self, ref: str, solve: Solve) -> None:
        if self._known.get(ref) is solve:
            del self._known[ref]
        solve.feed.forget()

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
        self._solves = Solves(engine, self._sessions)
        self._served = Served([Control(engine, self._solves, self._sessions), Gateway(engine, self._solves)])

    async def build(
        self, ref: str, wanted: Wanted, attrs: Mapping[str, str], tell: Callable[[bytes], None]
    ) -> dict[str, str]:
        """A build that is asked for without gRPC, as docker CLIs before buildx do; its client has a session all the
        same. `tell` hears every status message, serialised. Raises `SampanError`.
        """

        async def pass_on(solve: Solve) -> None:
            async for message in solve.feed:
                tell(message.SerializeToString())

        async with self._solves.begun(ref, wanted) as solve:
            solve.result.set_result(solve.requested(solve.request(attrs, {})))
            telling = asyncio.ensure_future(pass_on(solve))
            solve.running = asyncio.ensure_future(solve.run())
            try:
                return await solve.running
            except GRPCError as error:
                raise SampanError(error.message or str(error.status)) from None
            except asyncio.CancelledError:
                if not solve.running.cancelled():
                    raise
                raise SampanError("context canceled") from None  # `cancel` did it
            finally:
                solve.running.cancel()
                solve.feed.end()  # `run` does, unless it was cancelled before it began
                await asyncio.gather(solve.running, telling, return_exceptions=True)

    async def upload(self, ref: str, archive: AsyncIterator[bytes]) -> None:
        """The context of a build that waits for it; returns when it was read. Raises `NotFound`."""
        solve = await self._solves.get(ref)
        if solve is None or solve.running is None or solve.upload.done():
            raise NotFound(f"no such build {ref}")
        read: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in archive:
                    yield piece
            finally:
                if not read.done():
                    read.set_result(None)

        solve.upload.set_result(pieces())
        waiting: list[asyncio.Future[Any]] = [read, solve.running]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    async def cancel(self, ref: str) -> None:
        solve = await self._solves.get(ref)
        if solve is not None and solve.running is not None:
            solve.running.cancel()

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
