"""Interactive use at a terminal with the stock CLI and ours: exit, detach keys, attach, start -ai, resize."""

from __future__ import annotations

from support.daemon import Daemon
from support.terminal import Terminal


def terminal(daemon: Daemon, *words: str, rows: int = 24, columns: int = 80) -> Terminal:
    return Terminal([*daemon.client, *words], daemon.environment(), rows, columns)


def test_exit_stops_with_the_shells_code(daemon: Daemon, container_name: str) -> None:
    with terminal(daemon, "run", "-it", "--name", container_name, "busybox", "sh") as screen:
        screen.expect("#")
        screen.type("echo in-$((40+2)); exit 6\n")
        screen.expect("in-42")
        assert screen.wait() == 6
    assert daemon.ok("inspect", "-f", "{{.State.Status}}", container_name) == "exited"


def test_detach_keys_leave_it_running_and_attach_comes_back(daemon: Daemon, container_name: str) -> None:
    with terminal(daemon, "run", "-it", "--name", container_name, "busybox", "sh") as screen:
        screen.expect("#")
        screen.type("kept=here\n")
        screen.expect("#")
        screen.type("\x10\x11")
        screen.wait()
    assert daemon.ok("inspect", "-f", "{{.State.Running}}", container_name) == "true"
    with terminal(daemon, "attach", container_name) as screen:
        screen.type("\n")
        screen.expect("#")
        screen.type("echo still-$kept\n")
        screen.expect("still-here")
        screen.type("exit\n")
        assert screen.wait() == 0


def test_start_ai_comes_back_to_a_stopped_container(daemon: Daemon, container_name: str) -> None:
    with terminal(daemon, "run", "-it", "--name", container_name, "busybox", "sh") as screen:
        screen.expect("#")
        screen.type("echo saved > /saved; exit\n")
        screen.wait()
    with terminal(daemon, "start", "-ai", container_name) as screen:
        screen.expect("#")
        screen.type("cat /saved; exit 3\n")
        screen.expect("saved\r\n")
        assert screen.wait() == 3


def test_own_detach_keys(daemon: Daemon, container_name: str) -> None:
    with terminal(
        daemon, "run", "-it", "--detach-keys", "ctrl-a,x", "--name", container_name, "busybox", "sh"
    ) as screen:
        screen.expect("#")
        screen.type("\x01x")
        screen.wait()
    assert daemon.ok("inspect", "-f", "{{.State.Running}}", container_name) == "true"


def test_terminal_size_follows_the_window(daemon: Daemon, container_name: str) -> None:
    with terminal(
        daemon, "run", "-it", "--rm", "--name", container_name, "busybox", "sh", rows=33, columns=101
    ) as screen:
        screen.expect("#")
        screen.type("stty size\n")
        screen.expect("33 101")
        screen.resize(44, 111)
        screen.type("sleep 0.5; stty size\n")
        screen.expect("44 111")
        screen.type("exit\n")
        screen.wait()


def test_exec_it(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "-d", "--name", container_name, "busybox", "sleep", "600")
    with terminal(
        daemon, "exec", "-it", "-e", "ADDED=yes", "-w", "/tmp", container_name, "sh", rows=20, columns=90
    ) as screen:
        screen.expect("#")
        screen.type("echo $ADDED-$PWD; tty; stty size\n")
        screen.expect("yes-/tmp")
        screen.expect("/dev/pts/")
        screen.expect("20 90")
        screen.type("exit 8\n")
        assert screen.wait() == 8
    assert daemon.ok("inspect", "-f", "{{.State.Running}}", container_name) == "true"
