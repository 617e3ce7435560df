"""Online garbage collection: what no manifest names goes, while pushes and pulls go on.

Nothing that a push may be using is removed, by age and by order, without a lock, so that it holds for several processes
on one bucket:

1. A repository's link goes when no manifest there names the blob and it was not asked for in `grace` seconds. (A push
   that finds a blob by HEAD or mounts it renews the link.)
2. A blob that no repository links gets a mark; a mark that finds the blob linked again goes.
3. A blob whose mark is older than `grace` is set aside, and the links are read once more: a push that linked it
   meanwhile gets it back. A push looks for its blobs after linking them, so one of the two always sees the other.
4. Uploads nobody wrote to in `grace` seconds go.

A mirror forgets manifests that nobody asked for in `keep` seconds; the rest follows from that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

from sampan.registry.digests import of_hex
from sampan.registry.failures import Refusal
from sampan.registry.metrics import Metrics
from sampan.registry.repositories import Repositories, Repository
from sampan.registry.storage import UploadUnknown

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Found:
    """One repository's records."""

    manifests: dict[str, float] = field(default_factory=dict)
    """hex: when it was put or asked for."""
    links: dict[str, float] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Collected:
    """What one run removed."""

    links: int = 0
    blobs: int = 0
    bytes: int = 0
    uploads: int = 0
    manifests: int = 0


class Collector:
    """`grace`, `keep` in seconds; `keep` 0 keeps manifests for good, `untagged` removes manifests without a tag."""

    def __init__(
        self,
        repositories: Repositories,
        metrics: Metrics,
        grace: float = 3600.0,
        keep: float = 0.0,
        untagged: bool = False,
    ) -> None:
        self._repositories, self._metrics = repositories, metrics
        self._storage = repositories.storage
        self._grace, self._keep, self._untagged = grace, keep, untagged

    async def forever(self, interval: float) -> None:
        """Collects again and again; what goes wrong is logged."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.run()
            except Exception:
                log.exception("collection failed")

    async def run(self) -> Collected:
        done = Collected()
        now = time.time()
        await self._old_uploads(now - self._grace, done)
        linked: set[str] = set()
        for name, found in (await self._survey()).items():
            linked |= await self._repository(name, found, now, done)
        for aside, digest in await self._storage.asides(now - self._grace):
            if digest.partition(":")[2] in linked and await self._storage.blob_size(digest) is None:
                await self._storage.restore(aside, digest)
            else:
                await self._storage.purge(aside)
        await self._blobs(linked, now, done)
        for kind in ("links", "blobs", "bytes", "uploads", "manifests"):
            self._metrics.add("collected_total", getattr(done, kind), kind=kind)
        self._metrics.add("collections_total")
        if done != Collected():
            log.info("collected %s", done)
        return done

    async def _old_uploads(self, before: float, done: Collected) -> None:
        for upload in await self._storage.old_uploads(before):
            try:
                await self._storage.abandon(upload)
                done.uploads += 1
            except UploadUnknown:
                continue

    async def _survey(self) -> dict[str, _Found]:
        found: defaultdict[str, _Found] = defaultdict(_Found)
        async for entry in self._storage.entries("repositories/"):
            name, _, rest = entry.key.removeprefix("repositories/").partition("/_")
            kind, _, leaf = rest.partition("/")
            if kind == "manifests":
                found[name].manifests[leaf] = entry.modified
            elif kind == "layers":
                found[name].links[leaf] = entry.modified
            elif kind == "tags":
                found[name].tags.append(leaf)
        return dict(found)

    async def _repository(self, name: str, found: _Found, now: float, done: Collected) -> set[str]:
        """Clears one repository; returns the hex digests it needs."""
        repository = self._repositories.repository(name)
        records = {hex: await repository.record(of_hex(hex)) for hex in found.manifests}
        unwanted = await self._unwanted(name, found, {hex for hex, record in records.items() if record}, now)
        for hex in unwanted:
            record = records[hex]
            named = record is not None and any(
                other is not None and of_hex(hex) in other.manifests
                for kept, other in records.items()
                if kept not in unwanted
            )
            if named or (record is not None and record.subject.partition(":")[2] in set(records) - unwanted):
                continue
            if not await self._is_unchanged(repository, hex, found.manifests[hex]):
                continue
            with suppress(Refusal):  # another process's collection came first
                await repository.delete_manifest(of_hex(hex))
                done.manifests += 1
            records[hex] = None
        needed = {hex for hex, record in records.items() if record is not None}
        for record in records.values():
            if record is not None:
                needed |= {digest.partition(":")[2] for digest in record.blobs}
        for hex, modified in found.links.items():
            if hex in needed or modified > now - self._grace:
                needed.add(hex)
                continue
            key = f"repositories/{name}/_layers/{hex}"
            renewed = await self._storage.modified(key)  # since the survey?
            if renewed is not None and renewed <= now - self._grace:
                await self._storage.delete(key)
                done.links += 1
            else:
                needed.add(hex)
        return needed

    async def _is_unchanged(self, repository: Repository, hex: str, modified: float) -> bool:
        """Since the survey nobody pushed a manifest again; and where only untagged ones go, it has no tag now."""
        now = await repository.modified(of_hex(hex))
        if now is None or abs(now - modified) >= 1.0:  # S3 tells whole seconds here, and fractions in a listing
            return False
        return bool(self._keep) or not await repository.tags_of(of_hex(hex))

    async def _unwanted(self, name: str, found: _Found, known: set[str], now: float) -> set[str]:
        """Manifests that may go by rule, if no other manifest needs them."""
        unwanted: set[str] = set()
        if self._keep:
            unwanted |= {hex for hex in known if found.manifests[hex] < now - self._keep}
        if self._untagged:
            repository = self._repositories.repository(name)
            tagged = {(await repository.tagged(tag) or "").partition(":")[2] for tag in found.tags}
            unwanted |= {hex for hex in known - tagged if found.manifests[hex] < now - self._grace}
        return unwanted

    async def _blobs(self, linked: set[str], now: float, done: Collected) -> None:
        marks = {entry.key.removeprefix("gc/"): entry.modified async for entry in self._storage.entries("gc/")}
        for hex in linked & set(marks):
            await self._storage.delete(f"gc/{hex}")
        due: dict[str, int] = {}
        async for entry in self._storage.blobs():
            hex = entry.key.partition(":")[2]
            if hex in linked:
                continue
            if hex not in marks:
                await self._storage.put(f"gc/{hex}", b"")
            elif marks[hex] <= now - self._grace and entry.modified <= now - self._grace:
                due[hex] = entry.size
        if due:
            await self._remove(due, done)

    async def _remove(self, due: dict[str, int], done: Collected) -> None:
        """Out of sight first, then a last look at who links them, then for good."""
        aside = {hex: await self._storage.set_aside(of_hex(hex)) for hex in due}
        wanted = {
            hex for found in (await self._survey()).values() for hex in (*found.links, *found.manifests) if hex in aside
        }
        for hex, token in aside.items():
            if token is None:
                continue
            if hex in wanted:
                await self._storage.restore(token, of_hex(hex))
            else:
                await self._storage.purge(token)
                done.blobs += 1
                done.bytes += due[hex]
            await self._storage.delete(f"gc/{hex}")
