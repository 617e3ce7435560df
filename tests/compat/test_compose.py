"""docker compose v2, the stock plugin, with a project that uses most of it: order by health, names, files, scale."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.compose import COMPOSE, Project
from support.daemon import CONTROL, Daemon
from support.images import busybox_archive
from support.terminal import Terminal

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(COMPOSE is None, reason="no docker compose v2 on this machine"),
]

PROJECT = """
services:
  web:
    image: busybox
    command: |-
      sh -c 'until echo | nc -w 1 cache 6379 | grep -q PONG; do sleep 0.1; done
      mkdir -p /www; cat /etc/site.conf /run/secrets/token > /www/index.html; echo $$GREETING >> /www/index.html
      exec httpd -f -p 80 -h /www'
    environment: {GREETING: hello}
    ports: ["127.0.0.1::80"]
    depends_on:
      db: {condition: service_healthy}
      cache: {condition: service_started}
      migrate: {condition: service_completed_successfully}
    configs: [{source: site, target: /etc/site.conf}]
    secrets: [token]
    networks: {front: {aliases: [www]}, back: {}}
    restart: unless-stopped
    stop_grace_period: 0s
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://127.0.0.1/"], interval: 0.2s, retries: 50}
  cache:
    image: busybox
    command: sh -c 'while :; do echo +PONG | nc -l -p 6379; done'
    networks: {back: {aliases: [redis.internal]}}
    volumes: ["cache-data:/data", {type: tmpfs, target: /scratch}]
    stop_signal: SIGKILL
  db:
    image: busybox
    command: sh -c 'sleep 0.3; touch /var/lib/db/ready; exec sleep 1000'
    volumes: ["db-data:/var/lib/db"]
    networks: [back]
    healthcheck: {test: "test -e /var/lib/db/ready", interval: 0.2s, retries: 50}
    stop_grace_period: 0s
    deploy: {resources: {limits: {memory: 64M}}}
  migrate:
    image: busybox
    command: sh -c 'nslookup db > /dev/null && echo migrated'
    depends_on: {db: {condition: service_healthy}}
    networks: [back]
  worker:
    image: busybox
    command: sleep 1000
    networks: [back]
    stop_grace_period: 0s
    scale: 2
  debug:
    image: busybox
    profiles: [debug]
    command: sleep 1000
    networks: [front]
    stop_grace_period: 0s
networks:
  front: {}
  back: {internal: true}
volumes: {cache-data: {}, db-data: {labels: {keep: "yes"}}}
configs: {site: {file: ./site.conf}}
secrets: {token: {file: ./token.txt}}
"""

ATTACHED = """
services:
  first:
    image: busybox
    command: sh -c 'trap "exit 3" TERM; while :; do echo at work; sleep 0.1; done'
  second:
    image: busybox
    command: sh -c 'echo waiting; exec sleep 1000'
    depends_on: [first]
    stop_grace_period: 1s
