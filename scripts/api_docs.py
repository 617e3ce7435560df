#!/usr/bin/env python3
"""Writes docs/api.md from the daemon's route table.

scripts/api_docs.py            writes it
scripts/api_docs.py --print    shows it
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from sampan.api import versions
from sampan.api.routes import ROUTES
from sampan.api.routing import Route

TARGET = Path(__file__).parents[1] / "docs/api.md"
OWN = {"/volumes/{name}/export", "/volumes/{name}/import"}
"""Not in Docker."""

HEAD = """# Engine API

Made from the route table by `scripts/api_docs.py`; a test says when it is out of date.

Sampan answers the Docker Engine API {low} to {high}. A path may begin with a version, `/v1.44/info`; without one the
newest is meant. Requests for a version outside the range are refused with 400, in Docker's words. Every endpoint of
{high} is in the table; what is not supported says so with 501, or answers as a daemon that has none of the thing asked
for.
"""


def document(routes: Iterable[Route] = ROUTES) -> str:
    parts = [HEAD.format(low=versions.text(versions.MINIMUM), high=versions.text(versions.MAXIMUM))]
    subjects: dict[str, list[Route]] = {}
    for route in routes:
        if route.path != "/networks/":  # the same as without the slash
            subjects.setdefault(_subject(route), []).append(route)
    for subject, found in subjects.items():
        parts.append(f"\n## {subject}\n\n| endpoint | since | supported |\n| --- | --- | --- |\n")
        parts += [_row(route) for route in found]
    return "".join(parts)


def _row(route: Route) -> str:
    supported = f"no: {route.lacks}" if route.lacks else "yes; not in Docker" if route.path in OWN else "yes"
    return f"| `{route.method} {route.path}` | {versions.text(route.since)} | {supported} |\n"


_SUBJECTS = {
    **dict.fromkeys(("containers", "commit"), "Containers"),
    "exec": "Exec",
    **dict.fromkeys(("images", "distribution"), "Images"),
    **dict.fromkeys(("build", "session"), "Builds"),
    "networks": "Networks",
    "volumes": "Volumes",
    "plugins": "Plugins",
    **dict.fromkeys(("swarm", "nodes", "services", "tasks", "secrets", "configs"), "Swarm"),
}


def _subject(route: Route) -> str:
    return _SUBJECTS.get(route.path.split("/")[1], "Engine")


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        sys.stdout.write(document())
    else:
        TARGET.write_text(document())
