"""Instructions that change nothing but the image's configuration: from a config to the next, and their line in its
history, as dockerd writes it. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from sampan.builds.dockerfile import ast
from sampan.builds.dockerfile.commands import with_shell
from sampan.errors import InvalidParameter
from sampan.golang import duration_text
from sampan.images.model import Healthcheck, RunConfig

SHELL = ("/bin/sh", "-c")


def shell_of(config: RunConfig) -> list[str]:
    return list(config.shell or SHELL)


def nop(config: RunConfig, text: str) -> str:
    """How a step that ran nothing stands in the history."""
    return " ".join([*shell_of(config), f"#(nop) {text}"])


def set_environment(entries: Sequence[str] | None, key: str, value: str) -> list[str]:
    """In place of an earlier entry of that name, else at the end."""
    found = list(entries or [])
    for position, entry in enumerate(found):
        if entry.partition("=")[0] == key:
            found[position] = f"{key}={value}"
            return found
    return [*found, f"{key}={value}"]


def working_directory(current: str, wanted: str) -> str:
    """WORKDIR's and COPY's relative paths."""
    joined = posixpath.normpath(posixpath.join(current or "/", wanted))
    return "/" + joined.lstrip("/") if joined.startswith("/") else posixpath.join("/", joined)


def quoted(words: Sequence[str]) -> str:
    """Go's %q of a list."""
    import msgspec

    return "[" + " ".join(msgspec.json.encode(word).decode() for word in words) + "]"


def apply(config: RunConfig, step: ast.Instruction, exposed: Mapping[str, object]) -> tuple[RunConfig, str]:
    """`config` is changed and returned, with the history's text. `exposed`: an EXPOSE's ports, taken apart."""
    before = nop(config, "{}")
    text = _apply(config, step, exposed)
    if isinstance(step, ast.Shell):
        before = nop(config, "{}")  # dockerd has set it by then
    return config, before.replace("{}", " " + text)


def _apply(config: RunConfig, step: ast.Instruction, exposed: Mapping[str, object]) -> str:
    match step:
        case ast.Env():
            for pair in step.pairs:
                if not pair.key:
                    raise InvalidParameter("ENV names can not be blank")
                config.env = set_environment(config.env, pair.key, pair.value)
            return "ENV " + " ".join(f"{pair.key}={pair.value}" for pair in step.pairs)
        case ast.Label():
            for pair in step.pairs:
                if not pair.key:
                    raise InvalidParameter("LABEL names can not be blank")
                config.labels = {**(config.labels or {}), pair.key: pair.value}
            return "LABEL " + " ".join(f"{pair.key}={pair.value}" for pair in step.pairs)
        case ast.Cmd() | ast.Entrypoint():
            return _command(config, step)
        case ast.Expose():
            config.exposed_ports = {**(config.exposed_ports or {}), **{port: {} for port in exposed}}
            return "EXPOSE " + " ".join(step.ports)
        case ast.Volume():
            if not all(path.strip() for path in step.volumes):
                raise InvalidParameter("VOLUME specified can not be an empty string")
            config.volumes = {**(config.volumes or {}), **{path.strip(): {} for path in step.volumes}}
            return f"VOLUME [{' '.join(step.volumes)}]"
        case ast.User():
            config.user = step.user
            return f"USER {step.user}"
        case ast.StopSignal():
            from sampan.containers.rules import signals

            signals.parse(step.signal)
            config.stop_signal = step.signal
            return f"STOPSIGNAL {step.signal}"
        case ast.Healthcheck():
            return _healthcheck(config, step)
        case ast.Shell():
            config.shell = list(step.shell)
            return f"SHELL [{' '.join(step.shell)}]"
        case ast.Onbuild():
            config.on_build = [*(config.on_build or []), step.expression]
            return f"ONBUILD {step.expression}"
        case ast.Maintainer():
            return f"MAINTAINER {step.maintainer}"
        case ast.Arg():
            return "ARG " + " ".join(_argument(one) for one in step.arguments)
    raise AssertionError(step)


def _argument(one: ast.ArgDefinition) -> str:
    return one.key if one.value is None else f"{one.key}={one.value}"


def _command(config: RunConfig, step: ast.CommandLine) -> str:
    words = list(with_shell(step, config.shell or ()))
    if isinstance(step, ast.Cmd):
        config.cmd = words
        config.args_escaped = False
        return f"CMD {quoted(words)}"
    # An entrypoint of one's own drops a command that came from the base image; the caller knows whose it is.
    config.entrypoint = words or None
    return f"ENTRYPOINT {quoted(words)}"


def _healthcheck(config: RunConfig, step: ast.Healthcheck) -> str:
    check = Healthcheck(
        test=list(step.test),
        interval=step.interval,
        timeout=step.timeout,
        start_period=step.start_period,
        start_interval=step.start_interval,
        retries=step.retries,
    )
    config.healthcheck = check
    times = (step.interval, step.timeout, step.start_period, step.start_interval)
    shown = " ".join(f'"{duration_text(one)}"' for one in times)
    retries = f"'\\x{step.retries:02x}'" if step.retries < 32 else f"'{chr(step.retries)}'"
    return f"HEALTHCHECK &{{{quoted(step.test)} {shown} {retries}}}"


def run_history(words: Sequence[str], arguments: Sequence[tuple[str, str]]) -> str:
    """`|1 FOO=bar /bin/sh -c make`: the build arguments that were in the environment come first."""
    shown = " ".join(words)
    if arguments:
        pairs = " ".join(f"{key}={value}" for key, value in sorted(arguments))
        shown = f"|{len(arguments)} {pairs} {shown}"
    return shown
