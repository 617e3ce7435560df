"""Variables and labels: `-e`, `--env-file`, `-l`, `--label-file` (docker/cli's kvfile format)."""

from __future__ import annotations

import os

from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def env_flag(text: str) -> str:
    """`-e NAME=value`; `-e NAME` takes the value of our own environment, if it has one."""
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if not equals and name in os.environ:
        return f"{name}={os.environ[name]}"
    return text


def label_flag(text: str) -> str:
    name = text.partition("=")[0].lstrip(" \t")
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    if " " in name or "\t" in name:
        raise ValueError(f"label '{name}' contains whitespaces")
    return text


def as_map(pairs: Sequence[str]) -> dict[str, str]:
    """["a=b", "c"] as {"a": "b", "c": ""}; the last one of a name counts."""
    found = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        found[name] = value
    return found


def read_pairs(files: Sequence[str], given: Sequence[str], *, lookup: bool) -> list[str]:
    """The pairs of the files, then those given. `lookup` fills names without a value from our environment."""
    pairs: list[str] = []
    for file in files:
        pairs.extend(_read_file(file, lookup))
    return [*pairs, *given]


def _read_file(path: str, lookup: bool) -> list[str]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None
    try:
        return _parse(data, lookup)
    except ValueError as error:
        raise CliError(f"invalid env file ({path}): {error}") from None


def _parse(data: bytes, lookup: bool) -> list[str]:
    pairs: list[str] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            shown = " ".join(str(byte) for byte in raw)
            raise ValueError(f"invalid utf8 bytes at line {number}: [{shown}]") from None
        if not line or line[0] == "#":
            continue
        name, equals, _ = line.partition("=")
        if not name:
            raise ValueError(f"no variable name on line '{line}'")
        if " " in name or "\t" in name:
            raise ValueError(f"variable '{name}' contains whitespaces")
        if equals:
            pairs.append(line)
        elif lookup and name in os.environ:
            pairs.append(f"{name}={os.environ[name]}")
    return pairs
