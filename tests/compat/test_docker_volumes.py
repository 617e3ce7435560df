"""Volumes, mounts, healthchecks and stats with the stock CLI and ours."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemon import CONTROL, SAMPAN, Daemon


@pytest.fixture
def volume(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[str]:
    """A name no volume has; gone afterwards."""
    name = f"v{os.getpid()}-{abs(hash(request.node.name)) % 100000}"
    yield name
    daemon.api("DELETE", f"/volumes/{name}?force=1")


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


# -- volume commands -------------------------------------------------------------------------------
@pytest.mark.docker_cli(24)
def test_a_volume_s_life(daemon: Daemon, volume: str) -> None:
    assert daemon.ok("volume", "create", "--label", "tier=db", volume) == volume
    (found,) = json.loads(daemon.ok("volume", "inspect", volume))
    assert (found["Name"], found["Driver"], found["Scope"]) == (volume, "local", "local")
    assert found["Labels"] == {"tier": "db"}
    assert found["Mountpoint"].endswith(f"/volumes/{volume}/_data")
    assert volume in daemon.ok("volume", "ls", "-q", "--filter", "label=tier=db").split()
    assert daemon.ok("volume", "rm", volume) == volume
    gone = daemon.cli("volume", "inspect", volume)
    assert (gone.returncode, f"get {volume}: no such volume" in gone.stderr) == (1, True)


def test_a_bad_volume_name_tells_of_the_slash(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "-v", "data/x:/x", "busybox", "true")
    assert result.returncode == 125
    assert (
        'create data/x: "data/x" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" '
        "are allowed. If you intended to pass a host directory, use absolute path" in result.stderr
    )


def test_data_outlives_containers_and_a_used_volume_stays(daemon: Daemon, volume: str, container_name: str) -> None:
    daemon.ok("run", "--rm", "-v", f"{volume}:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    id = daemon.ok("create", "--name", container_name, "-v", f"{volume}:/data", "busybox", "cat", "/data/file")
    refused = daemon.cli("volume", "rm", volume)
    assert refused.returncode == 1
    assert f"remove {volume}: volume is in use - [{id}]" in refused.stderr
    assert daemon.ok("start", "-a", container_name) == "kept"
    daemon.ok("rm", "-v", container_name)
    assert daemon.ok("volume", "ls", "-q", "--filter", "dangling=true", "--filter", f"name={volume}") == volume


@pytest.mark.docker_cli(24)
def test_prune_takes_anonymous_volumes_only(daemon: Daemon, volume: str) -> None:
    daemon.ok("volume", "create", volume)
    anonymous = daemon.ok("volume", "create")
    assert len(anonymous) == 64
    assert anonymous in daemon.ok("volume", "prune", "-f")
    assert daemon.ok("volume", "ls", "-q", "--filter", f"name={volume}") == volume


def test_anonymous_volumes_go_with_rm_v_and_with_run_rm(daemon: Daemon, container_name: str) -> None:
    def volumes() -> set[str]:
        return set(daemon.ok("volume", "ls", "-q").split())

    before = volumes()
    daemon.ok("run", "--rm", "-v", "/anon", "busybox", "touch", "/anon/x")
    assert volumes() == before
    daemon.ok("create", "--name", container_name, "-v", "/anon", "busybox")
    (made,) = volumes() - before
    daemon.ok("rm", container_name)
    assert made in volumes()
    daemon.ok("volume", "rm", made)


def test_a_tmpfs_volume(daemon: Daemon, volume: str) -> None:
    daemon.ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000", volume)
    shown = daemon.ok("run", "--rm", "-v", f"{volume}:/m", "busybox", "sh", "-c", "stat -c %u /m; df -k /m | tail -1")
    owner, size = shown.splitlines()
    assert (owner, size.split()[1]) == ("1000", "1024")


# -- mounts ----------------------------------------------------------------------------------------
def test_image_content_fills_a_new_volume(daemon: Daemon, volume: str) -> None:
    first = daemon.ok("run", "--rm", "-v", f"{volume}:/etc", "busybox", "sh", "-c", "rm /etc/group; cat /etc/passwd")
    assert "root" in first
    assert daemon.cli("run", "--rm", "-v", f"{volume}:/x", "busybox", "ls", "/x/group").returncode == 1
    assert daemon.ok("run", "--rm", "-v", f"{volume}:/x", "busybox", "cat", "/x/passwd") == first


def test_an_empty_directory_of_the_image_lends_its_mode(daemon: Daemon, volume: str) -> None:
    """Databases refuse a data directory that is not their user's."""
    mode = daemon.ok("run", "--rm", "busybox", "stat", "-c", "%a", "/tmp")
    assert mode == "1777"
    assert daemon.ok("run", "--rm", "-v", f"{volume}:/tmp", "busybox", "stat", "-c", "%a", "/tmp") == mode


