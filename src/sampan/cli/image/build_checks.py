"""`build --check`: what the build checks find, on stdout as buildx prints it."""

from __future__ import annotations

import sys

from ..errors import CliError
from .build_progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Checks(Progress):
    def __init__(self, as_json: bool) -> None:
        super().__init__(False)
        self._as_json = as_json
        self._error: dict[str, Any] = {}

    def _fail(self, event: dict[str, Any]) -> None:
        self._tell(event)
        raise CliError("ERROR: " + event["errorDetail"]["message"] + "\n" + event.get("excerpt", "").rstrip("\n"))

    def _tell_warnings(self) -> None:
        self._tell(None)

    def _tell(self, error: dict[str, Any] | None) -> None:
        found = sorted(self.warnings, key=lambda warning: int(warning.get("line", 0)))
        if self._as_json:
            self._print_json(found, error)
            return
        count = len(found)
        if count:
            said = "1 warning has" if count == 1 else f"{count} warnings have"
            sys.stdout.write(f"Check complete, {said} been found!\n")
        elif error is None:
            sys.stdout.write("Check complete, no warnings found.\n")
        for one in found:
            url = f" - {one['url']}" if one.get("url") else ""
            sys.stdout.write(f"\nWARNING: {one['rule']}{url}\n{one['message']}\n{one.get('excerpt', '')}")
        if count and error is not None:
            sys.stdout.write("\n")
        sys.stdout.flush()

    @staticmethod
    def _print_json(found: list[dict[str, Any]], error: dict[str, Any] | None) -> None:
        from json import dumps

        warnings = []
        for one in found:
            place = {"start": {"line": one.get("line", 0)}, "end": {"line": one.get("line", 0)}}
            location = {"sourceIndex": 0, "ranges": [place]}
            detail = {"ruleName": one["rule"], "url": one.get("url", ""), "detail": one["message"]}
            warnings.append({**detail, "location": location})
        document: dict[str, Any] = {"warnings": warnings, "sources": [{"filename": "Dockerfile"}]}
        if error is not None:
            document["buildError"] = {"message": error["errorDetail"]["message"]}
        sys.stdout.write(dumps(document, indent=2) + "\n")
