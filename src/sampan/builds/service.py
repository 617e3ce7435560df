"""The front door of builds: `Builds.build` makes an image of a Dockerfile and a context; `usage` and `prune` look after
the cache. Nothing here knows how a front door's clients speak.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from sampan.builds import describing, ignore, linting, remotes
from sampan.builds.cache import BuildCache, CacheRecord
from sampan.builds.context import Context, Contexts
from sampan.builds.dockerfile import Dockerfile, DockerfileError, parse
from sampan.builds.dockerfile.excerpt import drawn
from sampan.builds.dockerfile.stages import Graph, context_name, resolve
from sampan.builds.dockerfile.variables import global_arguments
from sampan.builds.explaining import Trace
from sampan.builds.indexing import Index
from sampan.builds.jobs import Job
from sampan.builds.model import BuildOptions
from sampan.builds.mounting import Caches
from sampan.builds.outputs import packaging
from sampan.builds.outputs.exports import Exports
from sampan.builds.progress import Described, Finished, Listener
from sampan.builds.ssh import Agents
from sampan.builds.work import Services
from sampan.containers import Containers
from sampan.errors import InvalidParameter
from sampan.images import Images, Platform, Snapshots, platforms, references
from sampan.images.references import Reference
from sampan.settings import Settings
from sampan.store import Documents

_SHARE = 0.1
_LEAST = 10 << 30
"""Bytes, and the part of the disk, that the cache may always have: as BuildKit's default policy."""
_UNUSED = 60 * 86400 * 10**9
"""Nanoseconds after which a record that no build has used goes."""
NAMED_CONTEXTS = ".sampan-contexts"
"""Where a client puts named contexts in the tar: `.sampan-contexts/0/…`, called `local:contexts/0` in the options."""

OUTSIDE = ".sampan-dockerfile"
"""A Dockerfile's name in the tar that is not one of the context's files: no COPY sees it."""


@dataclass(frozen=True, slots=True)
class Built:
    """`id` is the image's."""

    id: str
    tags: list[str]
    manifest: str


@dataclass(frozen=True, slots=True)
class CacheMount:
    """`used`: nanoseconds since the epoch."""

    path: Path
    id: str
    size: int
    used: int
    in_use: bool


