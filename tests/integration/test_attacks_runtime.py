"""A hostile container or image against its host: each of these succeeds, or is noticed, when its defence is taken out.

Where it can be shown, the same attack is run with the defence switched off (`control`), and must then get further.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.runtime.paths import masked
from support.daemon import Daemon
from support.elf import exits_with_euid
from support.images import PATH, busybox_archive, busybox_layer, docker_archive
from support.inventory import inventory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

BARE = [sys.executable, "-I", "-S", "-c"]


@pytest.fixture(scope="module", params=["crun", "runc"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    daemon = Daemon(f"att{request.param[0]}", "--default-runtime", request.param)
    try:
        daemon.start()
        daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


def run(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return daemon.cli("run", "--rm", *words, timeout=30)


def shell(daemon: Daemon, script: str, *options: str) -> str:
    """What a shell in a container prints, both streams together."""
    result = run(daemon, *options, "busybox", "sh", "-c", f"{script} 2>&1")
    return result.stdout + result.stderr


def layer(build: Callable[[tarfile.TarFile], None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        build(tar)
    return buffer.getvalue()


def link(name: str, target: str) -> Callable[[tarfile.TarFile], None]:
    def build(tar: tarfile.TarFile) -> None:
        for gone in (name,):
            entry = tarfile.TarInfo(gone)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)

    return build


def image(daemon: Daemon, name: str, *layers: bytes, **config: object) -> str:
    daemon.load(
        docker_archive([f"{name}:latest"], [busybox_layer(), *layers], {"Cmd": ["sh"], "Env": [PATH], **config})
    )
    return name


# -- the engine's own programs and files -------------------------------------------------------------
def test_the_runtime_s_program_cannot_be_overwritten(daemon: Daemon) -> None:
    """/proc/self/exe of the process that enters the container is the runtime itself (CVE-2019-5736)."""
    programs = [path for name in ("runc", "crun", "conmon") if (path := shutil.which(name))]
    before = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in programs]
    daemon.ok(
        *("run", "-d", "--name", "trap", "busybox", "sh", "-c"),
        "ln -sf /proc/self/exe /evil; while :; do for p in /proc/[0-9]*; do printf x > $p/exe; done; done 2>/dev/null",
    )
    for _ in range(5):
        daemon.cli("exec", "trap", "/evil")
        daemon.cli("exec", "trap", "true")
    daemon.ok("rm", "-f", "trap")
    assert [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in programs] == before


@pytest.mark.parametrize("way", ["run", "exec", "symlink"])
def test_no_working_directory_leads_out(daemon: Daemon, way: str) -> None:
    """`/proc/self/fd/N` of a leaked descriptor (CVE-2024-21626)."""
    places = [
        *(f"/proc/self/fd/{number}" for number in range(3, 14)),
        "/proc/self/root",
        "/proc/1/cwd",
        "//proc/./1/fd/0",
    ]
    daemon.ok("run", "-d", "--name", "cwd", "busybox", "sleep", "100")
    try:
        for place in places:
            if way == "run":
                result = run(daemon, "-w", place, "busybox", "ls")
            elif way == "exec":
                result = daemon.cli("exec", "-w", place, "cwd", "ls")
            else:
                daemon.ok("exec", "cwd", "ln", "-sfn", place, "/door")
                result = daemon.cli("exec", "-w", "/door", "cwd", "ls")
            assert result.returncode != 0, f"{place}: {result.stdout}"
    finally:
        daemon.ok("rm", "-f", "cwd")


def test_no_descriptor_of_the_engine_is_open(daemon: Daemon) -> None:
    daemon.ok("run", "-d", "--name", "fds", "busybox", "sh", "-c", "ls -l /proc/self/fd > /seen; sleep 100")
    try:
        for listing in (
            daemon.ok("exec", "fds", "cat", "/seen"),
            daemon.ok("exec", "fds", "ls", "-l", "/proc/self/fd"),
        ):
            links = [line.split(" -> ")[1] for line in listing.splitlines() if " -> " in line]
            assert len(links) == 3, listing  # ls's own has no link any more
            assert not [
                path for path in links if path.startswith("/") and not path.startswith(("/dev/null", "/proc/", "/seen"))
            ]
    finally:
        daemon.ok("rm", "-f", "fds")


# -- mounts ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/kcore"])
def test_nothing_is_mounted_over_proc(daemon: Daemon, target: str, tmp_path: Path) -> None:
    """A fake /proc would switch off what the runtime sets by it: no-new-privileges, AppArmor, sysctls."""
    result = run(daemon, "-v", f"{tmp_path}:{target}", "busybox", "true")
    assert result.returncode == 125, result.stdout
    assert "proc" in result.stderr
    nothing_is_mounted(daemon)


@pytest.mark.parametrize(
    "options",
    [
        ("-v", "fresh:/proc"),
        ("--tmpfs", "/proc"),
        ("--mount", "type=tmpfs,dst=/proc/sys"),
        ("-v", "{host}:/sys/../proc"),
    ],
    ids=["volume", "tmpfs", "--mount", "dots"],
)
def test_no_kind_of_mount_covers_proc(daemon: Daemon, options: tuple[str, str], tmp_path: Path) -> None:
    result = run(daemon, options[0], options[1].format(host=tmp_path), "busybox", "true")
    assert result.returncode == 125 and "proc" in result.stderr, result
    nothing_is_mounted(daemon)
    daemon.cli("volume", "rm", "fresh")


def test_nothing_is_mounted_over_proc_while_it_runs(daemon: Daemon, tmp_path: Path) -> None:
    """`update --mount-add` mounts without the OCI runtime, whose refusals it needs all the same."""
    daemon.ok("run", "-d", "--name", "live", "busybox", "sleep", "100")
    try:
        daemon.ok("exec", "live", "ln", "-s", "/proc", "/link")
        for target in ("/proc", "/proc/self/attr", "/dev/../proc", "/link", "/link/sys", "/"):
            added = {"MountAdd": [{"Type": "bind", "Source": str(tmp_path), "Target": target}]}
            status, answer = daemon.api("POST", "/containers/live/update", added)
            assert status in (400, 409), (target, answer)
        seen = daemon.ok("exec", "live", "cat", "/proc/self/mountinfo")
        assert str(tmp_path) not in seen
    finally:
        daemon.ok("rm", "-f", "live")


def test_what_is_bound_over_sys_is_masked_inside_only(daemon: Daemon, tmp_path: Path) -> None:
    """Docker allows it. A link in place of a masked path leads to something of the container, never of the host."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("host")
    sys_ = tmp_path / "sys"
    sys_.mkdir()
    (sys_ / "firmware").symlink_to(f"../../../../../../..{outside}")
    before = Path("/proc/self/mountinfo").read_text().count(str(tmp_path))
    run(daemon, "-v", f"{sys_}:/sys", "busybox", "sh", "-c", f"mkdir -p {outside}; touch {outside}/made; rm -rf /sys/*")
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert Path("/proc/self/mountinfo").read_text().count(str(tmp_path)) == before
    nothing_is_mounted(daemon)


