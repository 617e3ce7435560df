"""Columns: Go's text/tabwriter with spaces, as docker's tables use it, and the widths of characters."""

from __future__ import annotations


def align(text: str, least: int = 10, padding: int = 3) -> str:
    """`text` with its tabs turned into columns at least `least` wide, `padding` spaces apart.

    As in tabwriter, a column is a run of adjacent lines that have a cell there which a tab ends; what follows the
    last tab of a line takes no part in it.
    """
    lines = [line.split("\t") for line in text.split("\n")]
    out: list[str] = []
    _block(lines, 0, len(lines), [], out, least, padding)
    return "\n".join(out)


def _block(
    lines: list[list[str]], start: int, end: int, widths: list[int], out: list[str], least: int, padding: int
) -> None:
    """Lay out lines[start:end], whose columns before len(widths) are settled."""
    column = len(widths)
    at = start
    while at < end:
        if len(lines[at]) - 1 <= column:
            out.append(_line(lines[at], widths))
            at += 1
            continue
        run = at
        width = least
        while run < end and len(lines[run]) - 1 > column:
            width = max(width, len(lines[run][column]) + padding)
            run += 1
        _block(lines, at, run, [*widths, width], out, least, padding)
        at = run


def _line(cells: list[str], widths: list[int]) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=False)) + cells[-1]


def _wide(char: str) -> int:
    from unicodedata import east_asian_width

    return 2 if east_asian_width(char) in ("W", "F") else 1


def ellipsis(text: str, width: int) -> str:
    """`text` cut to `width` columns, the last of them "…" when something was cut."""
    if width <= 0:
        return ""
    if width == 1:
        return text[:1]
    if text.isascii():
        return text if len(text) <= width else text[: width - 1] + "…"
    shown = 0
    cut = 0
    for index, char in enumerate(text):
        shown += _wide(char)
        if shown <= width - 1:
            cut = index + 1
    return text if shown <= width else text[:cut] + "…"
