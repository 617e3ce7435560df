"""One line of comma-separated values as Go's encoding/csv reads it, with its errors (`--mount`, `--network`)."""

from __future__ import annotations


def fields(text: str) -> list[str]:
    """The fields of the first line; ValueError worded as Go's for a quote in the wrong place."""
    if not text:
        raise ValueError("EOF")
    line = text.split("\n", 1)[0]
    found: list[str] = []
    at = 0
    while True:
        if line[at : at + 1] == '"':
            value, at = _quoted(line, at + 1)
        else:
            end = line.find(",", at)
            end = len(line) if end < 0 else end
            value = line[at:end]
            quote = value.find('"')
            if quote >= 0:
                raise _wrong(line, at + quote, 'bare " in non-quoted-field')
            at = end
        found.append(value)
        if at >= len(line):
            return found
        at += 1


def _quoted(line: str, at: int) -> tuple[str, int]:
    parts: list[str] = []
    while True:
        end = line.find('"', at)
        if end < 0:
            raise _wrong(line, len(line), 'extraneous or missing " in quoted-field')
        parts.append(line[at:end])
        following = line[end + 1 : end + 2]
        if following == '"':
            parts.append('"')
            at = end + 2
        elif following in ("", ","):
            return "".join(parts), end + 1
        else:
            raise _wrong(line, end, 'extraneous or missing " in quoted-field')


def _wrong(line: str, at: int, problem: str) -> ValueError:
    return ValueError(f"parse error on line 1, column {len(line[:at].encode()) + 1}: {problem}")
