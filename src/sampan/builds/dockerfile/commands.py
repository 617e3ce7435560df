"""What a RUN, CMD or ENTRYPOINT starts: its words with the shell before them, and heredocs where they belong."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from msgspec import Struct

from sampan.builds.dockerfile.ast import CommandLine, Run
from sampan.builds.dockerfile.heredocs import heredoc_of

DEFAULT_SHELL = ("/bin/sh", "-c")
SCRIPT_DIRECTORY = "/dev/pipes"
"""Where a script heredoc (`RUN <<EOF` with a `#!` line) is mounted, read-only, mode 0755: BuildKit's place."""


class RunPlan(Struct, frozen=True):
    """`arguments` is what is executed. `script` is the content of the file `script_path` it needs, if it needs one.

    `summary` goes after the instruction in progress output: the first line of the only heredoc, `…` style."""

    arguments: tuple[str, ...]
    script_path: str = ""
    script: bytes = b""
    summary: str = ""


def with_shell(line: CommandLine, shell: Sequence[str] = ()) -> tuple[str, ...]:
    """`shell` is the image's, () for the default."""
    if not line.shell:
        return line.command
    return (*(shell or DEFAULT_SHELL), " ".join(line.command))


def run_plan(run: Run, shell: Sequence[str] = ()) -> RunPlan:
    """A heredoc alone is the program itself: a script when it begins with `#!`, else text for the shell, whose own
    heredocs it does not need. With a command before it the shell gets it as written. Nothing is expanded here."""
    if not run.heredocs or not run.shell:
        return RunPlan(with_shell(run, shell))
    prefix = tuple(shell or DEFAULT_SHELL)
    line = run.command[0]
    if heredoc_of(line) is None:
        parts = [line]
        for heredoc in run.heredocs:
            parts.append("\n" + _text(heredoc.content) + heredoc.name)
        return RunPlan((*prefix, "".join(parts)))
    first = run.heredocs[0]
    summary = _summary(_text(first.content))
    if first.text.startswith(b"#!"):
        # The word is anything people like, `../../etc/passwd` too: it must stay below the directory.
        path = SCRIPT_DIRECTORY + posixpath.normpath("/" + first.name.lstrip("/"))
        return RunPlan((*prefix, path), path, first.text, summary)
    return RunPlan((*prefix, _text(first.text)), summary=summary)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _summary(text: str) -> str:
    lines = text.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")
