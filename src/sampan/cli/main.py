"""`sampan`: the client. Reads the global flags, finds the command, runs it, turns failures into exit codes.

Starting cold is what this program does most, so nothing is imported here that the command at hand does not need:
no argparse, re, json, socket, http.client, signal (`json` alone costs 8 ms, `socket` 9 ms, the interpreter 8 ms).
"""

from __future__ import annotations

import os
import sys

from .commands import GROUPS, OTHER_NAMES, PROGRAM, TOP, load
from .errors import CliError, UsageError
from .flags import Flag, Flags, HelpAsked, parse
from .session import Cli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def global_flags() -> tuple[Flag, ...]:
    home = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    certs = os.environ.get("DOCKER_CERT_PATH") or home
    return (
        Flag("config", "string", "Location of client config files", shown=f'"{home}"'),
        Flag(
            "context",
            "string",
            'Name of the context to use to connect to the daemon (only "default" is supported)',
            short="c",
        ),
        Flag("debug", "bool", "Enable debug mode", short="D"),
        Flag("host", "list", "Daemon socket to connect to", short="H"),
        Flag(
            "log-level",
            "string",
            'Set the logging level ("debug", "info", "warn", "error", "fatal")',
            short="l",
            default="info",
            shown='"info"',
        ),
        Flag("tls", "bool", "Use TLS; implied by --tlsverify"),
        Flag("tlscacert", "string", "Trust certs signed only by this CA", shown=f'"{certs}/ca.pem"'),
        Flag("tlscert", "string", "Path to TLS certificate file", shown=f'"{certs}/cert.pem"'),
        Flag("tlskey", "string", "Path to TLS key file", shown=f'"{certs}/key.pem"'),
        Flag("tlsverify", "bool", "Use TLS and verify the remote"),
        Flag("version", "bool", "Print version information and quit", short="v"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _main(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 141
    return code


def script() -> None:
    """The console script: no interpreter teardown, which would cost 3 ms for nothing."""
    import _signal  # type: ignore[import-not-found]  # `signal` brings enum: 3 ms

    # As every Unix tool: writing into a closed pipe ends us. Sockets are written with MSG_NOSIGNAL.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    code = main()
    sys.stderr.flush()
    os._exit(code)


def _main(words: list[str]) -> int:
    specs = global_flags()
    try:
        flags = parse(specs, words, interspersed=False, warn=_warn)
    except HelpAsked:
        return _help_top(specs)
    except UsageError as error:
        return _fail(_with_usage(error, f"{PROGRAM} [OPTIONS] COMMAND [ARG...]", PROGRAM))
    if flags.text("log-level") not in ("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace"):
        return _fail(CliError(f"Unable to parse logging level: {flags.text('log-level')}"))
    if not flags.args:
        if flags.yes("version"):
            sys.stdout.write(version_line())
            return 0
        return _help_top(specs)
    if flags.args[0] == "help":
        return _help(specs, flags.args[1:])
    if flags.args[0] == "daemon":
        return _daemon(flags.args[1:])
    return _dispatch(flags)


def version_line() -> str:
    from sampan import __version__

    return f"Sampan version {__version__}, build {os.environ.get('SAMPAN_BUILD', 'python')}\n"


def _daemon(words: list[str]) -> int:
    """`sampan daemon`: become sampand. A new interpreter, because ours may run without site-packages."""
    os.execv(sys.executable, [sys.executable, "-m", "sampan.daemon", *words])


def _dispatch(flags: Flags) -> int:
    entry, path, rest = _find(flags.args)
    if entry is None:
        return _group(flags, path, rest)
    cli = Cli(flags)
    cli.path = path
    command = load(entry[0])
    try:
        given = parse(command.flags, rest, interspersed=command.interspersed, warn=_warn)
        command.check(path, len(given.args))
        return command.run(cli, given, given.args)
    except HelpAsked:
        from .help import command_help

        sys.stdout.write(command_help(command, path, entry[1]))
        return 0
    except UsageError as error:
        return _fail(_with_usage(error, command.usage_line(path), path))
    except CliError as error:
        return _fail(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(CliError(f"{error.filename}: {error.strerror}" if error.filename else str(error)))


def _find(words: list[str]) -> tuple[tuple[str, str] | None, str, list[str]]:
    """The table entry the words name, the path that was typed, and the words after it."""
    first = words[0]
    if first in TOP:
        return TOP[first], f"{PROGRAM} {first}", words[1:]
    if first in GROUPS and len(words) > 1:
        name = OTHER_NAMES.get(first, {}).get(words[1], words[1])
        members = GROUPS[first][1]
        if name in members:
            return members[name], f"{PROGRAM} {first} {name}", words[2:]
    return None, first, words[1:]


def _group(flags: Flags, name: str, rest: list[str]) -> int:
    """A group without one of its commands, or a name that nobody has."""
    if name not in GROUPS:
        return _fail(
            CliError(f"{PROGRAM}: unknown command: {PROGRAM} {name}\n\nRun '{PROGRAM} --help' for more information")
        )
    path = f"{PROGRAM} {name}"
    try:
        given = parse((), rest, warn=_warn)
    except HelpAsked:
        given = None
    except UsageError as error:
        return _fail(_with_usage(error, path, path))
    if given is not None and given.args:
        return _fail(
            CliError(
                f"{PROGRAM}: unknown command: {path} {given.args[0]}\n\nUsage:  {path}\n\n"
                f"Run '{path} --help' for more information"
            )
        )
    from .help import group_help

    # a group alone is half a mistake: docker tells its commands on stderr, and calls that a success
    (sys.stdout if given is None else sys.stderr).write(group_help(name))
    return 0


def _help_top(specs: Sequence[Flag]) -> int:
    from .help import top_help

    sys.stdout.write(top_help(specs))
    return 0


def _help(specs: Sequence[Flag], words: list[str]) -> int:
    """`sampan help [COMMAND]`."""
    from .help import command_help, group_help

    if not words:
        return _help_top(specs)
    entry, path, _ = _find(words)
    if entry is not None:
        sys.stdout.write(command_help(load(entry[0]), path, entry[1]))
    elif path in GROUPS:
        sys.stdout.write(group_help(path))
    else:
        return _fail(CliError(f"unknown help topic: {' '.join(words)}"))
    return 0


def _with_usage(error: UsageError, usage: str, path: str) -> UsageError:
    return UsageError(f"{error.message}\n\nUsage:  {usage}\n\nRun '{path} --help' for more information")


def _fail(error: CliError) -> int:
    sys.stdout.flush()
    if error.message:
        sys.stderr.write(error.message + "\n")
    return error.code or 1


def _warn(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    script()
