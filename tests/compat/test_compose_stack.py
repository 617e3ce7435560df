"""A project as people have them: a web application with redis and postgres, images built from Debian's packages.

Building takes about a minute and needs a Debian mirror, so it runs where `SAMPAN_TEST_DEBIAN` names a docker archive of
debian:trixie-slim (with `SAMPAN_TEST_CONTROL`, any value: that engine has the image).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.compose import COMPOSE, Project
from support.daemon import CONTROL, Daemon

ARCHIVE = os.environ.get("SAMPAN_TEST_DEBIAN", "")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(COMPOSE is None, reason="no docker compose v2 on this machine"),
    pytest.mark.skipif(not ARCHIVE, reason="SAMPAN_TEST_DEBIAN names no archive of debian:trixie-slim"),
]
POSTGRES = (100, 102)
"""User and group of Debian's postgresql package in a fresh image."""


class Stack(Project):
    def visit(self) -> int:
        """Every visit, the healthcheck's too, is counted in redis and kept in postgres; gives the count."""
        where = self("port", "web", "8000").strip()
        with urllib.request.urlopen(f"http://{where}/", timeout=20) as answer:
            shown = json.load(answer)
        assert shown["title"] == "visits"
        assert shown["rows"] == shown["visits"]
        return int(shown["visits"])

    def await_health(self, *services: str) -> None:
        for _ in range(200):
            found = self.services()
            if all(found[f"{service}-1"] == ("running", "healthy") for service in services):
                return
            time.sleep(0.1)
        raise AssertionError(self.services())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack") / "visits"
    shutil.copytree(Path(__file__).with_name("stack"), directory)
    (directory / "password").write_text("s3cret\n")
    (directory / "pgpass").write_text("db:5432:postgres:postgres:s3cret\n")
    (directory / "pgpass").chmod(0o600)
    os.chown(directory / "pgpass", *POSTGRES)
    daemon = Daemon("stack")
    stack = Stack(daemon, directory, "visits")
    try:
        daemon.start()
        if not CONTROL:
            daemon.load(Path(ARCHIVE).read_bytes())
        for image in ("redis", "postgres", "web"):
            built = daemon.cli("build", "-q", "-t", f"visits/{image}", str(directory / image), timeout=600)
            assert built.returncode == 0, built.stderr
        stack("up", "-d", "--wait")
        yield stack
    finally:
        try:
            stack("--profile", "admin", "down", "-v", "-t", "0", "--rmi", "all")
        finally:
            daemon.stop()


def test_a_web_application_with_redis_and_postgres(stack: Stack) -> None:
    first = stack.visit()
    assert stack.visit() > first
    assert stack("exec", "-T", "cache", "redis-cli", "ping").strip() == "PONG"
    assert stack("exec", "-T", "db", "psql", "-qtAc", "SELECT 1").strip() == "1"
    assert stack("--profile", "admin", "run", "--rm", "-T", "admin").strip() == "1", "over the network, by a secret"
    assert "redis.internal" not in stack("exec", "-T", "web", "cat", "/etc/hosts")
    assert "True" in stack(
        "exec", "-T", "web", "python3", "-c", "import redis; print(redis.Redis('redis.internal').ping())"
    )


def test_scaled_crashed_and_taken_down_its_data_stays(stack: Stack) -> None:
    stack("up", "-d", "--wait", "--scale", "web=3")
    assert len(set(stack("exec", "-T", "db", "getent", "ahostsv4", "web").split()) & {"STREAM"}) == 1
    assert len(stack("exec", "-T", "db", "getent", "hosts", "web").splitlines()) == 3
    for service in ("cache", "db", "web"):
        identity = stack("ps", "-q", service).split()[0]
        _, shown = stack.daemon.api("GET", f"/containers/{identity}/json")
        os.kill(shown["State"]["Pid"], signal.SIGKILL)
    time.sleep(0.5)
    stack.await_health("cache", "db", "web")
    before = stack.visit()
    stack("down")
    stack("up", "-d", "--wait")
    assert stack.visit() > before
    stack("down", "-v")
    stack("up", "-d", "--wait")
    assert stack.visit() < before


@pytest.mark.skipif(bool(CONTROL), reason="kills the daemon")
def test_it_outlives_the_daemon(stack: Stack) -> None:
    before = stack.visit()
    stack.daemon.kill()
    stack.daemon.start()
    assert stack.visit() > before
    stack.await_health("cache", "db", "web")
