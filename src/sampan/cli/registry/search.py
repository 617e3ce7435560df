"""`search`: images on Docker Hub, or on the registry that the term names."""

from __future__ import annotations

from ..commands import Command
from ..filters import encode, filter_flag
from ..flags import Flag
from ..format import columns, ellipsis, render
from ..row import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli

_HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}


class SearchRow(Row):
    go_type = "registry.searchContext"
    unexported = ("trunc", "json", "s")

    def __init__(self, result: dict[str, Any], trunc: bool, as_json: bool) -> None:
        self.result = result
        self.trunc = trunc
        self.as_json = as_json

    def Name(self) -> str:
        name: str = self.result.get("name", "")
        return name

    def Description(self) -> str:
        text = self.result.get("description", "").replace("\n", " ").replace("\r", " ")
        return ellipsis(text, 45) if self.trunc else text

    def StarCount(self) -> str:
        return str(self.result.get("star_count", 0))

    def IsOfficial(self) -> str:
        official = bool(self.result.get("is_official"))
        if self.as_json:
            return "true" if official else "false"
        return "[OK]" if official else ""


def _search(cli: Cli, flags: Flags, args: list[str]) -> int:
    pairs = [*flags.many("filter")]
    if flags.changed("stars"):
        pairs.append(("stars", str(flags.number("stars"))))
    if flags.changed("automated"):
        pairs.append(("is-automated", "true" if flags.yes("automated") else "false"))
    if any(key == "is-automated" for key, _ in pairs):
        cli.err(
            'WARNING: the "is-automated" filter is deprecated, and searching for "is-automated=true" '
            "will not yield any results in future.\n"
        )
    domain = args[0].partition("/")[0] if "/" in args[0] else ""
    host = domain if "." in domain or ":" in domain or domain == "localhost" else "docker.io"
    query = {"term": args[0], "limit": flags.number("limit") or None, "filters": encode(pairs)}
    response = cli.client.request(
        "GET", "/images/search", query, headers={"X-Registry-Auth": cli.config.registry_auth(host)}
    )
    format = flags.text("format")
    if format in ("", "table"):
        format = columns("Name Description StarCount IsOfficial")
    trunc = not flags.yes("no-trunc")
    as_json = format == "json" or "json ." in format
    cli.out(render(format, (SearchRow(result, trunc, as_json) for result in response.json() or []), _HEADERS))
    return 0


COMMAND = Command(
    "[OPTIONS] TERM",
    _search,
    least=1,
    most=1,
    flags=(
        Flag("no-trunc", "bool", "Don't truncate output"),
        filter_flag(),
        Flag("limit", "int", "Max number of search results"),
        Flag("format", "string", "Pretty-print search using a Go template"),
        # docker's own spellings until 20.10
        Flag("stars", "uint", 'Only displays with at least x stars: "--filter=stars=x"', short="s", hidden=True),
        Flag("automated", "bool", 'Only show automated builds: "--filter=is-automated=true"', hidden=True),
    ),
)
