"""`inspect` of anything: raw JSON laid out, compact JSON, or a template.

A template is first run over the API's Go structs (`{{.ID}}`, zero values of absent fields) and, where that fails, over
the JSON as it came (`{{.Id}}`), where a missing key is an error: the order docker has, whose errors are the latter's.
"""

from __future__ import annotations

from .errors import CliError
from .wire import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .session import Cli
    from .template import Template

Found = tuple[str, bytes]
"""The Go type of an object, and its JSON as the daemon sent it."""


def inspect(
    cli: Cli, names: Sequence[str], format: str, fetch: Callable[[str], Found], typed_only: bool = False
) -> int:
    """Print what `fetch` finds for each name; what it cannot find is told at the end, with exit code 1.

    `typed_only` keeps to the API's structs, as docker does for volumes.
    """
    template = None
    if format not in ("", "json"):
        from .template import Template, TemplateError

        try:
            template = Template(format)
        except TemplateError as error:
            raise CliError(f"template parsing error: {error}", 64) from None
    problems: list[str] = []
    raw: list[bytes] = []
    lines: list[str] = []
    for name in names:
        try:
            kind, data = fetch(name)
            if template is None:
                raw.append(_retyped(kind, data) if typed_only else data)
            else:
                lines.append(_line(template, kind, data, typed_only))
        except CliError as error:
            problems.append(error.message)
    if template is not None:
        cli.out("".join(line + "\n" for line in lines) or "\n")
    else:
        joined = "[" + ",".join(data.decode("utf-8", "surrogateescape").strip() for data in raw) + "]"
        cli.out((laid_out(joined) if format == "" else compacted(joined)) + "\n")
    if problems:
        raise CliError("\n".join(problems))
    return 0


def _retyped(kind: str, data: bytes) -> bytes:
    from .template.govalues import json_text
    from .template.schema import decode

    return json_text(decode(kind, loads(data)), escape_html=True).encode("utf-8", "surrogateescape")


def _line(template: Template, kind: str, data: bytes, typed_only: bool) -> str:
    from .template import TemplateError
    from .template.schema import decode

    try:
        return template.render(decode(kind, loads(data)))
    except TemplateError as error:
        if typed_only:
            raise CliError(f"template parsing error: {error}") from None
    try:
        return template.render(_with_number_texts(data), missing_key_is_error=True)
    except TemplateError as error:
        raise CliError(f"template parsing error: {error}") from None


def _with_number_texts(data: bytes) -> object:
    """The JSON with its numbers as texts, as docker decodes it for its second try."""
    from json import loads as slow_loads

    from .template.govalues import Number

    return slow_loads(data.decode("utf-8", "surrogateescape"), parse_int=Number, parse_float=Number, strict=False)


def _tokens(text: str) -> list[str]:
    """Strings, brackets, commas, colons and words of a JSON text, without the space between them."""
    out = []
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        start = at
        at += 1
        if char in " \t\r\n":
            continue
        if char == '"':
            while True:
                at = text.find('"', at)
                if at < 0:
                    at = end
                    break
                at += 1
                back = at - 2
                while text[back] == "\\":
                    back -= 1
                if (at - 2 - back) % 2 == 0:
                    break
        elif char not in "{}[],:":
            while at < end and text[at] not in "{}[],: \t\r\n":
                at += 1
        out.append(text[start:at])
    return out


def compacted(text: str) -> str:
    return "".join(_tokens(text))


def laid_out(text: str, step: str = "    ") -> str:
    """Go's json.Indent: only white space changes, so numbers and escapes stay as the daemon wrote them."""
    out: list[str] = []
    pad = "\n"
    before = ""
    for token in _tokens(text):
        if token in ("}", "]"):
            pad = pad[: -len(step)]
            if before not in ("{", "["):
                out.append(pad)
        elif before in ("{", "["):
            out.append(pad)
        out.append(token)
        if token in ("{", "["):
            pad += step
        elif token == ",":
            out.append(pad)
        elif token == ":":
            out.append(" ")
        before = token
    return "".join(out)
