"""From method and path to a handler: one declarative table, matched without regular expressions.

Docker's paths have one variable part, which may contain slashes (`/images/127.0.0.1:5000/a/b/json`); what stands
before and after it is fixed. So a path is looked up whole first, then by its first segment and its ending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from sampan.api.call import Call
from sampan.api.versions import MINIMUM, Version

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is as the API's documentation writes it: `/containers/{name}/json`. `disposable`: the handler serves
    only its caller and is cancelled when that goes away. Below `since` there is no such route."""

    method: str
    path: str
    handler: Handler
    since: Version = MINIMUM
    disposable: bool = False
    lacks: str = ""
    """Why it is answered with an error only, or what of it is missing: for `docs/api.md`."""


class Router:
    """Finds routes. Where Docker's own router leaves a choice (`DELETE /images/a/b`), the longest ending wins."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._variable: dict[tuple[str, str], list[tuple[str, str, Route]]] = {}
        for route in routes:
            before, brace, after = route.path.partition("{")
            if not brace:
                self._exact[route.method, route.path] = route
                continue
            ending = after.partition("}")[2]
            first = before.split("/")[1]
            self._variable.setdefault((route.method, first), []).append((before, ending, route))
        for choices in self._variable.values():
            choices.sort(key=lambda choice: -len(choice[1]))

    def find(self, method: str, path: str) -> tuple[Route, str] | None:
        """(route, the variable part), or None."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, ""
        first = path[1:].partition("/")[0]
        for before, ending, route in self._variable.get((method, first), ()):
            if path.startswith(before) and path.endswith(ending) and len(path) > len(before) + len(ending):
                return route, path[len(before) : len(path) - len(ending)]
        return None
