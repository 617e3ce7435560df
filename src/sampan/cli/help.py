"""The texts of `--help`, in docker's layout. Imported only when asked for."""

from __future__ import annotations

import os

from .commands import COMMON, GROUPS, PROGRAM, TOP, Command
from .flags import usage_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .flags import Flag


def _width() -> int:
    """Docker wraps at the width of the terminal on stdin less one, and at 79 columns without one."""
    try:
        columns = os.get_terminal_size(0).columns
    except OSError:
        columns = 80
    return columns - 1


def command_help(command: Command, path: str, short: str) -> str:
    text = f"Usage:  {command.usage_line(path)}\n\n{command.long or short}\n"
    if command.aliases:
        text += "\nAliases:\n  " + ", ".join(f"{PROGRAM} {alias}" for alias in command.aliases) + "\n"
    options = usage_lines(command.flags, _width())
    if options:
        text += f"\nOptions:\n{options}"
    return text


def group_help(group: str) -> str:
    short, members = GROUPS[group]
    path = f"{PROGRAM} {group}"
    return (
        f"Usage:  {path} COMMAND\n\n{short}\n\nCommands:\n{_listing(members)}\n"
        f"Run '{path} COMMAND --help' for more information on a command.\n"
    )


def top_help(flags: Sequence[Flag]) -> str:
    groups = {name: ("", short) for name, (short, _) in GROUPS.items()}
    rest = {name: entry for name, entry in TOP.items() if name not in COMMON}
    rest["daemon"] = ("", "Run the engine (the same program as sampand)")
    return (
        f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n\n"
        "Docker, rebuilt in Python: a self-sufficient runtime for containers\n\n"
        f"Common Commands:\n{_listing({name: TOP[name] for name in COMMON}, in_order=True)}\n"
        f"Management Commands:\n{_listing(groups)}\n"
        f"Commands:\n{_listing(rest)}\n"
        f"Global Options:\n{usage_lines(flags, _width())}\n"
        f"Run '{PROGRAM} COMMAND --help' for more information on a command.\n"
    )


def _listing(members: dict[str, tuple[str, str]], in_order: bool = False) -> str:
    # cobra pads names to at least 11 columns
    column = max(11, *(len(name) for name in members))
    names = members if in_order else sorted(members)
    return "".join(f"  {name:<{column}} {members[name][1]}\n" for name in names)
