"""`images --tree`: each image with the platforms behind its name, what they take, and what is in use."""

from __future__ import annotations

import os
import re

from ..errors import CliError
from ..format import short_id
from ..terminal import is_terminal, size
from ..units import human_size
from .row import is_dangling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..flags import Flags

WARNING = "WARNING: This is an experimental feature. The output may change and shouldn't be depended on."
_UNTAGGED = "<untagged>"
_GAP = "   "
_NARROWEST_NAME = 12
_COLUMNS = (("ID", 12, False), ("DISK USAGE", 10, True), ("CONTENT SIZE", 12, True), ("EXTRA", 5, False))
"""After the name: title, width, whether aligned to the right."""
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

_BOLD, _FAINT, _NORMAL, _NAME, _YELLOW = "\x1b[39m\x1b[1m", "\x1b[39m\x1b[2m", "\x1b[39m", "\x1b[34m\x1b[1m", "\x1b[93m"
_END = "\x1b[0m"
_CHIP = f"\x1b[38;5;0m\x1b[48;5;14m U {_END}"
_INFO = f"\x1b[1m\x1b[106m\x1b[30mi{_END}{_END} \x1b[96mInfo → {_END}{_END}"

Details = tuple[str, str, str, bool]
"""Id, disk usage, content size, whether a container uses it."""


def check(flags: Flags) -> None:
    """Raises CliError for what does not go together with --tree; the words are docker's."""
    for flag, shown in (("quiet", "quiet"), ("no-trunc", "no-trunc"), ("digests", "show-digest")):
        if flags.yes(flag):
            raise CliError(f"--{shown} is not yet supported with --tree")
    if flags.text("format"):
        raise CliError("--format is not yet supported with --tree")


def screen() -> tuple[int, bool]:
    """(columns to draw on, whether in colour)."""
    fancy = is_terminal(1)
    width = size(1)[1] or 80
    return max(width, 20), fancy and not os.environ.get("NO_COLOR")


class Child:
    """One platform of an image."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        data = manifest.get("ImageData") or {}
        platform = data.get("Platform") or {}
        parts = (platform.get("os") or "unknown", platform.get("architecture"), platform.get("variant"))
        self.platform = "/".join(part for part in parts if part)
        self.available = bool(manifest.get("Available"))
        sizes = manifest.get("Size") or {}
        self.details: Details = (
            short_id(manifest.get("ID", "")),
            human_size(sizes.get("Total", 0), 3),
            human_size(sizes.get("Content", 0), 3),
            bool(data.get("Containers")),
        )


class Top:
    """One image of GET /images/json?manifests=1."""

    def __init__(self, summary: dict[str, Any]) -> None:
        manifests = summary.get("Manifests") or []
        self.names: list[str] = sorted(summary.get("RepoTags") or [], key=len, reverse=True)
        self.children = [Child(manifest) for manifest in manifests if manifest.get("Kind") == "image"]
        content = sum((manifest.get("Size") or {}).get("Content", 0) for manifest in manifests)
        used = summary.get("Containers", 0) > 0 or any(child.details[3] for child in self.children)
        self.details: Details = (
            short_id(summary.get("Id", "")),
            human_size(summary.get("Size", 0), 3),
            human_size(content, 3),
            used,
        )


class Drawing:
    """Everything to be shown, on a screen of `width` columns."""

    def __init__(self, images: list[Top], width: int, colour: bool) -> None:
        self._images, self._width, self._colour = images, width, colour
        self._columns = list(_COLUMNS)
        self._spaced = any(image.children for image in images)
        self._used = any(image.details[3] for image in images)
        left = width
        for position, (_, column, _right) in enumerate(_COLUMNS):
            if left - column - len(_GAP) < _NARROWEST_NAME:  # names first, then what there is room for
                self._columns = self._columns[:position]
                break
            left -= column + len(_GAP)
        self._name_width = min(left, max(len("IMAGE"), *(len(text) for text in self._first_column()), 0))

    def _first_column(self) -> Iterator[str]:
        for image in self._images:
            yield from image.names or [_UNTAGGED]
            for child in image.children:
                yield f"└─ {child.platform}"

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_END}" if self._colour and colour else text

    def _fit(self, text: str, width: int, colour: str = "", right: bool = False) -> str:
        shown = len(_ESCAPE.sub("", text))
        if shown > width:
            return self._paint(colour, text[: width - 1] + "…")
        painted, space = self._paint(colour, text), " " * (width - shown)
        return space + painted if right else painted + space

    def _details(self, details: Details, colour: str) -> str:
        extra = ""
        if self._used:
            chip, nothing = (_CHIP, "   ") if self._colour else ("U", " ")
            extra = chip if details[3] else nothing
        texts = (*details[:3], extra)
        return "".join(
            _GAP + self._fit(text, width, colour if title != "EXTRA" else "", right)
            for text, (title, width, right) in zip(texts, self._columns, strict=False)
        )

    def lines(self) -> Iterator[str]:
        yield self._paint(_YELLOW, WARNING)
        legend = f"{_INFO} {_CHIP} In Use " if self._colour else " Info ->  U In Use "
        yield " " * max(self._width - len(_ESCAPE.sub("", legend)), 0) + legend
        yield ""
        yield self._fit("IMAGE", self._name_width, _BOLD) + "".join(
            _GAP + self._fit(title, width, _BOLD, right) for title, width, right in self._columns
        )
        for image in self._images:
            yield from self._image(image)

    def _image(self, image: Top) -> Iterator[str]:
        for name in image.names[:-1]:
            yield self._paint(_NAME, name)
        if image.names:
            head = self._fit(image.names[-1], self._name_width, _NAME)
        else:
            head = self._fit(_UNTAGGED, self._name_width, _FAINT)
        yield head + self._details(image.details, _NORMAL)
        for position, child in enumerate(image.children):
            colour = _NORMAL if child.available else _FAINT
            branch = "└─ " if position == len(image.children) - 1 else "├─ "
            yield self._fit(branch + child.platform, self._name_width, colour) + self._details(child.details, colour)
        if self._spaced:
            yield ""


def tree(summaries: list[dict[str, Any]], all: bool, width: int, colour: bool) -> str:
    """The images, newest first, as text."""
    shown = [summary for summary in summaries if all or not is_dangling(summary)]
    shown.sort(key=lambda summary: summary.get("Created", 0), reverse=True)
    return "".join(f"{line}\n" for line in Drawing([Top(summary) for summary in shown], width, colour).lines())
