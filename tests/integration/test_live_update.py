"""`update --publish-add/-rm --mount-add/-rm`: ports and mounts of a container while it runs, and what survives what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sampan.containers.life.changes import Changes
from sampan.containers.life.updating import Updating
from sampan.containers.model import Changing, Container, ExecConfig, HostConfig, Mount, PortBinding
from sampan.errors import Conflict, InvalidParameter, SampanError
from sampan.linux import mounts
from support.daemon import SAMPAN, Daemon
from support.images import busybox_archive
from support.inprocess import InProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SERVE = ("sh", "-c", "while :; do echo answer | nc -l -p 80; done")


@pytest_asyncio.fixture(loop_scope="function")
async def engine() -> AsyncIterator[InProcess]:
    process = await InProcess("live").open()
    try:
        await process.load_busybox()
        yield process
    finally:
        await process.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def answers(port: int, host: str = "127.0.0.1") -> bool:
    for _ in range(40):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2)
            data = await asyncio.wait_for(reader.read(), 2)
            writer.close()
            if data:
                return data == b"answer\n"
        await asyncio.sleep(0.05)
    return False


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def update(engine: InProcess, ref: str, **given: Any) -> None:
    await engine.engine.containers.update(ref, HostConfig(), frozenset(), Changes(**given))


def at(port: int | str) -> dict[str, list[PortBinding] | None]:
    return {"80/tcp": [PortBinding(host_port=str(port))]}


def volume(name: str, target: str = "/data", **more: Any) -> Mount:
    return Mount(type="volume", source=name, target=target, **more)


async def inside(engine: InProcess, ref: str, script: str) -> str:
    containers = engine.engine.containers
    id = await containers.exec_create(ref, ExecConfig(cmd=["sh", "-c", script], attach_stdout=True, attach_stderr=True))
    stream = await containers.exec_start(id, detach=False)
    assert stream is not None
    said = b""
    while (piece := await stream.read()) is not None:
        said += piece[1]
    return said.decode().strip()


def mounted(container: Container, destination: str) -> list[str]:
    """The options of what is mounted there, last first."""
    found = [m for m in mounts.mountinfo(container.state.pid) if m.mount_point == destination]
    return [",".join(m.options) for m in reversed(found)]


# -- ports -------------------------------------------------------------------------------------------


async def test_a_port_is_published_while_the_container_runs(engine: InProcess) -> None:
    first, second = free_port(), free_port()
    box = await engine.start(*SERVE, name="web", port_bindings=at(first))
    await update(engine, "web", publish_add=at(second))
    assert await answers(first) and await answers(second) and await answers(second, "::1")
    assert {b.host_port for b in box.ports["80/tcp"]} == {str(first), str(second)}
    await update(engine, "web", publish_rm=at(first))
    assert await refuses(first) and await answers(second)
    assert box.host_config.port_bindings == at(second)
    await engine.engine.containers.restart("web", timeout=0)
    assert await answers(second) and await refuses(first)


async def test_a_taken_port_changes_nothing(engine: InProcess) -> None:
    mine, theirs = free_port(), free_port()
    box = await engine.start(*SERVE, name="web", port_bindings=at(mine))
    before, live = box.host_config.port_bindings, dict(box.ports)
    with socket.socket() as other:
        other.bind(("0.0.0.0", theirs))
        other.listen()
        with pytest.raises(SampanError, match="failed to bind host port for 0.0.0.0"):
            await update(engine, "web", publish_add=at(theirs), publish_rm=at(mine))
    assert (box.host_config.port_bindings, box.ports) == (before, live)
    assert await answers(mine) and await answers(mine, "::1")


async def test_published_ports_outlive_the_daemon_and_are_taken_again(engine: InProcess) -> None:
    port = free_port()
    await engine.start(*SERVE, name="web")
    await update(engine, "web", publish_add=at(port))
    await engine.crash_and_open()
    assert await answers(port)
    await update(engine, "web", publish_rm={"80/tcp": [PortBinding()]})
    assert await refuses(port)
    await engine.start(*SERVE, name="other", port_bindings=at(port))


async def test_a_network_without_a_way_out_publishes_nothing(engine: InProcess) -> None:
    from sampan.networks import Network

    await engine.engine.networks.create(Network(name="closed", internal=True))
    box = await engine.start(*SERVE, name="web", network_mode="closed")
    with pytest.raises(Conflict, match="none of its networks has a way to the outside"):
        await update(engine, "web", publish_add=at(free_port()))
    assert not box.host_config.port_bindings and box.changing is None
    await engine.engine.containers.remove("web", force=True)
    await engine.engine.networks.remove("closed")


# -- mounts ------------------------------------------------------------------------------------------


async def test_a_volume_comes_and_goes_while_the_container_runs(engine: InProcess) -> None:
    box = await engine.start("sleep", "600", name="box")
    await update(engine, "box", mount_add=[volume("data")])
    assert await inside(engine, "box", "echo kept >/data/f; cat /data/f") == "kept"
    assert engine.engine.volumes.in_use("data")
    assert [(p.type, p.name, p.destination) for p in box.mounts] == [("volume", "data", "/data")]
    await engine.engine.containers.restart("box", timeout=0)
    assert await inside(engine, "box", "cat /data/f") == "kept"
    await update(engine, "box", mount_rm=["/data"])
    assert await inside(engine, "box", "ls -a /data") == ".\n.."
    assert not box.mounts and not engine.engine.volumes.in_use("data")
    assert (engine.engine.volumes.mountpoint("data") / "f").read_text() == "kept\n"


async def test_a_new_volume_gets_what_the_container_has_there(engine: InProcess) -> None:
    await engine.start("sh", "-c", "mkdir /site; echo one >/site/index; sleep 600", name="box")
    await inside(engine, "box", "until [ -e /site/index ]; do sleep 0.05; done")
    await update(engine, "box", mount_add=[volume("site", "/site")])
    assert await inside(engine, "box", "cat /site/index") == "one"
    assert (engine.engine.volumes.mountpoint("site") / "index").exists()


async def test_binds_files_tmpfs_and_read_only_roots(engine: InProcess, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("told")
    box = await engine.start("sleep", "600", name="box", readonly_rootfs=True)
    await update(
        engine,
        "box",
        mount_add=[
            Mount(type="bind", source=str(tmp_path), target="/deep/down", read_only=True),
            Mount(type="bind", source=str(tmp_path / "file"), target="/etc/one"),
            Mount(type="tmpfs", target="/scratch"),
        ],
    )
    assert await inside(engine, "box", "cat /deep/down/file /etc/one; touch /deep/down/x") == (
        "toldtoldtouch: /deep/down/x: Read-only file system"
    )
    assert await inside(engine, "box", "touch /scratch/x && echo done") == "done"
    assert {"nosuid", "nodev", "noexec"} < set(mounted(box, "/scratch")[0].split(","))


async def test_a_mount_takes_the_place_of_another(engine: InProcess) -> None:
    box = await engine.start("sleep", "600", name="box", mounts=[volume("old")])
    await update(engine, "box", mount_rm=["/data"], mount_add=[volume("new", read_only=True)])
    assert len(mounted(box, "/data")) == 1 and mounted(box, "/data")[0].startswith("ro")
    assert not engine.engine.volumes.in_use("old") and engine.engine.volumes.in_use("new")


async def test_a_mount_in_use_stays(engine: InProcess) -> None:
    box = await engine.start("sh", "-c", "cd /data; sleep 600", name="box", mounts=[volume("v1"), volume("v2", "/two")])
    await inside(engine, "box", "until [ $(readlink /proc/1/cwd) = /data ]; do sleep 0.05; done")
    with pytest.raises(Conflict, match="it is in use by a process of the container"):
        await update(engine, "box", mount_rm=["/two", "/data"], mount_add=[volume("v3", "/three")])
    assert len(mounted(box, "/data")) == len(mounted(box, "/two")) == 1 and not mounted(box, "/three")
    assert [p.destination for p in box.mounts] == ["/data", "/two"] and box.changing is None
    assert await inside(engine, "box", "touch /two/x; ls /two") == "x"
    assert (engine.engine.volumes.mountpoint("v2") / "x").exists()
    assert not engine.engine.volumes.in_use("v3")


async def test_links_of_the_container_lead_nowhere_else(engine: InProcess) -> None:
    script = "ln -s /proc/sys /knobs; mkdir /real; ln -s /real /link; ln -s ../../../../../../etc /out; sleep 600"
    box = await engine.start("sh", "-c", script, name="box")
    await inside(engine, "box", "until [ -L /out ]; do sleep 0.05; done")
    await update(engine, "box", mount_add=[volume("v1", "/link")])
    assert len(mounted(box, "/real")) == 1
    await update(engine, "box", mount_rm=["/link"])
    assert not mounted(box, "/real")
    with pytest.raises(InvalidParameter, match="it is inside /proc"):
        await update(engine, "box", mount_add=[Mount(type="tmpfs", target="/knobs")])
    with pytest.raises(InvalidParameter, match="it would hide the mount at /etc/host"):
        await update(engine, "box", mount_add=[Mount(type="tmpfs", target="/out")])
    assert not [m for m in mounts.mountinfo() if m.mount_point == "/etc"]


async def test_a_mount_inside_another_goes_first(engine: InProcess) -> None:
    box = await engine.start("sleep", "600", name="box")
    await update(engine, "box", mount_add=[volume("v2", "/one/two"), volume("v1", "/one")])
    with pytest.raises(Conflict, match="another one is inside it, at /one/two"):
        await update(engine, "box", mount_rm=["/one"])
    await update(engine, "box", mount_rm=["/one", "/one/two"])
    assert not mounted(box, "/one") and not mounted(box, "/one/two")


async def test_a_stopped_container_has_them_from_its_next_start(engine: InProcess) -> None:
    port = free_port()
    box = await engine.start(*SERVE, name="web", mounts=[volume("old")])
    await engine.engine.containers.stop("web", timeout=0)
    await update(engine, "web", publish_add=at(port), mount_rm=["/data"], mount_add=[volume("etc", "/etc2")])
    assert box.changing is None and not box.ports
    await engine.engine.containers.start("web")
    assert await answers(port)
    assert mounted(box, "/etc2") and not mounted(box, "/data")


# -- a daemon that is killed in between ----------------------------------------------------------------


@pytest.mark.parametrize("done", [False, True], ids=["before the kernel", "after the kernel"])
async def test_a_killed_daemon_finishes_what_it_began(
    engine: InProcess, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    old, new = free_port(), free_port()
    box = await engine.start(*SERVE, name="web", port_bindings=at(old), mounts=[volume("old")])
    if not done:

        async def nothing(*_: object) -> None: ...

        monkeypatch.setattr(Updating, "_carry_out", nothing)
    given: dict[str, Any] = {"mount_rm": ["/data"], "mount_add": [volume("new"), volume("two", "/two")]}
    await update(engine, "web", publish_rm=at(old), publish_add=at(new), **given)
    monkeypatch.undo()
    box.changing = Changing(unmount=["/data"], mount=["/data", "/two"])
    record = engine.engine.containers._context.roster.find("web")
    engine.engine.containers._context.save(record)
    await engine.crash_and_open()
    box = engine.engine.containers.get("web")
    assert box.changing is None
    assert await refuses(old) and await answers(new)
    assert {b.host_port for b in box.ports["80/tcp"]} == {str(new)}
    assert len(mounted(box, "/data")) == len(mounted(box, "/two")) == 1
    await inside(engine, "web", "touch /data/here /two/here")
    volumes = engine.engine.volumes
    assert (volumes.mountpoint("new") / "here").exists() and (volumes.mountpoint("two") / "here").exists()
    assert not volumes.in_use("old")


async def test_a_daemon_killed_between_the_kernel_and_the_document_makes_them_agree(
    engine: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = await engine.start("sleep", "600", name="box", memory=64 << 20, memory_swap=-1)
    reached, real = asyncio.Event(), Updating._limit

    async def limit_and_hang(self: Updating, *arguments: Any) -> None:
        await real(self, *arguments)
        reached.set()
        await asyncio.Event().wait()

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Updating, "_limit", limit_and_hang)
    monkeypatch.setattr(Updating, "_limits_as_before", nothing)
    wanted = HostConfig(memory=128 << 20, memory_swap=-1)
    changing = asyncio.ensure_future(
        engine.engine.containers.update("box", wanted, frozenset({"memory", "memoryswap"}), Changes())
    )
    await asyncio.wait_for(reached.wait(), 20)
    assert memory_limit(box) == 128 << 20
    monkeypatch.undo()
    await engine.crash_and_open()
    changing.cancel()
    box = engine.engine.containers.get("box")
    assert memory_limit(box) == box.host_config.memory == 64 << 20
    assert box.changing is None


async def test_a_cpu_quota_comes_and_goes(engine: InProcess) -> None:
    box = await engine.start("sleep", "600", name="box", cpu_quota=-1)
    limits = [in_cgroup(box, "cpu", "cpu.cfs_quota_us", "cpu.max")]
    for quota in (20_000, -1):
        await engine.engine.containers.update("box", HostConfig(cpu_quota=quota), frozenset({"cpuquota"}), Changes())
        limits.append(in_cgroup(box, "cpu", "cpu.cfs_quota_us", "cpu.max"))
    assert limits[0] in ("-1", "max") and limits == [limits[0], "20000", limits[0]]


async def test_what_contradicts_earlier_limits_is_refused_in_dockerds_words(engine: InProcess) -> None:
    await engine.create("true", name="box", nano_cpus=10**9)
    for wanted, words in (
        (HostConfig(memory=64 << 20), "Memory limit should be smaller than already set memoryswap limit"),
        (HostConfig(cpu_quota=1000), "CPU Quota cannot be updated as NanoCPUs has already been set"),
    ):
        with pytest.raises(Conflict, match=f"Cannot update container [0-9a-f]{{64}}: .*{words}"):
            await engine.engine.containers.update("box", wanted, frozenset({"memory", "cpuquota"}), Changes())


def memory_limit(container: Container) -> int:
    return int(in_cgroup(container, "memory", "memory.limit_in_bytes", "memory.max"))


def in_cgroup(container: Container, controller: str, v1: str, v2: str) -> str:
    """The first word of a file in the container's cgroup."""
    for line in Path(f"/proc/{container.state.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for tree, name in ((controller, v1), ("", v2)):
            place = Path("/sys/fs/cgroup") / tree / path.strip("/") / name
            if tree in controllers.split(",") and place.exists():
                return place.read_text().split()[0]
    raise AssertionError(f"no {controller} controller")


# -- by the client -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Iterator[Daemon]:
    daemon = Daemon("liveu")
    daemon.client = SAMPAN
    try:
        daemon.start()
        daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


def test_the_client_and_inspect(served: Daemon) -> None:
    served.ok("run", "-d", "--name", "web", "busybox", "sleep", "600")
    port = free_port()
    served.ok("update", "--publish-add", f"127.0.0.1:{port}:80", "--mount-add", "type=volume,src=data,dst=/data", "web")
    shown = json.loads(served.ok("inspect", "web"))[0]
    wanted = [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
    assert shown["HostConfig"]["PortBindings"] == {"80/tcp": wanted} == shown["NetworkSettings"]["Ports"]
    assert shown["HostConfig"]["Mounts"] == [{"Type": "volume", "Source": "data", "Target": "/data"}]
    assert shown["Mounts"][0]["Name"] == "data"
    served.kill()
    served.start()
    assert json.loads(served.ok("inspect", "web"))[0]["Mounts"] == shown["Mounts"]
    served.ok("update", "--publish-rm", f"{port}:80", "--mount-rm", "/data", "web")
    shown = json.loads(served.ok("inspect", "web"))[0]
    assert shown["Mounts"] == [] and shown["NetworkSettings"]["Ports"] == {}
    for wrong, message in (
        (("--mount-rm", "/data"), "container web has no mount at /data"),
        (("--publish-rm", "1:80"), "port 1:80/tcp is not published by container web"),
        (("--mount-add", "type=bind,src=/,dst=/"), "destination can't be '/'"),
        (("--mount-add", "type=bind,src=/not/there,dst=/x"), "bind source path does not exist: /not/there"),
    ):
        result = served.cli("update", *wrong, "web")
        assert result.returncode == 1 and message in result.stderr
    served.ok("rm", "-f", "web")
