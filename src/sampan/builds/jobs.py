"""One request from its graphs to its outputs: a build for each platform, side by side, then what becomes of the results
(`outputs`) and of the cache (`sharing`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sampan.builds import bases, publishing
from sampan.builds.cache import CacheRecord
from sampan.builds.context import Context
from sampan.builds.dockerfile.stages import Graph
from sampan.builds.execution import Execution
from sampan.builds.explaining import Explanation, Trace
from sampan.builds.model import BuildOptions
from sampan.builds.outputs import files, packaging, provenance
from sampan.builds.outputs.requests import DOCKER, IMAGE, OCI, TAR, Output
from sampan.builds.outputs.requests import LOCAL as FILES
from sampan.builds.progress import Around, Exporting, Listener, Noted, Offset, Planned
from sampan.builds.publishing import Result
from sampan.builds.sharing import receiving, sending
from sampan.builds.sharing.receiving import Received
from sampan.builds.sharing.requests import INLINE, LOCAL, REGISTRY, CacheTo
from sampan.builds.work import Services, Work
from sampan.errors import NotFound, SampanError
from sampan.images import layouts, platforms, references
from sampan.images.holdings import Lease
from sampan.images.model import Platform
from sampan.images.references import Reference
from sampan.store import Documents

_EXPORTS = {
    (IMAGE, False): "exporting to image",
    (DOCKER, False): "exporting to image",
    (IMAGE, True): "exporting to image",
    (OCI, False): "exporting to image",
    (OCI, True): "exporting to oci image format",
    (DOCKER, True): "exporting to docker image format",
    (FILES, True): "exporting to client directory",
    (TAR, True): "exporting to client tarball",
}
"""What is done for an output, by its type and whether the client takes it, in BuildKit's words."""


@dataclass(frozen=True, slots=True)
class Finish:
    """`image` is the image's id; `described` what its names stand for."""

    image: str
    described: dict[str, Any]
    provenance: dict[str, Any]


