"""Which paths of its context a Dockerfile can read: no others have to travel. Pure.

Source: what BuildKit's Dockerfile frontend gathers as `followpaths` (frontend/dockerfile/dockerfile2llb/convert.go).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator

from sampan.builds import remotes
from sampan.builds.dockerfile import ast
from sampan.builds.dockerfile.mounts import parse_mount
from sampan.builds.dockerfile.stages import Graph


class _All(Exception):
    """Anything may be read."""


def paths(graph: Graph, may_trigger: Callable[[str], bool]) -> list[str] | None:
    """Of the stages that are built; None for all. `may_trigger`: whether an image could have ONBUILD instructions."""
    found: dict[str, None] = {}
    try:
        for number in graph.needed():
            stage = graph.stages[number]
            if stage.base and stage.base != "scratch" and may_trigger(stage.base):
                return None
            for instruction in stage.stage.instructions:
                for source in _sources(instruction):
                    found[_normal(source)] = None
    except _All:
        return None
    return list(found)


def _sources(instruction: ast.Instruction) -> Iterator[str]:
    if isinstance(instruction, ast.Onbuild):
        raise _All
    if isinstance(instruction, ast.Copy) and not instruction.from_:
        yield from instruction.sources
    elif isinstance(instruction, ast.Add):
        yield from (source for source in instruction.sources if remotes.parse(source) is None)
    elif isinstance(instruction, ast.Run):
        for flag in instruction.mount_flags:
            if "$" in flag.text:
                raise _All
            mount = parse_mount(flag.text, lambda text: text)
            if mount.type == "bind" and not mount.from_:
                yield mount.source or "/"


def _normal(source: str) -> str:
    """As the client compares it. A variable's value is known only when its stage is built."""
    path = posixpath.normpath("/" + source).lstrip("/")
    if not path or "$" in source:
        raise _All
    return path
