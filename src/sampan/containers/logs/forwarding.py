"""Sends what containers print to log servers: a task a container follows conmon's file, as `logs -f` does.

conmon writes the file whatever happens here, so a log server that is slow or gone makes no container wait, and a daemon
that is down loses nothing: how far a log was sent is on disk beside it. A line may come twice (the daemon was killed
between sending and writing that down; a connection broke), and is lost only when the cache's limit or the backlog's
takes it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sampan.containers.logs import log_drivers
from sampan.containers.logs.log_chain import Chain, Part, newest_first, open_part, with_head, younger
from sampan.containers.logs.log_positions import Position, PositionFile
from sampan.containers.logs.log_reading import Growth
from sampan.containers.logs.remote import drivers
from sampan.containers.logs.remote.destination import Destination
from sampan.containers.logs.remote.identity import Identity
from sampan.containers.logs.remote.links import DialError
from sampan.containers.logs.remote.messages import Assembler, Message
from sampan.containers.model import Container
from sampan.containers.roster import Record
from sampan.errors import SampanError

log = logging.getLogger(__name__)

_BLOCK = 1 << 14
"""Bytes of log between two notes of how far it was sent."""
_LAST_WORDS = 10.0
"""Seconds that a container's removal waits for its last lines to be sent (dockerd's logCloseTimeout)."""


class Forwarding:
    """`path` says where a container's log is."""

    def __init__(self, growth: Growth, path: Callable[[Container], Path]) -> None:
        self._growth = growth
        self._path = path
        self._forwarders: dict[str, _Forwarder] = {}

    async def prepare(self, record: Record, by_hand: bool) -> None:
        """Before a start, which fails with it when it is a user's and the server cannot be reached. Raises
        `SampanError`, `DialError`."""
        container = record.container
        config = container.host_config.log_config
        if not log_drivers.is_remote(config):
            if config is not None and (config.config or {}).get("tag"):
                Identity(container).tag()
            return
        forwarder = self._forwarders.get(container.id)
        if forwarder is not None and not forwarder.task.done():
            forwarder.more()  # it still sends what the run before printed
            return
        destination = _destination(container)
        if by_hand and destination.eager:
            await destination.connect()
        self._start(record, destination)

    def _start(self, record: Record, destination: Destination) -> _Forwarder:
        config = record.container.host_config.log_config
        forwarder = _Forwarder(
            record,
            self._path(record.container),
            destination,
            self._growth,
            spool=log_drivers.is_spool(config),
            backlog=log_drivers.backlog(config),
        )
        self._forwarders[record.id] = forwarder
        forwarder.task.add_done_callback(lambda task: self._done(record.id, task))
        return forwarder

    def _done(self, id: str, task: asyncio.Task[None]) -> None:
        if id in self._forwarders and self._forwarders[id].task is task:
            del self._forwarders[id]

    def ended(self, record: Record) -> None:
        """A run, or an attempt at one: there will be no more lines."""
        if forwarder := self._forwarders.get(record.id):
            forwarder.no_more()

    def recovered(self, record: Record, running: bool) -> None:
        """At daemon start: goes on where the last daemon was."""
        container = record.container
        if not log_drivers.is_remote(container.host_config.log_config):
            return
        if not running and not _owes(self._path(container)):
            return
        try:
            forwarder = self._start(record, _destination(container))
        except SampanError as error:
            log.error("the log of container %s is not sent: %s", record.id, error)
            return
        if not running:
            forwarder.no_more()

    def owes(self, record: Record) -> bool:
        """Is there more to send?"""
        return record.id in self._forwarders

    async def settle(self, record: Record) -> None:
        """Before the log is removed: its last lines go out, unless the server is not reached anyway."""
        config = record.container.host_config.log_config
        if not log_drivers.is_remote(config):
            return
        if record.id not in self._forwarders:
            self.recovered(record, running=False)
        forwarder = self._forwarders.pop(record.id, None)
        if forwarder is not None:
            forwarder.no_more()
            await forwarder.settle()

    def close(self) -> None:
        for forwarder in self._forwarders.values():
            forwarder.task.cancel()


def _destination(container: Container) -> Destination:
    config = container.host_config.log_config
    assert config is not None
    return drivers.make(config.type, Identity(container))


def _owes(path: Path) -> bool:
    position = PositionFile(path).load()
    newest = open_part(path, 0)
    if newest is None:
        return False
    with closing(newest):
        size = os.fstat(newest.fileno()).st_size
        if position is None:
            return size > 0
        return position.head != newest.head or position.offset < size or bool(position.unfinished)


