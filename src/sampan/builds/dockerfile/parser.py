"""From bytes to `ast.Dockerfile`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sampan.builds.dockerfile import statements
from sampan.builds.dockerfile.ast import Arg, Dockerfile, Instruction, Lines, Stage
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.instructions import instruction_of


def parse(
    source: bytes, name: str = "Dockerfile", seen: Callable[[Stage | Instruction], None] | None = None
) -> Dockerfile:
    """`name` is only told in errors' excerpts. `seen` hears of each FROM (without its instructions yet) and instruction
    in turn, also when a later one is wrong.

    Raises `DockerfileError`, nothing else.
    """
    if not source:
        raise DockerfileError("the Dockerfile cannot be empty")
    read = statements.read(source)
    globals_: list[Arg] = []
    stages: list[tuple[Stage, list[Instruction]]] = []
    for statement in read.statements:
        try:
            parsed = instruction_of(statement)
        except DockerfileError as error:
            line = statement.lines.start
            raise DockerfileError(f"dockerfile parse error on line {line}: {error.message}", error.lines) from None
        if seen is not None:
            seen(parsed)
        if isinstance(parsed, Stage):
            stages.append((parsed, []))
        elif stages:
            stages[-1][1].append(parsed)
        elif isinstance(parsed, Arg):
            globals_.append(parsed)
        else:
            raise DockerfileError("no build stage in current context", [statement.lines])
    if not stages:
        raise DockerfileError("dockerfile contains no stages to build")
    return Dockerfile(
        name=name,
        source=source,
        escape=read.escape,
        directives=read.directives,
        global_arguments=tuple(globals_),
        stages=tuple(msgspec.structs.replace(stage, instructions=tuple(inside)) for stage, inside in stages),
        empty_continuations=read.empty_continuations,
    )


def parse_trigger(expression: str, lines: Lines) -> Instruction:
    """One ONBUILD trigger of a base image, as an instruction of the stage whose FROM stands at `lines`.

    The escape character is `\\` again: the trigger's own Dockerfile may have had another, but says so nowhere.
    """
    try:
        found = statements.read(expression.encode("utf-8", "replace")).statements
        if len(found) != 1:
            raise DockerfileError("onbuild trigger should be a single expression")
        parsed = instruction_of(found[0]._replace(lines=lines))
    except DockerfileError as error:
        raise DockerfileError(error.message, [lines]) from None
    if isinstance(parsed, Stage):
        raise DockerfileError("FROM isn't allowed as an ONBUILD trigger", [lines])
    return parsed
