"""`filters` of `POST /build/prune`. Pure.

Source: moby builder/builder-next toBuildkitPruneInfo: one value a filter; `id` is a pattern, the others are equal.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sampan.api.filters import Filters
from sampan.api.timestamps import parse_until
from sampan.errors import InvalidParameter

_LABELS = ("label", "label!")
NAMES = ("until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private")
_FLAGS = ("inuse", "shared", "private")


@dataclass(frozen=True, slots=True)
class CacheFilters:
    """`until`: nanoseconds since the epoch, 0 without."""

    until: int
    fields: Mapping[str, str]
    labelled: bool = False
    """Only what has some label is asked for."""

    @classmethod
    def parse(cls, text: str) -> CacheFilters:
        """Raises `InvalidParameter` in dockerd's words."""
        try:
            return cls._parse(text)
        except InvalidParameter as error:
            raise InvalidParameter(f"failed to prune build cache: {error.message}") from None

    @classmethod
    def _parse(cls, text: str) -> CacheFilters:
        given = {name: list(values) for name, values in Filters.parse(text, (*NAMES, *_LABELS)).as_lists().items()}
        # `system prune` sends these too. Nothing in the cache has a label, so what asks for one finds nothing (BuildKit
        # does not look, and lets go of everything).
        labelled, _ = bool(given.pop("label", [])), given.pop("label!", [])
        if "until" in given and "unused-for" in given:
            raise InvalidParameter('conflicting filters: "until" and "unused-for"')
        for values in given.values():
            if len(values) > 1:
                raise InvalidParameter("filters expect only one value")
        fields = {name: (values or [""])[0] for name, values in given.items()}
        name = "unused-for" if "unused-for" in fields else "until"
        limit = fields.pop(name, "")
        try:
            return cls(parse_until(limit, time.time_ns()) if limit else 0, fields, labelled)
        except InvalidParameter:
            raise InvalidParameter(
                f"\"{name}\" filter expects a duration (e.g., '24h') or a timestamp: "
                f'failed to parse value as time or duration: "{limit}"'
            ) from None

    def fits(self, found: Mapping[str, object], used: int) -> bool:
        """`found` has a value for each field that there is; a flag without a value asks for it to be set."""
        if self.labelled or (self.until and used > self.until):
            return False
        return all(self._fits(name, wanted, found.get(name)) for name, wanted in self.fields.items())

    @staticmethod
    def _fits(name: str, wanted: str, value: object) -> bool:
        if name in _FLAGS:
            return bool(value) == (wanted.lower() not in ("false", "0"))
        if name == "id":
            try:
                return re.search(wanted, str(value)) is not None
            except re.error as error:
                raise InvalidParameter(f"error parsing regexp: {error}") from None
        return str(value or "") == wanted
