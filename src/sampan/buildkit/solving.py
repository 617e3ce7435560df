"""One build of a client's, from its request to its result.

Two calls make a build: Control.Solve, which waits, and by the side of it LLBBridge.Solve and Return, with which the
client names what Control.Solve is to export. (A client may leave the second out and name the frontend at once.)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sampan.buildkit import attributes
from sampan.buildkit.attributes import Export
from sampan.buildkit.failures import failure
from sampan.buildkit.inputs import Gathering, Inputs
from sampan.buildkit.sending import send_archive, send_directory
from sampan.buildkit.sessions import Session, Sessions
from sampan.buildkit.status import Feed, Step, Steps
from sampan.builds import BuildOptions
from sampan.builds.dockerfile import parse, rules
from sampan.builds.dockerfile.ast import Lines
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.progress import AnyEvent, Described, Exporting, Finished, Warned
from sampan.errors import InvalidParameter, NotSupported, SampanError
from sampan.images import references

if TYPE_CHECKING:
    from sampan.engine import Engine

CacheEntry = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What Control.Solve was asked for."""

    session: str
    exports: Sequence[Export] = ()
    caches_from: Sequence[CacheEntry] = ()
    caches_to: Sequence[CacheEntry] = ()
    entitlements: Sequence[str] = ()


class Solve:
    """See the module. `feed` has the status; `result` becomes what the client wants exported, None for nothing."""

    def __init__(self, engine: Engine, sessions: Sessions, ref: str, wanted: Wanted) -> None:
        self.ref = ref
        self.wanted = wanted
        self.feed = Feed()
        self.result: asyncio.Future[Request | None] = asyncio.get_running_loop().create_future()
        self.upload: asyncio.Future[AsyncIterator[bytes]] = asyncio.get_running_loop().create_future()
        """A context that comes by a request of its own (`BuildKit.upload`)."""
        self.running: asyncio.Future[dict[str, str]] | None = None
        """`run`, of a build that can be cancelled by its name."""
        self._engine, self._sessions = engine, sessions
        self._requests: dict[str, Request] = {}

    def request(self, attrs: Mapping[str, str], inputs: Mapping[str, Request]) -> str:
        """A build that may be exported later; its id. `inputs`: other builds, by the names it has for them."""
        id = os.urandom(12).hex()
        self._requests[id] = Request(self, attrs, inputs)
        return id

    def requested(self, id: str) -> Request:
        found = self._requests.get(id)
        if found is None:
            raise InvalidParameter(f"no such ref: {id}")
        return found

    async def run(self) -> dict[str, str]:
        """To the end. What the client is told: BuildKit's exporter response. Raises `GRPCError`."""
        try:
            request = await self.result
            return {} if request is None else await request.export(self.wanted.exports, self.wanted.caches_to)
        finally:
            self.feed.end()

    # -- for its requests ----------------------------------------------------------------------------
    async def gathering(self, attrs: Mapping[str, str], steps: Steps, made: Mapping[str, str]) -> Gathering:
        builds, images = self._engine.builds, self._engine.images
        return Gathering(builds, images, self._sessions, await self.session(), steps, attrs, made, self.upload)

    async def session(self) -> Session:
        return await self._sessions.get(self.wanted.session)

    @property
    def engine(self) -> Engine:
        return self._engine


