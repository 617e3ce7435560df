"""What the steps of one build share: the services below, the options, the lease, and where events go."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sampan.builds import sources
from sampan.builds.cache import BuildCache, CacheRecord, key_of
from sampan.builds.context import Context, Contexts
from sampan.builds.model import BuildOptions, State
from sampan.builds.mounting import Caches
from sampan.builds.outputs.exports import Exports
from sampan.builds.progress import AnyEvent, Cached, Listener, Missed, Output
from sampan.builds.sharing.receiving import Promise, Received
from sampan.builds.sources import Digested, Skip, Source
from sampan.containers.oneshot import Net, OneShots
from sampan.images import Images, Snapshots, building
from sampan.images.building import SealedLayer
from sampan.images.converting import Converter
from sampan.images.fetching import Fetcher
from sampan.images.holdings import Holdings, Lease
from sampan.images.importing import timestamp
from sampan.images.model import History
from sampan.images.pipe import finished

T = TypeVar("T")

_REMEMBERED = 256
"""Digests of stages' files."""
_FILES = "digest of files to copy "
"""How the text of a record begins that has no result but this."""


@dataclass(slots=True)
class Services:
    """Lives as long as the daemon."""

    images: Images
    snapshots: Snapshots
    one_shots: OneShots
    cache: BuildCache
    contexts: Contexts
    caches: Caches
    exports: Exports
    converter: Converter
    fetcher: Fetcher
    digests: dict[Hashable, Digested] = field(default_factory=dict)

    @property
    def holdings(self) -> Holdings:
        return self.images.holdings

    @property
    def workers(self) -> Executor:
        return self.holdings.workers


