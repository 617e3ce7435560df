"""Command-line flags as pflag (the parser of the docker CLI) reads them, and their `--help` text.

A `Flag` says what may be given, `parse` reads an argument list into a `Flags`. argparse is not used: it takes
8 ms to import, abbreviates names, and words its errors differently.

`Flag.type` is the word shown in `--help` (`string`, `list`, `bytes`, …) and picks the reader of values from
`VALUES` unless the flag brings its own `parse`.
"""

from __future__ import annotations

from sampan.golang import quote, quote_char

from . import values
from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

REPEATED = frozenset({"list", "map", "filter", "mount", "network", "ulimit", "gpu-request", "strings"})
"""Types that gather their values instead of replacing the last one."""


class Flag:
    """One flag. `shown`: the default as `--help` prints it; `parse` turns text into the value or raises ValueError.

    `into` names the flag whose values it adds to, for a second spelling (`--net` of `--network`).
    """

    __slots__ = (
        "default",
        "deprecated",
        "hidden",
        "into",
        "many",
        "name",
        "parse",
        "short",
        "short_deprecated",
        "shown",
        "type",
        "usage",
    )

    def __init__(
        self,
        name: str,
        type: str,
        usage: str,
        *,
        short: str = "",
        default: Any = None,
        shown: str = "",
        parse: Callable[[str], Any] | None = None,
        hidden: bool = False,
        deprecated: str = "",
        short_deprecated: str = "",
        many: bool | None = None,
        into: str = "",
    ) -> None:
        self.name = name
        self.into = into or name
        self.type = type
        self.usage = usage
        self.short = short
        self.default = _ZERO.get(type) if default is None else default
        self.shown = shown
        self.parse = parse
        self.hidden = hidden or bool(deprecated)
        self.deprecated = deprecated
        self.short_deprecated = short_deprecated
        self.many = type in REPEATED if many is None else many


_ZERO: dict[str, Any] = {"bool": False, "int": 0, "uint": 0, "uint16": 0, "duration": 0, "bytes": 0, "decimal": 0}

HELP = Flag("help", "bool", "Print usage", short="h", hidden=True, short_deprecated="use --help")


