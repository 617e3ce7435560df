"""What a host can do to an engine: a full disk, a data root that cannot be written, a keeper that is killed, a clock
that jumps, clients that do nothing or never read."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.containers.model import HealthcheckConfig, Status
from sampan.images import Snapshots
from support.daemon import Daemon
from support.images import busybox_archive, busybox_layer, docker_archive
from support.inprocess import InProcess
from support.inventory import inventory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FULL = "no space left on device"


def lasting(daemon: Daemon) -> set[str]:
    """Without what comes and goes inside containers."""
    return {line for line in inventory(daemon, network=False) if "process" not in line or "conmon" in line}


def eventually(check: Callable[[], bool]) -> None:
    for _ in range(200):
        if check():
            return
        time.sleep(0.05)
    assert check()


def api(daemon: Daemon, method: str, path: str, body: Any = None) -> Any:
    status, answer = daemon.api(method, path, body)
    assert status < 300, (method, path, status, answer)
    return answer


def start(daemon: Daemon, name: str, script: str, **host: Any) -> dict[str, Any]:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host}
    api(daemon, "POST", f"/containers/create?name={name}", body)
    api(daemon, "POST", f"/containers/{name}/start")
    found: dict[str, Any] = api(daemon, "GET", f"/containers/{name}/json")
    return found


def state(daemon: Daemon, name: str) -> tuple[str, int]:
    found = api(daemon, "GET", f"/containers/{name}/json")["State"]
    return found["Status"], found["ExitCode"]


def noise(size: int, name: str = "noise") -> bytes:
    return packed((name, random.Random(1).randbytes(size)))


def packed(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


# -- a full disk -------------------------------------------------------------------------------------
@contextlib.contextmanager
def on_a_disk(tag: str, *options: str | Path) -> Iterator[Daemon]:
    """A daemon whose data root is mounted so. However it ends, nothing of it stays mounted."""
    daemon = Daemon(tag)
    daemon.data_root.mkdir()
    subprocess.run(["mount", *options, daemon.data_root], check=True)
    try:
        yield daemon
    finally:
        with contextlib.suppress(OSError):
            (daemon.data_root / "filling").unlink()
        try:
            daemon.end()
        finally:
            if daemon.data_root.is_mount():
                subprocess.run(["umount", daemon.data_root], check=False)
            daemon.stop()  # unmounts by force what is still there, and fails for it


def ext4(place: Path, size: int) -> Path:
    """A file with an ext4 in it, to mount by a loop device; skips where there is none."""
    image = place / "disk"
    with image.open("wb") as file:
        file.truncate(size)
    for words in (["losetup", "-f"], ["mkfs.ext4", "-q", "-m", "0", "-N", "8192", image]):
        if subprocess.run(words, capture_output=True, check=False).returncode != 0:
            pytest.skip(f"{words[0]} does not work here")
    return image


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose data root is a disk of 64 MiB. ext4 allocates late, and lets overlayfs mount read-only when it is
    full."""
    options: list[str | Path] = ["-t", "tmpfs", "-o", "size=64m", "none"]
    if request.param == "ext4":
        options = ["-o", "loop", ext4(tmp_path, 80 << 20)]
    with on_a_disk("small", *options) as daemon:
        daemon.start()
        daemon.load(busybox_archive())
        yield daemon


def fill(daemon: Daemon) -> Path:
    path = daemon.data_root / "filling"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return path


