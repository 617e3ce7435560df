"""ARG: which of them there are before and inside stages, and what each is worth.

Before FROM: the platform's and `TARGETSTAGE` are there without being declared, and every ARG up there is visible to
FROM lines alone. Inside a stage an ARG takes, in this order: the build argument, its own default, the value from before
FROM. The proxy variables of `PROXIES` are build arguments that need no ARG; RUN sees them, cache and history do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from sampan.builds.dockerfile.ast import Arg, ArgDefinition, Dockerfile
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.expansion import expand
from sampan.builds.dockerfile.substitution import Expander
from sampan.images.model import Platform
from sampan.images.platforms import text

PROXIES = frozenset(
    spelled
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for spelled in (name, name.lower())
)
SCAN_ARGUMENTS = frozenset(("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"))
"""Declared like any other, but they never become environment."""


class GlobalArguments(Struct, frozen=True):
    """What FROM lines see. `declared`: the ARGs of the file, also without a value; `values` has the platform's too."""

    values: dict[str, str]
    declared: frozenset[str] = frozenset()


def platform_arguments(target: Platform, build: Platform, stage: str, given: Mapping[str, str]) -> dict[str, str]:
    """`stage` is the name of the stage to build, "" for one without: `TARGETSTAGE` says `default` then."""
    values: dict[str, str] = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        values[f"{prefix}PLATFORM"] = text(platform)
        values[f"{prefix}OS"] = platform.os
        values[f"{prefix}OSVERSION"] = platform.os_version
        values[f"{prefix}ARCH"] = platform.architecture
        values[f"{prefix}VARIANT"] = platform.variant
    values["TARGETSTAGE"] = stage or "default"
    return {name: given.get(name, value) for name, value in values.items()}


def global_arguments(
    dockerfile: Dockerfile, given: Mapping[str, str], target: Platform, build: Platform, stage: str = ""
) -> GlobalArguments:
    """`given` are the build arguments; `stage` is the target asked for, "" for the last. Raises `DockerfileError`."""
    values = platform_arguments(target, build, stage or dockerfile.stages[-1].name, given)
    declared: set[str] = set()
    for arg in dockerfile.global_arguments:
        for definition in arg.arguments:
            declared.add(definition.key)
            value = given.get(definition.key)
            if value is None and definition.value is not None:
                try:
                    value = expand(definition.value, values, dockerfile.escape).text
                except DockerfileError as error:
                    raise error.at(arg.lines) from None
            if value is not None:
                values[definition.key] = value
    return GlobalArguments(values, frozenset(declared))


def arg_values(arg: Arg, given: Mapping[str, str], inherited: Mapping[str, str], expander: Expander) -> Arg:
    """The ARG of a stage with the values it has there: None where it has none. `inherited` are the global values.

    Later names of one ARG see the earlier ones. Raises `DockerfileError`.
    """
    environment = dict(expander.environment)
    inside = Expander(environment, expander.escape)
    found: list[ArgDefinition] = []
    for definition in arg.arguments:
        value = given.get(definition.key)
        if value is None and definition.value is not None:
            try:
                value = inside.word(definition.value)
            except DockerfileError as error:
                raise error.at(arg.lines) from None
        elif value is None:
            value = inherited.get(definition.key)
        if value is not None and definition.key not in SCAN_ARGUMENTS:
            environment[definition.key] = value
        found.append(replace(definition, value=value))
    expander.unmatched += inside.unmatched
    return replace(arg, arguments=tuple(found))