class Job:
    """See the module. `close` it."""

    def __init__(
        self,
        services: Services,
        traces: Documents[Trace],
        options: BuildOptions,
        context: Context | None,
        lease: Lease,
        listener: Listener,
    ) -> None:
        self._services, self._traces = services, traces
        self._options, self._context, self._lease = options, context, lease
        self._listener = listener
        self._works: list[Work] = []
        self._graphs: list[Graph] = []
        self._executions: list[Execution] = []
        self._done = 0

    async def close(self) -> None:
        for work in self._works:
            await work.close()

    # -- building ----------------------------------------------------------------------------------
    async def run(self, graphs: Sequence[tuple[Platform | None, Graph]], names: Sequence[Reference]) -> Finish:
        received = await self._received()
        options, several = self._options, len(graphs) > 1
        first = 0
        made: set[str] = set()
        for platform, graph in graphs:
            shown = platforms.text(platform) if platform is not None else ""
            listener = Offset(self._listener, first, shown) if several else self._listener
            own = replace(options, platform=platform)
            work = Work(self._services, own, self._context, self._lease, listener, received=received, made=made)
            work.source = graph.dockerfile.source
            self._works.append(work)
            execution = Execution(work, graph, self._explanation(names, shown if several else ""))
            self._executions.append(execution)
            self._graphs.append(graph)
            first += execution.steps
        if several:
            self._listener(Planned(total=first))
        results = await self._results()
        finish = await self._outputs(results, names)
        for number, wanted in enumerate(options.cache_to):
            await self._send_cache(number, wanted)
        return finish

    async def _results(self) -> list[Result]:
        """All platforms' at once: a step that they share runs once, and the first failure stops the others."""
        tasks = [asyncio.ensure_future(execution.run()) for execution in self._executions]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
            for task in failed:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        found = []
        for work, task in zip(self._works, tasks, strict=True):
            await work.have(task.result().chain_id)
            found.append(await publishing.result(work, task.result()))
        return found

    def _explanation(self, names: Sequence[Reference], platform: str) -> Explanation:
        options = self._options
        forced = "--no-cache" if options.no_cache else "--no-cache-filter"
        scope = names[0].familiar if names else options.dockerfile
        scope += f" for {platform}" if platform else ""
        return Explanation(self._traces, scope, self._services.cache, forced)

    @contextlib.asynccontextmanager
    async def _around(self, name: str) -> AsyncIterator[list[str]]:
        """Shows what is done, as BuildKit names it; the caller adds lines that say what came of it."""
        number, begun = self._done, time.monotonic()
        self._done += 1
        self._listener(Around(number=number, name=name))
        error, lines = "", list[str]()
        try:
            yield lines
        except SampanError as failure:
            error = failure.message
            raise
        finally:
            seconds = time.monotonic() - begun
            ended = Around(number=number, name=name, ended=True, seconds=seconds, error=error, lines=lines)
            self._listener(ended)

    # -- outputs -----------------------------------------------------------------------------------
    async def _outputs(self, results: list[Result], names: Sequence[Reference]) -> Finish:
        outputs = self._options.outputs or (Output(),)
        image = ""
        described: dict[str, Any] = {}
        for number, output in enumerate(outputs):
            own = list(dict.fromkeys([*names, *(references.parse(name).tagged() for name in output.names)]))
            async with self._around(_EXPORTS[output.type, output.streams]) as lines:
                if not output.is_image:
                    await self._offer(number, files.archive(await self._roots(results, output)))
                elif output.streams:
                    described = await self._archive(number, results, output, own)
                else:
                    image, described = await packaging.keep(results, output, own)
                    lines += [f"writing image {image} done", *(f"naming to {name} done" for name in own)]
        wanted = self._options.provenance
        told = provenance.predicate(results[0], wanted) if wanted is not None else {}
        if not image and any(output.is_image for output in outputs):
            image = results[0].id
        return Finish(image, described, told)

    async def _archive(
        self, number: int, results: list[Result], output: Output, names: Sequence[Reference]
    ) -> dict[str, Any]:
        found = await packaging.packaged(results, output)
        listed, docker = packaging.archive_of(results, output, found, names)
        await self._offer(number, layouts.archive(self._services.holdings, self._lease, found.blobs, listed, docker))
        return packaging.described(found.top)

    async def _roots(self, results: list[Result], output: Output) -> list[tuple[str, Any]]:
        split = len(results) > 1 if output.platform_split is None else output.platform_split
        if not split and len(results) > 1:
            raise SampanError("platform-split=false: the files of several platforms cannot be one tree")
        found = []
        for result in results:
            name = files.directory(platforms.text(result.platform)) if split else ""
            found.append((name, await result.work.root(result.state.chain_id)))
        return found

    async def _offer(self, output: int, stream: AsyncIterator[bytes]) -> None:
        tell = self._listener
        await self._services.exports.offer(stream, lambda token: tell(Exporting(token=token, output=output)))

    # -- caches ------------------------------------------------------------------------------------
    async def _received(self) -> list[Received]:
        """Those of `--cache-from` that are there: a cache that is missing costs time, and is no failure."""
        options, images = self._options, self._services.images
        found: list[Received] = []
        for wanted in options.cache_sources:
            try:
                if wanted.type == LOCAL:
                    assert self._context is not None
                    place = self._context.beside(wanted.source)
                    found.append(await asyncio.to_thread(receiving.from_directory, wanted, place))
                    continue
                with contextlib.suppress(NotFound):
                    images.resolve(wanted.ref)
                    self._as_image(wanted.ref)
                    continue
                reference = references.parse(wanted.ref).tagged()
                auth = bases.auth_for(options, reference.domain)
                one = await receiving.from_registry(wanted, images.remote, auth)
                if one is None:
                    await images.pull(reference.familiar, options.platform, auth, lambda message: None)
                    self._as_image(wanted.ref)
                else:
                    found.append(one)
            except SampanError as error:
                self._listener(Noted(text=f"WARNING: failed to import cache from {wanted.shown}: {error.message}"))
        return found

    def _as_image(self, ref: str) -> None:
        """An image whose history is the cache: what `--cache-to type=inline` leaves in every image made here."""
        self._options = replace(self._options, cache_from=[*self._options.cache_from, ref])

    def _records(self, wanted: CacheTo) -> list[CacheRecord]:
        """Of all stages, or of those that the result is made of."""
        chosen = []
        for work, graph, execution in zip(self._works, self._graphs, self._executions, strict=True):
            stages = set(graph.needed()) if wanted.everything else _stem(graph)
            numbers = execution.numbers(stages)
            chosen += [record for number, record in sorted(work.used, key=lambda one: one[0]) if number in numbers]
        return chosen

    async def _send_cache(self, number: int, wanted: CacheTo) -> None:
        if wanted.type == INLINE:
            return  # see `_as_image`
        where = "registry" if wanted.type == REGISTRY else "client directory"
        try:
            async with self._around(f"exporting cache to {where}"):
                await self._cache(number, wanted)
        except SampanError as error:
            if not wanted.ignore_error:
                raise SampanError(f"error writing cache to {wanted.ref or wanted.type}: {error.message}") from None
            self._listener(Noted(text=f"WARNING: error writing cache to {wanted.ref or wanted.type}: {error.message}"))

    async def _cache(self, number: int, wanted: CacheTo) -> None:
        services = self._services
        records = self._records(wanted)
        for work in self._works:
            for record in records:
                await work.have(record.layer.chain_id if record.layer is not None else None)
        packed = await sending.pack(services.holdings, services.converter, records, wanted, self._lease)
        if wanted.type == LOCAL:
            listed = [sending.listed(packed, wanted.tag)]
            archive = layouts.archive(services.holdings, self._lease, packed.blobs, listed)
            tell = self._listener
            await services.exports.offer(archive, lambda token: tell(Exporting(token=token, cache=number)))
            return
        auth = bases.auth_for(self._options, references.parse(wanted.ref).domain)
        await sending.to_registry(packed, wanted, services.holdings, services.images.remote, auth)


def _stem(graph: Graph) -> set[int]:
    """The target stage and those it begins with."""
    found = {graph.target}
    stage = graph.stages[graph.target]
    while stage.base_stage is not None and not stage.context:
        found.add(stage.base_stage)
        stage = graph.stages[stage.base_stage]
    return found
