"""The daemon goes away without a word; the next one finds what runs, what ended, and what was half made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sampan.containers import AttachOptions
from sampan.containers.model import Container, ExecConfig, PortBinding, RestartPolicy, Status
from sampan.errors import SampanError
from sampan.linux import mounts
from support.inprocess import InProcess

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.asyncio(loop_scope="function"),
]


@pytest_asyncio.fixture(loop_scope="function")
async def engine() -> AsyncIterator[InProcess]:
    process = await InProcess("ccrash").open()
    try:
        await process.load_busybox()
        yield process
    finally:
        await process.close()


async def ends(engine: InProcess, id: str) -> Container:
    for _ in range(400):
        container = engine.engine.containers.get(id)
        if container.state.status is Status.EXITED:
            return container
        await asyncio.sleep(0.01)
    raise AssertionError(container.state)


async def test_a_running_container_is_taken_over(engine: InProcess) -> None:
    script = "echo early; read line; echo got $line; exit 5"
    before = await engine.start(
        "sh", "-c", script, name="survivor", open_stdin=True, port_bindings={"80/tcp": [PortBinding()]}
    )
    await engine.crash_and_open()
    containers = engine.engine.containers
    after = containers.get("survivor")
    assert (after.state.status, after.state.pid) == (Status.RUNNING, before.state.pid)
    assert after.networking["bridge"].ip_address == before.networking["bridge"].ip_address != ""
    assert after.ports == before.ports != {}
    stream = await containers.attach("survivor", AttachOptions(stdin=True, stdout=True, logs=True))
    assert await stream.read() == (1, b"early\n")
    id = await containers.exec_create("survivor", ExecConfig(cmd=["echo", "hi"], attach_stdout=True))
    output = await containers.exec_start(id, detach=False)
    assert output is not None and await output.read() == (1, b"hi\n")
    await stream.write(b"on\n")
    assert await stream.read() == (1, b"got on\n")
    assert (await ends(engine, after.id)).state.exit_code == 5
    assert await engine.logs("survivor") == b"early\ngot on\n"


async def test_an_exit_nobody_saw_is_recorded_with_its_code(engine: InProcess) -> None:
    from support.inprocess import abandon

    container = await engine.start("sh", "-c", "sleep 0.3; exit 9", name="unseen")
    kept = await engine.start("sh", "-c", "sleep 0.3; exit 8", auto_remove=True)
    await abandon(engine.engine)
    await asyncio.sleep(0.6)
    await engine.open()
    after = engine.engine.containers.get("unseen")
    assert (after.state.status, after.state.exit_code) == (Status.EXITED, 9)
    assert after.state.finished_at >= container.state.started_at
    assert "die" in engine.events()
    assert kept.id not in [other.id for other in engine.engine.containers.all()], "--rm is honoured"
    assert list((engine.root / "run" / "containers").iterdir()) == []


async def test_a_container_whose_keeper_was_killed_is_cleared_away(engine: InProcess) -> None:
    from support.inprocess import abandon

    container = await engine.start("sleep", "100", name="orphan")
    await abandon(engine.engine)
    os.kill(container.state.conmon_pid, signal.SIGKILL)
    await asyncio.sleep(0.05)
    await engine.open()
    after = engine.engine.containers.get("orphan")
    assert after.state.status is Status.EXITED
    assert after.state.exit_code in (137, 255)
    for _ in range(100):
        if not os.path.exists(f"/proc/{container.state.pid}"):  # noqa: PTH110
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("its process still runs")
    await engine.engine.containers.start("orphan")


async def test_what_has_no_document_goes(engine: InProcess) -> None:
    """A daemon killed in the middle of a create, of a start, of a removal."""
    from support.inprocess import abandon

    snapshots = engine.engine.snapshots
    half_made, half_removed = "a" * 64, await engine.create("true", name="half")
    snapshots.prepare(half_made, engine.engine.images.resolve("busybox:latest").chain_id)
    bundle = engine.root / "run" / "containers" / half_made
    snapshots.mount(half_made, bundle / "rootfs")
    container = engine.engine.containers.get(half_removed)
    container.state.status = Status.REMOVING
    engine.engine.containers._context.documents.put(half_removed, container, "half")
    started = await engine.start("sleep", "100", name="untold")
    started.state.status = Status.CREATED  # killed between the runtime's start and the document
    started.state.pid = 0
    engine.engine.containers._context.documents.put(started.id, started, "untold")
    await abandon(engine.engine)
    await engine.open()
    assert not bundle.exists()
    assert [container.name for container in engine.engine.containers.all()] == ["untold"]
    assert engine.engine.containers.get("untold").state.status is Status.CREATED
    assert engine.engine.snapshots.keys() == [started.id]
    assert [path.name for path in (engine.root / "data" / "containers").iterdir()] == [started.id]
    await engine.engine.containers.start("untold")


async def test_policies_start_containers_with_the_daemon(engine: InProcess) -> None:
    from support.inprocess import abandon

    always = await engine.start("sleep", "100", restart_policy=RestartPolicy(name="always"))
    unless = await engine.start("sleep", "100", restart_policy=RestartPolicy(name="unless-stopped"))
    never = await engine.start("sleep", "100")
    for container in (always, unless, never):
        await engine.engine.containers.kill(container.id)
    await abandon(engine.engine)
    await engine.open()
    containers = engine.engine.containers
    for _ in range(200):
        if containers.get(always.id).state.running:
            break
        await asyncio.sleep(0.01)
    assert containers.get(always.id).state.running
    assert not containers.get(unless.id).state.running and not containers.get(never.id).state.running


async def test_execs_are_kept_account_of(engine: InProcess) -> None:
    from support.inprocess import abandon

    container = await engine.start("sleep", "100")
    containers = engine.engine.containers
    short = await containers.exec_create(container.id, ExecConfig(cmd=["sh", "-c", "sleep 0.3; exit 3"]))
    long = await containers.exec_create(container.id, ExecConfig(cmd=["sleep", "1"]))
    for id in (short, long):
        await containers.exec_start(id, detach=True)
    await abandon(engine.engine)
    await asyncio.sleep(0.5)
    await engine.open()
    containers = engine.engine.containers
    for _ in range(100):
        if containers.exec_get(short).exit_code is not None:
            break
        await asyncio.sleep(0.01)
    assert containers.exec_get(short).exit_code == 3
    assert containers.exec_get(long).running
    assert containers.get(container.id).exec_ids == [long]
    for _ in range(200):
        if containers.exec_get(long).exit_code is not None:
            break
        await asyncio.sleep(0.01)
    assert containers.exec_get(long).exit_code == 0


async def test_a_clean_end_leaves_containers_running(engine: InProcess) -> None:
    container = await engine.start("sleep", "100")
    await engine.engine.close()
    assert os.path.exists(f"/proc/{container.state.pid}")  # noqa: PTH110
    await engine.open()
    assert engine.engine.containers.get(container.id).state.status is Status.RUNNING


async def test_volumes_of_a_create_that_was_cut_short_go(engine: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.inprocess import abandon

    kept = engine.engine.volumes.create()
    creating = engine.engine.containers._creating

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:  # nothing that would undo it gets to run
        patch.setattr(creating, "_populate", killed)
        patch.setattr(creating._context.mounting, "abandon", lambda *_: None)
        patch.setattr(creating._context.intents, "delete", lambda *_: None)
        with pytest.raises(RuntimeError, match="killed"):
            await engine.create("true", volumes={"/etc": {}})
    assert len(engine.engine.volumes.all()) == 2
    await abandon(engine.engine)
    await engine.open()
    assert [volume.name for volume in engine.engine.volumes.all()] == [kept.name]


async def test_on_a_full_disk_nothing_new_is_made_and_what_is_there_can_be_stopped_and_removed() -> None:
    process = InProcess("cfull")
    data = process.root / "data"
    data.mkdir()
    mounts.mount("tmpfs", data, {"size": "200m"})
    try:
        await process.open()
        await process.load_busybox()
        running = await process.start("sleep", "100")
        ended = await process.create("true")
        filler = data / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 20)):
                pass
        with pytest.raises(SampanError, match="no space left on device"):
            await process.create("true")
        containers = process.engine.containers
        assert {container.id for container in containers.all()} == {running.id, ended}
        assert {path.name for path in (data / "snapshots").iterdir()} == {running.id, ended}
        await containers.stop(running.id, timeout=0)
        await containers.remove(ended)
        assert running.state.status is Status.EXITED
        filler.unlink()
        assert (await process.run("echo", "again", auto_remove=True))[1] == b"again\n"
    finally:
        (data / "filler").unlink(missing_ok=True)
        for container in process.engine.containers.all():
            await process.engine.containers.remove(container.id, force=True)
        await process.engine.close()
        mounts.unmount(data)
        shutil.rmtree(process.root)


async def test_a_wiped_exec_root_is_survived(engine: InProcess) -> None:
    """As after a reboot, but with processes and cgroups still there: somebody cleaned /run."""
    from support.inprocess import abandon

    container = await engine.start("sleep", "100", name="wiped", restart_policy=RestartPolicy(name="always"))
    await abandon(engine.engine)
    run = engine.root / "run"
    for mount in sorted(
        (m.mount_point for m in mounts.mountinfo() if m.mount_point.startswith(f"{run}/")), reverse=True
    ):
        mounts.unmount(mount)
    shutil.rmtree(run)
    await engine.open()
    for _ in range(200):
        after = engine.engine.containers.get("wiped")
        if after.state.running:
            break
        await asyncio.sleep(0.02)
    assert after.state.status is Status.RUNNING and after.state.pid != container.state.pid
    assert not os.path.exists(f"/proc/{container.state.pid}")  # noqa: PTH110
