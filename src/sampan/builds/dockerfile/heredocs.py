"""Heredoc words: `<<EOF`, `<<-EOF`, `3<<"E O F"`. Their bodies are read by `statements`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sampan.builds.dockerfile.ast import Heredoc
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.expansion import expand

_WORD = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)")
_NOTHING: Mapping[str, str] = {}


def heredoc_of(word: str) -> Heredoc | None:
    """The heredoc that this one word announces, without a body; None when it announces none."""
    try:
        return _heredoc(word)
    except DockerfileError:
        return None


def heredocs_of_line(line: str) -> list[Heredoc]:
    """In order. A line whose quotes do not close announces none: it is the shell's to complain."""
    if "<<" not in line:
        return []
    try:
        words = expand(line, _NOTHING, raw_quotes=True, raw_escapes=True, keep_unset=True).words
    except DockerfileError:
        return []
    found = (_heredoc(word) for word in words if "<<" in word)
    return [heredoc for heredoc in found if heredoc is not None]


def _heredoc(word: str) -> Heredoc | None:
    found = _WORD.fullmatch(word)
    if found is None or not found[3]:
        return None
    plain = expand(found[3], _NOTHING, keep_unset=True).words
    if len(plain) != 1:
        return None
    quoted = expand(found[3], _NOTHING, raw_quotes=True, keep_unset=True).words
    if len(quoted) != len(plain):
        raise DockerfileError(f"internal lexing of heredoc produced inconsistent results: {found[3]}")
    return Heredoc(
        name=plain[0],
        content=b"",
        # A quote that the plain reading took away was one that quoted.
        expand=_quotes(plain[0]) == _quotes(quoted[0]),
        chomp=found[2] == "-",
        descriptor=min(int(found[1][:10] or "0"), 0xFFFFFFFF),
    )


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
