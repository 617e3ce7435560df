"""The command line: flags as Go's pflag reads them, and what --help prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampan.configuration.options import BY_FLAG, OPTIONS, ConfigurationError, Given, Option
from sampan.configuration.values import limits, size, ulimit
from sampan.settings import Settings

_SHORT = {option.short: option for option in OPTIONS if option.short}


def from_command_line(arguments: Sequence[str]) -> Given:
    """Flags as Go's pflag reads them: `--name value`, `--name=value`, `-n value`, `-nvalue`, `--bool[=false]`."""
    given: Given = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--" and not rest:
            break
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            option = BY_FLAG.get(name)
            if option is None or option.in_file_only:
                raise ConfigurationError(f"unknown flag: --{name}", hint=True)
            if not equals and option.kind != "bool":
                if not rest:
                    raise ConfigurationError(f"flag needs an argument: --{name}", hint=True)
                value = rest.pop(0)
            _set(given, option, value if equals or option.kind != "bool" else "true")
        elif word.startswith("-") and len(word) > 1:
            _shorthands(given, word, rest)
        else:
            raise ConfigurationError('"sampand" accepts no argument(s).', hint=True)
    return given


def _shorthands(given: Given, word: str, rest: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = _SHORT.get(letter)
        if option is None:
            raise ConfigurationError(f"unknown shorthand flag: '{letter}' in {word}", hint=True)
        if option.kind == "bool" and not letters.startswith("="):
            _set(given, option, "true")
            continue
        if not letters and not rest:
            raise ConfigurationError(f"flag needs an argument: '{letter}' in {word}", hint=True)
        _set(given, option, letters.removeprefix("=") if letters else rest.pop(0))
        return


def _set(given: Given, option: Option, text: str) -> None:
    try:
        value = _read(option, text)
    except ValueError as error:
        raise ConfigurationError(f'invalid argument "{text}" for "{option.shown}" flag: {error}', hint=True) from None
    if option.kind in ("list", "pools"):
        given.setdefault(option.flag, []).append(value)
    elif option.kind == "maps":
        for driver, options in value.items():
            given.setdefault(option.flag, {}).setdefault(driver, {}).update(options)
    elif option.kind in ("map", "runtimes", "ulimits"):
        given.setdefault(option.flag, {}).update(value)
    else:
        given[option.flag] = value


def _read(option: Option, text: str) -> Any:
    match option.kind:
        case "bool":
            if text.lower() not in ("1", "t", "true", "0", "f", "false"):
                raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
            return text.lower() in ("1", "t", "true")
        case "int":
            if not text.removeprefix("-").isdigit():
                raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
            return int(text)
        case "map":
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise ValueError(f"bad format for {option.flag}: {text}: use key=value")
            return {name: value}
        case "runtimes":
            name, equals, path = text.partition("=")
            if not equals or not name or not path:
                raise ValueError(f"invalid argument for --add-runtime: {text}: use name=path")
            return {name: (path,)}
        case "pools":
            fields = dict(part.partition("=")[::2] for part in text.split(","))
            if set(fields) != {"base", "size"} or not fields["size"].isdigit():
                raise ValueError("use base=CIDR,size=PREFIX")
            return (fields["base"], int(fields["size"]))
        case "limits":
            return limits(text)
        case "size":
            return size(text)
        case "ulimits":
            return dict([ulimit(text)])
        case "maps":
            words = text.split("=", 2)
            if len(words) != 3 or not words[0] or not words[1]:
                raise ValueError(f"invalid value {text}: use driver=option=value")
            return {words[0]: {words[1]: words[2]}}
    return text


def usage() -> str:
    """What --help prints."""
    lines = [
        "",
        "Usage:  sampand [OPTIONS]",
        "",
        "A container engine that speaks the Docker Engine API.",
        "",
        "Options:",
    ]
    values = {
        "string": " string",
        "list": " list",
        "int": " int",
        "runtimes": " runtime",
        "pools": " pool-options",
        "limits": " limits",
        "size": " bytes",
        "map": " map",
        "maps": " mapmap",
        "ulimits": " ulimit",
    }
    for option in OPTIONS:
        if not option.help:
            continue
        name = (f"  -{option.short}, " if option.short else "      ") + f"--{option.flag}{values.get(option.kind, '')}"
        default = _default(option)
        lines.append(f"{name:<38} {option.help}{default}")
    return "\n".join(lines) + "\n"


def _default(option: Option) -> str:
    value = getattr(Settings(), option.attribute) if option.attribute else None
    if not value or isinstance(value, bool):
        return ""
    if isinstance(value, dict):
        return ""
    if option.kind == "list":
        return f" (default {', '.join(value)})"
    if option.kind == "pools":
        return f" (default {', '.join(f'base={base},size={size}' for base, size in value)})"
    return f" (default {value})"
