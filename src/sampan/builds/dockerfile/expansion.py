"""Variables, quotes and escapes of one value: what `$NAME`, `${NAME:-word}`, `"…"`, `'…'` and `\\x` mean.

The rules look like a shell's and are not quite: they are those of BuildKit's frontend (`frontend/dockerfile/shell`).
Outside quotes the escape character takes the next one as it is; in double quotes only before `"`, `$` and itself;
single quotes keep everything. Undefined variables are empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from sampan.builds.dockerfile import patterns, spaces
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.golang import quote

_DEPTH = 50
"""Nested `${a:-${b:-…` deeper than this is refused: Python's own stack is the limit otherwise."""
_LONGEST = 16 << 20
"""Characters. `ENV A=$A$A`, written forty times, would take all memory there is."""
_SPECIAL = frozenset("@*#?-$!0")
_BLANKS = "\t\r "
_DOLLAR_MODIFIERS = frozenset("+-?#%")


class Expansion(NamedTuple):
    """`words` are split at unquoted spaces, also those that came out of variables; an empty word is none.

    `matched` and `unmatched` are the variables asked for, in order, once each."""

    text: str
    words: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()


def expand(
    word: str,
    environment: Mapping[str, str],
    escape: str = "\\",
    *,
    raw_quotes: bool = False,
    raw_escapes: bool = False,
    ignore_quotes: bool = False,
    keep_unset: bool = False,
) -> Expansion:
    """`raw_quotes`, `raw_escapes`: they stay in the result. `ignore_quotes`: they mean nothing. `keep_unset`: an
    undefined `$NAME` stays as it is.

    Raises `DockerfileError`: `failed to process "…": …`.
    """
    lexer = _Lexer(word, environment, escape, raw_quotes, raw_escapes, ignore_quotes, keep_unset)
    try:
        text, words = lexer.until("", raw_escapes)
    except ValueError as error:
        raise DockerfileError(f"failed to process {quote(word)}: {error}") from None
    return Expansion(text, tuple(words), tuple(lexer.matched), tuple(lexer.unmatched))


