"""`--format`: tables, templates and JSON for the commands that list things.

A list command makes one `Row` for each thing and calls `render` with the format the person gave (`expand`ed from
`table`, `json` and the like). Formats that only name columns, as docker's own all do, never load the template engine.
"""

from __future__ import annotations

from .errors import CliError
from .tabs import align, ellipsis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .row import Row

FORMAT_HELP = (
    "Format output using a custom template:\n"
    "'table':            Print output in table format with column headers (default)\n"
    "'table TEMPLATE':   Print output in table format using the given Go template\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.\n"
    "Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
)
INSPECT_FORMAT_HELP = (
    "Format output using a custom template:\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.\n"
    "Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
)


def is_table(format: str) -> bool:
    return format.startswith("table")


def columns(names: str) -> str:
    """The table format that shows these methods: "ID Names" is `table {{.ID}}\\t{{.Names}}`."""
    return "table " + "\\t".join("{{." + name + "}}" for name in names.split())


def short_id(identifier: str) -> str:
    """The first twelve digits, without an algorithm before them."""
    return identifier.partition(":")[2][:12] if ":" in identifier else identifier[:12]


def render(format: str, rows: Iterable[Row], headers: Mapping[str, str]) -> str:
    """The rows in `format`, one a line, under column names when it is a table. Raises CliError for a bad template."""
    source = format
    if is_table(format):
        source = format[len("table") :]
    elif format == "json":
        source = "{{json .}}"
    source = source.strip(" ").replace("\\t", "\t").replace("\\n", "\n")
    names = _bare_columns(source, headers)
    if names is not None:
        text = "".join("\t".join([getattr(row, name)() for name in names]) + "\n" for row in rows)
        return align("\t".join([headers[name] for name in names]) + "\n" + text) if is_table(format) else text
    return _render_template(source, rows, headers, is_table(format))


def _bare_columns(source: str, headers: Mapping[str, str]) -> list[str] | None:
    """The methods of a format that is nothing but `{{.A}}\\t{{.B}}`."""
    names = []
    for cell in source.split("\t"):
        name = cell[3:-2]
        if not (cell.startswith("{{.") and cell.endswith("}}")) or name not in headers or name in _STRUCTURED:
            return None
        names.append(name)
    return names


_STRUCTURED = frozenset(("Platform",))
"""Methods that return something else than a string."""


def _render_template(source: str, rows: Iterable[Row], headers: Mapping[str, str], table: bool) -> str:
    from .template import Template, TemplateError
    from .template.functions import HEADER_FUNCTIONS
    from .template.rows import Header

    try:
        template = Template(source)
        body = "".join(template.render(row) + "\n" for row in rows)
    except TemplateError as error:
        raise CliError(f"template parsing error: {error}") from None
    if not table:
        return body
    try:
        head = template.render(Header(headers), functions=HEADER_FUNCTIONS)
    except TemplateError as error:
        head = error.partial  # Go ignores it: the rows have shown that the template is good
    return align(f"{head}\n{body}")


def join_labels(labels: Mapping[str, str] | None) -> str:
    return ",".join(sorted(f"{key}={value}" for key, value in labels.items())) if labels else ""


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """A sort key under which digits count as numbers: net2 before net10."""
    out: list[tuple[int, int, str]] = []
    at = 0
    while at < len(text):
        end = at
        if "0" <= text[at] <= "9":
            while end < len(text) and "0" <= text[end] <= "9":
                end += 1
            out.append((0, int(text[at:end]), ""))
        else:
            while end < len(text) and not "0" <= text[end] <= "9":
                end += 1
            out.append((1, 0, text[at:end]))
        at = end
    return out


__all__ = [
    "FORMAT_HELP",
    "INSPECT_FORMAT_HELP",
    "align",
    "columns",
    "ellipsis",
    "is_table",
    "join_labels",
    "natural_key",
    "render",
    "short_id",
]
