"""`build --call outline` and `--call targets`: what a Dockerfile offers, without building it. Pure.

Source: BuildKit frontend/subrequests/outline and /targets (the documents' fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.builds.dockerfile import ast
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.mounts import parse_mount
from sampan.builds.dockerfile.stages import Graph
from sampan.builds.dockerfile.substitution import Expander
from sampan.builds.dockerfile.variables import arg_values
from sampan.images import platforms


def targets(graph: Graph) -> dict[str, Any]:
    found = []
    for index, stage in enumerate(graph.stages):
        one: dict[str, Any] = {"name": stage.stage.name} if stage.stage.name else {}
        if index == len(graph.stages) - 1:
            one["default"] = True
        if stage.stage.description:
            one["description"] = stage.stage.description
        one["base"] = stage.base_as_written
        if stage.platform is not None:
            one["platform"] = platforms.text(stage.platform)
        found.append(one)
    return {"targets": found}


def outline(graph: Graph, given: Mapping[str, str]) -> dict[str, Any]:
    """Of the target and what it needs: build args with the values they would have, secrets, ssh agents, caches."""
    target = graph.stages[graph.target].stage
    args: dict[str, dict[str, str]] = {}
    secrets: dict[str, bool] = {}
    agents: dict[str, bool] = {}
    caches: dict[str, None] = {}
    for arg in graph.dockerfile.global_arguments:
        for one in arg.arguments:
            args[one.key] = _argument(one, graph.arguments.values.get(one.key, ""))
    for index in graph.needed():
        for instruction in graph.stages[index].stage.instructions:
            if isinstance(instruction, ast.Arg):
                expander = Expander(dict(graph.arguments.values), graph.dockerfile.escape)
                for one in arg_values(instruction, given, graph.arguments.values, expander).arguments:
                    args.setdefault(one.key, _argument(one, one.value or ""))
            elif isinstance(instruction, ast.Run):
                _mounts(instruction, secrets, agents, caches)
    found: dict[str, Any] = {}
    if target.name:
        found["name"] = target.name
    if target.description:
        found["description"] = target.description
    if args:
        found["args"] = list(args.values())
    if secrets:
        found["secrets"] = [_required(id, wanted) for id, wanted in secrets.items()]
    if agents:
        found["ssh"] = [_required(id, wanted) for id, wanted in agents.items()]
    if caches:
        found["cache"] = [{"ID": id} for id in caches]
    return found


def _argument(one: ast.ArgDefinition, value: str) -> dict[str, str]:
    found = {"name": one.key}
    if one.description:
        found["description"] = one.description
    if value:
        found["value"] = value
    return found


def _required(id: str, required: bool) -> dict[str, Any]:
    return {"name": id, "required": True} if required else {"name": id}


def _mounts(run: ast.Run, secrets: dict[str, bool], agents: dict[str, bool], caches: dict[str, None]) -> None:
    for flag in run.mount_flags:
        try:
            mount = parse_mount(flag.text, lambda text: text)
        except DockerfileError as error:
            raise error.at(run.lines) from None
        if mount.type == "secret":
            id = mount.id or (mount.source or mount.target).rpartition("/")[2]
            secrets[id] = secrets.get(id, False) or mount.required
        elif mount.type == "ssh":
            id = mount.id or "default"
            agents[id] = agents.get(id, False) or mount.required
        elif mount.type == "cache":
            caches.setdefault(mount.id or mount.target)
