"""Isolation by default, seen from inside: namespaces, capabilities, seccomp, masked paths, devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.daemon import Daemon


def inside(daemon: Daemon, script: str, *flags: str) -> str:
    return daemon.ok("run", "--rm", *flags, "busybox", "sh", "-c", script)


@pytest.mark.parametrize("kind", ["pid", "net", "ipc", "uts", "mnt"])
def test_each_namespace_is_its_own(daemon: Daemon, kind: str) -> None:
    assert inside(daemon, f"readlink /proc/self/ns/{kind}") != str(Path(f"/proc/self/ns/{kind}").readlink())


def test_pid_1_is_the_command(daemon: Daemon) -> None:
    assert inside(daemon, "echo $$") == "1"


@pytest.mark.parametrize(("flag", "kind"), [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")])
def test_host_namespaces_on_request(daemon: Daemon, flag: str, kind: str) -> None:
    assert inside(daemon, f"readlink /proc/self/ns/{kind}", flag, "host") == str(
        Path(f"/proc/self/ns/{kind}").readlink()
    )


def test_default_capabilities(daemon: Daemon) -> None:
    lines = dict(line.split(":\t") for line in inside(daemon, "grep Cap /proc/self/status").splitlines())
    assert lines == {
        "CapInh": "0" * 16,
        "CapPrm": "00000000a80425fb",
        "CapEff": "00000000a80425fb",
        "CapBnd": "00000000a80425fb",
        "CapAmb": "0" * 16,
    }


def test_capabilities_added_and_dropped(daemon: Daemon) -> None:
    read = "grep CapEff /proc/self/status | cut -f2"
    assert int(inside(daemon, read, "--cap-add", "NET_ADMIN"), 16) == 0xA80425FB | 1 << 12
    assert int(inside(daemon, read, "--cap-drop", "ALL"), 16) == 0
    assert int(inside(daemon, read, "--cap-drop", "ALL", "--cap-add", "CAP_CHOWN"), 16) == 1


def test_seccomp_filters_and_can_be_turned_off(daemon: Daemon) -> None:
    read = "grep ^Seccomp: /proc/self/status | cut -f2"
    assert inside(daemon, read) == "2"
    assert inside(daemon, read, "--security-opt", "seccomp=unconfined") == "0"
    assert daemon.cli("run", "--rm", "busybox", "unshare", "-U", "true").returncode != 0


def test_no_new_privileges_on_request(daemon: Daemon) -> None:
    read = "grep NoNewPrivs /proc/self/status | cut -f2"
    assert inside(daemon, read) == "0"
    assert inside(daemon, read, "--security-opt", "no-new-privileges") == "1"


def test_masked_and_read_only_paths(daemon: Daemon) -> None:
    assert (
        inside(daemon, "cat /proc/kcore | wc -c; ls /sys/firmware | wc -l; cat /proc/timer_list | wc -c") == "0\n0\n0"
    )
    assert (
        inside(daemon, "echo 1 > /proc/sysrq-trigger || echo refused; touch /sys/x || echo refused").count("refused")
        == 2
    )


def test_privileged_lifts_all_that(daemon: Daemon) -> None:
    script = "grep CapEff /proc/self/status | cut -f2; grep ^Seccomp: /proc/self/status | cut -f2; ls /dev | wc -l"
    capabilities, seccomp, devices = inside(daemon, script, "--privileged").split()
    assert int(capabilities, 16) > 0xA80425FB and seccomp == "0" and int(devices) > 15


def test_devices(daemon: Daemon) -> None:
    listed = set(inside(daemon, "ls /dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd", "stdin"} <= listed
    assert not {"vda", "kmsg", "mem"} & listed
    made = "mknod /tmp/disk b 254 0 && cat /tmp/disk > /dev/null 2>&1; echo $?"
    assert inside(daemon, made) != "0"


def test_files_made_for_each_container(daemon: Daemon) -> None:
    mounts = inside(daemon, "cut -d' ' -f2 /proc/mounts").split()
    assert {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm", "/dev/pts", "/proc", "/sys"} <= set(mounts)


def test_writes_do_not_reach_the_image_or_another_container(daemon: Daemon) -> None:
    inside(daemon, "echo mine > /etc/mine; rm -f /bin/vi")
    assert inside(daemon, "ls /etc/mine /bin/vi 2>/dev/null; true") == "/bin/vi"


def test_descriptors_of_the_engine_do_not_leak(daemon: Daemon) -> None:
    assert inside(daemon, "ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is ls's own directory
