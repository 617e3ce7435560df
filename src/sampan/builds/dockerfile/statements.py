"""From bytes to statements: lines joined, comments and heredoc bodies taken out, keyword, flags and arguments apart.

What the keyword means is `instructions`' business; only how its arguments are split is decided here. The two are apart
because BuildKit has it so: an error of this layer anywhere in the file is told before one of the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from sampan.builds.dockerfile import arguments, spaces
from sampan.builds.dockerfile.ast import Directive, Heredoc, Lines
from sampan.builds.dockerfile.directives import Directives
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.heredocs import heredocs_of_line

_LONGEST_LINE = 65535
"""Bytes: what BuildKit's scanner takes."""
_HEREDOC_KEYWORDS = frozenset(("add", "copy", "run"))
_CONTINUATIONS = {
    escape: re.compile(rf"(?:(?<=[^{re.escape(escape)}])|^){re.escape(escape)}[ \t]*\Z") for escape in ("\\", "`")
}


class Statement(NamedTuple):
    """`keyword` as spelled; `arguments` split as this keyword wants it; `pairs` for ENV and LABEL."""

    keyword: str
    code: str
    lines: Lines
    comments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    json: bool = False
    pairs: tuple[tuple[str, str, bool], ...] = ()
    trigger: Statement | None = None  # of ONBUILD
    heredocs: tuple[Heredoc, ...] = ()


class Statements(NamedTuple):
    statements: list[Statement]
    escape: str
    directives: tuple[Directive, ...]
    empty_continuations: tuple[int, ...]


def read(source: bytes) -> Statements:
    """Raises `DockerfileError`."""
    return _Reader(source).read()


class _Reader:
    def __init__(self, source: bytes) -> None:
        try:
            text = source.decode("utf-8")
            self.valid = True
        except UnicodeDecodeError:
            # Bodies of heredocs keep their bytes; anything else becomes U+FFFD, line by line.
            text = source.decode("utf-8", "surrogateescape")
            self.valid = False
        self.raw = text.removeprefix("\ufeff").split("\n")
        if not self.raw[-1]:
            self.raw.pop()  # what stands before the last line end is the last line
        self.line = 0  # lines read so far
        self.escape = "\\"
        self.directives = Directives()
        self.comments: list[str] = []
        self.statements: list[Statement] = []
        self.empty_continuations: list[int] = []

    def read(self) -> Statements:
        while self.line < len(self.raw):
            start = self.line + 1
            text, ends = self._first(self._next())
            if ends and not text:
                continue
            self._statement(text if ends else self._continued(text), start)
        if not self.statements:
            raise DockerfileError("file with no instructions", [Lines(self.line, self.line)])
        return Statements(
            self.statements, self.escape, tuple(self.directives.found.values()), tuple(self.empty_continuations)
        )

    def _next(self) -> str:
        """The next line without its line ending."""
        raw = self.raw[self.line]
        self.line += 1
        if len(raw) > _LONGEST_LINE // 4 and len(raw.encode("utf-8", "surrogateescape")) > _LONGEST_LINE:
            raise DockerfileError(
                f"dockerfile line greater than max allowed size of {_LONGEST_LINE}", [Lines(self.line, self.line)]
            )
        return raw.rstrip("\r")

    def _first(self, raw: str) -> tuple[str, bool]:
        """The first line of a statement without a continuation mark, and whether the statement ends on it."""
        text = spaces.strip_left(self._clean(raw))
        comment = text.startswith("#")
        if not self.directives.done:
            directive = self.directives.read(text, self.line)
            if directive is not None:
                self._apply(directive)
                return "", True
        if comment:
            # BuildKit takes the first character of the unstripped line away, whatever it is.
            said = spaces.strip(self._clean(raw)[1:])
            self.comments = [*self.comments, said] if said else []
            return "", True
        return self._without_continuation(text)

    def _apply(self, directive: Directive) -> None:
        if directive.name != "escape":
            return
        if directive.value not in _CONTINUATIONS:
            raise DockerfileError(
                f"invalid escape token '{directive.value}' does not match ` or \\", [Lines(self.line, self.line)]
            )
        self.escape = directive.value

    def _without_continuation(self, text: str) -> tuple[str, bool]:
        found = _CONTINUATIONS[self.escape].search(text) if self.escape in text else None
        return (text, True) if found is None else (text[: found.start()], False)

    def _continued(self, first: str) -> str:
        parts = [first]
        empty = False
        ends = False
        while not ends and self.line < len(self.raw):
            text = self._clean(self._next())
            stripped = spaces.strip_left(text)
            if stripped.startswith("#"):
                continue
            if not stripped:
                empty = True
                continue
            text, ends = self._without_continuation(text)
            parts.append(text)
        if empty:
            self.empty_continuations.append(self.line)
        return "".join(parts)

    def _clean(self, text: str) -> str:
        return text if self.valid else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _statement(self, line: str, start: int) -> None:
        try:
            statement = statement_of(line, self.escape, Lines(start, self.line), tuple(self.comments))
            heredocs = heredocs_of_line(line) if _may_have_heredocs(statement) else []
            if heredocs:
                bodies = tuple(self._body(heredoc) for heredoc in heredocs)
                statement = statement._replace(lines=Lines(start, self.line), heredocs=bodies)
        except DockerfileError as error:
            raise error if error.lines else error.at(Lines(start, self.line)) from None
        self.statements.append(statement)
        self.comments = []

    def _body(self, heredoc: Heredoc) -> Heredoc:
        content: list[str] = []
        while self.line < len(self.raw):
            line = self._next()
            if (line.lstrip("\t") if heredoc.chomp else line) == heredoc.name:
                return Heredoc(
                    name=heredoc.name,
                    content="".join(content).encode("utf-8", "surrogateescape"),
                    expand=heredoc.expand,
                    chomp=heredoc.chomp,
                    descriptor=heredoc.descriptor,
                )
            content.append(self.raw[self.line - 1] + "\n")
        raise DockerfileError("unterminated heredoc")