class _Words:
    """Collects words while the text is built."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._current: list[str] = []

    def raw(self, text: str) -> None:
        if text:
            self._current.append(text)

    def split(self, text: str) -> None:
        """Text in which spaces separate."""
        first, *others = spaces.split(text)
        self.raw(first)
        for other in others:
            self.flush()
            self.raw(other)

    def flush(self) -> None:
        if self._current:
            self.done.append("".join(self._current))
            self._current = []


class _Lexer:
    def __init__(
        self,
        source: str,
        environment: Mapping[str, str],
        escape: str,
        raw_quotes: bool,
        raw_escapes: bool,
        ignore_quotes: bool,
        keep_unset: bool,
    ) -> None:
        self.source = source
        self.position = 0
        self.environment = environment
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.keep_unset = keep_unset
        self.special = ("$<" if ignore_quotes else "$<'\"") + escape
        self.matched: dict[str, None] = {}
        self.unmatched: dict[str, None] = {}
        self.depth = 0

    def peek(self) -> str:
        """The next character, "" at the end."""
        return self.source[self.position : self.position + 1]

    def next(self) -> str:
        character = self.source[self.position : self.position + 1]
        self.position += 1 if character else 0
        return character

    def until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Text and words up to `stop` ("": the end), which is consumed."""
        before, self.raw_escapes = self.raw_escapes, raw_escapes
        self.depth += 1
        if self.depth > _DEPTH:
            raise ValueError("substitutions are nested too deeply")
        result: list[str] = []
        words = _Words()
        size = 0
        plain = _plain_run(self.special + stop)
        while self.position < len(self.source):
            run = plain.match(self.source, self.position)
            if run is not None:
                self.position = run.end()
                words.split(piece := run[0])
            elif self.source[self.position] == stop:
                self.next()
                break
            else:
                piece = self._piece(words)
            result.append(piece)
            size += len(piece)
            if size > _LONGEST:
                raise ValueError(f"the value is longer than {_LONGEST} characters")
        else:
            if stop:
                raise ValueError(f"unexpected end of statement while looking for matching {stop}")
        words.flush()
        self.raw_escapes = before
        self.depth -= 1
        return "".join(result), words.done

    def _piece(self, words: _Words) -> str:
        character = self.peek()
        if character == "$":
            value = self._dollar()
            words.split(value)
            return value
        if character == self.escape:
            value = self._escaped()
        elif character == "<":
            value = self._less_than()
        elif character == "'":
            value = self._single_quoted()
        else:
            value = self._double_quoted()
        words.raw(value)
        return value

    def _escaped(self) -> str:
        kept = self.next() if self.raw_escapes else self.next() and ""
        return kept + self.next()

    def _less_than(self) -> str:
        """`<<` and the blanks after it belong to the word that follows: `<< EOF` is one."""
        self.next()
        if self.peek() != "<":
            return "<"
        start = self.position
        self.next()
        while (character := self.peek()) and character in _BLANKS:
            self.next()
        return "<" + self.source[start : self.position]

    def _single_quoted(self) -> str:
        end = self.source.find("'", self.position + 1)
        if end < 0:
            raise ValueError("unexpected end of statement while looking for matching single-quote")
        text = self.source[self.position + 1 : end]
        self.position = end + 1
        return f"'{text}'" if self.raw_quotes else text

    def _double_quoted(self) -> str:
        self.next()
        result = ['"'] if self.raw_quotes else []
        while character := self.peek():
            if character == "$":
                result.append(self._dollar())
                continue
            self.next()
            if character == '"':
                if self.raw_quotes:
                    result.append('"')
                return "".join(result)
            if character == self.escape:
                following = self.peek()
                if self.raw_escapes:
                    result.append(character)
                if not following:
                    break
                if following in ('"', "$", self.escape):
                    character = self.next()
            result.append(character)
        raise ValueError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self.next()
        if self.peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._variable(name)
            return (f"${name}" if self.keep_unset else "") if value is None else value
        self.next()
        following = self.peek()
        if not following:
            raise ValueError("syntax error: missing '}'")
        if following in "{}:":
            raise ValueError("syntax error: bad substitution")
        return self._braced(self._name())

    def _braced(self, name: str) -> str:
        modifier = self.next()
        if modifier == "}":
            value = self._variable(name)
            return (f"${{{name}}}" if self.keep_unset else "") if value is None else value
        if modifier == "/":
            return self._replaced(name)
        if modifier == ":":
            return self._defaulted(name, self.next(), ":")
        if modifier in _DOLLAR_MODIFIERS:
            return self._defaulted(name, modifier, "")
        if not modifier:
            raise ValueError("syntax error: missing '}'")
        raise ValueError(f"unsupported modifier ({modifier}) in substitution")

    def _defaulted(self, name: str, modifier: str, colon: str) -> str:
        spelled = colon + (modifier or "\ufffd")
        unsupported = ValueError(f"unsupported modifier ({spelled}) in substitution")
        trims = modifier in ("#", "%")
        if colon and trims:
            raise unsupported
        word = self._until_or("}", trims, "syntax error: missing '}'")
        value = self._variable(name)
        if value is None and self.keep_unset:
            return f"${{{name}{spelled}{word}}}"
        missing = value is None or (bool(colon) and not value)
        if modifier == "-":
            return word if missing else value or ""
        if modifier == "+":
            return "" if missing else word
        if modifier == "?":
            if missing:
                default = "is not allowed to be unset" if value is None else "is not allowed to be empty"
                raise ValueError(f"{name}: {word or default}")
            return value or ""
        if trims:
            return _trimmed(modifier, word, value or "")
        raise unsupported

    def _replaced(self, name: str) -> str:
        everywhere = self.peek() == "/"
        if everywhere:
            self.next()
        pattern = self._until_or("/", True, "syntax error: missing '/' in ${}")
        replacement = self._until_or("}", True, "syntax error: missing '}'")
        value = self._variable(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        compiled = _compiled(pattern)
        return (compiled.replace_all if everywhere else compiled.replace)(value or "", replacement)

    def _until_or(self, stop: str, raw_escapes: bool, at_end: str) -> str:
        try:
            return self.until(stop, raw_escapes)[0]
        except ValueError as error:
            raise ValueError(at_end if not self.peek() else str(error)) from None

    def _name(self) -> str:
        """A number, one special character, or letters, digits and `_`; "" for anything else."""
        source, start = self.source, self.position
        first = self.peek()
        end = start
        if first.isdecimal():
            while end < len(source) and source[end].isdecimal():
                end += 1
        elif first and first in _SPECIAL:
            end += 1
        else:
            while end < len(source) and (source[end] == "_" or source[end].isalpha() or source[end].isdecimal()):
                end += 1
        self.position = end
        return source[start:end]

    def _variable(self, name: str) -> str | None:
        value = self.environment.get(name)
        (self.unmatched if value is None else self.matched)[name] = None
        return value


@functools.lru_cache(maxsize=64)
def _plain_run(special: str) -> re.Pattern[str]:
    return re.compile(f"[^{re.escape(special)}]+")


def _compiled(pattern: str) -> patterns.Pattern:
    try:
        return patterns.compiled(pattern)
    except ValueError as error:
        raise ValueError(f"invalid pattern ({pattern}) in substitution: {error}") from None


def _trimmed(modifier: str, word: str, value: str) -> str:
    """`#` and `%` take the shortest match away, doubled the longest."""
    longest = word[:1] == modifier
    pattern = _compiled(word[1:] if longest else word)
    if modifier == "#":
        end = pattern.prefix(value, longest)
        return value if end is None else value[end:]
    start = pattern.suffix(value, longest)
    return value if start is None else value[:start]
