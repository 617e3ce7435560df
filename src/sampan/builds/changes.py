"""`commit -c` and `import -c`: Dockerfile instructions that change an image's configuration. Pure.

Source: moby builder/dockerfile, BuildFromConfig (which instructions, messages).
"""

from __future__ import annotations

from collections.abc import Sequence

from sampan.builds import runconfig
from sampan.builds.dockerfile import ast, statements
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.instructions import instruction_of
from sampan.builds.dockerfile.ports import exposed_ports
from sampan.builds.dockerfile.substitution import expanded
from sampan.builds.model import copied
from sampan.errors import InvalidParameter
from sampan.images.model import RunConfig

_ALLOWED = frozenset(
    "cmd entrypoint healthcheck env expose label onbuild stopsignal user volume workdir".split()  # noqa: SIM905
)


def changed(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """A new configuration. Raises `InvalidParameter` in dockerd's words."""
    config = copied(config)
    if not any(change.strip() for change in changes):
        return config
    commanded = False
    try:
        found = statements.read("\n".join(changes).encode("utf-8", "replace")).statements
        for statement in found:
            if statement.keyword.lower() not in _ALLOWED:
                raise InvalidParameter(f"{statement.keyword} is not a valid change command")
        for statement in found:
            step = instruction_of(statement)
            assert isinstance(step, ast.Instruction)
            environment = dict(entry.partition("=")[::2] for entry in config.env or [])
            step = expanded(step, environment)
            if isinstance(step, ast.Workdir):
                config.working_dir = runconfig.working_directory(config.working_dir, step.path)
                continue
            if isinstance(step, ast.Entrypoint) and not commanded:
                config.cmd = None
            commanded = commanded or isinstance(step, ast.Cmd)
            exposed = dict.fromkeys(exposed_ports(step.ports)) if isinstance(step, ast.Expose) else {}
            config, _ = runconfig.apply(config, step, exposed)
    except DockerfileError as error:
        raise InvalidParameter(error.message) from None
    return config