def _may_have_heredocs(statement: Statement) -> bool:
    inner = statement.trigger if statement.keyword.lower() == "onbuild" and statement.trigger else statement
    return inner.keyword.lower() in _HEREDOC_KEYWORDS and not inner.json


def statement_of(line: str, escape: str, lines: Lines, comments: tuple[str, ...] = ()) -> Statement:
    keyword, rest = arguments.split_keyword(line)
    flags, rest = arguments.split_flags(rest, escape)
    statement = Statement(keyword, spaces.strip(line), lines, comments, tuple(flags))
    splitter = _SPLITTERS.get(keyword.lower())
    return statement if splitter is None or not rest else splitter(statement, rest, escape)


_Splitter = Callable[[Statement, str, str], Statement]


def _whole(statement: Statement, rest: str, escape: str) -> Statement:
    return statement._replace(arguments=(rest,))


def _spaced(statement: Statement, rest: str, escape: str) -> Statement:
    return statement._replace(arguments=tuple(spaces.fields(rest)))


def _quoted(statement: Statement, rest: str, escape: str) -> Statement:
    return statement._replace(arguments=tuple(arguments.quoted_words(rest, escape)))


def _pairs(statement: Statement, rest: str, escape: str) -> Statement:
    return statement._replace(pairs=tuple(arguments.key_values(rest, statement.keyword.upper(), escape)))


def _command(statement: Statement, rest: str, escape: str) -> Statement:
    items = arguments.json_list(rest)
    if items is None:
        return statement._replace(arguments=(rest,))
    return statement._replace(arguments=tuple(items), json=True)


def _list(statement: Statement, rest: str, escape: str) -> Statement:
    items = arguments.json_list(rest)
    if items is None:
        return _spaced(statement, rest, escape)
    return statement._replace(arguments=tuple(items), json=True)


def _health(statement: Statement, rest: str, escape: str) -> Statement:
    kind = spaces.split(rest)[0]
    command = spaces.strip_left(rest[len(kind) :])
    statement = _command(statement, command, escape) if command else statement
    return statement._replace(arguments=(kind, *statement.arguments))


def _trigger(statement: Statement, rest: str, escape: str) -> Statement:
    if rest.lower().startswith("onbuild"):
        # Refused later; not followed here, because every level would be one of Python's stack.
        return statement._replace(arguments=(spaces.fields(rest)[0],))
    inner = statement_of(rest, escape, statement.lines)
    return statement._replace(arguments=(inner.keyword,), trigger=inner)


_SPLITTERS: dict[str, _Splitter] = {
    "add": _list,
    "arg": _quoted,
    "cmd": _command,
    "copy": _list,
    "entrypoint": _command,
    "env": _pairs,
    "expose": _spaced,
    "from": _spaced,
    "healthcheck": _health,
    "label": _pairs,
    "maintainer": _whole,
    "onbuild": _trigger,
    "run": _command,
    "shell": _command,
    "stopsignal": _whole,
    "user": _whole,
    "volume": _list,
    "workdir": _whole,
}
KEYWORDS = tuple(keyword.upper() for keyword in _SPLITTERS)
