"""The runtime with the real conmon, crun or runc and kernel; the root filesystem is one static busybox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.containers.model import Config, Container, ExecConfig, HostConfig
from sampan.containers.spec import oci
from sampan.errors import Conflict, InvalidParameter, SampanError
from sampan.linux import mounts, namespaces, pidfd
from sampan.runtime import Attachment, Bundle, Exit, Runtime, StartFailed, cgroups, shm
from sampan.runtime.binaries import find

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")

APPLETS = (
    *("sh", "true", "false", "cat", "echo", "sleep", "ls", "id", "env", "pwd", "grep", "head", "wc", "stty", "dd"),
    *("kill", "hostname", "mount", "touch", "ps", "tail", "seq"),
)
PARENT = f"/sampan-test-{os.getpid()}"


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not Path("/bin/busybox").exists():
        pytest.skip("needs a static /bin/busybox")
    root = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "sbin"):
        (root / name).mkdir()
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nusers:x:100:\nwheel:x:10:ann\n")
    (root / "etc" / "plain").write_text("not a program\n")
    yield root


@pytest.fixture(params=["crun", "runc"])
def default(request: pytest.FixtureRequest) -> str:
    if find(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
async def runtime(tmp_path: Path, default: str) -> AsyncIterator[Runtime]:
    made = Runtime(tmp_path / "exec", {}, default)
    yield made
    await made.close()
    for tree in dict.fromkeys(cgroups.trees().values()):
        with contextlib.suppress(OSError):
            (tree / PARENT.strip("/")).rmdir()


class Box:
    """One container, as its tests speak of it."""

    def __init__(self, runtime: Runtime, root: Path, place: Path) -> None:
        self.runtime, self.rootfs = runtime, root
        self.bundle = Bundle(secrets.token_hex(32), place / "exec" / "containers" / "x", place / "log")
        self.bundle = Bundle(
            self.bundle.id, place / "exec" / "containers" / self.bundle.id, place / f"log-{self.bundle.id}"
        )
        self.container = Container(id=self.bundle.id)

    async def create(self, *command: str, host: HostConfig | None = None, runtime: str = "", **config: Any) -> None:
        document = Container(
            id=self.bundle.id,
            path=command[0],
            args=list(command[1:]),
            config=Config(**config),
            host_config=host or HostConfig(network_mode="none"),
        )
        self.container = document
        prepared = oci.Prepared(rootfs=self.rootfs, cgroup_parent=PARENT)
        await self.runtime.create(
            self.bundle,
            oci.container_spec(document, prepared),
            tty=document.config.tty,
            stdin=document.config.open_stdin,
            stdin_once=document.config.stdin_once,
            runtime=runtime,
        )

    async def start(self) -> None:
        await self.runtime.start(self.bundle, "")

    async def attach(self, stdin: bool = True) -> Attachment:
        return await self.runtime.attach(self.bundle, tty=self.container.config.tty, stdin=stdin, before_start=True)

    async def run(self, *command: str, given: bytes | None = None, **options: Any) -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr)."""
        await self.create(*command, **options)
        stream = await self.attach()
        await self.start()
        if given is not None:
            await stream.write(given)
            await stream.close_input()
        out, err = await read_all(stream)
        return (await self.exit()).exit_code, out, err

    async def exec(self, *command: str, **options: Any) -> tuple[int, bytes]:
        attached, given = options.pop("attached", True), options.pop("given", None)
        config = ExecConfig(cmd=list(command), attach_stdin=given is not None, **options)
        id = secrets.token_hex(32)
        process = oci.exec_process(self.container, config, self.rootfs)
        _, stream = await self.runtime.exec(
            *(self.bundle, id, process), tty=config.tty, stdin=config.attach_stdin, attached=attached, runtime=""
        )
        out = b""
        if stream is not None:
            if given is not None:
                await stream.write(given)
                await stream.close_input()
            out, _ = await read_all(stream)
        exit = await anext(self.runtime.exits())
        assert exit.exec_id == id
        self.runtime.acknowledge(exit)
        return exit.exit_code, out

    async def exit(self) -> Exit:
        exit = await asyncio.wait_for(anext(self.runtime.exits()), 20)
        assert (exit.id, exit.exec_id) == (self.bundle.id, None)
        self.runtime.acknowledge(exit)
        return exit

    async def delete(self) -> None:
        await self.runtime.delete(self.bundle, "")
        if self.bundle.path.exists():
            self.bundle.path.rmdir()  # nothing of ours is left in it


async def read_all(stream: Attachment) -> tuple[bytes, bytes]:
    found = {1: b"", 2: b""}
    while (output := await stream.read()) is not None:
        found[output[0]] += output[1]
    await stream.close()
    return found[1], found[2]


