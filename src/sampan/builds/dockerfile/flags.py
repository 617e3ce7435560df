"""`--name=value` of an instruction, checked against what that instruction takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sampan.builds.dockerfile.errors import DockerfileError
from sampan.builds.dockerfile.wording import did_you_mean

Kind = Literal["text", "texts", "switch"]
_SWITCH = {"": True, "true": True, "false": False}


class Flags:
    """What was given. Only a `texts` flag may come more than once. Raises `DockerfileError`."""

    def __init__(self, given: Sequence[str], known: Mapping[str, Kind]) -> None:
        self._texts: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}
        for word in given:
            self._read(word, known)

    def _read(self, word: str, known: Mapping[str, Kind]) -> None:
        spelled, equals, value = word.partition("=")
        name = spelled[2:]
        kind = known.get(name)
        if kind is None:
            raise DockerfileError(did_you_mean(f"unknown flag: {spelled}", name, known))
        if kind != "texts" and (name in self._texts or name in self._switches):
            raise DockerfileError(f"duplicate flag specified: {spelled}")
        if not value and (kind == "switch") == bool(equals):
            raise DockerfileError(f"missing a value on flag: {spelled}")
        if kind != "switch":
            self._texts.setdefault(name, []).append(value)
        elif value.lower() in _SWITCH:
            self._switches[name] = _SWITCH[value.lower()]
        else:
            raise DockerfileError(f"expecting boolean value for flag {spelled}, not: {value}")

    def text(self, name: str, default: str = "") -> str:
        return self._texts.get(name, [default])[-1]

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._texts.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """None when it was not given."""
        return self._switches.get(name)

    def used(self) -> tuple[str, ...]:
        return (*self._texts, *self._switches)