class Builds:
    def __init__(
        self, settings: Settings, cache: BuildCache, images: Images, snapshots: Snapshots, containers: Containers
    ) -> None:
        self._data_root = settings.data_root
        self._gc = settings.builder_gc
        self._contexts = Contexts(settings.data_root)
        self._contexts.clean()
        caches = Caches(settings.data_root)
        caches.clean()
        self._services = Services(
            images=images,
            snapshots=snapshots,
            one_shots=containers.one_shots,
            cache=cache,
            contexts=self._contexts,
            caches=caches,
            exports=Exports(),
            converter=images.converter,
            fetcher=images.puller.fetcher,
        )
        self._agents = Agents()
        cache.holds = self._holds
        self._traces = Documents(cache.database, "build-trace", Trace)

    def _holds(self, record: CacheRecord) -> bool:
        layer = record.layer
        return layer is None or (
            self._services.snapshots.has_layer(layer.chain_id) and self._services.holdings.content.exists(layer.blob)
        )

    # -- building ----------------------------------------------------------------------------------
    async def receive(self, archive: AsyncIterator[bytes], options: BuildOptions) -> Context:
        """A context's tar, in any compression, with the named contexts that a client may have put beside it. The
        caller closes it."""
        context = await self._contexts.receive(archive)
        places = [*options.contexts.values(), *(f"local:{one.source}" for one in options.cache_sources if one.source)]
        if any(place.startswith(("local:", "oci-layout:")) for place in places):
            await asyncio.to_thread(context.set_aside, NAMED_CONTEXTS, "contexts")
        return context

    def empty(self) -> tuple[Context, Index]:
        """A context to be filled by its index. The caller closes it."""
        return self._contexts.indexed()

    async def fetch(self, remote: str, options: BuildOptions) -> tuple[Context, BuildOptions]:
        """A context from a git repository, or from a URL of an archive or of a Dockerfile. The caller closes it."""
        found = remotes.context(remote)
        if found is None:
            raise InvalidParameter(f"remote is neither a URL nor a git repository: {remote}")
        context = self._contexts.new()
        try:
            if isinstance(found, remotes.Git):
                await remotes.clone(found, context.root, keep_git_dir=False, ask=options.ssh.get("default"))
                context.filtered = False
                return context, options
            place = context.root / await remotes.download(found.url, context.root, fallback="Dockerfile")
            head = await asyncio.to_thread(_head, place)
            if remotes.is_text(head):
                source = await asyncio.to_thread(place.read_bytes)
                place.unlink()
                return context, replace(options, dockerfile_source=source)
            unpacked = await self._contexts.receive(remotes.chunks(place))
            unpacked.filtered = False
        except BaseException:
            await context.leave()
            raise
        await context.leave()
        return unpacked, options

    async def build(self, options: BuildOptions, context: Context | None, listener: Listener) -> Built:
        """Raises `DockerfileError`, `InvalidParameter` before the first event; `StepFailed` after it. Cancelling stops
        every step and leaves nothing but what the cache has."""
        names = _names(options.tags)
        self._services.one_shots.check(msgspec.structs.replace(options.host_config))
        source, name = await asyncio.to_thread(_dockerfile, options, context)
        ignored = await asyncio.to_thread(_ignore, context, options.dockerfile) if context is not None else None
        found = {platforms.text(one): one for one in map(platforms.normalize, options.platforms)}
        wanted: list[Platform | None] = [*found.values()] or [options.platform]
        packaging.check(options.outputs, len(wanted) > 1, options.provenance is not None)
        with drawn(source, name):
            graph = None
            try:
                dockerfile = await asyncio.to_thread(parse, source, name)
                graphs = [(platform, self.graph(dockerfile, options, platform)) for platform in wanted]
                graph = graphs[0][1]
            finally:
                if options.lint or options.check:
                    linting.lint(self._services.images, source, name, graph, options, ignored, listener)
        if options.check:
            return Built("", [], "")
        if options.describe:
            listener(Described(what=_described(graphs[0][1], options)))
            return Built("", [], "")
        async with self._services.holdings.lease() as lease:
            job = Job(self._services, self._traces, options, context, lease, listener)
            try:
                finish = await job.run(graphs, names)
            finally:
                await asyncio.shield(asyncio.ensure_future(job.close()))
        await self._collect()
        tags = [name.familiar for name in names]
        manifest = str(finish.described.get("digest", ""))
        told = Finished(
            image=finish.image,
            tags=tags,
            manifest=manifest,
            described=finish.described,
            provenance=finish.provenance,
        )
        listener(told)
        return Built(finish.image, tags, manifest)

    @staticmethod
    def graph(dockerfile: Dockerfile, options: BuildOptions, platform: Platform | None) -> Graph:
        """What would be built. Raises `DockerfileError`."""
        given = {name: value for name, value in options.args.items() if value is not None}
        arguments = global_arguments(dockerfile, given, platform or platforms.host(), platforms.host(), options.target)
        return resolve(dockerfile, arguments, options.target, [context_name(name) for name in options.contexts])

    @property
    def agents(self) -> Agents:
        """ssh agents of clients that are connected."""
        return self._agents

    def export(self, token: str) -> AsyncIterator[bytes]:
        """What a build has for its client."""
        return self._services.exports.take(token)

    async def _collect(self) -> None:
        """The cache must not fill the disk: what was used longest ago goes, from where it takes more than its share."""
        wanted, keep = self._gc
        if not wanted:
            return
        disk = os.statvfs(self._data_root)
        keep = keep or max(int(disk.f_blocks * disk.f_frsize * _SHARE), _LEAST)
        if sum(record.size for record in self._services.cache.all()) > keep:
            await self.prune(lambda record: True, keep)
        oldest = time.time_ns() - _UNUSED
        if any(record.used < oldest for record in self._services.cache.all()):
            await self.prune(lambda record: record.used < oldest)

    # -- the cache ---------------------------------------------------------------------------------
    def usage(self) -> list[CacheRecord]:
        return self._services.cache.all()

    def in_use(self, record: CacheRecord) -> bool:
        return self._services.cache.in_use(record)

    def cache_mounts(self) -> list[CacheMount]:
        """What `RUN --mount=type=cache` has kept. Blocks."""
        caches = self._services.caches
        return [
            CacheMount(path, id, caches.size(path), path.stat().st_mtime_ns, caches.in_use(path))
            for path, id in caches.all()
        ]

    async def prune_cache_mounts(self, wanted: Callable[[CacheMount], bool]) -> tuple[list[str], int]:
        """(names removed, bytes freed)."""
        caches = self._services.caches

        def remove() -> list[CacheMount]:
            return [mount for mount in self.cache_mounts() if wanted(mount) and caches.remove(mount.path)]

        gone = await asyncio.to_thread(remove)
        return [mount.path.name for mount in gone], sum(mount.size for mount in gone)

    def in_images(self) -> set[str]:
        """The chainIDs of layers that images here have too."""
        return self._services.holdings.catalog.named_layers()

    async def prune(self, wanted: Callable[[CacheRecord], bool], keep: int = 0) -> tuple[list[str], int]:
        """(ids removed, bytes freed). The least recently used go first, until no more than `keep` bytes are left."""
        cache, holdings = self._services.cache, self._services.holdings
        total = sum(record.size for record in cache.all())
        chosen: list[CacheRecord] = []
        for record in filter(wanted, cache.all()):
            if keep and total <= keep:
                break
            chosen.append(record)
            total -= record.size
        gone = cache.remove(chosen)
        chains = [record.layer.chain_id for record in gone if record.layer is not None]
        blobs = [record.layer.blob for record in gone if record.layer is not None]
        removed = set(await asyncio.to_thread(holdings.collect, blobs, chains))
        freed = sum(record.size for record in gone if record.layer is not None and record.layer.chain_id in removed)
        return [record.key for record in gone], freed


