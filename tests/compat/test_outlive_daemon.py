"""Containers outlive their daemon: kill -9 of sampand, start it again, and nothing was lost."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import CONTROL, Daemon
from support.images import busybox_archive
from support.terminal import Terminal

pytestmark = pytest.mark.skipif(bool(CONTROL), reason="the control's daemon is not ours to kill")


@pytest.fixture
def crashing(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon of this test's own: it gets killed."""
    daemon = Daemon("crash")
    try:
        daemon.start()
        daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


def crash(daemon: Daemon) -> None:
    daemon.kill()
    daemon.start()


def pid_of(daemon: Daemon, name: str) -> int:
    return int(daemon.ok("inspect", "-f", "{{.State.Pid}}", name))


def test_a_running_container_goes_on(crashing: Daemon) -> None:
    script = "i=0; while :; do echo line$i; i=$((i+1)); sleep 0.05; done"
    crashing.ok("run", "-d", "--name", "on", "busybox", "sh", "-c", script)
    before = pid_of(crashing, "on")
    crash(crashing)
    assert pid_of(crashing, "on") == before
    assert "Up" in crashing.ok("ps", "--filter", "name=on", "--format", "{{.Status}}")
    assert crashing.ok("exec", "on", "echo", "inside") == "inside"
    follow = subprocess.run(
        ["timeout", "1", *crashing.client, "logs", "-f", "--tail", "1", "on"],
        capture_output=True, text=True, env=crashing.environment(), check=False,
    )  # fmt: skip
    assert len(follow.stdout.splitlines()) > 3
    numbers = [int(line.removeprefix("line")) for line in crashing.ok("logs", "on").splitlines()]
    assert numbers == list(range(len(numbers)))
    crashing.ok("stop", "-t", "1", "on")
    assert crashing.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "on") == "exited 137"


def test_exits_in_between_are_recorded_with_their_codes(crashing: Daemon) -> None:
    crashing.ok("run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 0.6; exit 42")
    crashing.ok("run", "-d", "--rm", "--name", "gone", "busybox", "sh", "-c", "sleep 0.6")
    crashing.kill()
    time.sleep(1.2)
    crashing.start()
    assert crashing.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "short") == "exited 42"
    for _ in range(50):
        if crashing.cli("inspect", "gone").returncode:
            break
        time.sleep(0.1)
    assert "gone" not in crashing.ok("ps", "-a", "--format", "{{.Names}}").split()
    crashing.ok("start", "short")
    assert crashing.ok("wait", "short") == "42"


def test_ports_never_stop_answering(crashing: Daemon) -> None:
    crashing.ok(
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sh",
        "-c",
        "while :; do echo hi | nc -l -p 80; done",
    )
    port = int(crashing.ok("port", "web", "80").rpartition(":")[2])
    assert ask(port) == b"hi\n"
    crashing.kill()
    assert ask(port) == b"hi\n"
    crashing.start()
    assert ask(port) == b"hi\n"
    taken = crashing.cli("run", "--rm", "-p", f"127.0.0.1:{port}:80", "busybox", "true")
    assert taken.returncode == 125 and "port is already allocated" in taken.stderr
    crashing.ok("rm", "-f", "web")
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port), 2):
        pass


def test_attach_after_a_restart(crashing: Daemon) -> None:
    crashing.ok("run", "-dit", "--name", "shell", "busybox", "sh")
    crash(crashing)
    with Terminal([*crashing.client, "attach", "shell"], crashing.environment()) as screen:
        screen.type("\n")
        screen.expect("#")
        screen.type("echo back-$((1+1)); exit 5\n")
        screen.expect("back-2")
        assert screen.wait() == 5
    assert crashing.ok("inspect", "-f", "{{.State.ExitCode}}", "shell") == "5"


def test_sigterm_leaves_containers_running(crashing: Daemon) -> None:
    crashing.ok("run", "-d", "--name", "kept", "busybox", "sleep", "600")
    before = pid_of(crashing, "kept")
    assert crashing.terminate() == 0
    assert Path(f"/proc/{before}/cmdline").read_bytes().startswith(b"sleep")
    crashing.start()
    assert pid_of(crashing, "kept") == before


def test_stopped_created_and_images_survive(crashing: Daemon) -> None:
    crashing.ok("create", "--name", "made", "-e", "A=b", "--label", "l=1", "busybox", "env")
    crashing.ok("volume", "create", "kept")
    before = json.loads(crashing.ok("inspect", "made"))
    crash(crashing)
    assert json.loads(crashing.ok("inspect", "made")) == before
    assert "A=b" in crashing.ok("start", "-a", "made").splitlines()
    assert crashing.ok("volume", "ls", "-q").split() == ["kept"]
    crashing.ok("volume", "rm", "kept")


def test_crash_in_the_middle_of_starts_leaves_nothing_half_made(crashing: Daemon) -> None:
    """Twelve starts are under way when the daemon dies; afterwards each container either runs or can be started."""
    clients = [
        subprocess.Popen(
            [*crashing.client, "run", "-d", "--name", f"c{number}", "busybox", "sleep", "600"],
            env=crashing.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(12)
    ]
    time.sleep(0.35)
    crash(crashing)
    for client in clients:
        client.wait()
    for name in crashing.ok("ps", "-a", "--format", "{{.Names}}").split():
        if crashing.ok("inspect", "-f", "{{.State.Running}}", name) != "true":
            crashing.ok("start", name)
        assert crashing.ok("exec", name, "echo", name) == name


def test_a_second_daemon_on_the_data_root_is_refused(crashing: Daemon) -> None:
    root = crashing.root
    flags = {"--host": f"unix://{root}/2.sock", "--data-root": crashing.data_root, "--exec-root": root / "run2"}
    flags |= {"--pidfile": root / "2.pid", "--config-file": crashing.config}
    command = [sys.executable, "-m", "sampan.daemon", *(str(word) for pair in flags.items() for word in pair)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert f"already uses the data root {crashing.data_root}" in second.stderr
    assert crashing.api("GET", "/_ping")[0] == 200


def ask(port: int) -> bytes:
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as connection:
                if data := connection.recv(100):
                    return data
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no answer on port {port}")