class _Forwarder:
    """One container's. The task ends when `no_more` was said and all is sent."""

    def __init__(
        self, record: Record, path: Path, destination: Destination, growth: Growth, *, spool: bool, backlog: int
    ) -> None:
        self._record = record
        self._path = path
        self._destination = destination
        self._growth = growth
        self._spool = spool
        self._backlog = backlog
        self._position = PositionFile(path)
        self._ended = False
        self._wake = asyncio.Event()
        self._failing = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"log of {record.id[:12]}")

    def more(self) -> None:
        self._ended = False

    def no_more(self) -> None:
        self._ended = True
        self._wake.set()

    async def settle(self) -> None:
        failing = asyncio.ensure_future(self._failing.wait())
        await asyncio.wait({self.task, failing}, timeout=_LAST_WORDS, return_when=asyncio.FIRST_COMPLETED)
        failing.cancel()
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _run(self) -> None:
        self._record.followers.add(self._wake)
        try:
            await self._send_all()
        except Exception:
            log.exception("the log of container %s is not sent any more", self._record.id)
        finally:
            self._record.followers.discard(self._wake)
            self._destination.close()
            self._position.close()

    async def _send_all(self) -> None:
        position = self._position.load()
        part, offset = None, 0
        if position is not None:
            part, offset = with_head(self._path, position.head), position.offset
            if part is None:
                part, offset = younger(self._path, position.head), 0
        assembler = Assembler(position.unfinished if position else None)
        chain = Chain(self._path, part, offset, _BLOCK)
        with closing(chain), contextlib.ExitStack() as watch:
            watched: Part | None = None
            while True:
                ended = self._ended
                self._wake.clear()
                block = await chain.records()
                if block:
                    await self._deliver(assembler.feed(block), chain, assembler)
                elif ended:
                    await self._deliver(assembler.finish(), chain, assembler)
                    if self._ended:
                        if self._spool:
                            self._empty_spool()
                        return
                elif watched is None or watched is not chain.part:
                    watch.close()
                    watch.enter_context(self._growth.of(self._path, self._wake))
                    if chain.part is None:
                        await self._appeared()
                    watched = chain.part
                else:
                    await self._wake.wait()

    async def _appeared(self) -> None:
        """conmon makes the file when it starts; there is nothing to watch before."""
        while not self._path.exists() and not self._ended:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0.02)

    async def _deliver(self, messages: list[Message], chain: Chain, assembler: Assembler) -> None:
        for first in range(0, len(messages), self._destination.batch):
            await self._send(messages[first : first + self._destination.batch], chain, assembler)
            await asyncio.sleep(0)  # a backlog is no reason for others to wait
        if chain.part is not None and chain.part.head:
            self._position.store(Position(chain.part.head, chain.offset, assembler.unfinished))
            if self._spool:
                self._drop_sent(chain.part)

    async def _send(self, messages: list[Message], chain: Chain, assembler: Assembler) -> None:
        attempt = 0
        while True:
            established = self._destination.connected
            try:
                if not established:
                    await self._destination.connect()
                await self._destination.send(messages)
            except (OSError, DialError) as error:
                self._destination.close()
                if established and not attempt:
                    attempt = -1  # the server closed an idle connection: at once again
                    continue
                attempt = max(attempt, 0) + 1
                if not self._failing.is_set():
                    log.warning("the log of container %s cannot be sent (it is kept): %s", self._record.id, error)
                    self._failing.set()
                await asyncio.sleep(self._destination.pauses.before(attempt))
                if self._backlog:
                    await self._drop_excess(chain, assembler)
            else:
                if self._failing.is_set():
                    log.info("the log of container %s is sent again", self._record.id)
                    self._failing.clear()
                return

    async def _drop_excess(self, chain: Chain, assembler: Assembler) -> None:
        """`mode=non-blocking`: what waits beyond `max-buffer-size` is dropped, the oldest first."""
        dropped = 0
        while chain.unread() > self._backlog and (block := await chain.records()):
            dropped += len(assembler.feed(block))
        if dropped:
            log.warning("container %s: %d lines are not sent: max-buffer-size", self._record.id, dropped)

    def _drop_sent(self, current: Part) -> None:
        """A spool's files before the one that is being sent."""
        older = False
        for part in newest_first(self._path):
            with closing(part):
                if older:
                    self._path.with_name(f"{self._path.name}.{part.number}").unlink(missing_ok=True)
                older = older or part.is_(current)

    def _empty_spool(self) -> None:
        for number in itertools.count(1):
            rotated = self._path.with_name(f"{self._path.name}.{number}")
            if not rotated.exists():
                break
            rotated.unlink()
        self._path.unlink(missing_ok=True)
        self._position.remove()