def _described(graph: Graph, options: BuildOptions) -> dict[str, Any]:
    if options.describe == "targets":
        return describing.targets(graph)
    if options.describe == "outline":
        return describing.outline(graph, {name: value for name, value in options.args.items() if value is not None})
    raise InvalidParameter(f"unknown subrequest {options.describe}")


def _head(place: Path) -> bytes:
    with place.open("rb") as file:
        return file.read(512)


def _ignore(context: Context, name: str) -> ignore.Ignore | None:
    """What .dockerignore leaves out. A client has done that with all it sends, but for the Dockerfile and
    .dockerignore themselves, which it must send whatever they say. None without one."""
    if name == OUTSIDE:
        context.remove(name)
    places = ignore.names(name)
    source = next((found for place in places if (found := context.read(place)) is not None), None)
    if source is None:
        return None
    rules = ignore.Ignore(ignore.read(source))
    if not context.filtered:
        context.filter(rules)
    for one in (name, *places):
        if rules.excludes(one):
            context.remove(one)
    return rules


def _names(tags: Sequence[str]) -> list[Reference]:
    found = []
    for tag in tags:
        name = references.parse(tag)
        if name.digest:
            raise InvalidParameter("build tag cannot contain a digest")
        found.append(name.tagged())
    return list(dict.fromkeys(found))


def _dockerfile(options: BuildOptions, context: Context | None) -> tuple[bytes, str]:
    """(the file, its name)."""
    source, name = options.dockerfile_source, options.dockerfile
    if source is None and context is not None:
        source = context.read(name)
        if source is None and name == "Dockerfile":
            source = context.read("dockerfile")
    if source is None:
        raise InvalidParameter(f"Cannot locate specified Dockerfile: {name}")
    name = "Dockerfile" if name == OUTSIDE else name
    if not source:
        raise DockerfileError(f"the Dockerfile ({name}) cannot be empty")
    return source, name