@dataclass(slots=True)
class Work:
    """One build."""

    services: Services
    options: BuildOptions
    context: Context | None
    lease: Lease
    listener: Listener
    stack: ExitStack = field(default_factory=ExitStack)
    """What is undone (blocking) when the build is over."""
    pulled: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    fresh: set[tuple[str, str]] = field(default_factory=set)
    """Images that this build has pulled: once is enough."""
    named: dict[str, Path] = field(default_factory=dict)
    """Named contexts that were fetched, and where."""
    received: Sequence[Received] = ()
    """Caches of other machines."""
    made: set[str] = field(default_factory=set)
    """Keys of the steps that this request has run, for whichever platform: `--no-cache` does not mean twice."""
    used: list[tuple[int, CacheRecord]] = field(default_factory=list)
    """The results of the steps so far, with their steps' numbers."""
    source: bytes = b""
    """The Dockerfile."""
    begun: int = field(default_factory=time.time_ns)
    materials: dict[str, str] = field(default_factory=dict)
    """What came from outside, by its name as it was asked for: digests of images and of downloads."""
    stands_on: dict[str, str | None] = field(default_factory=dict)
    """The chain below each layer of this build's steps."""
    _promises: dict[str, Promise] = field(default_factory=dict)
    """Layers that other machines have, by chainID."""
    _roots: dict[str | None, Path] = field(default_factory=dict)
    _networks: dict[str, list[Net]] = field(default_factory=dict)
    _opened: list[Net] = field(default_factory=list)
    _mounting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def emit(self, event: AnyEvent) -> None:
        self.listener(event)

    def heard(self, step: int, stream: int, data: bytes) -> Awaitable[None] | None:
        """Output of a RUN. What it returns says when more can be taken."""
        self.emit(Output(step=step, stream=stream, data=data))
        drain: Callable[[int], Awaitable[None] | None] | None = getattr(self.listener, "drain", None)
        return drain(step) if drain is not None else None

    async def thread(self, work: Callable[[], T]) -> T:
        """In a thread whose umask is 0; to its end, also when this build is cancelled."""
        return await finished(asyncio.get_running_loop().run_in_executor(self.services.workers, work))

    def now(self) -> str:
        """The time that goes into the image."""
        epoch = self.options.epoch
        return timestamp(time.time_ns() if epoch is None else epoch * 10**9)

    # -- roots -------------------------------------------------------------------------------------
    async def root(self, chain_id: str | None) -> Path:
        """A chain's files, mounted read-only for as long as this build takes. Nothing is copied."""
        await self.have(chain_id)
        async with self._mounting:
            place = self._roots.get(chain_id)
            if place is None:
                place = self._roots[chain_id] = await self.thread(lambda: self._mount(chain_id))
            return place

    def _mount(self, chain_id: str | None) -> Path:
        bundle = self.services.one_shots.bundle(secrets.token_hex(32))
        with ExitStack() as undo:
            bundle.path.mkdir(mode=0o700, parents=True)
            undo.callback(bundle.path.rmdir)
            self.services.snapshots.mount_chain(chain_id, bundle.rootfs)
            undo.callback(bundle.rootfs.rmdir)
            undo.callback(self.services.snapshots.unmount, bundle.rootfs)
            self.stack.push(undo.pop_all())
        return bundle.rootfs

    async def digested(
        self,
        root: Path | Context,
        what: Hashable,
        find: Callable[[], Sequence[Source]],
        skip: Skip,
        *,
        owner: bool,
        mode: bool,
    ) -> Digested:
        """The digest of the sources that `find` (blocking) gives. Those of a chain, which never changes, are kept in
        memory: a cached COPY --from should not read a whole stage. `what` says which sources of `root` they are."""
        chain = next((chain for chain, place in self._roots.items() if place == root), None)
        known = self.services.digests
        key = (chain, what, owner, mode)
        if chain is not None and (found := known.get(key)) is not None:
            return found
        made = await self.thread(lambda: sources.digested(find(), skip, owner=owner, mode=mode))
        if chain is not None:
            while len(known) >= _REMEMBERED:
                known.pop(next(iter(known)))
            known[key] = made
        return made

    async def foreseen(self, step: Step, chain: str, what: Sequence[Any]) -> Digested | None:
        """The digest of a chain's files that are not here, but were looked at where a shared cache comes from. `what`
        says which, as JSON."""
        if not self.lacks(chain):
            return None
        key = key_of(chain, "files", *what)
        record = self.services.cache.find(key, None) or await self._promised(key, None)
        if record is None or record.layer is not None:
            return None
        self.used.append((step.number, record))
        kind, _, digest = record.text.removeprefix(_FILES).partition(":")
        return Digested(kind, digest, {})

    def foresee(self, step: Step, chain: str, what: Sequence[Any], digest: Digested) -> None:
        """Tells those who will take this build's cache."""
        if not self.options.cache_to:
            return
        key, text = key_of(chain, "files", *what), f"{_FILES}{digest.kind}:{digest.digest}"
        record = self.services.cache.find(key, None) or self.services.cache.add(key, chain, text, None, None, "")
        self.used.append((step.number, record))

    # -- networks ----------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def network(self, mode: str) -> AsyncIterator[Net]:
        """A sandbox that no other step uses meanwhile. Steps that follow one another use the same one."""
        free = self._networks.setdefault(mode, [])
        if free:
            net = free.pop()
        else:
            import msgspec

            host_config = msgspec.structs.replace(self.options.host_config, network_mode=mode)
            net = await asyncio.shield(self._open(host_config))
        try:
            yield net
        finally:
            free.append(net)

    async def _open(self, host_config: object) -> Net:
        from sampan.containers.model import HostConfig

        assert isinstance(host_config, HostConfig)
        net = await self.services.one_shots.network(host_config)
        self._opened.append(net)
        return net

    async def close(self) -> None:
        """Takes away all that the build had open."""
        for net in self._opened:
            await self.services.one_shots.close_network(net)
        self._opened = []
        await asyncio.to_thread(self.stack.close)

    # -- layers ------------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def snapshot(self, chain_id: str | None) -> AsyncIterator[str]:
        """The key of a new active snapshot; gone at the end."""
        await self.have(chain_id)
        key = secrets.token_hex(32)
        snapshots = self.services.snapshots
        await self.thread(lambda: snapshots.prepare(key, chain_id))
        try:
            yield key
        finally:
            await self.thread(lambda: snapshots.remove(key))

    async def seal(self, key: str, below: str | None) -> SealedLayer | None:
        holdings, lease, epoch = self.services.holdings, self.lease, self.options.epoch
        return await self.thread(lambda: building.seal(holdings, key, below, lease, epoch))

    # -- cache -------------------------------------------------------------------------------------
    async def cached(
        self,
        step: Step,
        state: State,
        key: str,
        text: str,
        make: Callable[[], Awaitable[SealedLayer | None]],
        below: str | None = None,
    ) -> CacheRecord:
        """The step's result: found, or made. `below` is the chain its layer stands on."""
        cache = self.services.cache
        step.key = key
        async with cache.alone(key):
            record = self._look(step, state, key, text, below)
            if record is None and not step.anew:
                record = await self._promised(key, below)
            if record is not None:
                self.emit(Cached(step=step.number, id=record.key))
            else:
                reason = step.explain(key)
                self.emit(Missed(step=step.number, reason=reason))
                layer = await make()
                record = cache.add(key, state.key, text, layer, below, self.now())
                self.made.add(key)
            if record.layer is not None:
                self.lease.hold(record.layer.blob, record.layer.chain_id)
                self.stands_on[record.layer.chain_id] = below
        self.used.append((step.number, record))
        return record

    async def _promised(self, key: str, below: str | None) -> CacheRecord | None:
        for one in self.received:
            found = await one.find(key, below, self.services.cache)
            if isinstance(found, Promise):
                self._promises[found.wanted.chain_id] = found
                return found.record
            if found is not None:
                return found
        return None

    def lacks(self, chain_id: str | None) -> list[Promise]:
        """The layers of a chain that are only promised."""
        found: list[Promise] = []
        while self._promises and chain_id is not None:
            if (promise := self._promises.get(chain_id)) is not None and not promise.kept:
                found.append(promise)
            chain_id = self.stands_on.get(chain_id)
        return found

    async def have(self, chain_id: str | None) -> None:
        """Fetches what a chain lacks. Raises `SampanError`."""
        services = self.services
        if wanted := self.lacks(chain_id):
            try:
                async with asyncio.TaskGroup() as group:
                    for one in wanted:
                        group.create_task(one.keep(services.holdings, services.fetcher, services.cache))
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None

    def _look(self, step: Step, state: State, key: str, text: str, below: str | None) -> CacheRecord | None:
        if step.anew and key not in self.made:
            return None
        if self.options.cache_from:
            record = self._in_images(state, key, text, below)
            if record is not None or not self.options.cache_local:
                return record
        return self.services.cache.find(key, below)

    def _in_images(self, state: State, key: str, text: str, below: str | None) -> CacheRecord | None:
        """The next step of an image that began exactly as this stage has so far."""
        from sampan.errors import SampanError

        done = [step.created_by for step in state.history]
        diff_ids = [layer.diff_id for layer in state.layers]
        for ref in self.options.cache_from:
            try:
                image = self.services.images.resolve(ref)
            except SampanError:
                continue
            history = image.config.history
            if [step.created_by for step in history[: len(done)]] != done or len(history) <= len(done):
                continue
            following = history[len(done)]
            layers = building.layers_of(self.services.holdings, image.id)
            if following.created_by != text or [one.diff_id for one in layers[: len(diff_ids)]] != diff_ids:
                continue
            layer = None if following.empty_layer else layers[len(diff_ids)]
            return self.services.cache.add(key, state.key, text, layer, below, following.created)
        return None


@dataclass(slots=True)
class Step:
    """One step of the plan, as the executor sees it."""

    number: int
    line: int
    anew: bool = False
    explain: Callable[[str], str] = lambda key: ""
    inputs: dict[str, str] = field(default_factory=dict)
    """Digests of the files that went in, by their path: for explaining."""
    counts: bool = True
    """What comes after depends on it: not so for ARG."""
    key: str = ""
    """The cache key, once it is known."""
    shown: str = ""
    """The id to show where the step leaves the state's key as it was."""


def stepped(state: State, record: CacheRecord, *, author: str = "", layer: SealedLayer | None = None) -> State:
    """The state after a step whose result is `record`; `layer` in place of the record's own."""
    layer = layer or record.sealed
    history = History(created=record.created, created_by=record.text, author=author, empty_layer=layer is None)
    return state.with_step(record.key, history, layer)


__all__ = ["Services", "Step", "Work", "key_of", "stepped"]
