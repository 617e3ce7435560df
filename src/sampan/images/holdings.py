"""What this machine holds of images, and what must stay: content, layers, catalogue, leases, collection.

A *lease* keeps blobs and layers that an operation under way needs although no image names them yet. Collection
removes what no image,
no container's snapshot, no lease and no keeper names. Order of a deletion: first the catalogue forgets, then bytes
go; a crash in between leaves rubbish that the next start sweeps, never an image without its layers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from sampan.errors import SampanError
from sampan.images import layers, references
from sampan.images.catalog import Catalog, ImageRecord
from sampan.images.content import CHUNK, ContentStore, durability
from sampan.images.snapshots import Snapshots, purge
from sampan.images.transfers import Transfers
from sampan.store import Database

log = logging.getLogger(__name__)


class Lease:
    """Digests and chainIDs one operation needs. Thread-safe."""

    def __init__(self, held: Counter[str], lock: threading.RLock) -> None:
        self._held, self._lock = held, lock
        self.digests: list[str] = []

    def hold(self, *digests: str) -> None:
        """From now on, what exists under these stays."""
        with self._lock:
            self._held.update(digests)
            self.digests += digests

    def release(self) -> None:
        with self._lock:
            self._held.subtract(self.digests)
            for digest in self.digests:
                if self._held[digest] <= 0:
                    del self._held[digest]
            self.digests = []


class Holdings:
    """See the module. `workers` are the threads that unpack: each has its own umask."""

    def __init__(
        self,
        data_root: Path,
        database: Database,
        snapshots: Snapshots,
        keepers: Iterable[Callable[[], Iterable[str]]] = (),
    ) -> None:
        self.content = ContentStore(data_root)
        self.snapshots = snapshots
        self.transfers = Transfers()
        self.catalog = Catalog(database, self.content)
        self.keepers = list(keepers)
        """Others that store things here (the built-in registry, the build cache): each says which blobs' digests and
        layers' chainIDs it needs."""
        self.workers = ThreadPoolExecutor(4, "sampan-layer", initializer=layers.own_umask)
        self._held: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._closing = False
        self._unfoldable: set[str] = set()
        self._folding = threading.Lock()
        self.content.layer_of = self._layer_of

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease]:
        """What it held and nothing names at the end is collected: an operation that failed leaves nothing."""
        lease = Lease(self._held, self._lock)
        try:
            yield lease
        finally:
            digests = set(lease.digests)
            lease.release()
            await asyncio.to_thread(self.collect, digests, digests)

    def collect(self, blobs: Iterable[str], chains: Iterable[str]) -> list[str]:
        """Removes those of the given blobs and layers that nothing needs; returns the chainIDs removed, in the
        order given.
        """
        with self._lock:  # renames only: the event loop takes this lock to hold things
            needed = self.catalog.named_blobs() | set(self._held)
            for keeper in self.keepers:
                needed |= set(keeper())
            gone = [digest for digest in blobs if digest not in needed]
            chains = [*chains, *self._hosts_of([digest for digest in gone if digest in self.content.recipes.sizes])]
            files = [self.content.detach(digest) for digest in gone]
            removed, directories = self._detach_layers([chain for chain in chains if self.snapshots.has_layer(chain)])
        for file in files:
            if file is not None:
                file.unlink(missing_ok=True)
        for directory in directories:
            purge(directory)
        return removed

    def _detach_layers(self, chains: list[str]) -> tuple[list[str], list[Path | None]]:
        if not chains:
            return [], []
        needed = self.catalog.named_layers() | set(self._held) | self._active_layers()
        for keeper in self.keepers:
            needed |= set(keeper())
        removed = [chain for chain in dict.fromkeys(chains) if chain not in needed]
        if self.content.recipes.sizes:
            hosts = self._last_hosts(set(removed))
            removed = [chain for chain in removed if chain not in hosts]
        return removed, [self.snapshots.detach_layer(chain) for chain in removed]

    def _hosts_of(self, folded: list[str]) -> list[str]:
        """Layers that may have stayed only for the sake of these blobs."""
        if not folded:
            return []
        hosts = self.snapshots.durable_layers()
        return [chain for digest in folded for chain in hosts.get(digest, ())]

    def _last_hosts(self, removed: set[str]) -> set[str]:
        """Of layers that are to go, those without which a folded blob could not be made again."""
        return {
            chains[0]
            for diff_id, chains in self.snapshots.durable_layers().items()
            if diff_id in self.content.recipes.sizes and removed.issuperset(chains)
        }

    def _layer_of(self, digest: str) -> Path | None:
        for chain in self.snapshots.durable_layers().get(digest, ()):
            return self.snapshots.layer(chain)
        return None

    def fold(self) -> list[str]:
        """Lets go of blobs that are the same bytes as a layer here (see `folding`); returns their digests. Blocks."""
        with self._folding:  # two would write one recipe
            return self._fold_all()

    def _fold_all(self) -> list[str]:
        folded = []
        for diff_id, chains in self.snapshots.durable_layers().items():
            if diff_id in self._unfoldable or diff_id in self._held or not self.content.is_foldable(diff_id):
                continue
            try:
                if self._fold(diff_id, chains[0]):
                    folded.append(diff_id)
            except InterruptedError:
                break
            except (SampanError, OSError) as error:
                if self.snapshots.has_layer(chains[0]):  # else it was removed meanwhile
                    log.info("blob %s stays as it is: %s", diff_id, error)
                    self._unfoldable.add(diff_id)
        return folded

    def _fold(self, digest: str, chain: str) -> bool:
        recipes = self.content.recipes
        size = self.content.size(digest)
        if digest not in recipes.sizes:
            descriptor = self.content.open(digest)
            try:
                new = recipes.prepare(digest, descriptor, self.snapshots.layer(chain), lambda: not self._closing)
            finally:
                os.close(descriptor)
            recipes.keep(new, digest)
        with self._lock:  # blob and layer may have been collected meanwhile
            if not self.snapshots.has_layer(chain) or not self.content.path(digest).exists():
                if digest not in recipes.sizes:
                    recipes.forget(digest)
                return False
            recipes.publish(digest, size)
            file = self.content.let_go(digest)
        if file is not None:
            file.unlink(missing_ok=True)
        return True

    def _active_layers(self) -> set[str]:
        """Layers below containers' snapshots: they outlive an image that was deleted by force."""
        needed: set[str] = set()
        for parent in self.snapshots.parents():
            needed.update(f"sha256:{path.parent.name}" for path in self.snapshots.lowers(parent))
        return needed

    def sweep(self) -> list[str]:
        """Collects everything unneeded, whoever left it."""
        return self.collect(self.content.digests(), self.snapshots.layers())

    def reconcile(self) -> None:
        """After a crash: half-made things go, doubtful layers are made again from their blobs, orphans are
        collected.
        """
        self.content.clean()
        for chain in self.snapshots.clean():
            log.warning("layer %s may be incomplete after a power failure: unpacking it again", chain)
        hosts = self.snapshots.durable_layers() if self.content.recipes.sizes else {}
        for digest in [digest for digest in self.content.recipes.sizes if digest not in hosts]:
            if not self.content.path(digest).exists():
                log.error("blob %s cannot be made again: its layer is gone", digest)
            self.content.recipes.drop(digest)
        for id in list(self.catalog.images):
            try:
                self.complete(id)
            except (SampanError, OSError) as error:
                log.error("image %s is damaged and was removed: %s", id, error)
                self.catalog.remove(id)
        for name, record in list(self.catalog.references.items()):
            if record.image not in self.catalog.images:
                log.error("reference %s names an image that is gone", name)
                self.catalog.unname(references.parse(name))
        try:
            self.sweep()
        except (SampanError, OSError) as error:
            log.error("collecting unused image data failed: %s", error)

    def sync(self) -> None:
        """Writes to the disk what was pulled, loaded or made, and takes the marks away. Blocks, for seconds perhaps."""
        marks = [*self.content.marks(), *self.snapshots.marks()]
        if marks:
            durability.syncfs(self.content.root)
            for mark in marks:
                durability.unmark(mark)

    def complete(self, id: str) -> None:
        """Makes sure that all of an image is there, unpacking layers that are missing. Raises when a blob is
        missing.
        """
        record = self.catalog.images[id]
        for digest in self.catalog.blobs_of(id, record):
            if not self.content.exists(digest):
                raise SampanError(f"blob {digest} is missing")
        chain = self.catalog.chain(id)
        if len(record.layers) != len(chain):
            raise SampanError("its layers do not fit its config")
        parent: str | None = None
        for digest, diff_id, link in zip(record.layers, self.catalog.config(id).rootfs.diff_ids, chain, strict=True):
            if not self.snapshots.has_layer(link):
                self.workers.submit(self.unpack, digest, diff_id, link, parent).result()
            parent = link

    def unpack(
        self, digest: str, diff_id: str, chain_id: str, parent: str | None, seen: Callable[[int], None] = lambda n: None
    ) -> None:
        """Unpacks a blob that is here. `seen` hears how many of its bytes were read. Blocks; for `workers`."""
        if self.snapshots.has_layer(chain_id):
            return
        with self.snapshots.new_layer() as new:
            known = (lambda: digest) if diff_id == digest else None  # not compressed; verified when it came
            applied = layers.apply(self.read(digest, seen), new.diff, diff_id=known)
            check_diff_id(digest, diff_id, applied.diff_id)
            new.commit(chain_id, parent, applied.size, diff_id)

    def read(self, digest: str, seen: Callable[[int], None] = lambda n: None) -> Iterator[bytes]:
        """A blob in chunks."""
        descriptor = self.content.open(digest)
        done = 0
        try:
            while chunk := os.read(descriptor, CHUNK):
                done += len(chunk)
                seen(done)
                yield chunk
        finally:
            os.close(descriptor)

    def record(self, manifest: str, blobs: list[str], chain: list[str], extra: Iterable[str] = ()) -> ImageRecord:
        """The record of an image whose layers are all here."""
        return ImageRecord(
            manifest=manifest,
            layers=blobs,
            layer_sizes=[self.snapshots.layer_size(link) for link in chain],
            extra=list(extra),
        )

    def interrupt(self) -> None:
        """Folding stops soon."""
        self._closing = True

    def close(self) -> None:
        self.interrupt()
        self.workers.shutdown(wait=True, cancel_futures=True)


def check_diff_id(digest: str, expected: str, found: str) -> None:
    if found != expected:
        raise SampanError(f"layer {digest} does not match its config: diffID is {found}, expected {expected}")
