"""Parser directives: `# syntax=…`, `# escape=…`, `# check=…`, before anything else in the file.

The first line that is no directive ends them, be it a comment or an empty line.
"""

from __future__ import annotations

import json
import re

from sampan.builds.dockerfile import spaces
from sampan.builds.dockerfile.ast import Directive, Lines
from sampan.builds.dockerfile.errors import DockerfileError

_KNOWN = frozenset(("syntax", "escape", "check"))
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*", re.ASCII)


class Directives:
    """Reads line after line; `done` from the first one that is no directive."""

    def __init__(self, comment: str = "#") -> None:
        self.comment = comment
        self.done = False
        self.found: dict[str, Directive] = {}

    def read(self, text: str, line: int) -> Directive | None:
        """`text` without its line ending. Raises `DockerfileError` for one that comes twice."""
        if self.done:
            return None
        directive = self._directive(text, line)
        if directive is None:
            self.done = True
            return None
        if directive.name in self.found:
            raise DockerfileError(f"only one {directive.name} parser directive can be used", [Lines(line, line)])
        self.found[directive.name] = directive
        return directive

    def _directive(self, text: str, line: int) -> Directive | None:
        if not text.startswith(self.comment):
            return None
        found = _DIRECTIVE.fullmatch(spaces.strip_left(text[len(self.comment) :]))
        if found is None or found[1].lower() not in _KNOWN:
            return None
        return Directive(found[1].lower(), found[2], line)


def check_of_comment(comment: str) -> str:
    """`skip=…` of a comment `check=skip=…` right above an instruction; "" for any other comment."""
    found = Directives(comment="").read(comment, 1)
    return found.value.partition(" ")[0] if found is not None and found.name == "check" else ""


def leading(source: bytes, name: str) -> str:
    """The first word of a directive's value. A byte order mark and a `#!` line may stand before it."""
    return _leading(_lines(source), name, "#")


def syntax(source: bytes) -> str:
    """The frontend the file asks for, "" for none: `# syntax=`, `// syntax=` or the key of a JSON document."""
    lines = _lines(source)
    found = _leading(lines, "syntax", "#") or _leading(lines, "syntax", "//")
    if found or not "".join(lines[:1]).lstrip().startswith("{"):
        return found
    try:
        document = json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return ""
    value = document.get("syntax") if isinstance(document, dict) else None
    return value if isinstance(value, str) else ""


def _lines(source: bytes) -> list[str]:
    lines = source.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
    return lines[1:] if lines[0].startswith("#!") else lines


def _leading(lines: list[str], name: str, comment: str) -> str:
    reader = Directives(comment)
    for number, line in enumerate(lines, 1):
        try:
            if reader.read(line.removesuffix("\r"), number) is None:
                break
        except DockerfileError:
            break
    found = reader.found.get(name)
    return found.value.partition(" ")[0] if found is not None else ""