class Request:
    """A Dockerfile with its attributes."""

    def __init__(self, solve: Solve, attrs: Mapping[str, str], inputs: Mapping[str, Request]) -> None:
        self._solve, self._attrs, self._inputs = solve, attrs, inputs
        self._built: asyncio.Future[Finished] | None = None
        self._waiting = 0

    # -- building ------------------------------------------------------------------------------------
    async def image(self) -> str:
        """The id of its image in this engine, built without a name where nobody has built it yet: another build is
        based on it. It stops with the last who waits for it."""
        if self._built is None:
            self._built = asyncio.ensure_future(self._run((), ()))
        built = self._built
        self._waiting += 1
        try:
            return (await asyncio.shield(built)).image
        finally:
            self._waiting -= 1
            if not self._waiting and not built.done():
                self._built = None
                built.cancel()
                await asyncio.gather(built, return_exceptions=True)

    async def evaluate(self) -> None:
        """Everything but its export."""
        await self.image()

    async def export(self, exports: Sequence[Export], caches_to: Sequence[CacheEntry]) -> dict[str, str]:
        finished = await self._run(exports, caches_to)
        for export in exports:
            if export.pushed:
                await self._push(export)
        told = {"containerimage.config.digest": finished.image} if finished.image else {}
        if finished.described:
            told["containerimage.digest"] = str(finished.described.get("digest", ""))
            shown = json.dumps(finished.described, separators=(",", ":")).encode()
            told["containerimage.descriptor"] = base64.b64encode(shown).decode()
        names = [str(references.parse(name).tagged()) for export in exports for name in export.names]
        if names:
            told["image.name"] = ",".join(dict.fromkeys(names))
        return told

    async def _push(self, export: Export) -> None:
        solve = self._solve
        session = await solve.session()
        steps = Steps(solve.feed, solve.ref)
        try:
            for name in export.names:
                reference = references.parse(name).tagged()
                auth = await session.credentials(reference.domain)
                with steps.step(f"pushing {reference}") as step:
                    await solve.engine.images.push(reference.familiar, None, auth, _pushing(step))
        except SampanError as error:
            raise failure(error) from None

    async def _run(self, exports: Sequence[Export], caches_to: Sequence[CacheEntry]) -> Finished:
        solve = self._solve
        steps = Steps(solve.feed, solve.ref)
        listener = _Listener(steps)
        try:
            wanted = solve.wanted
            options = attributes.options(self._attrs, exports, wanted.caches_from, caches_to, wanted.entitlements)
            inputs = await self._gather(options, steps)
            try:
                delivering = _Delivering(solve, exports, inputs.options)
                listener.deliver = delivering.begin
                async with delivering:
                    await solve.engine.builds.build(inputs.options, inputs.context, listener)
            finally:
                await inputs.context.leave()
        except Exception as error:
            raise failure(error, steps.dockerfile, _places(steps)) from None
        assert listener.finished is not None
        _tell_export(steps, listener.finished, exports)
        return listener.finished

    async def _gather(self, options: BuildOptions, steps: Steps) -> Inputs:
        made = {name: await request.image() for name, request in self._inputs.items()}
        gathering = await self._solve.gathering(self._attrs, steps, made)
        return await gathering.gather(options)

    # -- questions about the Dockerfile ----------------------------------------------------------------
    async def answer(self, question: str) -> dict[str, bytes]:
        """`--check` and `--call`: the metadata that a subrequest gives. Raises `GRPCError`."""
        steps = Steps(self._solve.feed, self._solve.ref)
        told: list[AnyEvent] = []
        try:
            options = attributes.options(self._attrs, (), (), (), ())
            options = replace(options, outputs=(), **_questioned(question))
            gathering = await self._solve.gathering(self._attrs, steps, {})
            inputs = await gathering.gather(options)
            try:
                await self._solve.engine.builds.build(inputs.options, inputs.context, told.append)
            finally:
                await inputs.context.leave()
        except Exception as error:
            if question == "frontend.lint" and isinstance(error, SampanError) and steps.dockerfile is not None:
                return _lint(told, steps.dockerfile, error)
            raise failure(error, steps.dockerfile, ()) from None
        if question == "frontend.lint":
            return _lint(told, steps.dockerfile, None)
        what = next((event.what for event in told if isinstance(event, Described)), {})
        return _answer(what)


def _questioned(question: str) -> dict[str, Any]:
    if question == "frontend.lint":
        return {"check": True}
    if question in ("frontend.outline", "frontend.targets"):
        return {"describe": question.removeprefix("frontend.")}
    raise NotSupported(f"unsupported request: {question}")


