"""Start, stop, kill, pause, rename, remove, wait, restart with the stock CLI and ours."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from support.daemon import Daemon


def state(daemon: Daemon, name: str) -> dict[str, object]:
    decoded: dict[str, object] = json.loads(daemon.ok("inspect", "-f", "{{json .State}}", name))
    return decoded


def sleeper(daemon: Daemon, name: str, *flags: str) -> str:
    return daemon.ok("run", "-d", "--name", name, *flags, "busybox", "sleep", "600")


def test_create_start_stop_start_again(daemon: Daemon, container_name: str) -> None:
    daemon.ok("create", "--name", container_name, "busybox", "sh", "-c", "echo run; exec sleep 600")
    assert state(daemon, container_name)["Status"] == "created"
    assert daemon.ok("start", container_name) == container_name
    assert state(daemon, container_name)["Running"] is True
    assert daemon.ok("stop", "-t", "1", container_name) == container_name
    stopped = state(daemon, container_name)
    assert (stopped["Status"], stopped["Running"]) == ("exited", False)
    daemon.ok("start", container_name)
    assert state(daemon, container_name)["Running"] is True


def test_stop_sends_the_stop_signal_first(daemon: Daemon, container_name: str) -> None:
    script = "trap 'echo quit; exit 5' QUIT; echo ready; while :; do sleep 0.1; done"
    daemon.ok("run", "-d", "--name", container_name, "--stop-signal", "SIGQUIT", "busybox", "sh", "-c", script)
    _await_log(daemon, container_name, "ready")
    daemon.ok("stop", "-t", "20", container_name)
    assert state(daemon, container_name)["ExitCode"] == 5
    assert "quit" in daemon.ok("logs", container_name)


def test_stop_kills_after_the_timeout(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "-d", "--name", container_name, "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    daemon.ok("stop", "-t", "1", container_name)
    assert state(daemon, container_name)["ExitCode"] == 137


def test_kill_with_a_signal(daemon: Daemon, container_name: str) -> None:
    sleeper(daemon, container_name, "--init")
    daemon.ok("kill", "-s", "TERM", container_name)
    assert daemon.ok("wait", container_name) == "143"


def test_kill_of_a_stopped_container_is_refused(daemon: Daemon, container_name: str) -> None:
    daemon.ok("create", "--name", container_name, "busybox")
    result = daemon.cli("kill", container_name)
    assert result.returncode == 1 and "is not running" in result.stderr


def test_start_of_a_running_container_is_quiet(daemon: Daemon, container_name: str) -> None:
    sleeper(daemon, container_name)
    before = state(daemon, container_name)["Pid"]
    daemon.ok("start", container_name)
    assert state(daemon, container_name)["Pid"] == before


def test_restart_gives_a_new_process(daemon: Daemon, container_name: str) -> None:
    sleeper(daemon, container_name)
    before = state(daemon, container_name)["Pid"]
    daemon.ok("restart", "-t", "0", container_name)
    after = state(daemon, container_name)
    assert after["Running"] is True and after["Pid"] != before


def test_pause_freezes_and_unpause_thaws(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "-d", "--name", container_name, "busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
    daemon.ok("pause", container_name)
    assert state(daemon, container_name)["Status"] == "paused"
    assert "(Paused)" in daemon.ok("ps", "--filter", f"name={container_name}", "--format", "{{.Status}}")
    frozen = len(daemon.ok("logs", container_name))
    time.sleep(0.4)
    assert len(daemon.ok("logs", container_name)) == frozen
    refused = daemon.cli("exec", container_name, "true")
    assert refused.returncode == 1 and "is paused" in refused.stderr
    daemon.ok("unpause", container_name)
    assert state(daemon, container_name)["Status"] == "running"


def test_rename(daemon: Daemon, container_name: str) -> None:
    identifier = sleeper(daemon, container_name + "-old")
    daemon.ok("rename", container_name + "-old", container_name)
    assert daemon.ok("inspect", "-f", "{{.Id}} {{.Name}}", container_name) == f"{identifier} /{container_name}"
    assert daemon.cli("inspect", container_name + "-old").returncode == 1


def test_remove_needs_force_while_running(daemon: Daemon, container_name: str) -> None:
    sleeper(daemon, container_name)
    refused = daemon.cli("rm", container_name)
    assert refused.returncode == 1 and "container is running" in refused.stderr
    assert daemon.ok("rm", "-f", container_name) == container_name
    assert "No such" in daemon.cli("inspect", container_name).stderr


def test_remove_several_goes_on_after_an_error(daemon: Daemon, container_name: str) -> None:
    daemon.ok("create", "--name", container_name, "busybox")
    result = daemon.cli("rm", "nosuch-sampan", container_name)
    assert result.returncode == 1
    assert "No such container: nosuch-sampan" in result.stderr and result.stdout == f"{container_name}\n"


def test_wait_conditions(daemon: Daemon, container_name: str) -> None:
    sleeper(daemon, container_name)
    waiter = subprocess.Popen(
        [*daemon.client, "wait", container_name], stdout=subprocess.PIPE, text=True, env=daemon.environment()
    )
    time.sleep(0.3)
    assert waiter.poll() is None
    daemon.ok("kill", container_name)
    assert waiter.communicate(timeout=20)[0] == "137\n"


def test_restart_policy_on_failure_gives_up(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "-d", "--name", container_name, "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 9")
    for _ in range(100):
        if daemon.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", container_name) == "exited 2":
            break
        time.sleep(0.1)
    assert daemon.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", container_name) == "exited 2"
    daemon.ok("update", "--restart", "no", container_name)
    daemon.ok("start", container_name)
    assert daemon.ok("inspect", "-f", "{{.RestartCount}}", container_name) == "0", "a start by hand begins anew"


def test_restart_always_comes_back_until_stopped(daemon: Daemon, container_name: str) -> None:
    sleeper(daemon, container_name, "--restart", "always")
    first = state(daemon, container_name)["Pid"]
    assert "sleep\0" in Path(f"/proc/{first}/cmdline").read_text()  # ours, before it is killed
    subprocess.run(["kill", "-9", str(first)], check=True)
    for _ in range(100):
        now = state(daemon, container_name)
        if now["Running"] and now["Pid"] not in (0, first):
            break
        time.sleep(0.1)
    assert state(daemon, container_name)["Pid"] not in (0, first)
    daemon.ok("stop", "-t", "0", container_name)
    time.sleep(0.5)
    assert state(daemon, container_name)["Running"] is False


def test_stopping_twice_and_prefix_ids(daemon: Daemon, container_name: str) -> None:
    identifier = sleeper(daemon, container_name)
    daemon.ok("stop", "-t", "0", identifier[:8])
    daemon.ok("stop", "-t", "0", identifier[:12])
    assert daemon.ok("rm", identifier[:10]) == identifier[:10]


def test_events_tell_the_life_in_order(daemon: Daemon, container_name: str) -> None:
    since = time.time()
    daemon.ok("run", "--rm", "--name", container_name, "busybox", "true")
    time.sleep(0.2)
    listed = daemon.ok(
        "events", "--since", f"{since:.6f}", "--until", f"{time.time():.6f}",
        "--filter", f"container={container_name}", "--format", "{{.Action}}",
    ).split()  # fmt: skip
    assert [action for action in listed if action in ("create", "attach", "start", "die", "destroy")] == [
        "create", "attach", "start", "die", "destroy",
    ]  # fmt: skip


def _await_log(daemon: Daemon, name: str, text: str) -> None:
    for _ in range(100):
        if text in daemon.ok("logs", name):
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} never logged")
