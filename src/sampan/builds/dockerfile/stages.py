"""The stages of a Dockerfile as a graph: what each is based on, what it copies or mounts from, which are needed.

Words: an *edge* is a stage's use of another, by FROM (`base_stage`) or by an instruction (`Source`). A *source* that is
no stage is an image, or a *named context* the caller gave. Only what the target reaches is built.

The order of checks, and so which of several mistakes is told, is BuildKit's: bases, target, sources, circles,
references.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from sampan.builds.dockerfile.ast import Copy, Dockerfile, Instruction, Lines, Run, Stage
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.expansion import expand
from sampan.builds.dockerfile.scalars import csv_fields
from sampan.builds.dockerfile.variables import GlobalArguments
from sampan.builds.dockerfile.wording import did_you_mean, suggestion
from sampan.errors import InvalidParameter
from sampan.golang import quote
from sampan.images import platforms, references
from sampan.images.model import Platform

SCRATCH = "scratch"
_INDEX = re.compile(r"[+-]?[0-9]+")
_NO_CONTEXT = frozenset((SCRATCH, "context"))


class Source(Struct, frozen=True):
    """Where COPY --from or a mount's from= points: a stage, or the name of an image (`scratch` included)."""

    stage: int | None = None
    image: str = ""


class ResolvedStage(Struct, frozen=True, kw_only=True):
    """`base` is a canonical reference (`docker.io/library/alpine:3`) or `scratch`; "" when `base_stage` is set.

    `name` is the AS name, or `stage-2`. `context`: the named context that replaces the whole stage, "" for none.
    """

    index: int
    name: str
    stage: Stage
    base: str = ""
    base_as_written: str = ""  # variables replaced
    base_stage: int | None = None
    platform: Platform | None = None
    context: str = ""


class Graph(Struct, frozen=True, kw_only=True):
    dockerfile: Dockerfile
    arguments: GlobalArguments
    stages: tuple[ResolvedStage, ...]
    target: int
    names: Mapping[str, int]  # AS names, lower case; the last of equal ones

    def source(self, name: str) -> Source:
        """What `--from=name` means. An index counts stages from 0. Raises `DockerfileError`."""
        if _INDEX.fullmatch(name):
            index = int(name[:10])
            if not 0 <= index < len(self.stages):
                raise DockerfileError(f"invalid stage index {index}")
            return Source(stage=index)
        return self.named(name)

    def named(self, name: str) -> Source:
        """What `from=name` of a mount means: there an index is no stage."""
        index = self.names.get(name.lower())
        return Source(image=name) if index is None else Source(stage=index)

    def sources(self, instruction: Instruction) -> list[Source]:
        """In order of the mounts for RUN; at most one for COPY; none for a mount without from=."""
        if isinstance(instruction, Copy) and instruction.from_:
            _check_constant(instruction, self.dockerfile.escape)
            return [self.source(instruction.from_)]
        if isinstance(instruction, Run):
            return [self.named(flag.from_) for flag in instruction.mount_flags if flag.from_]
        return []

    def edges(self, index: int) -> Iterator[tuple[int, Instruction]]:
        """The stages that the instructions of a stage use."""
        for instruction in self.stages[index].stage.instructions:
            try:
                found = self.sources(instruction)
            except DockerfileError as error:
                raise error.at(instruction.lines) from None
            for source in found:
                if source.stage is not None:
                    yield source.stage, instruction

    def needed(self, target: int | None = None) -> list[int]:
        """The stages to build for `target`, itself included, in the order of the file."""
        todo, seen = [self.target if target is None else target], set[int]()
        while todo:
            index = todo.pop()
            if index in seen:
                continue
            seen.add(index)
            resolved = self.stages[index]
            if resolved.context:
                continue
            if resolved.base_stage is not None:
                todo.append(resolved.base_stage)
            todo += [stage for stage, _ in self.edges(index)]
        return sorted(seen)


def resolve(
    dockerfile: Dockerfile, arguments: GlobalArguments, target: str = "", contexts: Collection[str] = ()
) -> Graph:
    """`contexts` are the names of the contexts given, as `context_name` makes them. Raises `DockerfileError`."""
    names: dict[str, int] = {}
    stages: list[ResolvedStage] = []
    for index, stage in enumerate(dockerfile.stages):
        try:
            stages.append(_resolved(index, stage, dockerfile, arguments, names, contexts))
        except DockerfileError as error:
            raise error.at(stage.lines) from None
        if stage.name:
            names[stage.name] = index
    graph = Graph(
        dockerfile=dockerfile,
        arguments=arguments,
        stages=tuple(stages),
        target=_target(target, names, stages),
        names=names,
    )
    _check_circles(graph)
    checked = tuple(_with_reference(stage) for stage in stages)
    _check_images(graph)
    _check_order(graph)
    return replace(graph, stages=checked)


def context_name(name: str) -> str:
    """The spelling under which contexts are compared: `docker.io/library/alpine:latest` and `alpine` are one."""
    try:
        return references.parse(name).familiar.removesuffix(":latest")
    except InvalidParameter:
        return name


