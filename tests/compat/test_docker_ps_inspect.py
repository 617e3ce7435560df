"""`ps`, `inspect`, `port`, `info`, `version` with the stock CLI and ours: filters, formats, columns."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.daemon import Daemon


@pytest.fixture(scope="module")
def fleet(daemon: Daemon) -> Iterator[dict[str, str]]:
    """One running, one exited with 5, one created; names to ids."""
    ids = {
        "up": daemon.ok(
            "run", "-d", "--name", "up", "--label", "tier=web", "-p", "127.0.0.1:0:80", "busybox", "sleep", "600"
        ),
        "down": daemon.ok("run", "-d", "--name", "down", "--label", "tier=db", "busybox", "sh", "-c", "exit 5"),
    }
    daemon.ok("wait", "down")
    ids["new"] = daemon.ok("create", "--name", "new", "--expose", "9000", "busybox", "true")
    yield ids
    daemon.ok("rm", "-f", "up", "down", "new")


def names(daemon: Daemon, *words: str) -> set[str]:
    return set(daemon.ok("ps", "--format", "{{.Names}}", *words).split()) & {"up", "down", "new"}


def test_ps_shows_running_only_and_all(daemon: Daemon, fleet: dict[str, str]) -> None:
    assert names(daemon) == {"up"}
    assert names(daemon, "-a") == {"up", "down", "new"}


def test_ps_columns(daemon: Daemon, fleet: dict[str, str]) -> None:
    header, *_ = daemon.ok("ps", "-a").splitlines()
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]


def test_ps_latest_last_quiet_no_trunc(daemon: Daemon, fleet: dict[str, str]) -> None:
    assert daemon.ok("ps", "-lq", "--no-trunc") == fleet["new"]
    assert daemon.ok("ps", "-q", "-n", "2").split() == [fleet["new"][:12], fleet["down"][:12]]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["status=exited"], {"down"}),
        (["status=created"], {"new"}),
        (["status=exited", "status=created"], {"down", "new"}),
        (["exited=5"], {"down"}),
        (["label=tier"], {"up", "down"}),
        (["label=tier=web"], {"up"}),
        (["name=^/?u"], {"up"}),
        (["ancestor=busybox"], {"up", "down", "new"}),
        (["before=new"], {"up", "down"}),
        (["since=up"], {"down", "new"}),
        (["expose=80"], {"up"}),
        (["publish=1"], set()),
        (["network=bridge"], {"up", "down", "new"}),
        (["health=none"], {"up", "down", "new"}),
        (["volume=/nosuch"], set()),
    ],
)
def test_ps_filters(daemon: Daemon, fleet: dict[str, str], filters: list[str], expected: set[str]) -> None:
    words = [word for filter in filters for word in ("--filter", filter)]
    assert names(daemon, "-a", *words) == expected


def test_ps_bad_filter_is_refused(daemon: Daemon, fleet: dict[str, str]) -> None:
    result = daemon.cli("ps", "--filter", "nosuch=1")
    assert result.returncode == 1 and "invalid filter 'nosuch'" in result.stderr


def test_ps_size(daemon: Daemon, fleet: dict[str, str]) -> None:
    assert "virtual" in daemon.ok("ps", "-s", "--filter", "name=^/up$", "--format", "{{.Size}}")


def test_what_the_engine_makes_for_a_container_is_not_its_size(daemon: Daemon, fleet: dict[str, str]) -> None:
    assert daemon.ok("ps", "-s", "--filter", "name=^/up$", "--format", "{{.Size}}").startswith("0B (virtual ")
    assert daemon.ok("inspect", "-s", "-f", "{{.SizeRw}}", "up") == "0"


def test_port(daemon: Daemon, fleet: dict[str, str]) -> None:
    assert daemon.ok("port", "up").startswith("80/tcp -> 127.0.0.1:")
    assert daemon.ok("port", "up", "80").startswith("127.0.0.1:")


def test_inspect_has_what_scripts_read(daemon: Daemon, fleet: dict[str, str]) -> None:
    (document,) = json.loads(daemon.ok("inspect", "up"))
    assert document["Id"] == fleet["up"] and document["Name"] == "/up"
    assert document["Config"]["Image"] == "busybox" and document["Path"] == "sleep" and document["Args"] == ["600"]
    assert document["State"]["Status"] == "running" and document["State"]["Pid"] > 1
    assert document["HostConfig"]["NetworkMode"] in ("default", "bridge")
    assert document["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert document["NetworkSettings"]["Ports"]["80/tcp"][0]["HostIp"] == "127.0.0.1"
    assert document["GraphDriver"]["Name"] == "overlay2" and document["Driver"] == "overlay2"


def test_inspect_of_nothing(daemon: Daemon) -> None:
    result = daemon.cli("inspect", "nosuch-sampan")
    assert (result.returncode, result.stdout.strip()) == (1, "[]")
    assert "No such object: nosuch-sampan" in result.stderr


def test_version_and_info(daemon: Daemon, fleet: dict[str, str]) -> None:
    assert daemon.ok("version", "--format", "{{.Server.APIVersion}}")
    info = json.loads(daemon.ok("info", "--format", "{{json .}}"))
    assert info["Containers"] >= 3 and info["ContainersRunning"] >= 1 and info["OSType"] == "linux"
    assert info["Driver"] == "overlay2" and info["NCPU"] >= 1
