"""Build checks: what BuildKit warns of. `check` runs all of them on a file that is right,
`examine` goes the whole way with one that may not be; nothing here changes a build.

Two kinds: what the text shows (casing, names, FROM lines), and what only walking a stage shows, because it depends on
the environment at that point (undefined variables, relative WORKDIR …): those are in `stage_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from sampan.builds.dockerfile import rules
from sampan.builds.dockerfile.ast import Arg, Dockerfile, Instruction, Lines, Maintainer, Stage
from sampan.builds.dockerfile.directives import leading
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.expansion import Expansion, expand
from sampan.builds.dockerfile.parser import parse
from sampan.builds.dockerfile.rules import Findings, Options, Warning
from sampan.builds.dockerfile.stage_checks import BaseFacts, check_stages
from sampan.builds.dockerfile.stages import Graph, resolve
from sampan.builds.dockerfile.variables import GlobalArguments, global_arguments
from sampan.builds.dockerfile.wording import suggestion
from sampan.builds.ignore import Ignore
from sampan.errors import InvalidParameter
from sampan.golang import quote
from sampan.images import platforms, references
from sampan.images.model import Platform

_RESERVED = frozenset(("context", "scratch"))
OPTIONS_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
"""A build argument that replaces the file's `# check=`."""


class Report(NamedTuple):
    """`graph` is there unless `error` says why not; an error of walking the stages leaves both."""

    warnings: list[Warning]
    error: DockerfileError | None = None
    graph: Graph | None = None


def check(
    graph: Graph,
    *,
    given: Mapping[str, str],
    target: Platform,
    build: Platform,
    facts: Callable[[int], BaseFacts | None] = lambda stage: None,
    ignore: Ignore | None = None,
    all_stages: bool = False,
) -> list[Warning]:
    """Every finding, in BuildKit's order.

    `given` are the build arguments. `facts` tells what is known of the base image of a stage (by index); where it knows
    nothing, checks that depend on it keep silent. `ignore` is the context's .dockerignore. `all_stages`: also those the
    target does not reach, as `docker build --check` without a target does.

    Raises `DockerfileError` when the options cannot be read or a stage cannot be walked.
    """
    dockerfile = graph.dockerfile
    findings = Findings(options_of(dockerfile.source, given))
    for item in _items(dockerfile):
        _check_item(item, findings)
    _check_whole(dockerfile, given, target, build, findings)
    _check_bases(dockerfile, graph.arguments, findings)
    check_stages(graph, findings, given=given, target=target, facts=facts, ignore=ignore, all_stages=all_stages)
    return findings.warnings


def examine(
    source: bytes,
    name: str = "Dockerfile",
    *,
    stage: str = "",
    contexts: Collection[str] = (),
    given: Mapping[str, str],
    target: Platform,
    build: Platform,
    facts: Callable[[int], BaseFacts | None] = lambda stage: None,
    ignore: Ignore | None = None,
    all_stages: bool = False,
) -> Report:
    """The whole way from text to warnings, for a file that may be wrong: what was found before the mistake is told,
    and the mistake with it. `stage` is the target; the rest is as in `check`."""
    findings = Findings(Options())
    graph: Graph | None = None
    try:
        findings.options = options_of(source, given)
        dockerfile = parse(source, name, seen=lambda item: _check_item(item, findings))
        _check_whole(dockerfile, given, target, build, findings)
        arguments = global_arguments(dockerfile, given, target, build, stage)
        _check_bases(dockerfile, arguments, findings)
        graph = resolve(dockerfile, arguments, stage, contexts)
        check_stages(graph, findings, given=given, target=target, facts=facts, ignore=ignore, all_stages=all_stages)
    except DockerfileError as error:
        return Report(findings.warnings, error, graph)
    return Report(findings.warnings, violation(findings.warnings, findings.options), graph)


def options_of(source: bytes, given: Mapping[str, str]) -> Options:
    said = given.get(OPTIONS_ARGUMENT)
    try:
        return rules.parse_options(leading(source, "check") if said is None else said)
    except DockerfileError as error:
        raise DockerfileError(f"failed to parse check options: {error.message}") from None


class Violation(DockerfileError):
    """The failure that `error=true` makes of findings."""


def violation(warnings: list[Warning], options: Options) -> Violation | None:
    if not options.error or not warnings:
        return None
    names = dict.fromkeys(warning.rule.name for warning in warnings)
    return Violation(f"lint violation found for rules: {', '.join(names)}")


def _items(dockerfile: Dockerfile) -> Iterator[Stage | Instruction]:
    yield from dockerfile.global_arguments
    for stage in dockerfile.stages:
        yield stage
        yield from stage.instructions


def _check_item(item: Stage | Instruction, findings: Findings) -> None:
    if isinstance(item, Stage):
        _check_stage(item, findings)
    else:
        _check_instruction(item, findings)


def _check_whole(
    dockerfile: Dockerfile, given: Mapping[str, str], target: Platform, build: Platform, findings: Findings
) -> None:
    for line in dockerfile.empty_continuations:
        findings.add(rules.NO_EMPTY_CONTINUATION, Lines(line, line), "Empty continuation line")
    _check_stage_names(dockerfile, findings)
    _check_casing(dockerfile, findings)
    _check_default_bases(dockerfile, given, target, build, findings)


def _check_bases(dockerfile: Dockerfile, arguments: GlobalArguments, findings: Findings) -> None:
    """Up to the first FROM that is wrong: `resolve` tells of that one."""
    for stage in dockerfile.stages:
        try:
            _check_from(stage, arguments, dockerfile.escape, findings)
        except (DockerfileError, InvalidParameter):
            return


