"""Dockerfiles: parsed, expanded, checked. Values in, values out: nothing here reads a file or knows a daemon.

Front door: `parse` and the types of `ast`; `DockerfileError`, the one failure.
"""

from sampan.builds.dockerfile.ast import Dockerfile, Instruction, Lines, Stage
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.parser import parse

__all__ = ["Dockerfile", "DockerfileError", "Instruction", "Lines", "Stage", "parse"]
