"""From statements to typed instructions: how many arguments each takes, its flags, its rules, BuildKit's messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from sampan.builds.dockerfile import ast, scalars, spaces
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.flags import Flags, Kind
from sampan.builds.dockerfile.heredocs import heredoc_of
from sampan.builds.dockerfile.mounts import mount_flag, parse_device
from sampan.builds.dockerfile.statements import KEYWORDS, Statement
from sampan.builds.dockerfile.wording import did_you_mean
from sampan.golang import duration, quote

_MILLISECOND = 10**6
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_TRIGGER = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE | re.ASCII)

_COPY: dict[str, Kind] = {"chown": "text", "chmod": "text", "link": "switch", "exclude": "texts"}
_COPY_FLAGS: dict[str, Kind] = {**_COPY, "from": "text", "parents": "switch"}
_ADD_FLAGS: dict[str, Kind] = {**_COPY, "keep-git-dir": "switch", "checksum": "text", "unpack": "switch"}
_RUN_FLAGS: dict[str, Kind] = {"device": "texts", "mount": "texts", "network": "text", "security": "text"}
_HEALTH_TIMES = ("interval", "timeout", "start-period", "start-interval")
_HEALTH_FLAGS: dict[str, Kind] = dict.fromkeys((*_HEALTH_TIMES, "retries"), "text")
_NO_FLAGS: Mapping[str, Kind] = {}


def instruction_of(statement: Statement) -> ast.Instruction | ast.Stage:
    """A stage for FROM. Raises `DockerfileError` with the statement's lines."""
    builder = _BUILDERS.get(statement.keyword.lower())
    try:
        if builder is not None:
            return builder(statement)
        message = f"unknown instruction: {statement.keyword}"
        raise DockerfileError(did_you_mean(message, statement.keyword, KEYWORDS, ignore_case=True))
    except DockerfileError as error:
        raise error.at(statement.lines) from None


def _common(statement: Statement) -> dict[str, Any]:
    return {
        "keyword": statement.keyword,
        "code": statement.code,
        "lines": statement.lines,
        "comments": statement.comments,
    }


def _described(statement: Statement, name: str) -> str:
    """The text of a comment `# name text` above."""
    found = (line for line in statement.comments if name and line.startswith(f"{name} "))
    return next(found, "").removeprefix(f"{name} ")


def _at_least_one(statement: Statement, name: str) -> None:
    if not (statement.arguments or statement.pairs):
        raise DockerfileError(f"{name} requires at least one argument")


def _exactly_one(statement: Statement, name: str) -> str:
    if len(statement.arguments) != 1:
        raise DockerfileError(f"{name} requires exactly one argument")
    return statement.arguments[0]


def _no_flags(statement: Statement) -> None:
    Flags(statement.flags, _NO_FLAGS)


