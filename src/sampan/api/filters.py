"""`filters` of list and prune calls: a JSON map of names to values, matched by Docker's rules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from sampan.errors import InvalidParameter

_TRUE, _FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})


class Filters:
    """The filters of one call. No values for a name means: not filtered by it."""

    def __init__(self, values: Mapping[str, Iterable[str]] | None = None) -> None:
        self._values: dict[str, list[str]] = {
            name: list(dict.fromkeys(given)) for name, given in (values or {}).items()
        }
        self._patterns: dict[str, re.Pattern[str] | None] = {}

    @classmethod
    def parse(cls, text: str, accepted: Collection[str] | None = None) -> Filters:
        """`{"name": {"value": true}}` (1.22 on) or `{"name": ["value"]}` (before; the docker CLI still falls back to
        it)."""
        if not text:
            return cls()
        try:
            given = msgspec.json.decode(text.encode())
        except msgspec.DecodeError:
            raise InvalidParameter("invalid filter") from None
        values: dict[str, list[str]] = {}
        for name, value in given.items() if isinstance(given, dict) else _refuse():
            if isinstance(value, dict) and all(isinstance(on, bool) for on in value.values()):
                # A value marked false stays a value for Docker's walks, but never matches; keeping only the true
                # ones is what every client means.
                values[name] = [one for one, on in value.items() if on]
            elif isinstance(value, list) and all(isinstance(one, str) for one in value):
                values[name] = value
            elif value is None:
                values[name] = []
            else:
                _refuse()
        filters = cls(values)
        if accepted is not None:
            filters.validate(accepted)
        return filters

    def validate(self, accepted: Collection[str]) -> None:
        for name in self._values:
            if name not in accepted:
                raise InvalidParameter(f"invalid filter '{name}'" if name else "invalid filter")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __bool__(self) -> bool:
        return bool(self._values)

    def get(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name, []).append(value)

    def as_lists(self) -> dict[str, list[str]]:
        return dict(self._values)

    def boolean(self, name: str, default: bool = False) -> bool:
        if name not in self._values:
            return default
        given = set(self._values[name])
        true, false = bool(given & _TRUE), bool(given & _FALSE)
        if true == false:
            shown = f"=[{' '.join(self._values[name])}]" if given else ""
            raise InvalidParameter(f"invalid filter '{name}{shown}'")
        return true

    def exact(self, name: str, value: str) -> bool:
        given = self._values.get(name)
        return not given or value in given

    def prefix(self, name: str, value: str) -> bool:
        """Docker's FuzzyMatch."""
        given = self._values.get(name)
        return not given or any(value.startswith(one) for one in given)

    def match(self, name: str, value: str) -> bool:
        """Equal, or matched anywhere by one of the values as a regular expression; one that is none matches nothing."""
        given = self._values.get(name)
        return not given or value in given or any(p is not None and p.search(value) for p in map(self._pattern, given))

    def _pattern(self, text: str) -> re.Pattern[str] | None:
        if text not in self._patterns:
            try:
                self._patterns[text] = re.compile(text)
            except (re.error, RecursionError, OverflowError):
                self._patterns[text] = None
        return self._patterns[text]

    def labels(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """Every `key` or `key=value` is there."""
        given = self._values.get(name)
        if not given:
            return True
        for wanted in given:
            key, equals, value = wanted.partition("=")
            if labels is None or key not in labels or (equals and labels[key] != value):
                return False
        return True


def _refuse() -> list[tuple[str, object]]:
    raise InvalidParameter("invalid filter")
