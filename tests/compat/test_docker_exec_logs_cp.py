"""`exec`, `logs`, `top`, `cp`, `diff`, `export` with the stock CLI and ours."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import CONTROL, Daemon


@pytest.fixture(scope="module")
def box(daemon: Daemon) -> Iterator[str]:
    """A running container that sleeps."""
    daemon.ok("run", "-d", "--name", "box", "busybox", "sleep", "600")
    yield "box"
    daemon.ok("rm", "-f", "box")


# -- exec ------------------------------------------------------------------------------------------
def test_exec_output_code_and_streams(daemon: Daemon, box: str) -> None:
    result = daemon.cli("exec", box, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_exec_stdin(daemon: Daemon, box: str) -> None:
    assert daemon.ok("exec", "-i", box, "cat", input="through\n") == "through"


def test_exec_user_workdir_environment(daemon: Daemon, box: str) -> None:
    words = ["exec", "-u", "user", "-w", "/tmp", "-e", "A=b", box, "sh", "-c", "id -un; pwd; echo $A"]
    assert daemon.ok(*words).split() == ["user", "/tmp", "b"]


def test_exec_privileged_has_every_capability(daemon: Daemon, box: str) -> None:
    read = ["grep", "CapEff", "/proc/self/status"]
    plain, privileged = daemon.ok("exec", box, *read), daemon.ok("exec", "--privileged", box, *read)
    assert plain.split()[1] == "00000000a80425fb"
    assert int(privileged.split()[1], 16) > int(plain.split()[1], 16)


@pytest.mark.parametrize(("command", "code"), [("nosuchcommand", 127), ("/etc/passwd", 126)])
def test_exec_of_what_cannot_run(daemon: Daemon, box: str, command: str, code: int) -> None:
    expected = {code, 126} if CONTROL else {code}  # dockerd before 28 says 126 for both
    assert daemon.cli("exec", box, command).returncode in expected


def test_exec_as_nobody_the_container_knows(daemon: Daemon, box: str) -> None:
    result = daemon.cli("exec", "-u", "nosuch", box, "true")
    assert result.returncode == 126
    assert "unable to find user nosuch" in result.stdout + result.stderr


def test_exec_detach_keys_are_looked_at_also_when_detached(daemon: Daemon, box: str) -> None:
    result = daemon.cli("exec", "-d", "--detach-keys", "nosuchkey", box, "true")
    assert result.returncode == 1 and "nosuchkey" in result.stderr


def test_exec_detached_runs_on(daemon: Daemon, box: str) -> None:
    assert daemon.ok("exec", "-d", box, "sh", "-c", "sleep 0.2; echo done > /tmp/detached") == ""
    for _ in range(50):
        if daemon.cli("exec", box, "cat", "/tmp/detached").stdout == "done\n":
            return
        time.sleep(0.1)
    raise AssertionError("the detached exec did not run")


def test_exec_in_a_stopped_container_is_refused(daemon: Daemon, container_name: str) -> None:
    daemon.ok("create", "--name", container_name, "busybox")
    result = daemon.cli("exec", container_name, "true")
    assert result.returncode == 1 and "is not running" in result.stderr


# -- top -------------------------------------------------------------------------------------------
def test_top_lists_the_processes(daemon: Daemon, box: str) -> None:
    titles, *rows = daemon.ok("top", box).splitlines()
    assert titles.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert any("sleep 600" in row for row in rows)


# -- logs ------------------------------------------------------------------------------------------
def test_logs_keep_streams_apart_and_tail(daemon: Daemon, container_name: str) -> None:
    script = "for i in 1 2 3 4; do echo out$i; echo err$i >&2; done"
    daemon.ok("run", "--name", container_name, "busybox", "sh", "-c", script)
    whole = daemon.cli("logs", container_name)
    assert whole.stdout.split() == ["out1", "out2", "out3", "out4"]
    assert whole.stderr.split() == ["err1", "err2", "err3", "err4"]
    tail = daemon.cli("logs", "--tail", "3", container_name)
    assert len(tail.stdout.splitlines()) + len(tail.stderr.splitlines()) == 3
    assert daemon.cli("logs", "-n", "0", container_name).stdout == ""


def test_logs_timestamps_since_until(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "--name", container_name, "busybox", "sh", "-c", "echo early; sleep 1.2; echo late")
    early, late = daemon.ok("logs", "-t", container_name).splitlines()
    assert early.endswith("Z early") and late.endswith("Z late")
    assert daemon.ok("logs", "--since", late.split()[0], container_name) == "late"
    assert daemon.ok("logs", "--until", early.split()[0], container_name) == "early"


def test_logs_details_come_before_the_line_also_where_there_are_none(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "--name", container_name, "busybox", "echo", "said")
    assert daemon.cli("logs", "--details", container_name).stdout == " said\n"
    assert daemon.cli("logs", "--details", "-t", container_name).stdout.endswith("Z  said\n")


def test_logs_follow_ends_with_the_container(daemon: Daemon, container_name: str) -> None:
    daemon.ok(
        "run", "-d", "--name", container_name, "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done"
    )
    assert daemon.ok("logs", "-f", container_name).split() == ["1", "2", "3"]


def test_logs_of_a_long_line_come_back_whole(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "--name", container_name, "busybox", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo")
    assert daemon.ok("logs", container_name) == "x" * 100000


def test_log_driver_none_cannot_be_read(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "--name", container_name, "--log-driver", "none", "busybox", "echo", "x")
    result = daemon.cli("logs", container_name)
    assert result.returncode == 1 and "configured logging driver does not support reading" in result.stderr


# -- cp --------------------------------------------------------------------------------------------
def test_cp_a_file_both_ways(daemon: Daemon, box: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("content\n")
    daemon.ok("cp", str(tmp_path / "in"), f"{box}:/tmp/copied")
    assert daemon.ok("exec", box, "cat", "/tmp/copied") == "content"
    daemon.ok("cp", f"{box}:/tmp/copied", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "content\n"


def test_cp_directories(daemon: Daemon, box: str, tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("deep")
    daemon.ok("cp", str(tmp_path / "d"), f"{box}:/tmp")
    daemon.ok("exec", box, "mkdir", "-p", "/tmp/flat")
    daemon.ok("cp", f"{tmp_path}/d/.", f"{box}:/tmp/flat")
    assert daemon.ok("exec", box, "cat", "/tmp/d/e/f") == "deep"
    assert daemon.ok("exec", box, "cat", "/tmp/flat/e/f") == "deep"
    daemon.ok("cp", f"{box}:/tmp/d", str(tmp_path / "back"))
    assert (tmp_path / "back/e/f").read_text() == "deep"


def test_cp_by_stdin_and_stdout(daemon: Daemon, box: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("piped")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    command = [*daemon.client, "cp", "-", f"{box}:/tmp"]
    subprocess.run(command, input=buffer.getvalue(), check=True, env=daemon.environment(), capture_output=True)
    command = [*daemon.client, "cp", f"{box}:/tmp/piped", "-"]
    out = subprocess.run(command, check=True, env=daemon.environment(), capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        extracted = tar.extractfile("piped")
        assert extracted is not None and extracted.read() == b"abc"


def test_cp_works_on_a_stopped_container(daemon: Daemon, container_name: str, tmp_path: Path) -> None:
    daemon.ok("run", "--name", container_name, "busybox", "sh", "-c", "echo left > /left")
    daemon.ok("cp", f"{container_name}:/left", str(tmp_path / "left"))
    assert (tmp_path / "left").read_text() == "left\n"
    daemon.ok("cp", str(tmp_path / "left"), f"{container_name}:/put")
    daemon.ok("cp", f"{container_name}:/put", str(tmp_path / "put"))
    assert (tmp_path / "put").read_text() == "left\n"


def test_cp_resolves_symlinks_inside_the_container(daemon: Daemon, box: str, tmp_path: Path) -> None:
    secret = tmp_path / "host-only"
    secret.write_text("host")
    daemon.ok("exec", box, "sh", "-c", f"ln -sf {tmp_path} /tmp/out; mkdir -p {tmp_path}; echo inside > {secret}")
    daemon.ok("cp", f"{box}:/tmp/out/host-only", str(tmp_path / "got"))
    assert (tmp_path / "got").read_text() == "inside\n"
    assert secret.read_text() == "host"


def test_cp_sees_volumes(daemon: Daemon, container_name: str, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/seen").write_text("mounted")
    daemon.ok("run", "-d", "--name", container_name, "-v", f"{tmp_path}/v:/v", "busybox", "sleep", "60")
    daemon.ok("cp", f"{container_name}:/v/seen", str(tmp_path / "seen"))
    assert (tmp_path / "seen").read_text() == "mounted"


def test_cp_sees_the_files_made_for_the_container(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "--name", container_name, "-h", "thatbox", "--add-host", "other:10.9.8.7", "busybox", "true")
    for path, what in (("/etc/hosts", "10.9.8.7\tother"), ("/etc/hostname", "thatbox"), ("/etc/resolv.conf", "nam")):
        assert what in daemon.ok("cp", f"{container_name}:{path}", "-")


@pytest.mark.docker_cli(24)
def test_cp_of_what_is_not_there(daemon: Daemon, box: str, tmp_path: Path) -> None:
    result = daemon.cli("cp", f"{box}:/nosuch", str(tmp_path))
    assert result.returncode == 1 and "Could not find the file /nosuch in container" in result.stderr


# -- diff and export -------------------------------------------------------------------------------
def test_diff_tells_added_changed_deleted(daemon: Daemon, container_name: str) -> None:
    script = "touch /new; echo x >> /etc/group; rm /etc/passwd"
    daemon.ok("run", "--name", container_name, "busybox", "sh", "-c", script)
    assert {"A /new", "C /etc", "C /etc/group", "D /etc/passwd"} <= set(daemon.ok("diff", container_name).splitlines())


def test_export_is_the_whole_root(daemon: Daemon, container_name: str, tmp_path: Path) -> None:
    daemon.ok("run", "--name", container_name, "busybox", "sh", "-c", "echo mine > /mine")
    daemon.ok("export", "-o", str(tmp_path / "root.tar"), container_name)
    with tarfile.open(tmp_path / "root.tar") as tar:
        names = {os.path.normpath(name) for name in tar.getnames()}
    assert {"mine", "bin/busybox", "etc/passwd"} <= names