class Flags:
    """The values of one command line: what was given, else the defaults."""

    __slots__ = ("_defaults", "_given", "args")

    def __init__(self, specs: Sequence[Flag]) -> None:
        self._defaults = {flag.name: flag for flag in specs}
        self._given: dict[str, Any] = {}
        self.args: list[str] = []

    def changed(self, name: str) -> bool:
        """Whether the person gave this flag, even with its default value."""
        return name in self._given

    def value(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        flag = self._defaults[name]
        return [] if flag.many else flag.default

    def text(self, name: str) -> str:
        value = self.value(name)
        return "" if value is None else str(value)

    def yes(self, name: str) -> bool:
        return bool(self.value(name))

    def number(self, name: str) -> int:
        value = self.value(name)
        return 0 if value is None else int(value)

    def many(self, name: str) -> list[Any]:
        """The values of a repeatable flag, in the order given."""
        return list(self.value(name))

    def put(self, flag: Flag, text: str) -> None:
        """Take one value from the command line; raises ValueError with Go's wording."""
        read = flag.parse or values.READERS.get(flag.type)
        value = read(text) if read is not None else text
        if flag.many:
            gathered = self._given.setdefault(flag.into, [])
            if isinstance(value, list):  # one text may hold several values (comma-separated)
                gathered.extend(value)
            else:
                gathered.append(value)
        else:
            self._given[flag.into] = value


class HelpAsked(Exception):
    """`--help` or `-h` stood on the command line."""


def parse(
    specs: Sequence[Flag],
    argv: Sequence[str],
    *,
    interspersed: bool = True,
    warn: Callable[[str], None] = lambda text: None,
) -> Flags:
    """Read `argv`; flags after the first positional count only when `interspersed`.

    `warn` is told of deprecated flags. Raises `UsageError` with pflag's message, `HelpAsked` for `--help`.
    """
    named: dict[str, Flag] = {"help": HELP}
    shorts: dict[str, Flag] = {"h": HELP}
    for flag in specs:
        named[flag.name] = flag
        if flag.short:
            shorts[flag.short] = flag
    flags = Flags(specs)
    reader = _Reader(flags, named, shorts, list(argv), interspersed, warn)
    reader.run()
    if flags.changed("help") and flags.value("help"):
        raise HelpAsked
    return flags


class _Reader:
    def __init__(
        self,
        flags: Flags,
        named: dict[str, Flag],
        shorts: dict[str, Flag],
        rest: list[str],
        interspersed: bool,
        warn: Callable[[str], None],
    ) -> None:
        self.flags = flags
        self.named = named
        self.shorts = shorts
        self.rest = rest
        self.interspersed = interspersed
        self.warn = warn

    def run(self) -> None:
        rest = self.rest
        while rest:
            word = rest.pop(0)
            if len(word) < 2 or word[0] != "-":
                self.flags.args.append(word)
                if not self.interspersed:
                    break
            elif word == "--":
                break
            elif word[1] == "-":
                self._long(word)
            else:
                self._cluster(word)
        self.flags.args.extend(rest)

    def _long(self, word: str) -> None:
        name, equals, text = word[2:].partition("=")
        if name == "" or name[0] == "-":
            raise UsageError(f"bad flag syntax: {word}")
        flag = self.named.get(name)
        if flag is None:
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if flag.type == "bool":
                text = "true"
            elif self.rest:
                text = self.rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: --{name}")
        self._put(flag, text)

    def _cluster(self, word: str) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.shorts.get(letter)
            if flag is None:
                raise UsageError(f"unknown shorthand flag: {quote_char(letter)} in -{letter}{letters}")
            if len(letters) > 1 and letters[0] == "=":
                text, letters = letters[1:], ""
            elif flag.type == "bool":
                text = "true"
            elif letters:
                text, letters = letters, ""
            elif self.rest:
                text = self.rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: {quote_char(letter)} in -{letter}")
            if flag.short_deprecated:
                self.warn(f"Flag shorthand -{letter} has been deprecated, {flag.short_deprecated}")
            self._put(flag, text)

    def _put(self, flag: Flag, text: str) -> None:
        try:
            self.flags.put(flag, text)
        except ValueError as error:
            shown = f"--{flag.name}"
            if flag.short and not flag.short_deprecated:
                shown = f"-{flag.short}, {shown}"
            raise UsageError(f'invalid argument {quote(text)} for "{shown}" flag: {error}') from None
        if flag.deprecated:
            self.warn(f"Flag --{flag.name} has been deprecated, {flag.deprecated}")


def usage_lines(specs: Sequence[Flag], width: int) -> str:
    """The aligned option list of `--help`, wrapped at `width` columns as pflag wraps it."""
    rows: list[tuple[str, str]] = []
    for flag in sorted(specs, key=lambda flag: flag.name):
        if flag.hidden:
            continue
        short = f"-{flag.short}, " if flag.short and not flag.short_deprecated else "    "
        left = f"  {short}--{flag.name}"
        if flag.type != "bool":
            left += f" {flag.type}"
        right = flag.usage
        if flag.shown:
            right += f" (default {flag.shown})"
        rows.append((left, right))
    column = max((len(left) for left, _ in rows), default=0) + 3
    return "".join(f"{left:<{column}}{_wrap(right, column, width)}\n" for left, right in rows)


_SLOP = 5  # pflag lets a last short word hang over by this much


def _wrap(text: str, indent: int, width: int) -> str:
    room = width - indent
    head = ""
    if room < 24:
        indent, room = 16, width - 16
        head = "\n" + " " * indent
    pad = "\n" + " " * indent
    if room < 24:
        return text.replace("\n", head or pad)
    lines: list[str] = []
    while text or not lines:
        line, text = _cut(text, room - _SLOP)
        lines.append(line.replace("\n", pad))
    return head + pad.join(lines)


def _cut(text: str, room: int) -> tuple[str, str]:
    """One line's worth of `text` and what remains."""
    if room + _SLOP > len(text):
        return text, ""
    window = text[:room]
    space = max(window.rfind(" "), window.rfind("\t"), window.rfind("\n"))
    if space <= 0:
        return text, ""
    newline = window.rfind("\n")
    if 0 < newline < space:
        space = newline
    return text[:space], text[space + 1 :]
