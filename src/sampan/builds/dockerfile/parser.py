"""From bytes to `ast.Dockerfile`."""

from __future__ import annotations

from sampan.builds.dockerfile.ast import Dockerfile, Instruction, Lines


def parse(source: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Raises `DockerfileError`, nothing else."""
    raise NotImplementedError


def parse_trigger(expression: str, lines: Lines, escape: str = "\\") -> Instruction:
    """One ONBUILD trigger of a base image, as an instruction of the stage whose FROM stands at `lines`."""
    raise NotImplementedError
