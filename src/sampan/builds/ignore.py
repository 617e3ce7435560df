"""`.dockerignore`: which files of a context a build never sees. Text and paths in, verdicts out; no file is read here.

Later lines win over earlier ones; `!` takes back. A pattern is about the whole path from the context's root, and what
is below a matched directory is matched with it. `*` and `?` stay inside a path component, `**` does not, `[a-z]` is a
set, `\\` takes the next character as it is. Source of the rules: moby/patternmatcher, whose quirks are kept (`**foo` at
the beginning means any path that ends in foo, `foo**` any that begins with it).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from sampan.errors import InvalidParameter

_BAD = "syntax error in pattern"
_ANY = r"[\s\S]*"


def names(dockerfile: str) -> tuple[str, str]:
    """Where to look, the first that is there wins: `docker/app.Dockerfile.dockerignore`, then `.dockerignore`."""
    return f"{dockerfile}.dockerignore", ".dockerignore"


def read(source: bytes) -> tuple[str, ...]:
    """The patterns of a file, cleaned: comments and blank lines gone, `/foo/` as `foo`."""
    found: list[str] = []
    for line in source.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith("#"):
            continue
        line = line.strip()
        if not line:
            continue
        mark = "!" if line[0] == "!" else ""
        pattern = line[len(mark) :].strip()
        if pattern:
            pattern = _cleaned(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern[0] == "/" else pattern
        found.append(mark + pattern)
    return tuple(found)


class Ignore:
    """Patterns, ready to be asked: about a microsecond a path. Paths are relative to the context, with `/`.

    Raises `InvalidParameter` for a pattern that cannot be one.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        parsed = [pattern for text in patterns if (pattern := _parsed(text)) is not None]
        self.texts = frozenset(text for exception, text in parsed if not exception)
        self._exceptions = [text.split("/") for exception, text in parsed if exception]
        self._groups = [
            (exception, _compiled([text for _, text in group]))
            for exception, group in groupby(parsed, key=lambda pattern: pattern[0])
        ]

    @property
    def has_exceptions(self) -> bool:
        return bool(self._exceptions)

    def excludes(self, path: str) -> bool:
        """Is this path, by itself or through a directory above it, left out?"""
        excluded = False
        for exception, expression in self._groups:
            # Patterns of one kind that follow each other can change nothing once one has matched: one expression.
            if exception == excluded and expression.match(path):
                excluded = not exception
        return excluded

    def skips(self, path: str, directory: bool) -> bool:
        """May a walk leave this path out? A directory only when nothing below it can be taken back; one that is
        excluded and yet walked belongs to the context only if something below it does."""
        return self.excludes(path) and not (directory and self._may_return(path))

    def _may_return(self, directory: str) -> bool:
        parts = directory.split("/")
        return any(_reaches(exception, parts) for exception in self._exceptions)


def _parsed(text: str) -> tuple[bool, str] | None:
    text = text.strip()
    if not text:
        return None
    text = _cleaned(text)
    exception = text[0] == "!"
    if exception and len(text) == 1:
        raise InvalidParameter('illegal exclusion pattern: "!"')
    text = text[1:] if exception else text
    _check(text)
    return exception, text


def _cleaned(text: str) -> str:
    """Go's filepath.Clean: as normpath, but `//x` is `/x`."""
    cleaned = posixpath.normpath(text)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _compiled(patterns: list[str]) -> re.Pattern[str]:
    alternatives = "|".join(dict.fromkeys(_expression(pattern) for pattern in patterns))
    try:
        return re.compile(rf"(?:{alternatives})(?=/|\Z)")
    except (re.error, RecursionError, OverflowError):
        raise InvalidParameter(_BAD) from None


