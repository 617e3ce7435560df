"""Which instructions have variables, and where in them: the same instruction with its values.

Expanded: ADD, COPY (sources, destination, owner, mode, checksum, unquoted heredoc files), ENV, EXPOSE, LABEL, values of
RUN --mount, STOPSIGNAL, USER, VOLUME, WORKDIR. Left to the shell or as they are: RUN, CMD, ENTRYPOINT, HEALTHCHECK,
SHELL, ONBUILD, MAINTAINER, `--from`, `--exclude`. ARG is `variables.arg_values`, FROM is `stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from msgspec.structs import replace

from sampan.builds.dockerfile import ast
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.expansion import expand
from sampan.builds.dockerfile.mounts import parse_mount

_Kind = TypeVar("_Kind", bound=ast.Instruction)


class Expander:
    """Replaces variables by `environment` as it was before an instruction.

    `unmatched`: the undefined ones it met, as often as words have them.
    """

    def __init__(self, environment: Mapping[str, str], escape: str = "\\") -> None:
        self.environment = environment
        self.escape = escape
        self.unmatched: list[str] = []

    def word(self, text: str) -> str:
        if not text:
            return text
        found = expand(text, self.environment, self.escape)
        self.unmatched += found.unmatched
        return found.text

    def words(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.word(text) for text in texts)

    def split(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """As `words`, but a variable may hold several."""
        return tuple(word for text in texts for word in expand(text, self.environment, self.escape).words)

    def pairs(self, pairs: tuple[ast.Pair, ...]) -> tuple[ast.Pair, ...]:
        return tuple(ast.Pair(self.word(pair.key), self.word(pair.value), pair.legacy) for pair in pairs)

    def file(self, file: ast.InlineFile) -> ast.InlineFile:
        """Quotes are text in a file; the escape character is always a backslash there."""
        if not file.expand or not (b"$" in file.data or b"\\" in file.data):
            return file
        found = expand(file.data.decode("utf-8", "surrogateescape"), self.environment, ignore_quotes=True)
        self.unmatched += found.unmatched
        return replace(file, data=found.text.encode("utf-8", "surrogateescape"))


def expanded(instruction: _Kind, environment: Mapping[str, str], escape: str = "\\") -> _Kind:
    """Raises `DockerfileError` with the instruction's lines."""
    return expanded_by(instruction, Expander(environment, escape))


def expanded_by(instruction: _Kind, expander: Expander) -> _Kind:
    """As `expanded`, for who wants to know `expander.unmatched` afterwards."""
    rule = _RULES.get(type(instruction))
    if rule is None:
        return instruction
    try:
        return cast(_Kind, rule(instruction, expander))
    except DockerfileError as error:
        raise error.at(instruction.lines) from None


def _copy(copy: ast.Copy, by: Expander) -> ast.Copy:
    return replace(
        copy,
        chown=by.word(copy.chown),
        chmod=by.word(copy.chmod),
        sources=by.words(copy.sources),
        destination=by.word(copy.destination),
        files=tuple(by.file(file) for file in copy.files),
    )


def _add(add: ast.Add, by: Expander) -> ast.Add:
    return replace(
        add,
        chown=by.word(add.chown),
        chmod=by.word(add.chmod),
        checksum=by.word(add.checksum),
        sources=by.words(add.sources),
        destination=by.word(add.destination),
        files=tuple(by.file(file) for file in add.files),
    )


def _env(env: ast.Env, by: Expander) -> ast.Env:
    return replace(env, pairs=by.pairs(env.pairs))


def _label(label: ast.Label, by: Expander) -> ast.Label:
    return replace(label, pairs=by.pairs(label.pairs))


def _expose(expose: ast.Expose, by: Expander) -> ast.Expose:
    return replace(expose, ports=by.split(expose.ports))


def _run(run: ast.Run, by: Expander) -> ast.Run:
    if not run.mount_flags:
        return run
    return replace(run, mounts=tuple(parse_mount(flag.text, by.word) for flag in run.mount_flags))


def _stop_signal(signal: ast.StopSignal, by: Expander) -> ast.StopSignal:
    return replace(signal, signal=by.word(signal.signal))


def _user(user: ast.User, by: Expander) -> ast.User:
    return replace(user, user=by.word(user.user))


def _volume(volume: ast.Volume, by: Expander) -> ast.Volume:
    volumes = by.words(volume.volumes)
    if not all(volumes):
        raise DockerfileError("VOLUME specified can not be an empty string")
    return replace(volume, volumes=volumes)


def _workdir(workdir: ast.Workdir, by: Expander) -> ast.Workdir:
    return replace(workdir, path=by.word(workdir.path))


_RULES: dict[type[ast.Instruction], Callable[..., object]] = {
    ast.Add: _add,
    ast.Copy: _copy,
    ast.Env: _env,
    ast.Expose: _expose,
    ast.Label: _label,
    ast.Run: _run,
    ast.StopSignal: _stop_signal,
    ast.User: _user,
    ast.Volume: _volume,
    ast.Workdir: _workdir,
}
