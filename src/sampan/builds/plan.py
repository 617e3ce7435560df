"""The steps of a build before it begins: which stages are needed, and every step's number and name. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.builds.dockerfile import ast
from sampan.builds.dockerfile.stages import Graph
from sampan.builds.progress import Started

_COUNTED = (ast.Run, ast.Copy, ast.Add, ast.Workdir)
"""What BuildKit counts: the rest changes no file."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` by (stage, position): position -1 is FROM, stage -1 the ARGs before it."""

    stages: tuple[int, ...]
    steps: dict[tuple[int, int], Started]
    extra: tuple[ast.Instruction, ...] = ()
    """Instructions that the target stage gets besides (--label)."""


def make(graph: Graph, labels: dict[str, str]) -> Plan:
    stages = graph.needed()
    steps: dict[tuple[int, int], Started] = {}
    for position, arg in enumerate(graph.dockerfile.global_arguments):
        steps[-1, position] = Started(
            step=len(steps), text=arg.code, name=f"[internal] {arg.code}", line=arg.lines.start, keyword="ARG"
        )
    extra = (_label(labels, graph),) if labels else ()
    plan = Plan(tuple(stages), steps, extra)
    for index in stages:
        add(plan, graph, index)
    return plan


def add(plan: Plan, graph: Graph, index: int) -> None:
    """A stage's steps, after all that are there."""
    steps, resolved = plan.steps, graph.stages[index]
    prefix = resolved.name if len(graph.dockerfile.stages) > 1 else ""
    own = () if resolved.context else resolved.stage.instructions
    inside = [*own, *(plan.extra if index == graph.target else ())]
    total = 1 + sum(isinstance(one, _COUNTED) for one in inside)
    number = 1
    steps[index, -1] = Started(
        step=len(steps),
        text=resolved.stage.code,
        name=f"[{_join(prefix, f'1/{total}')}] {resolved.stage.code}",
        line=resolved.stage.lines.start,
        keyword="FROM",
    )
    for position, one in enumerate(inside):
        shown = prefix
        if isinstance(one, _COUNTED):
            number += 1
            shown = _join(prefix, f"{number}/{total}")
        name = f"[{shown}] {one.code}" if shown else one.code
        steps[index, position] = Started(
            step=len(steps), text=one.code, name=name, line=one.lines.start, keyword=one.name
        )


def _join(prefix: str, count: str) -> str:
    return f"{prefix} {count}" if prefix else count


def _label(labels: dict[str, str], graph: Graph) -> ast.Label:
    """As dockerd writes it into the Dockerfile's end: `LABEL "a"="b"`, in order."""
    pairs = tuple(ast.Pair(key, value) for key, value in sorted(labels.items()))
    code = "LABEL " + " ".join(f"{pair.key}={pair.value}" for pair in pairs)
    lines = graph.stages[graph.target].stage.lines
    return ast.Label(keyword="LABEL", code=code, lines=lines, pairs=pairs)