def _answer(what: dict[str, Any]) -> dict[str, bytes]:
    return {"result.json": json.dumps(what).encode(), "version": b"1.0.0"}


def _lint(
    told: Iterable[AnyEvent], dockerfile: tuple[str, bytes] | None, error: SampanError | None
) -> dict[str, bytes]:
    warnings = []
    for event in told:
        if not isinstance(event, Warned):
            continue
        one: dict[str, Any] = {"ruleName": event.rule, "detail": event.message}
        one["description"] = next((rule.description for rule in rules.RULES if rule.name == event.rule), "")
        one["url"] = event.url
        if event.line:
            one["location"] = {"ranges": [{"start": {"line": event.line}, "end": {"line": event.line}}]}
        warnings.append(one)
    what: dict[str, Any] = {"warnings": warnings}
    if dockerfile is not None:
        name, source = dockerfile
        data = base64.b64encode(source).decode()
        what["sources"] = [{"filename": name, "language": "Dockerfile", "data": data}]
    if error is not None:
        what["buildError"] = {"message": error.message}
    return _answer(what)


def _places(steps: Steps) -> Sequence[Lines]:
    """The lines of the instruction that failed."""
    if steps.dockerfile is None or not (line := steps.failed):
        return ()
    name, source = steps.dockerfile
    try:
        stages = parse(source, name).stages
    except DockerfileError:
        return ()
    for stage in stages:
        for lines in (stage.lines, *(instruction.lines for instruction in stage.instructions)):
            if lines.start <= line <= lines.end:
                return (lines,)
    return (Lines(line, line),)


def _tell_export(steps: Steps, finished: Finished, exports: Sequence[Export]) -> None:
    kept = [export for export in exports if not export.streams]
    if not kept:
        return
    with steps.step("exporting to image") as step:
        step.count("exporting layers", 0, done=True)
        step.count(f"writing image {finished.image or finished.manifest}", 0, done=True)
        for export in kept:
            for name in export.names:
                step.count(f"naming to {references.parse(name).tagged()}", 0, done=True)


def _pushing(step: Step) -> Callable[[dict[str, Any]], None]:
    """A push's messages as the step's counters."""

    def show(message: dict[str, Any]) -> None:
        detail = message.get("progressDetail") or {}
        if (layer := message.get("id")) and message.get("status"):
            done = message["status"] in ("Pushed", "Layer already exists") or "Mounted" in message["status"]
            step.count(f"pushing layer {layer}", detail.get("current", 0), detail.get("total", 0), done=done)

    return show


class _Listener:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.finished: Finished | None = None
        self.deliver: Any = None

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Finished):
            self.finished = event
        elif isinstance(event, Exporting):
            self.deliver(event)
        else:
            self._steps(event)


class _Delivering:
    """What the client takes, while the build waits for it. What goes wrong there is the build's failure."""

    def __init__(self, solve: Solve, exports: Sequence[Export], options: BuildOptions) -> None:
        self._solve, self._exports, self._options = solve, exports, options
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, event: Exporting) -> None:
        self._tasks.append(asyncio.ensure_future(self._deliver(event)))

    async def _deliver(self, event: Exporting) -> None:
        builds = self._solve.engine.builds
        session = await self._solve.session()
        async with contextlib.aclosing(builds.export(event.token)) as stream:  # type: ignore[type-var]
            if self._exports[event.output].type != "local":
                await send_archive(session, event.output, stream)
                return
            files = await builds.receive(stream, BuildOptions())
        try:
            assert files.index is not None
            await send_directory(session, event.output, files.index)
        finally:
            await files.leave()

    async def __aenter__(self) -> _Delivering:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            for task in self._tasks:
                if not task.done() and isinstance(error, asyncio.CancelledError):
                    task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        failed = next((result for result in results if isinstance(result, Exception)), None)
        if failed is not None and not isinstance(error, asyncio.CancelledError):
            raise failed from error
