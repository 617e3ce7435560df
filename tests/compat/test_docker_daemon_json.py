"""daemon.json through the stock docker CLI: what it gives containers, and what SIGHUP changes while they run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from support.daemon import Daemon
from support.images import busybox_archive

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PORT = 20000 + os.getpid() % 10000
CONFIGURATION = {
    "storage-driver": "overlay2",
    "live-restore": True,
    "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 4096}},
    "default-shm-size": "32M",
    "default-ipc-mode": "shareable",
    "no-new-privileges": True,
    "init": True,
    "icc": False,
    "mtu": 1400,
    "ip": "127.0.0.1",
    "ipv6": True,
    "fixed-cidr-v6": "fd00:5a3d::/64",
    "host-gateway-ip": "192.0.2.1",
    "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1380"}},
    "proxies": {"http-proxy": "http://proxy.invalid:1"},
    "features": {"buildkit": False},
    "metrics-addr": f"127.0.0.1:{PORT}",
    "labels": ["a=b"],
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    made = Daemon("djson")
    made.config.write_text(json.dumps(CONFIGURATION))
    made.start()
    try:
        made.load(busybox_archive())
        yield made
    finally:
        made.stop()


def reload(daemon: Daemon, configuration: object) -> str:
    """What the daemon logged."""
    daemon.config.write_text(configuration if isinstance(configuration, str) else json.dumps(configuration))
    before = len(daemon.log.read_text())
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    for _ in range(200):
        said = daemon.log.read_text()[before:]
        if "Reloaded configuration" in said or "level=error" in said:
            return said
        time.sleep(0.02)
    raise AssertionError(said)


def test_containers_get_the_daemon_s_defaults(daemon: Daemon) -> None:
    script = (
        "ulimit -n; ulimit -Hn; df -m /dev/shm | tail -1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status; "
        "cat /proc/1/comm; cat /sys/class/net/eth0/mtu; grep gw /etc/hosts"
    )
    shown = daemon.ok("run", "--rm", "--add-host", "gw:host-gateway", "busybox", "sh", "-c", script).split()
    assert shown == ["1024", "4096", "32", "NoNewPrivs:", "1", "docker-init", "1400", "192.0.2.1", "gw"]
    own = ["--ulimit", "nofile=64", "--init=false", "--security-opt", "no-new-privileges=false", "--shm-size", "8m"]
    script = (
        "ulimit -n; df -m /dev/shm | tail -1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status; cat /proc/1/comm"
    )
    shown = daemon.ok("run", "--rm", *own, "busybox", "sh", "-c", script).split()
    assert shown == ["64", "8", "NoNewPrivs:", "0", "cat"]  # the shell became it


def test_networks_get_the_daemon_s_defaults(daemon: Daemon) -> None:
    name = daemon.ok("run", "-d", "-p", "80", "busybox", "sleep", "30")
    assert daemon.ok("port", name).startswith("80/tcp -> 127.0.0.1:")
    assert daemon.ok("exec", name, "grep", "NoNewPrivs", "/proc/self/status").split()[1] == "1"
    assert daemon.ok("inspect", "-f", "{{.HostConfig.IpcMode}}", name) == "shareable"
    assert daemon.ok("inspect", "-f", "{{.NetworkSettings.GlobalIPv6Address}}", name).startswith("fd00:5a3d::")
    daemon.ok("exec", name, "ping", "-6", "-c1", "-W5", "fd00:5a3d::1")
    daemon.ok("rm", "-f", name)
    daemon.ok("network", "create", "djson")
    options = json.loads(daemon.ok("network", "inspect", "-f", "{{json .Options}}", "djson"))
    assert options == {"com.docker.network.driver.mtu": "1380"}
    options = json.loads(daemon.ok("network", "inspect", "-f", "{{json .Options}}", "bridge"))
    assert options["com.docker.network.bridge.enable_icc"] == "false"


def test_info_and_metrics_tell(daemon: Daemon) -> None:
    assert daemon.ok("info", "-f", "{{.HTTPProxy}} {{.LiveRestoreEnabled}}") == "http://proxy.invalid:1 true"
    daemon.ok("run", "--rm", "busybox", "true")
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'engine_daemon_container_states_containers{state="running"} 0\n' in text
    assert 'engine_daemon_container_actions_total{action="start"}' in text


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize("files", ["6", "20"])
def test_few_descriptors_are_enough(daemon: Daemon, runtime: str, files: str) -> None:
    """For the runtimes they are not: crun 1.8 fails below 28, runc 1.1 below 12."""
    words = ("--rm", "--init=false", "--runtime", runtime, "--ulimit", f"nofile={files}:{files}", "busybox")
    assert daemon.ok("run", *words, "sh", "-c", "ulimit -n") == files


def test_reload_tells_and_takes_effect_or_changes_nothing(daemon: Daemon) -> None:
    began = str(time.time())
    said = reload(daemon, CONFIGURATION | {"labels": ["a=c"], "debug": True, "default-shm-size": "16M"})
    assert "Got signal to reload configuration, reloading from: " in said and r"\"labels\":[\"a=c\"]" in said
    assert daemon.ok("info", "-f", "{{json .Labels}} {{.Debug}}") == '["a=c"] true'
    assert daemon.ok("run", "--rm", "busybox", "sh", "-c", "df -m /dev/shm | tail -1").split()[1] == "16"
    for broken, reason in (
        ("{", "unexpected end of JSON input"),
        ({"nope": 1}, "the following directives don't match any configuration option: nope"),
        ({"labels": ["x"]}, "bad attribute format: x"),
        ({"data-root": "/x"}, "the following directives are specified both as a flag and in the configuration file"),
    ):
        assert reason in reload(daemon, broken)
        assert daemon.ok("info", "-f", "{{json .Labels}} {{.Debug}}") == '["a=c"] true'
    reload(daemon, CONFIGURATION | {"registry-mirrors": ["http://m.invalid"], "max-concurrent-downloads": 9})
    assert daemon.ok("info", "-f", "{{json .Labels}} {{.RegistryConfig.Mirrors}}") == '["a=b"] [http://m.invalid/]'
    window = ("--since", began, "--until", str(time.time() + 1), "--filter", "type=daemon", "--format", "{{json .}}")
    events = [json.loads(line) for line in daemon.ok("events", *window).splitlines()]
    assert [event["Action"] for event in events] == ["reload", "reload"]
    attributes = events[1]["Actor"]["Attributes"]
    assert attributes == {
        "allow-nondistributable-artifacts": "[]",
        "debug": "true",
        "default-cgroupns-mode": attributes["default-cgroupns-mode"],
        "default-ipc-mode": "shareable",
        "default-runtime": "crun",
        "default-shm-size": str(32 << 20),
        "features": "map[buildkit:false]",
        "insecure-registries": "[]",
        "labels": '["a=b"]',
        "live-restore": "true",
        "max-concurrent-downloads": "9",
        "max-concurrent-uploads": "5",
        "max-download-attempts": "5",
        "name": os.uname().nodename,
        "registry-mirrors": '["http://m.invalid"]',
        "runtimes": "",
        "shutdown-timeout": "15",
    }


def test_a_daemon_that_cannot_be_configured_does_not_start(daemon: Daemon) -> None:
    wrong = daemon.root / "wrong.json"
    for text, reason in (
        ('{"live-restore": false}', "containers always outlive the daemon; delete this key"),
        ('{"seccomp-profile": "/nonexistent"}', "opening seccomp profile (/nonexistent) failed"),
        ('{"log-driver": "nosuch"}', 'error looking up logging plugin nosuch: plugin "nosuch" not found'),
    ):
        wrong.write_text(text)
        command = ["-m", "sampan.daemon", "--config-file", str(wrong), "--data-root", str(daemon.root / "other")]
        command += ["--exec-root", str(daemon.root / "run2"), "--host", f"unix://{daemon.root}/2.sock"]
        command += [
            "--bridge",
            "none",
            "--nft-table",
            f"{daemon.table}2",
            "--cgroup-parent",
            f"{daemon.cgroup_parent}2",
        ]
        ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1 and reason in ended.stderr
