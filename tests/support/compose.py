"""docker compose v2, the stock plugin, and projects of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from support.daemon import REPOSITORY, Daemon

PLACES = (
    os.environ.get("SAMPAN_TEST_COMPOSE", ""),
    str(REPOSITORY / ".venv/peers/usr/libexec/docker/cli-plugins/docker-compose"),
    str(REPOSITORY / ".venv/peers/usr/bin/docker-compose"),
    "/usr/libexec/docker/cli-plugins/docker-compose",
    "/usr/lib/docker/cli-plugins/docker-compose",
    shutil.which("docker-compose") or "",
)


def compose_binary() -> str | None:
    """Version 2 or newer; the first one was another program."""
    for place in PLACES:
        if place and os.access(place, os.X_OK):
            said = subprocess.run([place, "version", "--short"], capture_output=True, text=True, check=False).stdout
            if said.strip() and not said.strip().lstrip("v").startswith("1."):
                return place
    return None


COMPOSE = compose_binary()


class Project:
    """A project of one directory, on one engine."""

    def __init__(self, daemon: Daemon, directory: Path, name: str) -> None:
        self.daemon, self.directory, self.name = daemon, directory, name

    def __call__(self, *words: str) -> str:
        """What compose says; it must succeed."""
        assert COMPOSE is not None
        result = subprocess.run(
            [COMPOSE, "-p", self.name, *words],
            cwd=self.directory,
            env=self.daemon.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert result.returncode == 0, f"{words}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def services(self) -> dict[str, tuple[str, str]]:
        """(state, health) by container, without the project's name."""
        rows = [json.loads(line) for line in self("ps", "-a", "--format", "json").splitlines()]
        return {row["Name"].removeprefix(f"{self.name}-"): (row["State"], row["Health"]) for row in rows}
