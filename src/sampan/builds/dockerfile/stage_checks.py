"""Build checks that walk a stage: each instruction is looked at with the environment it would run in.

`_Walk` is the part of a build's state that checks need: environment, declared arguments, what has been set once.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from functools import singledispatchmethod

from msgspec import Struct, field

from sampan.builds.dockerfile import ast, ports, rules
from sampan.builds.dockerfile.parser import parse_trigger
from sampan.builds.dockerfile.rules import Findings
from sampan.builds.dockerfile.stages import Graph
from sampan.builds.dockerfile.substitution import Expander, expanded_by
from sampan.builds.dockerfile.variables import SCAN_ARGUMENTS, arg_values
from sampan.builds.dockerfile.wording import suggestion
from sampan.builds.ignore import Ignore
from sampan.golang import quote
from sampan.images import platforms
from sampan.images.model import Platform

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|git|ssh)://|[\w.-]+@[\w.-]+:")
_EVERYTHING = frozenset(("*", "**", "**/*"))


class BaseFacts(Struct, frozen=True):
    """What an image gives to a stage that starts from it."""

    environment: Mapping[str, str] = field(default_factory=dict)
    has_shell: bool = False
    on_build: tuple[str, ...] = ()
    platform: Platform | None = None


class _State(Struct):
    """What a stage hands to stages based on it."""

    environment: dict[str, str]
    known: bool  # is the base image's environment known?
    declared: set[str] = field(default_factory=set)
    has_shell: bool = False
    workdir_set: bool = False
    on_build: list[str] = field(default_factory=list)

    def derived(self) -> _State:
        return _State(
            dict(self.environment),
            self.known,
            set(self.declared),
            self.has_shell,
            self.workdir_set,
            list(self.on_build),
        )


def check_stages(
    graph: Graph,
    findings: Findings,
    *,
    given: Mapping[str, str],
    target: Platform,
    facts: Callable[[int], BaseFacts | None],
    ignore: Ignore | None,
    all_stages: bool,
) -> None:
    indexes = range(len(graph.stages)) if all_stages else graph.needed()
    states: dict[int, _State] = {}
    for index in indexes:
        resolved = graph.stages[index]
        if resolved.context:
            states[index] = _State({"PATH": _DEFAULT_PATH}, known=False)
        elif resolved.base_stage is not None:
            states[index] = states[resolved.base_stage].derived()
        else:
            known = BaseFacts() if resolved.base == "scratch" else facts(index)
            _check_platform(graph, index, known, target, findings)
            states[index] = _initial(known)
        if not resolved.context:
            _Walk(graph, states[index], findings, given, ignore).walk(resolved.stage)


def _initial(known: BaseFacts | None) -> _State:
    if known is None:
        return _State({"PATH": _DEFAULT_PATH}, known=False)
    environment = {"PATH": _DEFAULT_PATH, **known.environment}
    return _State(environment, known=True, has_shell=known.has_shell, on_build=list(known.on_build))


def _check_platform(graph: Graph, index: int, known: BaseFacts | None, target: Platform, findings: Findings) -> None:
    if known is None or known.platform is None:
        return
    resolved = graph.stages[index]
    expected = platforms.normalize(resolved.platform or target)
    actual = platforms.normalize(known.platform)
    if (expected.os, expected.architecture) != (actual.os, actual.architecture):
        message = (
            f"Base image {resolved.base_as_written} was pulled with platform {quote(platforms.text(actual))}, "
            f"expected {quote(platforms.text(expected))} for current build"
        )
        findings.add(rules.INVALID_BASE_IMAGE_PLATFORM, resolved.stage.lines, message)


class _Walk:
    def __init__(
        self, graph: Graph, state: _State, findings: Findings, given: Mapping[str, str], ignore: Ignore | None
    ) -> None:
        self.escape = graph.dockerfile.escape
        self.globals = graph.arguments.values
        self.state = state
        self.findings = findings
        self.given = given
        self.ignore = ignore if ignore is not None and not ignore.has_exceptions else None
        self.once: dict[type[ast.Instruction], ast.Lines] = {}
        self.instruction: ast.Instruction

    def walk(self, stage: ast.Stage) -> None:
        triggers, self.state.on_build = self.state.on_build, []
        for expression in triggers:
            self._step(parse_trigger(expression, stage.lines))
        for instruction in stage.instructions:
            self._step(instruction)

    def _step(self, instruction: ast.Instruction) -> None:
        self.instruction = instruction
        expander = Expander(self.state.environment, self.escape)
        if isinstance(instruction, ast.Arg):
            instruction = arg_values(instruction, self.given, self.globals, expander)
        else:
            instruction = expanded_by(instruction, expander)
        self._check_variables(expander, instruction)
        self.see(instruction)

    def warn(self, rule: rules.Rule, message: str, lines: ast.Lines | None = None) -> None:
        self.findings.add(rule, lines or self.instruction.lines, message, self.instruction.comments)

    def _check_variables(self, expander: Expander, instruction: ast.Instruction) -> None:
        # EXPOSE is expanded by words, which BuildKit does without looking for undefined ones.
        if not self.state.known or isinstance(instruction, ast.Expose):
            return
        for name in expander.unmatched:
            if name in self.state.declared or name in SCAN_ARGUMENTS:
                continue
            nearest = suggestion(name, self.state.environment)
            hint = f" (did you mean ${nearest}?)" if nearest else ""
            self.warn(rules.UNDEFINED_VAR, f"Usage of undefined variable '${name}'{hint}")

    @singledispatchmethod
    def see(self, instruction: ast.Instruction) -> None:
        """What an expanded instruction shows, and what it changes for the next ones."""

    @see.register
    def _(self, arg: ast.Arg) -> None:
        for definition in arg.arguments:
            self._check_secret("ARG", definition.key)
            self.state.declared.add(definition.key)
            if definition.value is not None and definition.key not in SCAN_ARGUMENTS:
                self.state.environment[definition.key] = definition.value

    @see.register
    def _(self, env: ast.Env) -> None:
        for pair in env.pairs:
            self._check_legacy(env, pair)
            self._check_secret("ENV", pair.key)
            self.state.environment[pair.key] = pair.value

    @see.register
    def _(self, label: ast.Label) -> None:
        for pair in label.pairs:
            self._check_legacy(label, pair)

    @see.register
    def _(self, command: ast.Cmd) -> None:
        self._check_once(command)
        self._check_json(command)

    @see.register
    def _(self, entrypoint: ast.Entrypoint) -> None:
        self._check_once(entrypoint)
        self._check_json(entrypoint)

    @see.register
    def _(self, healthcheck: ast.Healthcheck) -> None:
        self._check_once(healthcheck)

    @see.register
    def _(self, shell: ast.Shell) -> None:
        self.state.has_shell = True

    @see.register
    def _(self, onbuild: ast.Onbuild) -> None:
        self.state.on_build.append(onbuild.expression)

    @see.register
    def _(self, workdir: ast.Workdir) -> None:
        if not self.state.workdir_set and not workdir.path.startswith("/"):
            message = f"Relative workdir {quote(workdir.path)} can have unexpected results if the base image changes"
            self.warn(rules.WORKDIR_RELATIVE_PATH, message)
        self.state.workdir_set = True

    @see.register
    def _(self, expose: ast.Expose) -> None:
        for word in expose.ports:
            address, host, container = ports.split(word)
            protocol = ports.protocol_of(container)
            if protocol != protocol.lower():
                message = f"Defined protocol '{word}' in EXPOSE instruction should be lowercase"
                self.warn(rules.EXPOSE_PROTO_CASING, message)
            if address or host:
                message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
                self.warn(rules.EXPOSE_INVALID_FORMAT, message)
        ports.exposed_ports(expose.ports)

    @see.register
    def _(self, copy: ast.Copy) -> None:
        if not copy.from_:
            self._check_ignored("Copy", copy.sources)

    @see.register
    def _(self, add: ast.Add) -> None:
        self._check_ignored("Add", add.sources)

    def _check_ignored(self, verb: str, sources: tuple[str, ...]) -> None:
        """With exceptions (`!`) nothing can be said without looking at the files."""
        if self.ignore is None:
            return
        for source in sources:
            if _REMOTE.match(source):
                continue
            path = posixpath.normpath(source)
            if path in (".", "/") and not _EVERYTHING.intersection(self.ignore.texts):
                continue
            if self.ignore.excludes(path):
                message = f"Attempting to {verb} file {quote(path)} that is excluded by .dockerignore"
                self.warn(rules.COPY_IGNORED_FILE, message)

    def _check_legacy(self, instruction: ast.Instruction, pair: ast.Pair) -> None:
        if pair.legacy:
            keyword = instruction.keyword
            message = f'"{keyword} key=value" should be used instead of legacy "{keyword} key value" format'
            self.warn(rules.LEGACY_KEY_VALUE_FORMAT, message)

    def _check_secret(self, instruction: str, key: str) -> None:
        if _SECRET.search(key) and not _NO_SECRET.search(key):
            message = f"Do not use ARG or ENV instructions for sensitive data ({instruction} {quote(key)})"
            self.warn(rules.SECRETS_USED_IN_ARG_OR_ENV, message)

    def _check_once(self, instruction: ast.Instruction) -> None:
        """Told at the place of the earlier one: that is the one without effect."""
        earlier = self.once.get(type(instruction))
        if earlier is not None:
            message = (
                f"Multiple {instruction.keyword} instructions should not be used in the same stage "
                "because only the last one will be used"
            )
            self.warn(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, message, earlier)
        self.once[type(instruction)] = instruction.lines

    def _check_json(self, line: ast.CommandLine) -> None:
        if line.shell and not self.state.has_shell:
            message = (
                f"JSON arguments recommended for {line.keyword} to prevent unintended behavior related to OS signals"
            )
            self.warn(rules.JSON_ARGS_RECOMMENDED, message)