def _check_stage(stage: Stage, findings: Findings) -> None:
    written, keyword = stage.name_as_written, stage.keyword
    if written != written.lower():
        message = f"Stage name '{written}' should be lowercase"
        findings.add(rules.STAGE_NAME_CASING, stage.lines, message, stage.comments)
    wanted = _casing(keyword)
    if stage.as_keyword and wanted is not None and wanted(stage.as_keyword) != stage.as_keyword:
        message = f"'{stage.as_keyword}' and '{keyword}' keywords' casing do not match"
        findings.add(rules.FROM_AS_CASING, stage.lines, message, stage.comments)
    if stage.name:
        _check_description("FROM", [stage.name], stage.comments, stage.lines, findings)


def _casing(keyword: str) -> Callable[[str], str] | None:
    """None for mixed: that has a finding of its own."""
    return str.lower if keyword == keyword.lower() else str.upper if keyword == keyword.upper() else None


def _check_instruction(instruction: Instruction, findings: Findings) -> None:
    if isinstance(instruction, Maintainer):
        message = "Maintainer instruction is deprecated in favor of using label"
        findings.add(rules.MAINTAINER_DEPRECATED, instruction.lines, message, instruction.comments)
    elif isinstance(instruction, Arg):
        keys = [definition.key for definition in instruction.arguments]
        _check_description("ARG", keys, instruction.comments, instruction.lines, findings)


def _check_description(
    instruction: str, names: list[str], comments: tuple[str, ...], lines: Lines, findings: Findings
) -> None:
    if not comments or comments[-1].partition(" ")[0] in names:
        return
    example = names[0] if len(names) == 1 else "<arg_key>"
    message = f"Comment for {instruction} should follow the format: `# {example} <description>`"
    findings.add(rules.INVALID_DEFINITION_DESCRIPTION, lines, message, comments)


def _check_stage_names(dockerfile: Dockerfile, findings: Findings) -> None:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        if stage.name in _RESERVED:
            message = f"Stage name should not use the same name as reserved stage {quote(stage.name)}"
            findings.add(rules.RESERVED_STAGE_NAME, stage.lines, message)
        if stage.name and stage.name in seen:
            message = f"Duplicate stage name {quote(stage.name)}, stage names should be unique"
            findings.add(rules.DUPLICATE_STAGE_NAME, stage.lines, message)
        seen.add(stage.name)


def _check_casing(dockerfile: Dockerfile, findings: Findings) -> None:
    """ARGs before the first FROM have no say, and are not looked at."""
    spelled: list[tuple[str, Lines]] = []
    for stage in dockerfile.stages:
        spelled.append((stage.keyword, stage.lines))
        spelled += [(instruction.keyword, instruction.lines) for instruction in stage.instructions]
    lower = sum(keyword == keyword.lower() for keyword, _ in spelled)
    upper = sum(keyword == keyword.upper() for keyword, _ in spelled)
    wanted, name = (str.lower, "lowercase") if lower > upper else (str.upper, "uppercase")
    for keyword, lines in spelled:
        if wanted(keyword) != keyword:
            message = f"Command '{keyword}' should match the case of the command majority ({name})"
            findings.add(rules.CONSISTENT_INSTRUCTION_CASING, lines, message)


def _check_default_bases(
    dockerfile: Dockerfile, given: Mapping[str, str], target: Platform, build: Platform, findings: Findings
) -> None:
    """As if no build argument had been given: a Dockerfile should build as it is."""
    platform_only = {name: value for name, value in given.items() if name.startswith(("TARGET", "BUILD"))}
    declared = {definition.key for arg in dockerfile.global_arguments for definition in arg.arguments}
    plain = {name: value for name, value in platform_only.items() if name not in declared}
    try:
        arguments = global_arguments(dockerfile, plain, target, build)
        bases = [expand(stage.base, arguments.values, dockerfile.escape).text for stage in dockerfile.stages]
    except DockerfileError:
        return
    for stage, base in zip(dockerfile.stages, bases, strict=True):
        try:
            references.parse(base)
        except InvalidParameter:
            message = f"Default value for ARG {stage.base} results in empty or invalid base image name"
            findings.add(rules.INVALID_DEFAULT_ARG_IN_FROM, stage.lines, message)


def _check_from(stage: Stage, arguments: GlobalArguments, escape: str, findings: Findings) -> None:
    _check_declared(expand(stage.base, arguments.values, escape), stage, arguments, findings)
    if not stage.platform:
        return
    platform = expand(stage.platform, arguments.values, escape)
    _check_declared(platform, stage, arguments, findings)
    if platform.matched == ("TARGETPLATFORM",) and not platform.unmatched:
        if platform.text == arguments.values["TARGETPLATFORM"]:
            message = (
                f"Setting platform to predefined {stage.platform} in FROM is redundant as this is the default behavior"
            )
            findings.add(rules.REDUNDANT_TARGET_PLATFORM, stage.lines, message, stage.comments)
    elif not platform.matched and not platform.unmatched:
        _check_constant(platform.text, stage, findings)


def _check_declared(found: Expansion, stage: Stage, arguments: GlobalArguments, findings: Findings) -> None:
    known = [*arguments.values, *arguments.declared]
    for name in found.unmatched:
        if name in known:
            continue
        nearest = suggestion(name, known)
        message = f"FROM argument '{name}' is not declared" + (f" (did you mean {nearest}?)" if nearest else "")
        findings.add(rules.UNDEFINED_ARG_IN_FROM, stage.lines, message, stage.comments)


def _check_constant(text: str, stage: Stage, findings: Findings) -> None:
    """A stage that names its system or architecture is meant for that one."""
    platform = platforms.parse(text)
    if platform.os in stage.name or platform.architecture in stage.name:
        return
    message = f"FROM --platform flag should not use constant value {quote(text)}"
    findings.add(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage.lines, message, stage.comments)
