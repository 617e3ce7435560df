"""Layers from a registry: downloaded, verified and unpacked in one pass, each at most once at a time.

A layer's bytes flow: socket → pipe → (thread) hash and write to `ingest/` → decompress and hash → apply to a new
layer directory.
Only when both digests are right are blob and layer renamed into place. Two clients that want the same layer wait for
the same flight;
when the last of them goes away, the flight is cancelled and the partial blob stays for the next one to resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sampan.errors import SampanError
from sampan.images import layers
from sampan.images.content import DigestMismatch, DiskFull, Ingest
from sampan.images.holdings import Holdings, check_diff_id
from sampan.images.manifests import Descriptor
from sampan.images.pipe import Pipe, finished
from sampan.images.progress import LayerProgress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TICK = 0.1


class Source(Protocol):
    """Where blobs come from: a registry's repository."""

    def blob(self, descriptor: Descriptor, offset: int) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """One layer of an image that is being pulled."""

    descriptor: Descriptor
    diff_id: str
    chain_id: str
    parent: str | None


Report = Callable[[str, int, int], None]
"""(status, current, total); total 0 for a step without a count."""


class _Flight:
    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.waiting = 0
        self.lines: list[LayerProgress] = []
        self.state: tuple[str, int, int] = ("", 0, 0)
        self.resumed = False

    def report(self, status: str, current: int = 0, total: int = 0) -> None:
        self.state = (status, current, total)
        for line in self.lines:
            _show(line, self.state)


def _show(line: LayerProgress, state: tuple[str, int, int]) -> None:
    status, current, total = state
    if total:
        line.count(status, current, total)
    elif status:
        line.step(status)


class Fetcher:
    """All downloads of the daemon. Lives on the event loop."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._flights: dict[str, _Flight] = {}
        self._blob_locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def layer(self, source: Source, wanted: Wanted, line: LayerProgress) -> None:
        """Returns when blob and layer are both here. The caller leases them."""
        flight = self._flights.get(wanted.chain_id)
        if flight is None:
            flight = self._flights[wanted.chain_id] = _Flight()
            flight.task = asyncio.ensure_future(self._fly(source, wanted, flight))
        flight.waiting += 1
        flight.lines.append(line)
        _show(line, flight.state)
        assert flight.task is not None
        try:
            await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            flight.lines.remove(line)
            if not flight.waiting and not flight.task.done():
                self._forget(wanted, flight)
                flight.task.cancel()
                await asyncio.gather(flight.task, return_exceptions=True)

    async def _fly(self, source: Source, wanted: Wanted, flight: _Flight) -> None:
        holdings = self._holdings
        try:
            async with holdings.transfers.downloads, self._blob_lock(wanted.descriptor.digest):
                if holdings.content.exists(wanted.descriptor.digest):
                    flight.report("Download complete")
                    await self._unpack(wanted, flight)
                else:
                    try:
                        await self._download(source, wanted, flight)
                    except DigestMismatch:
                        if not flight.resumed:
                            raise
                        # What an earlier pull left may have been the damaged part: once more, from the beginning.
                        await self._download(source, wanted, flight)
            flight.report("Pull complete")
        finally:
            self._forget(wanted, flight)

    def _forget(self, wanted: Wanted, flight: _Flight) -> None:
        """Whoever wants the layer next begins anew; the blob's lock makes it wait for what is still ending."""
        if self._flights.get(wanted.chain_id) is flight:
            del self._flights[wanted.chain_id]

    @asynccontextmanager
    async def _blob_lock(self, digest: str) -> AsyncIterator[None]:
        """The same blob may be two layers (of different chains): one downloads, the other unpacks what is there
        then.
        """
        lock, users = self._blob_locks.get(digest, (asyncio.Lock(), 0))
        self._blob_locks[digest] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._blob_locks[digest]
            if users == 1:
                del self._blob_locks[digest]
            else:
                self._blob_locks[digest] = (lock, users - 1)

    async def _unpack(self, wanted: Wanted, flight: _Flight) -> None:
        progress = [0]
        future = asyncio.get_running_loop().run_in_executor(
            self._holdings.workers,
            lambda: self._holdings.unpack(
                wanted.descriptor.digest,
                wanted.diff_id,
                wanted.chain_id,
                wanted.parent,
                lambda done: progress.__setitem__(0, done),
            ),
        )
        await self._watch(future, progress, wanted, flight)

    async def _download(self, source: Source, wanted: Wanted, flight: _Flight) -> None:
        descriptor = wanted.descriptor
        ingest = self._holdings.content.ingest(descriptor.digest, descriptor.size)
        pipe = Pipe()
        progress = [0]
        if ingest.partial > descriptor.size:
            ingest.restart()
        start = ingest.partial
        flight.resumed = start > 0
        future = asyncio.get_running_loop().run_in_executor(
            self._holdings.workers, _consume, self._holdings, pipe, ingest, wanted, progress
        )
        future.add_done_callback(pipe.closed)
        position = start
        try:
            flight.report("Downloading", position, max(descriptor.size, 1))
            if start < descriptor.size:
                async for chunk in source.blob(descriptor, start):
                    await pipe.put(chunk)
                    position += len(chunk)
                    flight.report("Downloading", position, descriptor.size)
            pipe.end()
        except BrokenPipeError:
            pass  # the consumer's own error, raised below, says why
        except BaseException as error:
            pipe.fail(error if isinstance(error, SampanError) else SampanError("the download was cancelled"))
            await asyncio.wait([future])
            future.exception()
            raise
        else:
            flight.report("Verifying Checksum")
            flight.report("Download complete")
        await self._watch(future, progress, wanted, flight)

    async def _watch(self, future: asyncio.Future[None], progress: list[int], wanted: Wanted, flight: _Flight) -> None:
        """Reports how far unpacking is, until it ends."""
        total = max(wanted.descriptor.size, 1)
        while not future.done():
            flight.report("Extracting", min(progress[0], total), total)
            await _wait(future, _TICK)
        await finished(future)
        flight.report("Extracting", total, total)


async def _wait(future: asyncio.Future[None], timeout: float) -> None:
    try:
        await asyncio.wait([future], timeout=timeout)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


class _Stored:
    """Bytes on their way through: hashed, written, counted. Not a generator, so that closing a reader above leaves
    it usable.
    """

    def __init__(self, ingest: Ingest, pipe: Pipe, progress: list[int]) -> None:
        self._ingest, self._pipe, self._progress = ingest, pipe, progress
        self._replay = ingest.replay()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for chunk in self._replay:
            self._progress[0] += len(chunk)
            return chunk
        chunk = next(self._pipe)
        self._ingest.write(chunk)
        self._progress[0] += len(chunk)
        return chunk


def _consume(holdings: Holdings, pipe: Pipe, ingest: Ingest, wanted: Wanted, progress: list[int]) -> None:
    """The thread's side of a download."""
    with ingest:
        stored = _Stored(ingest, pipe, progress)
        if holdings.snapshots.has_layer(wanted.chain_id):
            for _ in stored:
                pass
            ingest.commit()
            return
        with holdings.snapshots.new_layer() as new:
            try:
                applied = layers.apply(stored, new.diff)
                check_diff_id(wanted.descriptor.digest, wanted.diff_id, applied.diff_id)
            except DiskFull:
                ingest.discard()  # a partial to resume would keep the disk full
                raise
            except SampanError:
                # Damaged in transit or damaged at its source? The digest tells, so read on to its end.
                for _ in stored:
                    pass
                ingest.verify()
                ingest.discard()
                raise
            ingest.commit()
            new.commit(wanted.chain_id, wanted.parent, applied.size, applied.diff_id)
