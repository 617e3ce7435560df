"""`docker run` with the stock CLI and ours: output, exit codes, and what each flag does inside the container."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.daemon import Daemon


def run(daemon: Daemon, *words: str, input: str | None = None) -> str:
    return daemon.ok("run", "--rm", *words, input=input)


def test_prints_what_the_command_prints(daemon: Daemon) -> None:
    assert run(daemon, "busybox", "echo", "hello") == "hello"


def test_stdout_and_stderr_stay_apart(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (["nosuchcommand"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_exit_codes_are_dockers(daemon: Daemon, command: list[str], code: int) -> None:
    assert daemon.cli("run", "--rm", "busybox", *command).returncode == code


def test_missing_command_is_named_and_nothing_stays(daemon: Daemon, container_name: str) -> None:
    result = daemon.cli("run", "--name", container_name, "--rm", "busybox", "nosuchcommand")
    assert result.returncode == 127
    assert 'exec: "nosuchcommand": executable file not found in $PATH' in result.stderr
    assert daemon.ok("ps", "-aq", "--filter", f"name={container_name}") == ""


def test_unknown_image_is_125(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "--pull", "never", "nosuchimage:1")
    assert result.returncode == 125
    assert "No such image: nosuchimage:1" in result.stderr


def test_stdin_reaches_the_command_and_ends(daemon: Daemon) -> None:
    assert run(daemon, "-i", "busybox", "cat", input="one\ntwo\n") == "one\ntwo"


def test_a_megabyte_through_stdin_and_back(daemon: Daemon) -> None:
    text = "0123456789abcde\n" * 65536
    assert daemon.cli("run", "--rm", "-i", "busybox", "cat", input=text).stdout == text


def test_detached_prints_the_id(daemon: Daemon, container_name: str) -> None:
    identifier = daemon.ok("run", "-d", "--name", container_name, "busybox", "sleep", "60")
    assert len(identifier) == 64
    assert daemon.ok("inspect", "-f", "{{.Id}} {{.State.Running}}", container_name) == f"{identifier} true"


def test_detached_container_whose_command_ends_is_exited(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "-d", "--name", container_name, "busybox", "sh", "-c", "exit 4")
    assert daemon.ok("wait", container_name) == "4"
    assert daemon.ok("ps", "-a", "--filter", f"name={container_name}", "--format", "{{.Status}}").startswith(
        "Exited (4)"
    )


def test_environment(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# a comment\nFROM_FILE=file\n")
    printed = run(daemon, "-e", "GIVEN=one two", "--env-file", str(tmp_path / "env"), "-h", "box", "busybox", "env")
    lines = printed.splitlines()
    assert {"GIVEN=one two", "FROM_FILE=file", "HOSTNAME=box", "HOME=/root"} <= set(lines)
    assert any(line.startswith("PATH=/usr/local/sbin") for line in lines)


def test_working_directory_user_and_hostname(daemon: Daemon) -> None:
    assert run(daemon, "-w", "/tmp/new", "busybox", "pwd") == "/tmp/new"
    assert run(daemon, "-u", "user", "busybox", "id") == "uid=1000(user) gid=1000(user) groups=50(staff),1000(user)"
    assert run(daemon, "-u", "1234:50", "busybox", "sh", "-c", "id -u; id -g") == "1234\n50"
    assert run(daemon, "-h", "box", "--domainname", "example.org", "busybox", "hostname") == "box"


def test_unknown_user_is_refused(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "-u", "stranger", "busybox", "true")
    assert result.returncode == 125 or result.returncode == 126
    assert "unable to find user stranger: no matching entries in passwd file" in result.stderr


def test_entrypoint_replaces_and_command_follows(daemon: Daemon) -> None:
    assert run(daemon, "--entrypoint", "echo", "busybox", "a", "b") == "a b"


def test_bind_mounts_and_volumes(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from the host\n")
    assert run(daemon, "-v", f"{tmp_path}:/data", "busybox", "cat", "/data/f") == "from the host"
    run(daemon, "-v", f"{tmp_path}:/data", "busybox", "sh", "-c", "echo inside > /data/g")
    assert (tmp_path / "g").read_text() == "inside\n"
    refused = daemon.cli("run", "--rm", "-v", f"{tmp_path}:/data:ro", "busybox", "touch", "/data/h")
    assert refused.returncode == 1 and "Read-only file system" in refused.stderr
    daemon.ok("volume", "create", "vol-run")
    run(daemon, "-v", "vol-run:/v", "busybox", "sh", "-c", "echo kept > /v/x")
    assert run(daemon, "--mount", "type=volume,src=vol-run,dst=/w", "busybox", "cat", "/w/x") == "kept"
    daemon.ok("volume", "rm", "vol-run")


def test_missing_bind_source_is_refused_for_mount(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "--mount", "type=bind,src=/nosuchdir-sampan,dst=/d", "busybox")
    assert result.returncode == 125
    assert "bind source path does not exist: /nosuchdir-sampan" in result.stderr


def test_tmpfs_shm_and_read_only_root(daemon: Daemon) -> None:
    script = "touch /x 2>/dev/null && echo writable; grep -c '/scratch tmpfs' /proc/mounts; df -k /dev/shm | tail -1"
    lines = run(daemon, "--read-only", "--tmpfs", "/scratch:size=1m", "--shm-size", "8m", "busybox", "sh", "-c", script)
    first, second = lines.splitlines()
    assert first == "1"
    assert second.split()[1] == "8192"


def test_labels_and_cidfile(daemon: Daemon, tmp_path: Path, container_name: str) -> None:
    file = tmp_path / "cid"
    identifier = daemon.ok("create", "--name", container_name, "--cidfile", str(file), "--label", "a=b", "busybox")
    assert file.read_text() == identifier
    assert json.loads(daemon.ok("inspect", "-f", "{{json .Config.Labels}}", container_name)) == {"a": "b"}


def test_init_reaps_and_is_pid_1(daemon: Daemon) -> None:
    assert "init" in run(daemon, "--init", "busybox", "cat", "/proc/1/cmdline").replace("\0", " ")


def test_extra_hosts_and_dns(daemon: Daemon) -> None:
    hosts = run(daemon, "--add-host", "db:10.9.8.7", "-h", "box", "busybox", "cat", "/etc/hosts")
    assert "10.9.8.7\tdb" in hosts and "127.0.0.1\tlocalhost" in hosts and "\tbox" in hosts
    resolv = run(daemon, "--dns", "9.9.9.9", "--dns-search", "example.org", "busybox", "cat", "/etc/resolv.conf")
    assert "nameserver 9.9.9.9" in resolv and "search example.org" in resolv


def test_limits_are_in_force(daemon: Daemon) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    assert run(daemon, "--memory", "64m", "busybox", "sh", "-c", script) == str(64 << 20)
    script = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
    assert run(daemon, "--pids-limit", "25", "busybox", "sh", "-c", script) == "25"
    script = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    assert run(daemon, "--cpus", "0.5", "busybox", "sh", "-c", script) == "50000"
    assert run(daemon, "--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn") == "100\n200"


def test_memory_limit_kills_and_says_so(daemon: Daemon, container_name: str) -> None:
    script = "x=a; while true; do x=$x$x; done"
    result = daemon.cli(
        "run", "--name", container_name, "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", script
    )
    assert result.returncode == 137
    assert daemon.ok("inspect", "-f", "{{.State.OOMKilled}}", container_name) == "true"


def test_sysctl_and_unsafe_sysctl(daemon: Daemon) -> None:
    read = ["busybox", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]
    assert run(daemon, "--sysctl", "net.ipv4.ip_default_ttl=99", *read) == "99"
    assert daemon.cli("run", "--rm", "--sysctl", "kernel.panic=1", "busybox").returncode != 0


def test_device(daemon: Daemon) -> None:
    assert run(daemon, "--device", "/dev/zero:/dev/nought", "busybox", "head", "-c1", "/dev/nought") == "\0"


def test_network_none_host_and_container(daemon: Daemon, container_name: str) -> None:
    assert run(daemon, "--network", "none", "busybox", "ls", "/sys/class/net") == "lo"
    mine = str(Path("/proc/self/ns/net").readlink())
    assert run(daemon, "--network", "host", "busybox", "readlink", "/proc/self/ns/net") == mine
    daemon.ok("run", "-d", "--name", container_name, "busybox", "sleep", "60")
    address = daemon.ok("exec", container_name, "ip", "-4", "addr", "show", "eth0")
    shared = run(daemon, "--network", f"container:{container_name}", "busybox", "ip", "-4", "addr", "show", "eth0")
    assert shared == address


def test_pull_policy_always_fails_without_a_registry(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "--pull", "always", "127.0.0.1:9/nosuch:1")
    assert result.returncode == 125 or result.returncode == 1


def test_name_in_use(daemon: Daemon, container_name: str) -> None:
    identifier = daemon.ok("create", "--name", container_name, "busybox")
    result = daemon.cli("create", "--name", container_name, "busybox")
    assert result.returncode == 1
    assert f'The container name "/{container_name}" is already in use by container "{identifier}"' in result.stderr
    assert "You have to remove (or rename) that container to be able to reuse that name." in result.stderr


def test_attach_only_stdout(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "-a", "stdout", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "")


def test_signals_are_proxied_to_the_container(daemon: Daemon, container_name: str) -> None:
    import signal
    import subprocess
    import time

    script = "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.1; done"
    client = subprocess.Popen(
        [*daemon.client, "run", "--name", container_name, "busybox", "sh", "-c", script],
        stdout=subprocess.PIPE, text=True, env=daemon.environment(),
    )  # fmt: skip
    assert client.stdout is not None
    assert client.stdout.readline() == "ready\n"
    time.sleep(0.1)
    client.send_signal(signal.SIGUSR1)
    assert client.stdout.read() == "caught\n"
    assert client.wait(20) == 7


def test_storage_options_that_do_nothing_are_refused(daemon: Daemon) -> None:
    result = daemon.cli("run", "--rm", "--storage-opt", "size=1G", "busybox", "true")
    assert result.returncode == 125 and "--storage-opt is supported only for overlay over xfs" in result.stderr


def test_a_volume_at_etc_does_not_hide_the_files_made_for_the_container(daemon: Daemon) -> None:
    script = (
        "hostname -i >/dev/null && cat /etc/hostname && grep -c nameserver /etc/resolv.conf && cat /etc/group | wc -l"
    )
    hostname, nameservers, groups = daemon.ok(
        "run", "--rm", "-h", "thatbox", "-v", "/etc", "busybox", "sh", "-c", script
    ).split()
    assert hostname == "thatbox" and int(nameservers) >= 1 and int(groups) >= 1


@pytest.mark.docker_cli(25)
def test_link_local_addresses_are_further_addresses_of_the_interface(daemon: Daemon) -> None:
    shown = daemon.ok("run", "--rm", "--link-local-ip", "169.254.3.4", "busybox", "ip", "-4", "addr", "show", "eth0")
    assert "inet 169.254.3.4/16 " in shown and shown.count("inet ") == 2


def test_a_container_without_networking_has_the_loopback_only(daemon: Daemon, container_name: str) -> None:
    """No flag of a client sets it; docker-py's `network_disabled` does."""
    body = {"Image": "busybox", "Cmd": ["ip", "-o", "addr"], "NetworkDisabled": True}
    assert daemon.api("POST", f"/containers/create?name={container_name}", body)[0] == 201
    shown = daemon.ok("start", "-a", container_name)
    assert "127.0.0.1/8" in shown and "eth0" not in shown
    assert daemon.ok("inspect", "-f", "{{json .NetworkSettings.Networks}}", container_name) == "{}"