def test_volumes_from_is_shared_chained_and_read_only_on_request(
    daemon: Daemon, volume: str, container_name: str
) -> None:
    one, two = f"{container_name}-1", f"{container_name}-2"
    try:
        daemon.ok("run", "-d", "--name", one, "-v", f"{volume}:/data", "-v", "/anon", "busybox", "sleep", "600")
        daemon.ok("run", "-d", "--name", two, "--volumes-from", one, "busybox", "sleep", "600")
        daemon.ok("exec", two, "sh", "-c", "echo hello > /data/file; touch /anon/there")
        assert daemon.ok("exec", one, "cat", "/data/file") == "hello"
        shown = daemon.ok(
            "run", "--rm", "--volumes-from", f"{two}:ro", "busybox", "sh", "-c", "ls /anon; ! touch /data/x"
        )
        assert shown == "there"
    finally:
        daemon.cli("rm", "-fv", one, two)


def test_mounts_nest_and_inspect_shows_them(daemon: Daemon, volume: str, container_name: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "file").write_text("bound\n")
    script = "cat /a/file && touch /a/inner/x /a/inner/deep/y && ! touch /a/z && stat -c %a /a/inner/deep"
    daemon.ok(
        "run", "--name", container_name, "-v", f"{volume}:/a/inner", "-v", f"{tmp_path}:/a:ro",
        "--mount", "type=tmpfs,dst=/a/inner/deep,tmpfs-size=1m,tmpfs-mode=1770", "--tmpfs", "/t:size=1m",
        "busybox", "sh", "-c", script,
    )  # fmt: skip
    mounts = json.loads(daemon.ok("inspect", "-f", "{{json .Mounts}}", container_name))
    shown = {m["Destination"]: (m["Type"], m.get("Name", ""), m["Mode"], m["RW"], m["Propagation"]) for m in mounts}
    assert shown == {
        "/a": ("bind", "", "ro", False, "rprivate"),
        "/a/inner": ("volume", volume, "z", True, ""),
        "/a/inner/deep": ("tmpfs", "", "", True, ""),
    }
    assert daemon.ok("logs", container_name).splitlines()[-1] == "1770"


def test_a_file_of_the_host_replaces_a_file_of_docker_s(daemon: Daemon, tmp_path: Path) -> None:
    own = tmp_path / "hosts"
    own.write_text("10.0.0.1 mine\n")
    for mode in ("", ":ro"):
        assert (
            daemon.ok("run", "--rm", "-v", f"{own}:/etc/hosts{mode}", "busybox", "cat", "/etc/hosts") == "10.0.0.1 mine"
        )