def nothing_is_mounted(daemon: Daemon) -> None:
    """`run --rm` is answered before the last of it is gone."""
    left: list[str] = []
    for _ in range(100):
        found = inventory(daemon, network=False)
        left = [line for line in found if line.startswith(("mount", "bundle", "netns")) and line != "mount run/netns"]
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(left)


def test_a_volume_of_an_image_over_proc_is_refused(daemon: Daemon) -> None:
    name = image(daemon, "procvolume", Volumes={"/proc": {}})
    assert run(daemon, name, "true").returncode == 125
    assert daemon.ok("volume", "ls", "-q") == ""


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
def test_a_system_directory_that_is_a_symlink_leads_nowhere(daemon: Daemon, place: str, tmp_path: Path) -> None:
    """CVE-2023-27561, CVE-2024-45310: the runtime must not mount at where the image's link leads on the host."""
    (tmp_path / "kept").write_text("host")

    def build(tar: tarfile.TarFile) -> None:
        gone = tarfile.TarInfo(f".wh.{place}")
        tar.addfile(gone)

    name = image(daemon, f"link{place}", layer(build), layer(link(place, f"../../../../../../..{tmp_path}")))
    before = Path("/proc/self/mountinfo").read_text().count(str(tmp_path))
    run(daemon, name, "sh", "-c", f"mkdir -p {tmp_path}; touch {tmp_path}/from-inside; echo gone > {tmp_path}/kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "host"
    assert Path("/proc/self/mountinfo").read_text().count(str(tmp_path)) == before
    nothing_is_mounted(daemon)


def test_what_is_masked_stays_masked(daemon: Daemon) -> None:
    """Also with an image that swaps /dev/null, by which files are masked (CVE-2025-31133)."""
    swapped = image(daemon, "swapped", layer(link("dev/null", "/proc/sys/kernel/core_pattern")))
    host = Path("/proc/sys/kernel/core_pattern").read_text()
    for name in ("busybox", swapped):
        script = "umount /proc/kcore; head -c 1 /proc/kcore | wc -c; echo '|/evil' > /proc/sys/kernel/core_pattern"
        said = run(
            daemon,
            name,
            "sh",
            "-c",
            f"({script}; ls /proc/scsi /sys/firmware | grep -v :; echo b > /proc/sysrq-trigger) 2>&1",
        )
        assert "0" in said.stdout.split(), said.stdout
        assert "can't create /proc/sys/kernel/core_pattern: Read-only file system" in said.stdout
        assert "can't unmount /proc/kcore" in said.stdout
        assert Path("/proc/sys/kernel/core_pattern").read_text() == host
    assert "1" in shell(daemon, "head -c 1 /proc/self/status | wc -c").split()


def test_every_masked_path_shows_nothing(daemon: Daemon) -> None:
    files = [path for path in masked() if Path(path).is_file()]
    directories = [path for path in masked() if Path(path).is_dir()]
    assert files and directories
    script = f"for p in {' '.join(files)}; do test -c $p || echo $p; done; ls -A {' '.join(directories)} | grep -v ':$'"
    assert shell(daemon, script).split() == []
    control = shell(daemon, script, "--security-opt", "systempaths=unconfined").split()
    assert set(files) <= set(control) and len(control) > len(files), control


# -- devices -----------------------------------------------------------------------------------------
def test_a_device_that_is_not_allowed_can_be_made_but_not_used(daemon: Daemon) -> None:
    device = Path("/usr").stat().st_dev
    block = f"b {os.major(device)} {os.minor(device)}"
    for node in (block, "c 1 1", "c 10 229"):
        assert "Operation not permitted" in shell(daemon, f"mknod /node {node}; head -c 1 /node | wc -c"), node
    kmsg, capable = "mknod /n c 1 11; : < /n", ("--cap-add", "SYSLOG")
    assert "Operation not permitted" in shell(daemon, kmsg, *capable)
    allowed = shell(daemon, kmsg, *capable, "--device-cgroup-rule", "c 1:11 rwm")
    assert allowed == "", "control: the cgroup is what refuses"
    assert "Operation not permitted" in shell(daemon, "mknod /node c 1 3", "--cap-drop", "MKNOD")


# -- system calls ------------------------------------------------------------------------------------
PROBE = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *[ctypes.c_long(a) for a in arguments])
    print(name, "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()])
call("kexec_load", 246, 0, 0, 0, 0xdead)
call("keyctl", 250, 0, -3, 1)
call("add_key", 248, 0, 0, 0, 0, -2)
call("io_uring_setup", 425, 0, 0)
call("userfaultfd", 323, 0xdead)
call("bpf", 321, 99, 0, 0)
call("perf_event_open", 298, 0, 0, -1, -1, 0)
call("unshare-user", 272, 0x10000000)
call("mount", 165, 0, 0, 0, 0, 0)
call("open_by_handle_at", 304, -1, 0, 0)
call("init_module", 175, 0, 0, 0)
call("swapon", 167, 0, 0)
call("settimeofday", 164, 0, 0xdead)
call("ptrace-init", 101, 16, 1, 0, 0)
"""
REFUSED = ("kexec_load", "keyctl", "add_key", "io_uring_setup", "userfaultfd", "bpf", "perf_event_open")
REFUSED += ("unshare-user", "mount", "open_by_handle_at", "init_module", "swapon")


def probe(daemon: Daemon, *options: str) -> dict[str, str]:
    """Runs the host's Python inside: what each system call answers."""
    result = run(daemon, "-v", "/:/host:ro", *options, "busybox", "chroot", "/host", *BARE, PROBE)
    assert result.returncode == 0, result.stderr
    return dict(line.split() for line in result.stdout.splitlines())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probe has x86-64's numbers")
def test_seccomp_refuses_what_containers_do_not_need(daemon: Daemon) -> None:
    found = probe(daemon)
    assert {name: found[name] for name in REFUSED} == dict.fromkeys(REFUSED, "EPERM")
    # The capability alone does not open what the profile has closed.
    with_capability = probe(daemon, "--cap-add", "SYS_BOOT")
    assert with_capability["kexec_load"] == "EPERM"
    control = probe(daemon, "--security-opt", "seccomp=unconfined", "--cap-add", "SYS_BOOT")
    passed = {name for name in REFUSED if control[name] != "EPERM"}
    assert {"keyctl", "add_key", "kexec_load", "io_uring_setup"} <= passed, control


TRACE = """
import ctypes, errno, os, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
def say(name, result):
    print(name, "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()])
long = ctypes.c_long
say("ptrace", libc.syscall(long(101), long(16), long(pid), long(0), long(0)))
buffer = ctypes.create_string_buffer(8)
iovec = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
there = (ctypes.c_size_t * 2)(4096, 8)
say("process_vm_readv", libc.syscall(long(310), long(pid), iovec, long(1), there, long(1), long(0)))
for name in ("mem", "root", "cwd", "exe", "environ", "fd/0", "ns/mnt"):
    try:
        place = f"/proc/{pid}/{name}"
        os.open(place, 0) if name in ("mem", "environ") else os.stat(place)
        print(name, "ok")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probe has x86-64's numbers")
def test_a_process_of_the_host_is_not_traced(daemon: Daemon) -> None:
    """Also where the container sees it (`--pid host`). Docker's filter lets ptrace pass since kernel 4.8; without
    CAP_SYS_PTRACE the kernel refuses what has more capabilities than the container."""

    def found(*options: str) -> dict[str, str]:
        victim = subprocess.Popen(["sleep", "100"])
        try:
            result = run(
                daemon,
                *("--pid", "host", "-v", "/:/host:ro", *options, "busybox", "chroot", "/host", *BARE, TRACE),
                str(victim.pid),
            )
        finally:
            victim.kill()
            victim.wait()
        assert result.returncode == 0, result.stderr
        return dict(line.split() for line in result.stdout.splitlines())

    refused = found()
    assert set(refused.values()) <= {"EPERM", "EACCES"}, str(refused)
    control = found("--cap-add", "SYS_PTRACE", "--security-opt", "apparmor=unconfined")
    assert control["ptrace"] == control["root"] == control["environ"] == "ok", control


def test_a_user_namespace_is_refused(daemon: Daemon) -> None:
    assert "Operation not permitted" in shell(daemon, "unshare -U true")
    assert "Operation not permitted" in shell(daemon, "unshare -m true")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the program is for x86-64")
def test_setuid_gives_nothing_under_no_new_privileges(daemon: Daemon) -> None:
    def build(tar: tarfile.TarFile) -> None:
        data = exits_with_euid()
        entry = tarfile.TarInfo("euid")
        entry.size, entry.mode = len(data), 0o4755
        tar.addfile(entry, io.BytesIO(data))

    name = image(daemon, "setuid", layer(build))
    assert run(daemon, "-u", "200", name, "/euid").returncode == 0, "control: setuid works"
    assert run(daemon, "-u", "200", "--security-opt", "no-new-privileges", name, "/euid").returncode == 200
    daemon.ok("run", "-d", "--name", "nnp", "-u", "200", "--security-opt", "no-new-privileges", name, "sleep", "100")
    assert daemon.cli("exec", "nnp", "/euid").returncode == 200
    daemon.ok("rm", "-f", "nnp")


# -- files the engine reads --------------------------------------------------------------------------
def fifo(tar: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("pipe")
    entry.type = tarfile.FIFOTYPE
    tar.addfile(entry)
    link("etc/passwd", "/pipe")(tar)


def giant(tar: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("etc/passwd")
    entry.size = 64 << 20
    tar.addfile(entry, io.BytesIO(bytes(64 << 20)))


@pytest.mark.parametrize("evil", [fifo, giant], ids=["fifo", "giant"])
def test_an_evil_passwd_stops_nobody(daemon: Daemon, evil: Callable[[tarfile.TarFile], None]) -> None:
    """CVE-2024-9676: a FIFO that is never written, a file of any size."""
    name = image(daemon, f"evil{evil.__name__}", layer(evil))
    outcome: list[int] = []
    thread = threading.Thread(target=lambda: outcome.append(run(daemon, "-u", "user", name, "true").returncode))
    thread.start()
    assert daemon.api("GET", "/_ping")[0] == 200
    thread.join(25)
    assert outcome == [125]
    assert daemon.cli("run", "--rm", "busybox", "true").returncode == 0


@pytest.mark.parametrize("user", ["4294967296", "2147483648", "-1", "18446744073709551616", "0x0"])
def test_a_user_out_of_range_is_nobody(daemon: Daemon, user: str) -> None:
    """Never wrapped round to root (CVE-2026-46680)."""
    result = run(daemon, "-u", user, "busybox", "id", "-u")
    assert (result.returncode, result.stdout) == (125, ""), result


def test_an_image_s_user_out_of_range_is_nobody(daemon: Daemon) -> None:
    name = image(daemon, "wrapped", User="4294967296")
    result = run(daemon, name, "id", "-u")
    assert (result.returncode, result.stdout) == (125, ""), result


# -- names -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["../../etc", "..", ".", "a/../../b", "%2e%2e", "a\nb", "-v", "a;b"])
def test_a_name_is_never_a_path_or_an_option(daemon: Daemon, name: str) -> None:
    before = inventory(daemon, network=False)
    for path, body in (
        ("/volumes/create", {"Name": name}),
        ("/networks/create", {"Name": name} if "/" in name or name.startswith((".", "-")) else {"Name": f"/{name}"}),
    ):
        status, answer = daemon.api("POST", path, body)
        if status == 201 and "networks" in path:  # Docker takes nearly any name for a network; it is only ever a key
            daemon.api("DELETE", f"/networks/{answer['Id']}")
        else:
            assert status == 400, (path, answer)
    status, answer = daemon.api("POST", "/containers/create", {"Image": f"busybox:{name}"})
    assert status in (400, 404), answer
    assert inventory(daemon, network=False) == before
