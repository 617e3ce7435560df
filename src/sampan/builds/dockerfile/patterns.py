"""The patterns of `${name#pattern}`, `%` and `/`: `*`, `?`, and `\\` before one of them. No brackets, as in BuildKit.

A pattern is split at its stars into *pieces* of fixed length, and pieces are searched one after the other: with no
alternatives in the language the leftmost placement of each piece is as good as any, so nothing backtracks and no
pattern is slower than pieces × text. Neither `*` nor `?` crosses a line end.
"""

from __future__ import annotations

import functools
import re


class Pattern:
    """`ValueError` for a backslash before anything but `*`, `?`, `\\`, `/` and `}`."""

    def __init__(self, text: str) -> None:
        self._pieces = [re.compile("".join(piece)) for piece in _pieces(text)]
        self._reversed = [re.compile("".join(reversed(piece))) for piece in reversed(_pieces(text))]

    def prefix(self, value: str, longest: bool) -> int | None:
        """Where the match that starts at the beginning ends."""
        return _match_at(self._pieces, value, 0, longest)

    def suffix(self, value: str, longest: bool) -> int | None:
        """Where the match that ends at the end begins."""
        end = _match_at(self._reversed, value[::-1], 0, longest)
        return None if end is None else len(value) - end

    def find(self, value: str, start: int = 0) -> tuple[int, int] | None:
        """The leftmost, then longest match from `start` on."""
        position = start
        while (first := self._pieces[0].search(value, position)) is not None:
            end = _match_at(self._pieces, value, first.start(), True)
            if end is not None:
                return first.start(), end
            # What follows the first star is not on this line, so no later start on it can match either.
            line_end = value.find("\n", first.end())
            if line_end < 0:
                return None
            position = line_end + 1
        return None

    def replace(self, value: str, replacement: str) -> str:
        """The first match."""
        found = self.find(value)
        return value if found is None else value[: found[0]] + replacement + value[found[1] :]

    def replace_all(self, value: str, replacement: str) -> str:
        """Every match; `$0` and `${0}` of the replacement are what matched, as in Go's `ReplaceAllString`."""
        parts: list[str] = []
        done = position = 0
        while position <= len(value) and (found := self.find(value, position)) is not None:
            start, end = found
            parts.append(value[done:start])
            if end > done or start == 0:
                parts.append(_filled(replacement, value[start:end]))
            done = end
            position = max(position + 1, end)
        return "".join(parts) + value[done:]


compiled = functools.lru_cache(maxsize=256)(Pattern)


def _pieces(text: str) -> list[list[str]]:
    """Each piece as regular expressions of one character each."""
    pieces: list[list[str]] = [[]]
    characters = iter(text)
    for character in characters:
        if character == "*":
            pieces.append([])
        elif character == "?":
            pieces[-1].append(".")
        elif character == "\\":
            escaped = next(characters, "\ufffd")
            if escaped not in "*?\\/}":
                raise ValueError(f"invalid escape '\\{escaped}'")
            pieces[-1].append(re.escape(escaped))
        else:
            pieces[-1].append(re.escape(character))
    return pieces


def _match_at(pieces: list[re.Pattern[str]], value: str, start: int, longest: bool) -> int | None:
    first = pieces[0].match(value, start)
    if first is None:
        return None
    end = first.end()
    for number, piece in enumerate(pieces[1:], 2):
        line_end = value.find("\n", end)
        line_end = len(value) if line_end < 0 else line_end
        last = longest and number == len(pieces)
        placed = _last_place(piece, value, end, line_end) if last else _first_place(piece, value, end, line_end)
        if placed is None:
            return None
        end = placed
    return end


def _first_place(piece: re.Pattern[str], value: str, start: int, latest: int) -> int | None:
    found = piece.search(value, start)
    return found.end() if found is not None and found.start() <= latest else None


def _last_place(piece: re.Pattern[str], value: str, start: int, latest: int) -> int | None:
    for position in range(latest, start - 1, -1):
        found = piece.match(value, position)
        if found is not None:
            return found.end()
    return None


def _filled(template: str, matched: str) -> str:
    if "$" not in template:
        return template

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return "$" if name is None else matched if name == "0" else ""

    return re.sub(r"\$(?:\$|(\w+)|\{(\w+)\})", value, template)