def test_an_image_that_does_not_fit_leaves_nothing(small: Daemon) -> None:
    before = lasting(small)
    archive = docker_archive(["big:1"], [busybox_layer(), noise(70 << 20)], {})
    _, answer = small.api("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
    assert FULL in str(answer), answer
    assert lasting(small) == before
    assert small.api("GET", "/images/big:1/json")[0] == 404


def test_on_a_full_disk_everything_fails_whole_and_recovers(small: Daemon) -> None:
    start(small, "going", "while :; do echo line; sleep 0.05; done")
    start(small, "brief", "sleep 2; exit 7")
    api(small, "POST", "/containers/create?name=idle", {"Image": "busybox", "Cmd": ["sleep", "100"]})
    start(small, "doomed", "sleep 100")
    filling = fill(small)
    before = lasting(small)
    refused: list[tuple[str, str, Any]] = [
        ("POST", "/containers/create?name=n1", {"Image": "busybox", "Cmd": ["true"]}),
        ("POST", "/containers/create?name=n2", {"Image": "busybox", "Volumes": {"/etc": {}, "/new": {}}}),
        ("POST", "/volumes/create", {"Name": "v1"}),
        ("POST", "/networks/create", {"Name": "n1"}),
        ("POST", "/images/busybox/tag?repo=other", None),
        ("POST", "/containers/idle/start", None),
        ("PUT", "/containers/idle/archive?path=/tmp", noise(1 << 20)),
    ]
    for method, path, body in refused:
        status, answer = small.api(
            method, path, body, {"Content-Type": "application/x-tar"} if path[-1] == "p" else None
        )
        assert status == 500 and FULL in answer["message"], (path, answer)
    assert lasting(small) == before
    assert [c["Names"] for c in api(small, "GET", "/containers/json")][-1:] == [["/going"]]
    eventually(lambda: state(small, "brief") == ("exited", 7))
    api(small, "DELETE", "/containers/doomed?force=1")  # or nobody could make room
    small.kill()
    small.start()
    assert state(small, "brief") == ("exited", 7), "its code was not lost with the daemon"
    filling.unlink()
    api(small, "POST", "/containers/idle/start")
    api(small, "POST", "/volumes/create", {"Name": "v1"})
    assert state(small, "going")[0] == "running"
    small.kill()
    small.start()
    assert (state(small, "brief"), state(small, "idle")[0]) == (("exited", 7), "running")


def test_a_writable_layer_is_never_mounted_read_only(tmp_path: Path) -> None:
    """overlayfs that cannot make its work directory (a full ext4 is one reason) mounts read-only and says nothing."""
    snapshots = Snapshots(tmp_path)
    snapshots.prepare("box", None)
    work = tmp_path / "snapshots/box/work"
    if subprocess.run(["chattr", "+i", work], capture_output=True, check=False).returncode != 0:
        pytest.skip("no immutable directories here")
    try:
        with pytest.raises(OSError, match="not permitted"):
            snapshots.mount("box", tmp_path / "root")
        assert not (tmp_path / "root").is_mount()
    finally:
        subprocess.run(["chattr", "-i", work], check=True)


# -- a data root that cannot be written --------------------------------------------------------------
def test_a_data_root_that_cannot_be_written_is_said() -> None:
    with on_a_disk("rofs", "-t", "tmpfs", "-o", "ro", "none") as daemon:
        with pytest.raises(AssertionError) as failure:
            daemon.start()
        assert f"failed to start daemon: {daemon.data_root}" in str(failure.value)
        assert "read-only file system" in str(failure.value)
        assert "Traceback" not in str(failure.value)


def test_a_disk_that_fails_while_the_daemon_runs_stops_nobody(tmp_path: Path) -> None:
    """ext4 goes read-only by itself at an error. What runs goes on and ends; what would write says why it cannot."""
    with on_a_disk("rofs", "-o", "loop,errors=remount-ro", ext4(tmp_path, 96 << 20)) as daemon:
        daemon.start()
        daemon.load(busybox_archive())
        start(daemon, "going", "while :; do echo line; sleep 0.1; done")
        start(daemon, "brief", "sleep 1; exit 7")
        api(daemon, "POST", "/containers/create?name=idle", {"Image": "busybox", "Cmd": ["sleep", "100"]})
        break_disk(daemon.data_root)
        refused: list[tuple[str, Any, str]] = [
            ("/containers/create?name=n1", {"Image": "busybox", "Cmd": ["true"]}, "read-only file system"),
            ("/volumes/create", {"Name": "v1"}, "read-only file system"),
            ("/containers/idle/start", None, "read-only file system"),
            ("/networks/create", {"Name": "n1"}, "disk I/O error"),
        ]
        for path, body, reason in refused:
            status, answer = daemon.api("POST", path, body)
            assert status == 500 and reason in answer["message"], (path, answer)
        eventually(lambda: state(daemon, "brief") == ("exited", 7))
        assert state(daemon, "going")[0] == "running"
        api(daemon, "POST", "/containers/going/stop?t=0")
        assert state(daemon, "going") == ("exited", 137)
        assert daemon.terminate() == 0
        with pytest.raises(AssertionError, match="failed to start daemon: .*read-only file system"):
            daemon.start()


def break_disk(place: Path) -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    device = next(Path(words[0]).name for words in mounts if words[1] == str(place))
    trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    if not trigger.exists():
        pytest.skip("this kernel cannot be asked for an error")
    trigger.write_text("1")


# -- a keeper that is killed -------------------------------------------------------------------------
def test_a_container_whose_conmon_is_killed_ends_whole(daemon: Daemon, container_name: str) -> None:
    before = lasting(daemon)
    found = start(daemon, container_name, "trap '' TERM; sleep 100 & wait; sleep 100")
    bundle = daemon.exec_root / "containers" / found["Id"]
    os.kill(int((bundle / "conmon.pid").read_text()), signal.SIGKILL)
    eventually(lambda: state(daemon, container_name) == ("exited", 137))
    eventually(lambda: not Path(f"/proc/{found['State']['Pid']}").exists())
    api(daemon, "POST", f"/containers/{container_name}/start")
    assert state(daemon, container_name)[0] == "running"
    api(daemon, "DELETE", f"/containers/{container_name}?force=1")
    eventually(lambda: lasting(daemon) == before)


# -- a clock that jumps ------------------------------------------------------------------------------
@pytest.mark.parametrize("hours", [-2, 24 * 365 * 20], ids=["back", "forward"])
async def test_a_clock_that_jumps_breaks_no_order(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Two hours back (a host that was wrong), or twenty years on and back again (a dead battery, then NTP)."""
    engine = await InProcess("clock").open()
    containers = engine.engine.containers
    try:
        await engine.load_busybox()
        container = await engine.start("sh", "-c", "echo said; sleep 0.3; exit 4", name="timed")
        check = HealthcheckConfig(test=["CMD", "true"], interval=100_000_000)
        healthy = await engine.start("sleep", "100", name="healthy", healthcheck=check)
        jump(monkeypatch, hours)
        await containers.start(await engine.create("true", name="later"))
        code, _ = await asyncio.wait_for(containers.wait("timed"), 20)
        after = containers.get(container.id)
        assert (code, after.state.status) == (4, Status.EXITED)
        assert after.state.finished_at >= after.state.started_at
        await becomes_healthy(engine, healthy.id)
        assert b"said" in await engine.logs("timed")
        monkeypatch.undo()
        await asyncio.wait_for(containers.stop("healthy", 0), 20)
        times = [event.time for event in engine.engine.events.history(0)]
        assert times == sorted(times)
        await engine.crash_and_open()
        assert engine.engine.containers.get("timed").state.exit_code == 4
        assert engine.engine.images.resolve("busybox"), "twenty years are no reason to forget it"
    finally:
        monkeypatch.undo()
        await engine.close()


def jump(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + hours * 3600 * 10**9)


async def becomes_healthy(engine: InProcess, id: str) -> None:
    for _ in range(200):
        health = engine.engine.containers.get(id).state.health
        if health is not None and health.status == "healthy":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("timers hang on the clock")


# -- clients -----------------------------------------------------------------------------------------
def connect(daemon: Daemon, request: bytes = b"") -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(daemon.socket))
    connection.sendall(request)
    return connection


def pss(daemon: Daemon) -> int:
    """KiB of memory that is the daemon's."""
    assert daemon.process is not None
    rollup = Path(f"/proc/{daemon.process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def test_a_thousand_clients_that_do_nothing(daemon: Daemon) -> None:
    """Silent ones, ones in the middle of a request, ones that wait for events."""
    before = pss(daemon)
    events = b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n"
    requests = (b"", b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 99\r\n\r\n{", b"GET /_pi", events)
    idle = [connect(daemon, requests[number % 4]) for number in range(1000)]
    try:
        for _ in range(20):
            assert api(daemon, "GET", "/containers/json") is not None
        assert pss(daemon) - before < 1000 * 100, "less than 100 KiB each"
    finally:
        for connection in idle:
            connection.close()
    assert daemon.api("GET", "/_ping")[0] == 200


def test_a_daemon_without_descriptors_left_recovers() -> None:
    """More clients than it may have open: a container's end is seen all the same, and all is well when they go."""
    daemon = Daemon("nofile")
    try:
        daemon.start(limits=("--nofile=256:256",))
        daemon.load(busybox_archive())
        start(daemon, "brief", "sleep 2; exit 7")
        start(daemon, "going", "sleep 100")
        idle = [connect(daemon) for _ in range(300)]
        try:
            assert daemon.api("GET", "/_ping")[0] == 503, "those that it needs itself are kept"
            time.sleep(2)
        finally:
            for connection in idle:
                connection.close()
        eventually(lambda: daemon.api("GET", "/_ping")[0] == 200)
        eventually(lambda: state(daemon, "brief") == ("exited", 7))
        assert state(daemon, "going")[0] == "running"
        start(daemon, "after", "sleep 100")
        assert state(daemon, "after")[0] == "running"
    finally:
        daemon.stop()


ATTACH = "POST /containers/{name}/attach?stream=1&stdout=1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
STREAMS = {
    "attach": ATTACH,
    "logs": "GET /containers/{name}/logs?follow=1&stdout=1 HTTP/1.1\r\n",
    "events": "GET /events HTTP/1.1\r\n",
    "stats": "GET /containers/{name}/stats HTTP/1.1\r\n",
    "export": "GET /containers/{name}/export HTTP/1.1\r\n",
    "archive": "GET /containers/{name}/archive?path=/big HTTP/1.1\r\n",
    "save": "GET /images/big/get HTTP/1.1\r\n",
    "build": "POST /build HTTP/1.1\r\nContent-Type: application/x-tar\r\n",
}


@pytest.fixture(scope="module")
def heavy(daemon: Daemon) -> Daemon:
    """With an image that is large enough to block whoever sends it."""
    daemon.load(docker_archive(["big:latest"], [busybox_layer(), noise(48 << 20, "big")], {}))
    return daemon


@pytest.mark.parametrize("kind", STREAMS)
def test_a_client_that_never_reads_its_stream_holds_nobody_up(heavy: Daemon, container_name: str, kind: str) -> None:
    """conmon stops a container whose attached client does not read; the daemon keeps nothing, and answers others."""
    daemon, name = heavy, container_name
    api(daemon, "POST", f"/containers/create?name={name}", {"Image": "big", "Cmd": ["yes"]})
    body = b""
    if kind == "build":
        body = packed(("Dockerfile", b"FROM busybox\nRUN head -c 300000000 /dev/zero | tr '\\0' x\n"))
    head = STREAMS[kind].format(name=name) + f"Host: d\r\nContent-Length: {len(body)}\r\n\r\n"
    slow = [connect(daemon, head.encode() + body) for _ in range(3)] if kind == "attach" else []
    api(daemon, "POST", f"/containers/{name}/start")
    before = pss(daemon)
    slow = slow or [connect(daemon, head.encode() + body) for _ in range(3)]
    try:
        time.sleep(1)
        for _ in range(20):
            assert daemon.api("GET", "/_ping")[0] == 200
        assert pss(daemon) - before < 32 << 10, "what nobody reads is not kept in memory"
        quick = start(daemon, f"{name}b", "sleep 100")
        assert quick["State"]["Running"]
        api(daemon, "DELETE", f"/containers/{name}b?force=1")
        api(daemon, "DELETE", f"/containers/{name}?force=1")
    finally:
        for connection in slow:
            connection.close()
    eventually(lambda: not list((daemon.data_root / "builds").glob("context-*")))


# -- a daemon that hangs -----------------------------------------------------------------------------
def test_sigusr1_writes_where_every_thread_and_task_is(daemon: Daemon) -> None:
    """As dockerd does; what a test that waits in vain shows."""
    waiting = connect(daemon, b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
    waiting.recv(1000)
    with waiting:
        text = daemon.stacks()
    assert "thread MainThread:" in text
    assert "in events" in text and "api/handlers/system.py" in text, "what a request waits in"
    assert f"goroutine stacks written to {daemon.exec_root}/goroutine-stacks-" in text
    assert daemon.api("GET", "/_ping")[0] == 200