"""


def page(project: Project) -> str:
    where = project("port", "web", "80").strip()
    with urllib.request.urlopen(f"http://{where}/", timeout=10) as answer:
        return answer.read().decode()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    directory = tmp_path_factory.mktemp("shop")
    (directory / "compose.yaml").write_text(PROJECT)
    (directory / "site.conf").write_text("configured\n")
    (directory / "token.txt").write_text("s3cret\n")
    daemon = Daemon("compo")
    project = Project(daemon, directory, "shop")
    try:
        daemon.start()
        if not CONTROL:
            daemon.load(busybox_archive())
        project("up", "-d", "--wait")
        yield project
    finally:
        if daemon.process is None or daemon.process.poll() is None:
            project("--profile", "debug", "down", "-v", "-t", "0")
        daemon.stop()


def test_up_waits_for_health_and_for_what_must_have_ended(project: Project) -> None:
    assert project.services() == {
        "web-1": ("running", "healthy"),
        "cache-1": ("running", ""),
        "db-1": ("running", "healthy"),
        "migrate-1": ("exited", ""),
        "worker-1": ("running", ""),
        "worker-2": ("running", ""),
    }
    assert "migrated" in project("logs", "--no-color", "migrate")


def test_configs_secrets_and_environment_reach_the_service(project: Project) -> None:
    assert page(project) == "configured\ns3cret\nhello\n"
    assert project("exec", "-T", "web", "stat", "-c", "%a", "/run/secrets/token").strip() == "644"


def test_services_find_each_other(project: Project) -> None:
    def addresses(name: str) -> set[str]:
        said = project("exec", "-T", "web", "nslookup", name).partition("Name:")[2]
        return {line.split()[-1] for line in said.splitlines() if line.startswith("Address")}

    assert len(addresses("worker")) == 2
    assert addresses("redis.internal") == addresses("cache") == addresses("shop-cache-1")
    assert len(addresses("www")) == 1
    hidden = project("exec", "-T", "worker", "sh", "-c", "nslookup www 127.0.0.11 >/dev/null 2>&1 || echo unknown")
    assert hidden.strip() == "unknown"


def test_scale_profiles_run_exec_cp_and_restart(project: Project, tmp_path: Path) -> None:
    project("up", "-d", "--scale", "worker=3", "--no-recreate")
    assert {name for name in project.services() if name.startswith("worker")} == {"worker-1", "worker-2", "worker-3"}
    assert "debug-1" not in project.services()
    project("--profile", "debug", "up", "-d", "debug")
    assert project.services()["debug-1"] == ("running", "")
    assert project("run", "--rm", "-T", "--no-deps", "worker", "echo", "once").strip() == "once"
    (tmp_path / "file").write_text("copied")
    project("cp", str(tmp_path / "file"), "db:/tmp/file")
    assert project("exec", "-T", "db", "cat", "/tmp/file") == "copied"
    project("pause", "db")
    assert project.services()["db-1"][0] == "paused"
    project("unpause", "db")
    project("restart", "-t", "0", "worker")
    project("kill", "worker")
    assert project.services()["worker-1"][0] == "exited"
    project("start", "worker")
    assert project.services()["worker-1"][0] == "running"


def test_a_changed_service_is_recreated_and_keeps_its_volume(project: Project) -> None:
    project("exec", "-T", "cache", "sh", "-c", "echo kept > /data/file")
    before = project("ps", "-q", "cache")
    override = project.directory / "more.yaml"
    override.write_text("services: {cache: {environment: {CHANGED: 'yes'}}}\n")
    project("-f", "compose.yaml", "-f", "more.yaml", "up", "-d", "--no-deps", "cache")
    assert project("ps", "-q", "cache") != before
    assert project("exec", "-T", "cache", "sh", "-c", "cat /data/file; echo $CHANGED") == "kept\nyes\n"


def test_what_crashes_comes_back_by_its_policy(project: Project) -> None:
    identity = project("ps", "-q", "web").strip()
    _, shown = project.daemon.api("GET", f"/containers/{identity}/json")
    os.kill(shown["State"]["Pid"], signal.SIGKILL)
    for _ in range(200):
        _, shown = project.daemon.api("GET", f"/containers/{identity}/json")
        if shown["RestartCount"] >= 1 and shown["State"].get("Health", {}).get("Status") == "healthy":
            break
        time.sleep(0.1)
    assert shown["RestartCount"] >= 1
    assert page(project) == "configured\ns3cret\nhello\n"


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_stops_an_attached_project(project: Project, tmp_path: Path, presses: int) -> None:
    """Compose 2.26 closes a channel twice when it hears of the last end before its own `stop` is answered."""
    (tmp_path / "compose.yaml").write_text(ATTACHED)
    assert COMPOSE is not None
    command = [COMPOSE, "-p", "attached", "-f", str(tmp_path / "compose.yaml"), "up"]
    try:
        with Terminal(command, project.daemon.environment()) as terminal:
            terminal.expect("waiting")  # Ctrl-C before that would find it not started yet, and it would go on
            terminal.expect("at work")
            terminal.type("\x03")
            terminal.expect("Gracefully")
            if presses == 2:
                terminal.type("\x03")
            assert terminal.wait() in (0, 130), terminal.screen  # Compose 2.40 ends with 0 after one press
            assert "panic" not in terminal.screen
    finally:
        subprocess.run([*command[:-1], "down", "-t", "0"], env=project.daemon.environment(), check=False)


def test_down_takes_everything(project: Project) -> None:
    project("--profile", "debug", "down", "-v", "-t", "0")
    for path, key in (("/containers/json?all=1", None), ("/networks", None), ("/volumes", "Volumes")):
        _, found = project.daemon.api("GET", path)
        names = [one.get("Name") or one["Names"][0] for one in (found[key] if key else found) or []]
        assert not [name for name in names if "shop" in name]