def ended(pid: int) -> bool:
    """Gone, or waiting for a pid 1 that takes its time to reap."""
    return pidfd.state(pid) in (None, "Z", "X")


@pytest.fixture
async def box(runtime: Runtime, rootfs: Path, tmp_path: Path) -> AsyncIterator[Box]:
    made = Box(runtime, rootfs, tmp_path)
    yield made
    await made.delete()


async def test_run_keeps_stdout_and_stderr_apart_and_the_exit_code(box: Box) -> None:
    code, out, err = await box.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (code, out, err) == (7, b"out\n", b"err\n")
    log = (box.bundle.log_path or Path()).read_text()
    assert "stdout F out" in log and "stderr F err" in log


async def test_directories_may_have_names_that_are_not_ascii(runtime: Runtime, rootfs: Path, tmp_path: Path) -> None:
    box = Box(runtime, rootfs, tmp_path / "böx 箱")
    try:
        assert await box.run("echo", "hällo") == (0, "hällo\n".encode(), b"")
        assert "hällo" in (box.bundle.log_path or Path()).read_text()
    finally:
        await box.delete()


async def test_stdin_ends_with_its_client(box: Box) -> None:
    code, out, _ = await box.run("cat", given=b"hello", open_stdin=True, stdin_once=True)
    assert (code, out) == (0, b"hello")


async def test_much_output_waits_for_a_slow_reader(box: Box) -> None:
    await box.create("sh", "-c", "dd if=/dev/zero bs=65536 count=64 2>/dev/null; echo done >&2")
    stream = await box.attach()
    await box.start()
    await asyncio.sleep(0.3)
    assert box.runtime.alive(box.bundle), "it should wait for us, not run through"
    out, err = await read_all(stream)
    assert (len(out), err) == (64 * 65536, b"done\n")
    assert (await box.exit()).exit_code == 0


async def test_every_attachment_gets_everything(box: Box) -> None:
    await box.create("sh", "-c", "seq 5")
    streams = [await box.attach(stdin=False) for _ in range(3)]
    await box.start()
    assert [out for out, _ in [await read_all(stream) for stream in streams]] == [b"1\n2\n3\n4\n5\n"] * 3
    await box.exit()


async def test_a_listener_that_leaves_does_not_end_stdin(box: Box) -> None:
    await box.create("cat", open_stdin=True, stdin_once=True)
    owner, listener = await box.attach(), await box.attach(stdin=False)
    await box.start()
    await listener.close()
    await owner.write(b"still here")
    assert await owner.read() == (1, b"still here")
    await owner.close_input()
    assert await owner.read() is None
    assert (await box.exit()).exit_code == 0


async def test_stdin_outlives_its_client_without_stdin_once(box: Box) -> None:
    await box.create("sh", "-c", "read a; read b; echo $a$b", open_stdin=True)
    first = await box.attach()
    await box.start()
    await first.write(b"one\n")
    await first.close()
    second = await box.attach()
    await second.write(b"two\n")
    assert await second.read() == (1, b"onetwo\n")
    await second.close()
    await box.exit()


async def test_a_close_wakes_a_waiting_read(box: Box) -> None:
    await box.create("sleep", "100")
    stream = await box.attach()
    await box.start()
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    await stream.close()
    assert await asyncio.wait_for(reading, 5) is None


async def test_a_terminal_is_resized(box: Box) -> None:
    await box.create("sh", "-c", "read x; stty size", tty=True, open_stdin=True)
    stream = await box.attach()
    await box.start()
    await box.runtime.resize(box.bundle, 10, 20)
    await box.runtime.resize(box.bundle, 33, 44)
    await box.runtime.resize(box.bundle, 50, 132)
    await asyncio.sleep(0.1)
    await stream.write(b"\n")
    out, _ = await read_all(stream)
    assert b"50 132" in out
    await box.exit()
    await box.delete()
    with pytest.raises(Conflict):
        await box.runtime.resize(box.bundle, 1, 1)


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH', 127),
        ("/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory', 127),
        ("/etc/plain", "permission denied", 126),
    ],
)
async def test_a_command_that_cannot_run_is_told_in_dockers_words(
    box: Box, command: str, words: str, code: int
) -> None:
    with pytest.raises(StartFailed) as failure:
        await box.create(command)
    assert words in failure.value.message
    assert failure.value.message.startswith(
        "failed to create task for container: failed to create shim task: OCI runtime"
    )
    assert (failure.value.exit_code, failure.value.status) == (code, 400)
    assert not cgroups.directories(f"{PARENT}/{box.bundle.id}")