@pytest.mark.docker_cli(26)
def test_a_subpath_stays_inside_its_volume(daemon: Daemon, volume: str) -> None:
    script = "mkdir /d/ok; echo in > /d/ok/file; ln -s /etc /d/out"
    daemon.ok("run", "--rm", "-v", f"{volume}:/d", "busybox", "sh", "-c", script)

    def mount(subpath: str) -> str:
        return f"type=volume,src={volume},dst=/x,volume-subpath={subpath}"

    assert daemon.ok("run", "--rm", "--mount", mount("ok"), "busybox", "cat", "/x/file") == "in"
    for subpath, message in (
        ("out", "path concatenation escapes the base directory"),
        ("none", "no such file or directory"),
        ("../x", "subpath must be a relative path within the volume"),
    ):
        result = daemon.cli("run", "--rm", "--mount", mount(subpath), "busybox", "true")
        assert result.returncode in (125, 127)
        assert message in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-v", "vv:/"], "invalid specification: destination can't be '/'"),
        (["-v", "vv:/x", "-v", "ww:/x"], "Duplicate mount point: /x"),
        (["-v", "/tmp:/proc"], "cannot be mounted because it is not of type proc"),
        (["--mount", "type=bind,src=/no/such,dst=/x"], "bind source path does not exist: /no/such"),
        (["--tmpfs", "/t:foo"], 'invalid tmpfs option "foo"'),
        (["--volumes-from", "nobody"], "No such container: nobody"),
    ],
)
def test_bad_mounts_are_refused(daemon: Daemon, words: list[str], message: str) -> None:
    result = daemon.cli("run", "--rm", *words, "busybox", "true")
    daemon.cli("volume", "rm", "-f", "vv", "ww")
    assert result.returncode == 125
    assert message in result.stderr


# -- health and stats ------------------------------------------------------------------------------
def test_health_goes_from_starting_to_unhealthy_to_healthy(daemon: Daemon, container_name: str) -> None:
    daemon.ok(
        "run", "-d", "--name", container_name, "--health-cmd", "echo probed; test -e /ok", "--health-interval", "500ms",
        "--health-retries", "2", "busybox", "sleep", "600",
    )  # fmt: skip

    def status() -> str:
        return daemon.ok("inspect", "-f", "{{.State.Health.Status}}", container_name)

    assert status() == "starting"
    until(lambda: status() == "unhealthy")
    assert "(unhealthy)" in daemon.ok("ps", "--filter", f"name={container_name}")
    daemon.ok("exec", container_name, "touch", "/ok")
    until(lambda: status() == "healthy")
    assert container_name in daemon.ok("ps", "--filter", "health=healthy", "--format", "{{.Names}}")
    health = json.loads(daemon.ok("inspect", "-f", "{{json .State.Health}}", container_name))
    assert (health["FailingStreak"], health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]) == (0, 0, "probed\n")
    assert len(health["Log"]) <= 5


def test_stats_of_running_and_stopped_containers(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "-d", "--name", container_name, "--memory", "64m", "busybox", "sleep", "600")
    _, usage = daemon.api("GET", f"/containers/{container_name}/stats?stream=false&one-shot=true")
    assert usage["memory_stats"]["limit"] == 64 << 20
    assert usage["memory_stats"]["usage"] > 0
    assert usage["pids_stats"]["current"] == 1
    assert usage["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert usage["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert "rx_bytes" in usage["networks"]["eth0"]
    _, usage = daemon.api("GET", f"/containers/{container_name}/stats?stream=false")
    assert usage["precpu_stats"]["system_cpu_usage"] < usage["cpu_stats"]["system_cpu_usage"]
    daemon.ok("kill", container_name)
    _, usage = daemon.api("GET", f"/containers/{container_name}/stats?stream=false")
    assert (usage["read"], usage["memory_stats"], usage["name"]) == ("0001-01-01T00:00:00Z", {}, f"/{container_name}")


def test_a_volume_goes_through_a_tar(daemon: Daemon, volume: str, tmp_path: Path) -> None:
    """`volume export` and `volume import` are podman's; docker has neither."""
    if daemon.client != SAMPAN or CONTROL:
        pytest.skip("only sampan has it")
    archive = tmp_path / "v.tar"
    script = "echo kept > /x/file; chown 5:6 /x/file"
    daemon.ok("run", "--rm", "-v", f"{volume}:/x", "busybox", "sh", "-c", script)
    daemon.ok("volume", "export", volume, "-o", str(archive))
    daemon.ok("volume", "rm", volume)
    daemon.ok("volume", "create", volume)
    daemon.ok("volume", "import", volume, str(archive))
    shown = daemon.ok("run", "--rm", "-v", f"{volume}:/x", "busybox", "sh", "-c", "stat -c %u:%g /x/file; cat /x/file")
    assert shown.split() == ["5:6", "kept"]
    missing = daemon.cli("volume", "import", "no-such-volume", str(archive))
    assert (missing.returncode, "get no-such-volume: no such volume" in missing.stderr) == (1, True)
