"""The part of a Dockerfile an error speaks of, drawn as BuildKit's clients draw it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from sampan.builds.dockerfile.ast import Lines
from sampan.builds.dockerfile.errors import DockerfileError

_RULE = "-" * 20


@contextlib.contextmanager
def drawn(source: bytes, name: str) -> Iterator[None]:
    """A `DockerfileError` from inside gets its drawing."""
    try:
        yield
    except DockerfileError as error:
        error.excerpt = excerpts(source, error.lines, name)
        raise


def excerpts(source: bytes, places: Sequence[Lines], name: str = "Dockerfile") -> str:
    """One after the other, a drawing a place."""
    return "".join(excerpt(source, [place], name) for place in places)


def excerpt(source: bytes, lines: Sequence[Lines], name: str = "Dockerfile") -> str:
    """::

        Dockerfile:3
        --------------------
           1 |     FROM busybox
           2 |     RUN true
           3 | >>> RUN false
        --------------------

    "" when there is no place to show. Ends in a line end.
    """
    if not lines:
        return ""
    text = source.decode("utf-8", "replace").split("\n")
    first, last = min(place.start for place in lines), max(place.end for place in lines)
    if not 1 <= first <= len(text):
        return ""
    start, end = _padded(first, min(last, len(text)), len(text))
    drawn = [f"{name}:{first}", _RULE]
    for number in range(start, end + 1):
        mark = ">>>" if any(place.start <= number <= place.end for place in lines) else "   "
        drawn.append(f" {number:3} | {mark} {text[number - 1]}")
    return "\n".join([*drawn, _RULE, ""])


def _padded(start: int, end: int, length: int) -> tuple[int, int]:
    """A few lines around, more around a single one. BuildKit's count: sides that cannot grow are counted too."""
    wanted = 4 if start == end else 2
    done = 0
    while done < wanted:
        if start > 1:
            start -= 1
            done += 1
        if end != length:
            end += 1
            done += 1
        done += 1
    return start, end