def context_for(name: str, contexts: Collection[str]) -> str:
    """The named context that stands for an image or stage of this name, "" for none."""
    spelled = context_name(name)
    return spelled if name.lower() not in _NO_CONTEXT and spelled in contexts else ""


def image_reference(name: str) -> str:
    """Canonical, with `:latest` where nothing is said. Raises `DockerfileError`."""
    try:
        return str(references.parse(name).tagged())
    except InvalidParameter as error:
        raise DockerfileError(f"failed to parse stage name {quote(name)}: {error.message}") from None


def _resolved(
    index: int,
    stage: Stage,
    dockerfile: Dockerfile,
    arguments: GlobalArguments,
    names: Mapping[str, int],
    contexts: Collection[str],
) -> ResolvedStage:
    base = expand(stage.base, arguments.values, dockerfile.escape).text
    if not base:
        raise DockerfileError(f"base name ({stage.base}) should not be blank")
    return ResolvedStage(
        index=index,
        name=stage.name or f"stage-{index}",
        stage=stage,
        base_as_written=base,
        base_stage=names.get(base),
        platform=_platform(stage.platform, arguments, dockerfile.escape),
        context=context_for(stage.name, contexts) if stage.name else "",
    )


def _platform(written: str, arguments: GlobalArguments, escape: str) -> Platform | None:
    if not written:
        return None
    try:
        found = expand(written, arguments.values, escape)
    except DockerfileError as error:
        raise DockerfileError(f"failed to process arguments for platform : {error.message}") from None
    nearest = (suggestion(name, arguments.values) for name in found.unmatched)
    hint = next((f" (did you mean {name}?)" for name in nearest if name), "")
    if not found.text:
        raise DockerfileError(f"empty platform value from expression {written}{hint}")
    try:
        return platforms.parse(found.text)
    except InvalidParameter as error:
        raise DockerfileError(f"failed to parse platform {written}: {error.message}{hint}") from None


def _target(target: str, names: Mapping[str, int], stages: list[ResolvedStage]) -> int:
    if not target:
        return len(stages) - 1
    index = names.get(target.lower())
    if index is None:
        message = f"target stage {quote(target)} could not be found"
        raise DockerfileError(did_you_mean(message, target, [stage.name for stage in stages]))
    return index


def _check_constant(copy: Copy, escape: str) -> None:
    if expand(copy.from_, {}, escape).text != copy.from_:
        raise DockerfileError(
            "variable expansion is not supported for --from, "
            "define a new stage with FROM using ARG from global scope as a workaround"
        )


def _check_circles(graph: Graph) -> None:
    edges = [list(graph.edges(index)) for index in range(len(graph.stages))]
    done: set[int] = set()
    for start in range(len(edges)):
        path: dict[int, list[Lines]] = {start: []}
        walks = [(start, iter(edges[start]))]
        while walks and start not in done:
            index, walk = walks[-1]
            following = next(walk, None)
            if following is None:
                walks.pop()
                path.pop(index)
                done.add(index)
                continue
            stage, instruction = following
            places = [*path[index], instruction.lines]
            if stage in path:
                name = graph.stages[start].name
                raise DockerfileError(f"circular dependency detected on stage: {name}", places)
            if stage not in done:
                path[stage] = places
                walks.append((stage, iter(edges[stage])))


def _with_reference(resolved: ResolvedStage) -> ResolvedStage:
    if resolved.base_stage is not None or resolved.context:
        return resolved
    base = resolved.base_as_written
    try:
        reference = base if base == SCRATCH else image_reference(base)
    except DockerfileError as error:
        raise error.at(resolved.stage.lines) from None
    return replace(resolved, base=reference)


def _check_images(graph: Graph) -> None:
    for resolved in graph.stages:
        for instruction in resolved.stage.instructions:
            for source in graph.sources(instruction):
                if source.image and source.image != SCRATCH:
                    try:
                        image_reference(source.image)
                    except DockerfileError as error:
                        raise error.at(instruction.lines) from None


def _check_order(graph: Graph) -> None:
    """A stage may use only those above it, though the graph would allow more: BuildKit's rule."""
    for index in graph.needed():
        if graph.stages[index].context:
            continue
        for stage, instruction in graph.edges(index):
            if stage < index or graph.stages[stage].context:
                continue
            raise DockerfileError(_too_early(graph, index, stage, instruction), [instruction.lines])


def _too_early(graph: Graph, index: int, stage: int, instruction: Instruction) -> str:
    if isinstance(instruction, Copy):
        return (
            f"cannot copy from stage {quote(instruction.from_)}, "
            f"it needs to be defined before current stage {quote(graph.stages[index].name)}"
        )
    assert isinstance(instruction, Run)
    flag = next(flag for flag in instruction.mount_flags if graph.named(flag.from_).stage == stage)
    keys = dict(field.partition("=")[::2] for field in csv_fields(flag.text))
    target = next((keys[key] for key in ("target", "dst", "destination") if key in keys), "")
    return (
        f"cannot mount from stage {quote(flag.from_)} to {quote(target)}, "
        "stage needs to be defined before current command"
    )
