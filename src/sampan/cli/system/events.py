"""`events`: what happens, as it happens."""

from __future__ import annotations

import sys

from sampan.golang import SECOND

from ..commands import Command
from ..errors import CliError
from ..filters import encode, filter_flag
from ..flags import Flag
from ..format import INSPECT_FORMAT_HELP
from ..timestamps import timestamp
from ..units import fixed_local_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _line(event: dict[str, Any]) -> str:
    """`2026-01-02T15:04:05.000000000Z container start ID (image=…, name=…)`"""
    out = ""
    if event.get("timeNano"):
        out = fixed_local_time(event["timeNano"]) + " "
    elif event.get("time"):
        out = fixed_local_time(event["time"] * SECOND) + " "
    actor = event.get("Actor") or {}
    out += f"{event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    attributes = actor.get("Attributes")
    if attributes:
        out += " (" + ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes)) + ")"
    return out


def _writer(format: str) -> Callable[[dict[str, Any]], str]:
    if not format:
        return _line
    from ..template import Template, TemplateError
    from ..template.schema import decode

    try:
        template = Template("{{json .}}" if format == "json" else format)
        template.render(decode("*events.Message", {}))  # tells of a wrong field before anything happens
    except TemplateError as error:
        raise CliError(f"Error parsing format: {error}", 64) from None

    def write(event: dict[str, Any]) -> str:
        try:
            return template.render(decode("events.Message", event))
        except TemplateError as error:
            raise CliError(str(error)) from None

    return write


def _events(cli: Cli, flags: Flags, args: list[str]) -> int:
    write = _writer(flags.text("format"))
    query = {
        "since": timestamp(flags.text("since")),
        "until": timestamp(flags.text("until")),
        "filters": encode(flags.many("filter")),
    }
    for event in cli.client.request("GET", "/events", query).documents():
        cli.out(write(event) + "\n")
        sys.stdout.flush()
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _events,
    most=0,
    aliases=("system events", "events"),
    flags=(
        Flag("since", "string", "Show all events created since timestamp"),
        Flag("until", "string", "Stream events until this timestamp"),
        filter_flag(),
        Flag("format", "string", INSPECT_FORMAT_HELP),
    ),
)