async def test_exec_runs_beside_and_reports_its_own_code(box: Box) -> None:
    await box.create("sleep", "100", env=["A=1", "B=2"])
    await box.start()
    assert await box.exec("sh", "-c", "echo hi; exit 3") == (3, b"hi\n")
    assert await box.exec("cat", given=b"through") == (0, b"through")
    assert await box.exec("sh", "-c", "exit 4", attached=False) == (4, b"")
    assert await box.exec("sh", "-c", "echo $A$B$C", env=["B", "C=3"]) == (0, b"13\n")
    assert await box.exec("id", user="ann") == (0, b"uid=1000 gid=100 groups=10,100\n")
    assert await box.exec("pwd", working_dir="/etc") == (0, b"/etc\n")
    code, out = await box.exec("grep", "-E", "Seccomp:|CapEff|CapInh", "/proc/self/status")
    assert out.split()[1::2] == [b"0" * 16, b"00000000a80425fb", b"2"]
    # crun before 1.12 does not set an exec's size itself; then it comes a moment after the start.
    code, out = await box.exec("sh", "-c", "sleep 0.3; stty size", tty=True, console_size=[12, 34])
    assert (code, out) == (0, b"12 34\r\n")
    with pytest.raises(StartFailed) as failure:
        await box.exec("nosuch")
    assert (
        'OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch"'
        in failure.value.message
    )
    assert failure.value.exit_code == 127
    assert not list(box.bundle.execs.iterdir())


async def test_kill_pause_and_pids(box: Box) -> None:
    await box.create("sh", "-c", 'trap "exit 9" TERM; sleep 100 & while :; do wait; done')
    await box.start()
    await asyncio.sleep(0.2)
    assert len(await box.runtime.pids(box.bundle, "")) == 2
    await box.runtime.pause(box.bundle, "")
    assert cgroups.is_frozen(box.runtime.cgroup(box.bundle))
    await box.runtime.kill(box.bundle, "", signal.SIGTERM)
    await box.runtime.resume(box.bundle, "")
    assert (await box.exit()).exit_code == 9
    with pytest.raises(Conflict):
        await box.runtime.kill(box.bundle, "", signal.SIGTERM)


async def test_delete_ends_a_running_container_and_is_idempotent(box: Box) -> None:
    await box.create("sleep", "100")
    await box.start()
    pid, conmon = box.runtime.alive(box.bundle) or (0, 0)
    await box.delete()
    await box.delete()
    assert ended(pid) and ended(conmon)
    assert not cgroups.directories(f"{PARENT}/{box.bundle.id}")


async def test_limits_reach_the_cgroup_and_can_be_updated(box: Box) -> None:
    await box.create("sleep", "100", host=HostConfig(network_mode="none", pids_limit=50, memory=32 << 20))
    await box.start()
    limit = cgroups.directory(box.runtime.cgroup(box.bundle), "pids") / "pids.max"
    assert limit.read_text() == "50\n"
    await box.runtime.update(box.bundle, "", {"pids": {"limit": 60}})
    assert limit.read_text() == "60\n"


async def test_a_container_killed_for_memory_says_so(box: Box) -> None:
    host = HostConfig(network_mode="none", memory=16 << 20, memory_swap=16 << 20)
    await box.create("sh", "-c", "head -c 100m /dev/zero | tail", host=host, runtime="")
    await box.start()
    assert (await box.exit()).oom_killed


async def test_a_killed_conmon_ends_its_container(box: Box) -> None:
    await box.create("sleep", "100")
    await box.start()
    pid, conmon = box.runtime.alive(box.bundle) or (0, 0)
    os.kill(conmon, signal.SIGKILL)
    assert (await box.exit()).exit_code == 137
    assert box.runtime.alive(box.bundle) is None and ended(pid)


async def test_another_daemon_takes_over(box: Box, tmp_path: Path) -> None:
    await box.create("cat", open_stdin=True, stdin_once=True)
    await box.start()
    exec_id = secrets.token_hex(32)
    process = oci.exec_process(box.container, ExecConfig(cmd=["sh", "-c", "sleep 0.3; exit 5"]), box.rootfs)
    await box.runtime.exec(box.bundle, exec_id, process, tty=False, stdin=False, attached=False, runtime="")
    known = box.runtime.alive(box.bundle)
    await box.runtime.close()

    box.runtime = Runtime(tmp_path / "exec", {}, box.runtime.runtimes.default)
    assert box.runtime.alive(box.bundle) == known
    assert box.runtime.recover_execs(box.bundle) == [exec_id]
    stream = await box.attach()
    await stream.write(b"again")
    assert await stream.read() == (1, b"again")
    exit = await asyncio.wait_for(anext(box.runtime.exits()), 10)
    assert (exit.exec_id, exit.exit_code) == (exec_id, 5)
    await stream.close_input()
    assert await stream.read() is None
    await stream.close()
    assert (await box.exit()).exit_code == 0
    await box.runtime.close()