def _from(statement: Statement) -> ast.Stage:
    words = statement.arguments
    as_keyword = written = ""
    if len(words) == 3 and words[1].lower() == "as":
        _, as_keyword, written = words
        if not _STAGE_NAME.fullmatch(written.lower()):
            raise DockerfileError(
                f"invalid name for build stage: {quote(written)}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise DockerfileError("FROM requires either one or three arguments")
    flags = Flags(statement.flags, {"platform": "text"})
    return ast.Stage(
        base=words[0],
        name=written.lower(),
        platform=flags.text("platform"),
        description=_described(statement, written.lower()),
        as_keyword=as_keyword,
        name_as_written=written,
        **_common(statement),
    )


def _arg(statement: Statement) -> ast.Arg:
    _at_least_one(statement, "ARG")
    definitions: list[ast.ArgDefinition] = []
    for word in statement.arguments:
        key, equals, value = word.partition("=")
        if equals and not key:
            raise DockerfileError("ARG names can not be blank")
        definitions.append(ast.ArgDefinition(key, value if equals else None, _described(statement, key)))
    return ast.Arg(arguments=tuple(definitions), **_common(statement))


def _key_values(statement: Statement, name: str) -> tuple[ast.Pair, ...]:
    _no_flags(statement)
    _at_least_one(statement, name)
    if any(not key for key, _, _ in statement.pairs):
        raise DockerfileError(f"{name} names can not be blank")
    return tuple(ast.Pair(*pair) for pair in statement.pairs)


def _env(statement: Statement) -> ast.Env:
    return ast.Env(pairs=_key_values(statement, "ENV"), **_common(statement))


def _label(statement: Statement) -> ast.Label:
    return ast.Label(pairs=_key_values(statement, "LABEL"), **_common(statement))


def _sources(statement: Statement, name: str) -> dict[str, Any]:
    *sources, destination = statement.arguments
    if heredoc_of(destination) is not None:
        raise DockerfileError(f"{name} cannot accept a heredoc as a destination")
    bodies = {heredoc.name: heredoc for heredoc in statement.heredocs}
    paths: list[str] = []
    files: list[ast.InlineFile] = []
    for source in sources:
        heredoc = heredoc_of(source) if "<<" in source else None
        if heredoc is None:
            paths.append(source)
            continue
        body = bodies.get(heredoc.name)
        content = body.content if body is not None else b""
        text = ast.Heredoc(heredoc.name, content, chomp=heredoc.chomp).text
        files.append(ast.InlineFile(heredoc.name, text, heredoc.expand))
    return {"sources": tuple(paths), "files": tuple(files), "destination": destination}


def _two_arguments(statement: Statement, name: str) -> None:
    if len(statement.arguments) < 2:
        raise DockerfileError(
            f"{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        )


def _owner(flags: Flags) -> dict[str, Any]:
    return {
        "chown": flags.text("chown"),
        "chmod": flags.text("chmod"),
        "link": bool(flags.switch("link")),
        "exclude": flags.texts("exclude"),
    }


def _copy(statement: Statement) -> ast.Copy:
    _two_arguments(statement, "COPY")
    flags = Flags(statement.flags, _COPY_FLAGS)
    return ast.Copy(
        from_=flags.text("from"),
        parents=bool(flags.switch("parents")),
        **_owner(flags),
        **_sources(statement, "COPY"),
        **_common(statement),
    )


def _add(statement: Statement) -> ast.Add:
    _two_arguments(statement, "ADD")
    flags = Flags(statement.flags, _ADD_FLAGS)
    return ast.Add(
        keep_git_dir=flags.switch("keep-git-dir"),
        checksum=flags.text("checksum"),
        unpack=flags.switch("unpack"),
        **_owner(flags),
        **_sources(statement, "ADD"),
        **_common(statement),
    )


def _command(statement: Statement) -> dict[str, Any]:
    return {"command": statement.arguments, "shell": not statement.json, **_common(statement)}


def _run(statement: Statement) -> ast.Run:
    flags = Flags(statement.flags, _RUN_FLAGS)
    devices = tuple(parse_device(text) for text in flags.texts("device"))
    mounts = tuple(mount_flag(text) for text in flags.texts("mount"))
    network = flags.text("network", "default")
    if network not in ("default", "none", "host"):
        raise DockerfileError(f"invalid network mode {quote(network)}")
    security = flags.text("security", "sandbox")
    if security not in ("sandbox", "insecure"):
        raise DockerfileError(f"security {quote(security)} is not valid")
    return ast.Run(
        heredocs=statement.heredocs,
        mount_flags=mounts,
        network=cast(Literal["default", "none", "host"], network),
        security=cast(Literal["sandbox", "insecure"], security),
        devices=devices,
        flags_used=flags.used(),
        **_command(statement),
    )


def _cmd(statement: Statement) -> ast.Cmd:
    _no_flags(statement)
    return ast.Cmd(**_command(statement))


def _entrypoint(statement: Statement) -> ast.Entrypoint:
    _no_flags(statement)
    return ast.Entrypoint(**_command(statement))


def _shell(statement: Statement) -> ast.Shell:
    _no_flags(statement)
    _at_least_one(statement, "SHELL")
    if not statement.json:
        raise DockerfileError("SHELL requires the arguments to be in JSON form")
    return ast.Shell(shell=statement.arguments, **_common(statement))


def _expose(statement: Statement) -> ast.Expose:
    _at_least_one(statement, "EXPOSE")
    _no_flags(statement)
    return ast.Expose(ports=tuple(sorted(statement.arguments)), **_common(statement))


def _volume(statement: Statement) -> ast.Volume:
    _at_least_one(statement, "VOLUME")
    _no_flags(statement)
    volumes = tuple(spaces.strip(word) for word in statement.arguments)
    if not all(volumes):
        raise DockerfileError("VOLUME specified can not be an empty string")
    return ast.Volume(volumes=volumes, **_common(statement))


def _user(statement: Statement) -> ast.User:
    user = _exactly_one(statement, "USER")
    _no_flags(statement)
    return ast.User(user=user, **_common(statement))


def _workdir(statement: Statement) -> ast.Workdir:
    path = _exactly_one(statement, "WORKDIR")
    _no_flags(statement)
    return ast.Workdir(path=path, **_common(statement))


def _maintainer(statement: Statement) -> ast.Maintainer:
    maintainer = _exactly_one(statement, "MAINTAINER")
    _no_flags(statement)
    return ast.Maintainer(maintainer=maintainer, **_common(statement))


def _stop_signal(statement: Statement) -> ast.StopSignal:
    return ast.StopSignal(signal=_exactly_one(statement, "STOPSIGNAL"), **_common(statement))


def _onbuild(statement: Statement) -> ast.Onbuild:
    _at_least_one(statement, "ONBUILD")
    _no_flags(statement)
    trigger = statement.arguments[0].upper()
    if trigger == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise DockerfileError(f"{trigger} isn't allowed as an ONBUILD trigger")
    parts = [_TRIGGER.sub("", statement.code, count=1)]
    for heredoc in statement.heredocs:
        parts.append("\n" + heredoc.content.decode("utf-8", "replace") + heredoc.name)
    return ast.Onbuild(expression="".join(parts), **_common(statement))


def _healthcheck(statement: Statement) -> ast.Healthcheck:
    _at_least_one(statement, "HEALTHCHECK")
    kind, *command = statement.arguments
    kind = kind.upper()
    if kind == "NONE":
        if command:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return ast.Healthcheck(test=("NONE",), **_common(statement))
    flags = Flags(statement.flags, _HEALTH_FLAGS)
    if kind != "CMD":
        raise DockerfileError(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
    if not command:
        raise DockerfileError("Missing command after HEALTHCHECK CMD")
    times: dict[str, Any] = {name.replace("-", "_"): _interval(flags, name) for name in _HEALTH_TIMES}
    test = ("CMD" if statement.json else "CMD-SHELL", *command)
    return ast.Healthcheck(test=test, retries=_retries(flags), **times, **_common(statement))


def _interval(flags: Flags, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    try:
        found = duration(text)
    except ValueError as error:
        raise DockerfileError(str(error)) from None
    if found and found < _MILLISECOND:
        raise DockerfileError(f"Interval {quote(name)} cannot be less than 1ms")
    return found


def _retries(flags: Flags) -> int:
    text = flags.text("retries")
    if not text:
        return 0
    try:
        retries = scalars.integer(text)
    except ValueError as error:
        raise DockerfileError(str(error)) from None
    if retries < 0:
        raise DockerfileError(f"--retries cannot be negative ({retries})")
    return retries


_BUILDERS: dict[str, Callable[[Statement], ast.Instruction | ast.Stage]] = {
    "add": _add,
    "arg": _arg,
    "cmd": _cmd,
    "copy": _copy,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "from": _from,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stop_signal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
