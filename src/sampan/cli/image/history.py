"""`history`: the layers of an image and what made them."""

from __future__ import annotations

import time

from sampan.golang import SECOND, human_duration

from ..commands import Command
from ..flags import Flag
from ..format import FORMAT_HELP, columns, ellipsis, render, short_id
from ..http import quote as escape
from ..row import Row
from ..units import human_size, zone_offset
from .platform import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli

_HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_YEAR_2000 = 946684800
"""Reproducible builds date their layers 1970; docker calls anything up to here unknown."""


class HistoryRow(Row):
    go_type = "image.historyContext"
    unexported = ("trunc", "human", "h")

    def __init__(self, item: dict[str, Any], trunc: bool, human: bool, now: int) -> None:
        self.item = item
        self.trunc = trunc
        self.human = human
        self.now = now

    def ID(self) -> str:
        identifier: str = self.item["Id"]
        return short_id(identifier) if self.trunc else identifier

    def CreatedAt(self) -> str:
        local = time.localtime(self.item["Created"])
        return time.strftime("%Y-%m-%dT%H:%M:%S", local) + (
            zone_offset(local.tm_gmtoff, ":") if local.tm_gmtoff else "Z"
        )

    def CreatedSince(self) -> str:
        if not self.human:
            return self.CreatedAt()
        if self.item["Created"] <= _YEAR_2000:
            return "N/A"
        return human_duration((self.now - self.item["Created"]) * SECOND) + " ago"

    def CreatedBy(self) -> str:
        made_by = self.item["CreatedBy"].replace("\t", " ")
        return ellipsis(made_by, 45) if self.trunc else made_by

    def Size(self) -> str:
        return human_size(self.item["Size"], 3) if self.human else str(self.item["Size"])

    def Comment(self) -> str:
        comment: str = self.item["Comment"]
        return comment


def _history(cli: Cli, flags: Flags, args: list[str]) -> int:
    human, trunc = flags.yes("human"), not flags.yes("no-trunc")
    query = {"platform": encoded(flags.text("platform"))}
    found = cli.client.get(f"/images/{escape(args[0], safe='/:@')}/history", query) or []
    format = flags.text("format") or "table"
    if format == "table":
        created = "CreatedSince" if human else "CreatedAt"
        format = "{{.ID}}" if flags.yes("quiet") else columns(f"ID {created} CreatedBy Size Comment")
    now = int(time.time())
    cli.out(render(format, (HistoryRow(item, trunc, human, now) for item in found), _HEADERS))
    return 0


COMMAND = Command(
    "[OPTIONS] IMAGE",
    _history,
    least=1,
    most=1,
    aliases=("image history", "history"),
    flags=(
        Flag(
            "human",
            "bool",
            "Print sizes and dates in human readable format",
            short="H",
            default=True,
            shown="true",
        ),
        Flag("quiet", "bool", "Only show image IDs", short="q"),
        Flag("no-trunc", "bool", "Don't truncate output"),
        Flag("format", "string", FORMAT_HELP),
        Flag(
            "platform",
            "string",
            'Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
        ),
    ),
)