async def test_an_exit_while_no_daemon_listens_is_found(box: Box, tmp_path: Path) -> None:
    await box.create("sh", "-c", "sleep 0.2; exit 6")
    await box.start()
    await box.runtime.close()
    for _ in range(1000):
        if (tmp_path / "exec" / "exits" / box.bundle.id).exists():
            break
        await asyncio.sleep(0.01)
    box.runtime = Runtime(tmp_path / "exec", {}, box.runtime.runtimes.default)
    assert box.runtime.alive(box.bundle) is None
    assert (await box.exit()).exit_code == 6
    await box.runtime.close()


async def test_isolation_by_default(box: Box) -> None:
    script = (
        "id -u; echo $$; hostname; grep -E 'CapEff|CapInh|NoNew|Seccomp:' /proc/self/status; ls /proc/acpi; ls /dev"
    )
    code, out, _ = await box.run("sh", "-c", script, hostname="boxed")
    words = out.decode().split()
    assert code == 0 and words[:3] == ["0", "1", "boxed"]
    assert words[words.index("CapEff:") + 1] == words[words.index("CapInh:") + 1].replace("0" * 16, "00000000a80425fb")
    assert words[words.index("Seccomp:") + 1] == "2" and words[words.index("NoNewPrivs:") + 1] == "0"
    devices = set(words[words.index("Seccomp:") + 2 :])
    assert devices >= {"null", "zero", "full", "random", "urandom", "tty", "shm", "mqueue", "pts"}
    assert not devices & {"kmsg", "mem", "vda", "kvm"}


async def test_seccomp_denies_what_docker_denies(box: Box) -> None:
    code, out, err = await box.run(
        "sh", "-c", "mount -t tmpfs x /tmp; echo $?; cat /proc/kcore | wc -c; echo 1 >/proc/sys/kernel/hostname"
    )
    assert out.split()[:2] != [b"0"] and b"0" in out.split()
    assert b"denied" in err or b"not permitted" in err
    assert b"Read-only" in err or b"can't create" in err
    assert code != 0


async def test_init_reaps_and_passes_the_command_on(box: Box) -> None:
    code, out, _ = await box.run("ps", "-o", "pid,args", host=HostConfig(network_mode="none", init=True))
    lines = out.decode().split("\n")
    assert code == 0 and "/sbin/docker-init -- ps" in lines[1]


async def test_a_working_directory_among_open_files_is_refused(box: Box, rootfs: Path) -> None:
    (rootfs / "leak").symlink_to("/proc/self/fd")
    for cwd in ("/proc/self/fd/7", "/leak/7", "/tmp/../proc/thread-self/fd/3"):
        with pytest.raises(SampanError, match="not a directory"):
            await box.create("true", working_dir=cwd)
    (rootfs / "leak").unlink()
    await box.create("sleep", "100")
    await box.start()
    with pytest.raises(SampanError, match="chdir to cwd"):
        await box.exec("true", working_dir="/proc/self/fd/7")


async def test_no_descriptor_of_ours_reaches_the_container(box: Box) -> None:
    code, out, _ = await box.run("ls", "-l", "/proc/self/fd")
    targets = [line.split(" -> ")[1] for line in out.decode().splitlines() if " -> " in line]
    assert (
        code == 0
        and len(targets) <= 4
        and all(target.startswith(("/dev/null", "pipe:", "/proc/")) for target in targets)
    )


async def test_a_joined_network_namespace_and_a_shared_shm(box: Box, tmp_path: Path, rootfs: Path) -> None:
    namespaces.create_netns(tmp_path / "netns")
    shared = shm.mount(box.bundle.path, 1 << 20)
    try:
        (shared / "note").write_text("shared")
        document = Container(id=box.bundle.id, path="sh", args=["-c", "cat /dev/shm/note; ls -L -i /proc/self/ns/net"])
        document.host_config = HostConfig(ipc_mode="shareable", network_mode="bridge")
        prepared = oci.Prepared(rootfs=rootfs, cgroup_parent=PARENT, netns=tmp_path / "netns", shm=shared)
        spec = oci.container_spec(document, prepared)
        await box.runtime.create(box.bundle, spec, tty=False, stdin=False, stdin_once=False, runtime="")
        stream = await box.attach()
        await box.start()
        out, _ = await read_all(stream)
        assert out.decode().startswith("shared") and str((tmp_path / "netns").stat().st_ino) in out.decode()
        await box.exit()
    finally:
        await box.runtime.delete(box.bundle, "")
        shm.unmount(box.bundle.path)
        namespaces.remove_netns(tmp_path / "netns")
    assert not any(str(tmp_path) in mount.mount_point for mount in mounts.mountinfo())


async def test_an_unknown_runtime_is_refused(runtime: Runtime) -> None:
    with pytest.raises(InvalidParameter, match="unknown or invalid runtime name: nope"):
        runtime.name("nope")
