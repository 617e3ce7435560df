"""`commit` and `import`: images out of containers and out of tars."""

from __future__ import annotations

import http.server
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import CONTROL, Daemon
from support.images import BUSYBOX


def inspect(daemon: Daemon, image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(daemon.ok("image", "inspect", image))
    return found[0]


@pytest.fixture
def stopped(daemon: Daemon) -> Iterator[str]:
    """A container that wrote /new and removed /etc/group."""
    name = f"commit-{daemon.tag}"
    daemon.ok(
        "run", "--name", name, "-e", "OWN=1", "-l", "own=1", "busybox", "sh", "-c", "echo new > /new; rm /etc/group"
    )
    yield name
    daemon.ok("rm", "-f", name)


def root_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = BUSYBOX.stat().st_size, 0o755
        with BUSYBOX.open("rb") as file:
            tar.addfile(entry, file)
    return buffer.getvalue()


def test_commit_keeps_files_and_configuration(daemon: Daemon, stopped: str) -> None:
    id = daemon.ok("commit", "-m", "why", "-a", "who", stopped, "kept:1")
    try:
        image = inspect(daemon, "kept:1")
        assert (image["Id"], image["Comment"], image["Author"]) == (id, "why", "who")
        assert image["Parent"] == inspect(daemon, "busybox")["Id"]
        assert image["RootFS"]["Layers"][:-1] == inspect(daemon, "busybox")["RootFS"]["Layers"]
        assert "OWN=1" in image["Config"]["Env"]
        assert image["Config"]["Labels"]["own"] == "1"
        assert image["Config"]["Cmd"] == ["sh", "-c", "echo new > /new; rm /etc/group"]
        row = daemon.ok("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "kept:1").splitlines()[0]
        assert row == "sh -c echo new > /new; rm /etc/group|why"
        assert daemon.ok("run", "--rm", "kept:1", "sh", "-c", "cat /new; ls /etc/group 2>&1 || true").startswith(
            "new\n"
        )
    finally:
        daemon.ok("rmi", "kept:1")


def test_changes_are_dockerfile_instructions(daemon: Daemon, stopped: str) -> None:
    changes = [
        "ENV A=b",
        "ENV C=${A}c",
        "LABEL l='two words'",
        "EXPOSE 80",
        "VOLUME /data",
        "USER 1000",
        "WORKDIR /tmp",
        "STOPSIGNAL SIGUSR1",
        'ENTRYPOINT ["cat"]',
        'CMD ["/new"]',
        "ONBUILD RUN true",
    ]
    daemon.ok("commit", *(word for change in changes for word in ("-c", change)), stopped, "changed")
    try:
        config = inspect(daemon, "changed")["Config"]
        assert {"A=b", "C=bc", "OWN=1"} <= set(config["Env"])
        assert config["Labels"] == {"l": "two words", "own": "1"}
        assert (config["ExposedPorts"], config["Volumes"]) == ({"80/tcp": {}}, {"/data": {}})
        assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("1000", "/tmp", "SIGUSR1")
        assert (config["Entrypoint"], config["Cmd"], config["OnBuild"]) == (["cat"], ["/new"], ["RUN true"])
        assert daemon.ok("run", "--rm", "changed") == "new"
    finally:
        daemon.ok("rmi", "changed")


@pytest.mark.parametrize("change", ["RUN true", "copy a b", "FROM x", "nonsense 1"])
def test_other_instructions_are_refused(daemon: Daemon, stopped: str, change: str) -> None:
    failed = daemon.cli("commit", "-c", change, stopped)
    assert failed.returncode == 1
    assert f"{change.split()[0]} is not a valid change command" in failed.stderr


def test_a_running_container_is_paused_unless_told_otherwise(daemon: Daemon) -> None:
    id = daemon.ok("run", "-d", "busybox", "sleep", "1000")
    try:
        for flags, expected in ((["--pause=false"], 0), ([], 2)):
            made = daemon.ok("commit", *flags, id)
            daemon.ok("rmi", made)
            since = daemon.ok("inspect", "-f", "{{.Created}}", id)
            told = daemon.ok(
                "events",
                "--since",
                since,
                "--until",
                f"{time.time():.6f}",
                "--filter",
                f"container={id}",
                "--format",
                "{{.Action}}",
            )
            assert sum(action in ("pause", "unpause") for action in told.split()) == expected
            assert daemon.ok("inspect", "-f", "{{.State.Status}}", id) == "running"
    finally:
        daemon.ok("rm", "-f", id)


def test_a_commit_without_changes_adds_no_layer(daemon: Daemon) -> None:
    id = daemon.ok("create", "busybox", "true")
    try:
        made = daemon.ok("commit", id)
        assert inspect(daemon, made)["RootFS"] == inspect(daemon, "busybox")["RootFS"]
        daemon.ok("rmi", made)
    finally:
        daemon.ok("rm", id)


def test_commit_of_nobody(daemon: Daemon) -> None:
    assert "No such container: nobody" in daemon.cli("commit", "nobody").stderr


def test_import_from_a_file_with_changes(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(root_tar())
    daemon.ok(
        "import", "-m", "said", "-c", 'CMD ["/bin/busybox","echo","in"]', str(tmp_path / "root.tar"), "imported:1"
    )
    try:
        assert daemon.ok("run", "--rm", "imported:1") == "in"
        assert inspect(daemon, "imported:1")["Comment"] == "said"
    finally:
        daemon.ok("rmi", "imported:1")


@pytest.mark.skipif(bool(CONTROL), reason="the control does not share our loopback")
def test_import_from_a_url(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(root_tar())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/odd.tar":
                self.send_error(599, "Nobody Knows")
            else:
                super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        said = daemon.ok("import", f"{url}/root.tar", "from-url:1")
        assert f"Downloading from {url}/root.tar" in said
        assert inspect(daemon, "from-url:1")["Comment"] == f"Imported from {url}/root.tar"
        missing = daemon.cli("import", f"{url}/missing.tar", "x")
        assert missing.returncode == 1
        assert f"failed to GET {url}/missing.tar with status 404" in missing.stderr
        assert (
            f"failed to GET {url}/odd.tar with status 599 Nobody Knows" in daemon.cli("import", f"{url}/odd.tar").stderr
        )
        server.shutdown()
    daemon.ok("rmi", "from-url:1")


def test_an_archive_that_is_none_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"this is no tar" * 100)
    before = set(daemon.ok("images", "-aq").split())
    assert daemon.cli("import", str(tmp_path / "bad"), "bad:1").returncode == 1
    assert set(daemon.ok("images", "-aq").split()) == before