def _expression(pattern: str) -> str:
    literal = not any(character in "*?[]\\" for character in pattern)
    if literal:
        return re.escape(pattern)
    head, tail = pattern.removesuffix("**"), pattern.removeprefix("**")
    if not any(character in "*?[]\\" for character in head):  # `foo/**`, `foo**`, `**`
        return re.escape(head) + _ANY
    if not any(character in "*?[]\\" for character in tail):  # `**/foo`, `**foo`
        return f"(?:{_ANY}/)?{re.escape(tail[1:])}" if tail[0] == "/" else _ANY + re.escape(tail)
    return _Translation(pattern).result()


class _Translation:
    """A pattern with wildcards as a regular expression.

    All stars of one component but the last are lazy and atomic: no alternative depends on where they stop, and without
    that `*a*a*a*b` takes forever on a long name.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0
        self.done: list[str] = []
        self.piece: list[str] = []  # since the last star of this component
        self.star = False

    def result(self) -> str:
        while self.position < len(self.pattern):
            self._next()
        self._end_component()
        return "".join(self.done)

    def _next(self) -> None:
        character = self.pattern[self.position]
        self.position += 1
        if character == "*":
            self._star()
        elif character == "?":
            self.piece.append("[^/]")
        elif character == "[":
            self.piece.append(self._set())
        elif character == "\\":
            self.piece.append(re.escape(self.pattern[self.position : self.position + 1]))
            self.position += 1
        elif character == "/":
            self._end_component()
            self.done.append("/")
        else:
            self.piece.append(re.escape(character))

    def _star(self) -> None:
        if self.pattern[self.position : self.position + 1] != "*":
            if self.star:
                self.done.append("(?>[^/]*?" + "".join(self.piece) + ")")
                self.piece = []
            else:
                self._end_component()
            self.star = True
            return
        self._end_component()
        self.position += 1
        if self.pattern.startswith("/", self.position):
            self.position += 1
        anything = ".*" if self.position == len(self.pattern) else "(?:.*/)?"
        if not self.done or self.done[-1] != anything:  # `**/**/` is one
            self.done.append(anything)

    def _end_component(self) -> None:
        self.done.append(("[^/]*" if self.star else "") + "".join(self.piece))
        if not self.done[-1]:
            self.done.pop()
        self.piece, self.star = [], False

    def _set(self) -> str:
        """`[…]` as far as its end, which `_check` has seen."""
        start = self.position
        position = start + 1 if self.pattern[start] == "^" else start
        while self.pattern[position] != "]" or position == start:
            position += 2 if self.pattern[position] == "\\" else 1
        self.position = position + 1
        inside = re.sub(r"(?<!\\)([\[&~|])", r"\\\1", self.pattern[start:position])
        return f"[{inside}]"


def _check(pattern: str) -> None:
    """What Go's filepath.Match calls malformed."""
    characters = iter(pattern)
    for character in characters:
        if character == "\\" and next(characters, None) is None:
            raise InvalidParameter(_BAD)
        if character == "[":
            _check_set(characters)


def _check_set(characters: Iterator[str]) -> None:
    character = next(characters, "")
    if character == "^":
        character = next(characters, "")
    members = 0
    while character != "]" or not members:
        character = _check_member(character, characters)
        members += 1
        if character == "-":
            character = _check_member(next(characters, ""), characters)


def _check_member(character: str, characters: Iterator[str]) -> str:
    """One character of a set; returns the next."""
    if character in ("", "-", "]"):
        raise InvalidParameter(_BAD)
    if character == "\\" and not next(characters, ""):
        raise InvalidParameter(_BAD)
    following = next(characters, "")
    if not following:
        raise InvalidParameter(_BAD)
    return following


def _reaches(exception: list[str], directory: list[str]) -> bool:
    """Could the pattern match something below this directory, or the directory itself?"""
    for wanted, name in zip(exception, directory, strict=False):
        if "**" in wanted:
            return True
        if not _component(wanted).fullmatch(name):
            return False
    return True


@lru_cache(maxsize=1024)
def _component(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(_expression(pattern))
    except re.error:
        return re.compile(_ANY)
