"""One build, from a graph of stages to an image: stages side by side, the steps of a stage one after the other."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from sampan.builds import bases, copies, mounting, named, plan, runconfig, running
from sampan.builds.cache import key_of
from sampan.builds.context import Context
from sampan.builds.copying import Copier
from sampan.builds.dockerfile import DockerfileError, ast
from sampan.builds.dockerfile.excerpt import excerpt
from sampan.builds.dockerfile.parser import parse_trigger
from sampan.builds.dockerfile.ports import exposed_ports
from sampan.builds.dockerfile.stages import SCRATCH, Graph, Source, context_name
from sampan.builds.dockerfile.substitution import Expander, expanded
from sampan.builds.dockerfile.variables import PROXIES, arg_values
from sampan.builds.explaining import Explanation
from sampan.builds.model import State, StepFailed, copied
from sampan.builds.progress import Done, Failed, Noted, Planned, Started
from sampan.builds.work import Step, Work, stepped
from sampan.errors import SampanError
from sampan.images.building import SealedLayer
from sampan.linux import openat2

_PREDEFINED = frozenset({"SOURCE_DATE_EPOCH"}) | PROXIES


class Execution:
    def __init__(self, work: Work, graph: Graph, explanation: Explanation) -> None:
        self.work, self.graph, self.explanation = work, graph, explanation
        self._plan = plan.make(graph, dict(work.options.labels))
        self._given = {name: value for name, value in work.options.args.items() if value is not None}
        self._tasks: dict[int, asyncio.Task[State]] = {}
        self._escape = graph.dockerfile.escape
        self._contexts = {context_name(name): place for name, place in work.options.contexts.items()}

    @property
    def steps(self) -> int:
        return len(self._plan.steps)

    def numbers(self, stages: Collection[int]) -> set[int]:
        """Of the steps of some stages."""
        return {started.step for (stage, _), started in self._plan.steps.items() if stage in stages}

    # -- the whole ---------------------------------------------------------------------------------
    async def run(self) -> State:
        """The target stage's state. The first failure stops all stages."""
        work = self.work
        work.emit(Planned(total=len(self._plan.steps)))
        for (stage, _), started in self._plan.steps.items():
            if stage == -1:
                work.emit(started)
                work.emit(Done(step=started.step, id=""))
        for index in self._plan.stages:
            self._tasks[index] = asyncio.ensure_future(self._stage(index))
        whole = False
        try:
            await self._all()
            whole = True
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self.explanation.save(whole)
        self._check_consumed()
        return self._tasks[self.graph.target].result()

    async def _all(self) -> None:
        done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        failures = [task.exception() for task in done if not task.cancelled() and task.exception() is not None]
        if failures:
            # Of several, not one that only heard of another's through a stage it waited for.
            raise next((one for one in failures if isinstance(one, StepFailed)), failures[0])  # type: ignore[misc]

    def _check_consumed(self) -> None:
        known = set(self.graph.arguments.values) | self.graph.arguments.declared | _PREDEFINED
        for stage in self.graph.dockerfile.stages:
            for one in stage.instructions:
                if isinstance(one, ast.Arg):
                    known |= {argument.key for argument in one.arguments}
        unused = sorted(name for name in self._given if name not in known and not name.startswith("BUILDKIT_"))
        if unused:
            text = f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"
            self.work.emit(Noted(step=len(self._plan.steps), text=text))

    async def _wait(self, index: int) -> State:
        """Another stage's result; it fails with its own failure, in its own task."""
        if index not in self._tasks:  # only an ONBUILD trigger of a base names it
            for needed in self.graph.needed(index):
                if needed not in self._tasks:
                    plan.add(self._plan, self.graph, needed)
                    self._tasks[needed] = asyncio.ensure_future(self._stage(needed))
        return await asyncio.shield(self._tasks[index])

    # -- a stage -----------------------------------------------------------------------------------
    async def _stage(self, index: int) -> State:
        state = await self._from(index)
        resolved = self.graph.stages[index]
        instructions = [] if resolved.context else list(resolved.stage.instructions)
        if index == self.graph.target:
            instructions += self._plan.extra
        for position, instruction in enumerate(instructions):
            sources = await self._sources(instruction)
            state = await self._step(index, position, instruction, state, sources)
        return state

    async def _from(self, index: int) -> State:
        resolved = self.graph.stages[index]
        waited = None
        if resolved.base_stage is not None and not resolved.context:
            waited = await self._wait(resolved.base_stage)
        started = self._plan.steps[index, -1]
        self.work.emit(started)
        begun = time.monotonic()
        try:
            platform = resolved.platform
            begins_with = resolved.context or resolved.base_as_written
            given = "" if waited is not None else self._contexts.get(context_name(begins_with), "")
            if given.startswith(named.LAYOUT):
                state = await named.layout_state(self.work, given, platform)
            elif given and not given.startswith("docker-image://"):
                state = await self._from_files(index, begins_with, started)
            elif given:
                image = await bases.find(self.work, self._image_name(begins_with), platform, started.step)
                state = await bases.image_state(self.work, image)
            elif waited is not None:
                # ARGs of a stage are its children's too ("Scope" of ARG in the Dockerfile reference).
                state = replace(waited, config=copied(waited.config), commanded=False)
            elif resolved.base == SCRATCH:
                state = bases.scratch(platform or self.work.options.platform)
            else:
                name = self._image_name(resolved.base_as_written)
                image = await bases.find(self.work, name, platform, started.step)
                state = await bases.image_state(self.work, image)
            self.explanation.base(index, resolved.base_as_written, state.key)
            triggers, state.config.on_build = state.config.on_build, None
            if triggers or resolved.stage.instructions or (index == self.graph.target and self._plan.extra):
                state = bases.with_path(state)
            if triggers:
                state = await self._triggers(index, state, triggers, started)
        except SampanError as error:
            raise self._failed(started, error, [resolved.stage.lines]) from None
        shown = "" if resolved.base == SCRATCH and not triggers else state.key
        self.work.emit(Done(step=started.step, id=shown, seconds=time.monotonic() - begun))
        return state

    async def _from_files(self, index: int, context: str, started: Started) -> State:
        """A stage that begins with the files of a named context, and with no configuration."""
        step = Step(started.step, started.line, self._anew(index))
        lines = self.graph.stages[index].stage.lines
        everything = ast.Copy(keyword="COPY", code="COPY . /", lines=lines, sources=(".",), destination="/")
        empty = bases.scratch(self.graph.stages[index].platform or self.work.options.platform)
        state = await copies.copy(self.work, step, empty, everything, await self._root(context, step))
        return replace(state, history=())

    def _image_name(self, name: str) -> str:
        """What a named context puts in an image's place."""
        given = self._contexts.get(context_name(name), "")
        return given.removeprefix("docker-image://") if given.startswith("docker-image://") else name

    async def _triggers(self, index: int, state: State, triggers: list[str], started: Started) -> State:
        count = len(triggers)
        text = f"# Executing {count} build trigger{'s' if count != 1 else ''}"
        self.work.emit(Noted(step=started.step, text=text))
        lines = self.graph.stages[index].stage.lines
        for trigger in triggers:
            instruction = parse_trigger(trigger, lines)
            for source in self.graph.sources(instruction):
                if source.stage is not None and index in self.graph.needed(source.stage):
                    name = self.graph.stages[index].name
                    raise DockerfileError(f"circular dependency detected on stage: {name}", [lines])
            sources = await self._sources(instruction)
            step = Step(started.step, lines.start, self._anew(index))
            state = await self._dispatch(step, state, instruction, sources)
        return state

    async def _sources(self, instruction: ast.Instruction) -> list[State | str]:
        """What the instruction's --from names, made: stages' states, images' names."""
        return [await self._source(source) for source in self.graph.sources(instruction)]

    async def _source(self, source: Source) -> State | str:
        if source.stage is None:
            return source.image
        return self.graph.stages[source.stage].context or await self._wait(source.stage)

    # -- a step ------------------------------------------------------------------------------------
    async def _step(
        self, index: int, position: int, instruction: ast.Instruction, state: State, sources: list[State | str]
    ) -> State:
        started = self._plan.steps[index, position]
        self.work.emit(started)
        begun = time.monotonic()
        step = Step(started.step, started.line, self._anew(index), counts=not isinstance(instruction, ast.Arg))
        step.explain = self.explanation.reason(index, position, started.text, state, step)
        try:
            after = await self._dispatch(step, state, instruction, sources)
        except DockerfileError as error:
            raise self._failed(started, error, list(error.lines) or [instruction.lines]) from None
        except SampanError as error:
            raise self._failed(started, error, [instruction.lines]) from None
        self.explanation.done(index, position, started.text, state, after, step)
        shown = after.key if after.key != state.key else step.shown or state.key
        self.work.emit(Done(step=started.step, id=shown, seconds=time.monotonic() - begun))
        return after

    def _anew(self, index: int) -> bool:
        options = self.work.options
        return options.no_cache or self.graph.stages[index].name in options.no_cache_filter

    def _failed(self, started: Started, error: SampanError, lines: list[ast.Lines]) -> StepFailed:
        dockerfile = self.graph.dockerfile
        shown = excerpt(dockerfile.source, lines, dockerfile.name)
        if isinstance(error, StepFailed) and error.excerpt:
            return error  # a stage's that this one waited for
        failed = StepFailed(error.message, error.code if isinstance(error, StepFailed) else 0, shown)
        failed.status = error.status  # type: ignore[misc]  # an instance's own, over the class's
        self.work.emit(Failed(step=started.step, message=failed.message, code=failed.code, excerpt=shown))
        return failed

    async def _dispatch(
        self, step: Step, state: State, instruction: ast.Instruction, sources: list[State | str]
    ) -> State:
        work = self.work
        if isinstance(instruction, ast.Arg):
            return await self._arg(step, state, instruction)
        instruction = expanded(instruction, state.environment, self._escape)
        match instruction:
            case ast.Run():
                return await running.run(work, step, state, instruction, await self._mounts(state, instruction, step))
            case ast.Copy() if instruction.from_:
                return await copies.copy(work, step, state, instruction, await self._files(sources[0], step))
            case ast.Copy() | ast.Add():
                return await copies.copy(work, step, state, instruction, work.context)
            case ast.Workdir():
                return await self._workdir(step, state, instruction)
        return await self._configure(step, state, instruction)

    async def _files(self, source: State | str, step: Step) -> Path | copies.Chain:
        """Of a stage: not mounted unless somebody looks."""
        return copies.Chain(source.chain_id) if isinstance(source, State) else await self._root(source, step)

    async def _root(self, source: State | str, step: Step) -> Path:
        if isinstance(source, State):
            return await self.work.root(source.chain_id)
        if source == SCRATCH:
            return await self.work.root(None)
        given = self._contexts.get(context_name(source), "")
        if given.startswith("local:") and self.work.context is not None:
            return self.work.context.beside(given.removeprefix("local:"))
        if given.startswith(named.LAYOUT):
            return await self.work.root((await named.layout_state(self.work, given, None)).chain_id)
        if named.is_remote(given):
            return await named.fetched(self.work, given)
        image = await bases.find(self.work, self._image_name(source), None, step.number)
        return await self.work.root(image.chain_id)

    async def _mounts(self, state: State, run: ast.Run, step: Step) -> list[mounting.RunMount]:
        found = []
        for mount in run.mounts:
            root: Path | Context | None = None
            if mount.from_:
                root = await self._root(await self._source(self.graph.named(mount.from_)), step)
            elif mount.type == "bind" and self.work.context is not None:
                root = self.work.context
            found.append(await mounting.resolve(self.work, mount, state.config.working_dir, root))
        return found

    @property
    def _times(self) -> list[int]:
        """A step's time stands in the history: with SOURCE_DATE_EPOCH it is another result."""
        epoch = self.work.options.epoch
        return [] if epoch is None else [epoch]

    # -- instructions that copy and run nothing --------------------------------------------------------
    async def _arg(self, step: Step, state: State, instruction: ast.Arg) -> State:
        """Its value is part of the steps that use it, so that one nobody uses changes nothing."""
        expander = Expander(state.environment, self._escape)
        found = arg_values(instruction, self._given, self.graph.arguments.values, expander)
        arguments = dict(state.args)
        for argument in found.arguments:
            if argument.value is not None:
                arguments[argument.key] = argument.value
        written = {one.key: one.value for one in instruction.arguments}
        shown = ast.Arg(
            keyword=instruction.keyword,
            code=instruction.code,
            lines=instruction.lines,
            arguments=tuple(
                ast.ArgDefinition(
                    one.key,
                    one.value if written[one.key] is not None and one.key not in self._given else written[one.key],
                )
                for one in found.arguments
            ),
        )
        _, text = runconfig.apply(copied(state.config), shown, {})
        key = key_of(state.key, text, *self._times)
        record = await self.work.cached(step, state, key, text, _nothing)
        step.shown = record.key
        after = stepped(state, record, author=state.author)
        return replace(after, key=state.key, args=tuple(arguments.items()))

    async def _configure(self, step: Step, state: State, instruction: ast.Instruction) -> State:
        exposed = dict.fromkeys(exposed_ports(instruction.ports)) if isinstance(instruction, ast.Expose) else {}
        config = copied(state.config)
        if isinstance(instruction, ast.Entrypoint) and not state.commanded:
            config.cmd = None
        config, text = runconfig.apply(config, instruction, exposed)
        author = instruction.maintainer if isinstance(instruction, ast.Maintainer) else state.author
        record = await self.work.cached(step, state, key_of(state.key, text, *self._times), text, _nothing)
        commanded = state.commanded or isinstance(instruction, ast.Cmd)
        after = stepped(state, record, author=author)
        named = {pair.key for pair in instruction.pairs} if isinstance(instruction, ast.Env) else frozenset()
        args = tuple(pair for pair in state.args if pair[0] not in named)
        return replace(after, config=config, author=author, commanded=commanded, args=args)

    async def _workdir(self, step: Step, state: State, instruction: ast.Workdir) -> State:
        """The directory is made when it is missing, and belongs to USER, as BuildKit does it."""
        work = self.work
        config = copied(state.config)
        config.working_dir = runconfig.working_directory(config.working_dir, instruction.path).rstrip("/") or "/"
        text = runconfig.nop(config, f"WORKDIR {config.working_dir}")

        async def make() -> SealedLayer | None:
            async with work.snapshot(state.chain_id) as snapshot:
                await work.thread(functools.partial(self._make_directory, snapshot, config.working_dir, config.user))
                return await work.seal(snapshot, state.chain_id)

        key = key_of(state.key, text, work.options.epoch)
        record = await work.cached(step, state, key, text, make, state.chain_id)
        return replace(stepped(state, record, author=state.author), config=config)

    def _make_directory(self, snapshot: str, path: str, user: str) -> None:
        """Blocks."""
        import os

        shots = self.work.services.one_shots
        with shots.mounted(snapshot), openat2.root(shots.bundle(snapshot).rootfs) as root:
            owner = (0, 0)
            if user:
                owner = copies.owner_of(root, user)
            with Copier(root, owner) as copier:
                os.close(copier.directory(path))


async def _nothing() -> None:
    return None
