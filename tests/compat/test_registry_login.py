"""Where both clients keep what logs them in, and how they ask for it: config.json, helpers, tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import CONTROL, Daemon
from support.own_registry import OwnRegistry

pytestmark = pytest.mark.skipif(bool(CONTROL), reason="about our own registry")

HELPER = """#!{python}
import json, pathlib, sys
kept = pathlib.Path({kept!r})
known = json.loads(kept.read_text()) if kept.exists() else {{}}
given = sys.stdin.read().strip()
if sys.argv[1] == "store":
    entry = json.loads(given)
    known[entry["ServerURL"]] = entry
elif given not in known:
    print("credentials not found in native keychain")
    sys.exit(1)
elif sys.argv[1] == "get":
    print(json.dumps(known[given]))
else:
    del known[given]
kept.write_text(json.dumps(known))
"""


class Person:
    """A client with a configuration of its own and a credential helper called `fake` on its PATH."""

    def __init__(self, daemon: Daemon, place: Path) -> None:
        self.daemon, self.config, self.kept = daemon, place / "config.json", place / "kept.json"
        helper = place / "docker-credential-fake"
        helper.write_text(HELPER.format(python=sys.executable, kept=str(self.kept)))
        helper.chmod(0o755)
        path = f"{place}:{os.environ['PATH']}"
        self.environment = {**daemon.environment(), "DOCKER_CONFIG": str(place), "PATH": path}

    def run(self, *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.daemon.client, *words], input=input, capture_output=True, text=True, env=self.environment, timeout=60
        )

    def ok(self, *words: str, input: str = "") -> str:
        result = self.run(*words, input=input)
        assert result.returncode == 0, (words, result.stdout, result.stderr)
        return result.stdout

    def kept_by_helper(self) -> dict[str, Any]:
        return dict(json.loads(self.kept.read_text()))


@pytest.fixture
def person(daemon: Daemon, tmp_path: Path) -> Person:
    return Person(daemon, tmp_path)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRegistry]:
    """A registry for ann with the password `right`."""
    bcrypt = pytest.importorskip("bcrypt")
    place = tmp_path_factory.mktemp("closed")
    (place / "users").write_text(f"ann:{bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}\n")
    registry = OwnRegistry(place / "r", "--htpasswd", str(place / "users"))
    yield registry
    registry.stop()


@pytest.mark.parametrize("chosen", ["credsStore", "credHelpers"])
def test_a_helper_keeps_the_password_and_is_asked_for_it(person: Person, closed: OwnRegistry, chosen: str) -> None:
    person.config.write_text(json.dumps({chosen: "fake" if chosen == "credsStore" else {closed.address: "fake"}}))
    person.ok("login", "-u", "ann", "--password-stdin", closed.address, input="right\n")
    entry = {"ServerURL": closed.address, "Username": "ann", "Secret": "right"}
    assert person.kept_by_helper() == {closed.address: entry}
    assert json.loads(person.config.read_text())["auths"] == {closed.address: {}}, "the file says where, not what"
    name = f"{closed.address}/helped/{chosen.lower()}:1"
    person.ok("tag", "busybox", name)
    person.ok("push", "-q", name)
    person.ok("rmi", name)
    assert name in person.ok("pull", "-q", name)
    person.ok("logout", closed.address)
    assert person.kept_by_helper() == {} and json.loads(person.config.read_text())["auths"] == {}
    assert "no basic auth credentials" in person.run("push", name).stderr
    person.ok("rmi", name)


def test_a_helper_that_is_not_there(person: Person, closed: OwnRegistry) -> None:
    person.config.write_text('{"credsStore": "nosuch"}')
    result = person.run("login", "-u", "ann", "--password-stdin", closed.address, input="right")
    assert result.returncode == 1 and "Error saving credentials: error storing credentials" in result.stderr
    assert "docker-credential-nosuch" in result.stderr


def test_without_a_helper_the_file_keeps_it_for_its_owner_only(person: Person, closed: OwnRegistry) -> None:
    wrong = person.run("login", "-u", "ann", "--password-stdin", closed.address, input="wrong")
    assert wrong.returncode == 1 and not person.config.exists()
    said = f"login attempt to http://{closed.address}/v2/ failed with status: 401 Unauthorized"
    assert said in wrong.stderr
    assert "Login Succeeded" in person.ok("login", "-u", "ann", "--password-stdin", closed.address, input="right")
    assert person.config.stat().st_mode & 0o777 == 0o600
    assert json.loads(person.config.read_text())["auths"] == {closed.address: {"auth": "YW5uOnJpZ2h0"}}
    assert person.ok("logout", closed.address) == f"Removing login credentials for {closed.address}\n"
    assert "ann" not in person.config.read_text()


def test_a_pull_without_credentials_fails_and_asks_for_nothing(person: Person, closed: OwnRegistry) -> None:
    """401 from the daemon would make the docker CLI ask for a name and a password."""
    result = person.run("pull", f"{closed.address}/secret/thing:1", input="ann\nright\n")
    assert result.returncode == 1 and result.stdout == "" and "Username" not in result.stderr
    assert result.stderr.rstrip().endswith("no basic auth credentials")
