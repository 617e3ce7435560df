"""Containers from create to removal, on the real kernel, without HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sampan.containers import AttachOptions
from sampan.containers.model import ExecConfig, RestartPolicy, Status
from sampan.errors import Conflict, InvalidParameter, NotFound, NotModified, SampanError
from support.inprocess import InProcess

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[InProcess]:
    process = await InProcess("clife").open()
    try:
        await process.load_busybox()
        yield process
    finally:
        await process.close()


async def status_becomes(engine: InProcess, id: str, status: Status) -> None:
    for _ in range(400):
        if engine.engine.containers.get(id).state.status is status:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{engine.engine.containers.get(id).state}, not {status}")


async def test_run_gives_both_streams_and_the_exit_code(engine: InProcess) -> None:
    code, out, err = await engine.run("sh", "-c", "echo out; echo err >&2; exit 3", name="both")
    assert (code, out, err) == (3, b"out\n", b"err\n")
    state = engine.engine.containers.get("both").state
    assert (state.status, state.exit_code, state.pid) == (Status.EXITED, 3, 0)
    assert state.finished_at >= state.started_at > 0


async def test_rm_leaves_nothing(engine: InProcess) -> None:
    code, _, _ = await engine.run("true", name="gone", auto_remove=True, volumes={"/data": {}})
    assert code == 0
    with pytest.raises(NotFound, match="No such container: gone"):
        engine.engine.containers.get("gone")
    assert list((engine.root / "run" / "containers").iterdir()) == []
    assert engine.engine.volumes.all() == []


async def test_everything_printed_arrives_in_order(engine: InProcess) -> None:
    code, out, _ = await engine.run("sh", "-c", "seq 1 200000", auto_remove=True)
    assert code == 0
    assert out == b"".join(b"%d\n" % number for number in range(1, 200001))


async def test_a_failed_start_undoes_everything_and_tells_why(engine: InProcess) -> None:
    id = await engine.create("nosuch", name="broken")
    with pytest.raises(SampanError, match=r'exec: "nosuch": executable file not found in \$PATH'):
        await engine.engine.containers.start(id)
    state = engine.engine.containers.get(id).state
    assert (state.status, state.exit_code) == (Status.CREATED, 127)
    assert "executable file not found" in state.error
    assert not (engine.root / "run" / "containers" / id).exists()


async def test_a_name_belongs_to_one_container(engine: InProcess) -> None:
    first, second = await asyncio.gather(
        engine.create("true", name="twin"), engine.create("true", name="twin"), return_exceptions=True
    )
    assert isinstance(first, str)
    assert isinstance(second, Conflict)
    assert second.message == (
        f'Conflict. The container name "/twin" is already in use by container "{first}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    await engine.engine.containers.rename(first, "other")
    await engine.create("true", name="twin")


async def test_stop_kills_after_the_timeout(engine: InProcess) -> None:
    container = await engine.start("sh", "-c", "trap '' TERM; sleep 100 & wait; sleep 100")
    await asyncio.sleep(0.1)
    await engine.engine.containers.stop(container.id, timeout=0)
    assert (container.state.status, container.state.exit_code) == (Status.EXITED, 137)
    with pytest.raises(NotModified):
        await engine.engine.containers.stop(container.id)


async def test_stop_sends_the_stop_signal_and_waits(engine: InProcess) -> None:
    script = "trap 'exit 7' USR1; while :; do sleep 0.05; done"
    container = await engine.start("sh", "-c", script, stop_signal="SIGUSR1")
    await asyncio.sleep(0.2)
    await engine.engine.containers.stop(container.id)
    assert container.state.exit_code == 7


async def test_a_stop_that_waits_blocks_nobody(engine: InProcess) -> None:
    container = await engine.start("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    await asyncio.sleep(0.1)
    stopping = asyncio.ensure_future(engine.engine.containers.stop(container.id, timeout=-1))
    await asyncio.sleep(0.05)
    assert container.state.status is Status.RUNNING
    await engine.engine.containers.exec_create(container.id, ExecConfig(cmd=["true"]))
    await engine.engine.containers.kill(container.id)
    await asyncio.wait_for(stopping, 5)


async def test_kill_and_pause_refuse_what_does_not_run(engine: InProcess) -> None:
    containers = engine.engine.containers
    id = await engine.create("true")
    for refused in (containers.kill(id), containers.pause(id), containers.exec_create(id, ExecConfig(cmd=["true"]))):
        with pytest.raises(Conflict, match=f"container {id} is not running"):
            await refused
    with pytest.raises(InvalidParameter, match="invalid signal: FOO"):
        await containers.kill(id, "FOO")


async def test_pause_freezes_and_kill_ends_a_paused_one(engine: InProcess) -> None:
    containers = engine.engine.containers
    container = await engine.start("sleep", "100")
    await containers.pause(container.id)
    assert container.state.status is Status.PAUSED and container.state.running
    with pytest.raises(Conflict, match="is already paused"):
        await containers.pause(container.id)
    with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
        await containers.exec_create(container.id, ExecConfig(cmd=["true"]))
    with pytest.raises(Conflict, match="container is paused and must be unpaused first"):
        await containers.remove(container.id)
    await containers.kill(container.id)
    assert (container.state.status, container.state.exit_code) == (Status.EXITED, 137)


async def test_a_running_container_is_removed_by_force_only(engine: InProcess) -> None:
    container = await engine.start("sleep", "100", name="stubborn")
    with pytest.raises(Conflict) as refusal:
        await engine.engine.containers.remove("stubborn")
    assert refusal.value.message == (
        'cannot remove container "stubborn": container is running: stop the container before removing or force remove'
    )
    await engine.engine.containers.remove(container.id, force=True)
    assert container.id not in [other.id for other in engine.engine.containers.all()]


async def test_on_failure_restarts_so_many_times(engine: InProcess) -> None:
    container = await engine.start(
        "sh", "-c", "exit 5", restart_policy=RestartPolicy(name="on-failure", maximum_retry_count=2)
    )
    await status_becomes(engine, container.id, Status.EXITED)
    assert (container.restart_count, container.state.exit_code) == (2, 5)


async def test_a_container_that_waits_for_its_restart_can_be_stopped_and_removed(engine: InProcess) -> None:
    containers = engine.engine.containers
    container = await engine.start("false", restart_policy=RestartPolicy(name="always"))
    for _ in range(3):
        await status_becomes(engine, container.id, Status.RESTARTING)
        await asyncio.sleep(0.15)
    await containers.stop(container.id)
    assert container.state.status is Status.EXITED
    await asyncio.sleep(1)
    assert container.state.status is Status.EXITED
    await containers.start(container.id)
    await containers.remove(container.id, force=True)


async def test_restart_by_hand_keeps_an_auto_remove_container(engine: InProcess) -> None:
    container = await engine.start("sleep", "100", auto_remove=True)
    first = container.state.pid
    await engine.engine.containers.restart(container.id, timeout=0)
    assert container.state.status is Status.RUNNING and container.state.pid != first
    await engine.engine.containers.kill(container.id)
    for _ in range(100):
        if container.id not in [other.id for other in engine.engine.containers.all()]:
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("not removed")


async def test_clients_attached_before_and_after_the_start_get_the_output(engine: InProcess) -> None:
    containers = engine.engine.containers
    id = await engine.create("sh", "-c", "read line; echo got $line; cat", open_stdin=True, stdin_once=True)
    first = await containers.attach(id, AttachOptions(stdin=True, stdout=True))
    await containers.start(id)
    second = await containers.attach(id, AttachOptions(stdout=True))
    await first.write(b"one\n")
    assert await first.read() == (1, b"got one\n")
    await first.write(b"two\n")
    assert await first.read() == (1, b"two\n")
    await first.close_input()
    assert await first.read() is None
    seen = b""
    while (chunk := await second.read()) is not None:
        seen += chunk[1]
    assert seen.endswith(b"two\n")
    assert await containers.wait(id) == (0, None)


async def test_exec_has_streams_and_an_exit_code_when_its_stream_ends(engine: InProcess) -> None:
    containers = engine.engine.containers
    container = await engine.start("sleep", "100")
    config = ExecConfig(
        cmd=["sh", "-c", "id -un; pwd; echo $X; cat; exit 4"],
        user="nobody",
        working_dir="/tmp",
        env=["X=y"],
        attach_stdin=True,
        attach_stdout=True,
        attach_stderr=True,
    )
    id = await containers.exec_create(container.id, config)
    stream = await containers.exec_start(id, detach=False)
    assert stream is not None and container.exec_ids == [id]
    await stream.write(b"in\n")
    await stream.close_input()
    out = b""
    while (chunk := await stream.read()) is not None:
        out += chunk[1]
    assert out == b"nobody\n/tmp\ny\nin\n"
    assert (containers.exec_get(id).exit_code, containers.exec_get(id).running) == (4, False)
    assert container.exec_ids == []
    with pytest.raises(Conflict, match="has already run"):
        await containers.exec_start(id, detach=False)


async def test_exec_of_an_unknown_command_fails_and_leaves_a_code(engine: InProcess) -> None:
    containers = engine.engine.containers
    container = await engine.start("sleep", "100")
    id = await containers.exec_create(container.id, ExecConfig(cmd=["nosuch"], attach_stdout=True))
    with pytest.raises(SampanError, match="executable file not found"):
        await containers.exec_start(id, detach=False)
    assert containers.exec_get(id).exit_code in (126, 127)


async def test_a_detached_exec_ends_by_itself(engine: InProcess) -> None:
    containers = engine.engine.containers
    container = await engine.start("sleep", "100")
    id = await containers.exec_create(container.id, ExecConfig(cmd=["sh", "-c", "sleep 0.1; exit 9"]))
    assert await containers.exec_start(id, detach=True) is None
    for _ in range(200):
        if containers.exec_get(id).exit_code is not None:
            break
        await asyncio.sleep(0.01)
    assert containers.exec_get(id).exit_code == 9


async def test_wait_for_removal_gets_the_exit_code(engine: InProcess) -> None:
    containers = engine.engine.containers
    id = await engine.create("sh", "-c", "exit 6")
    waiting = asyncio.ensure_future(containers.wait(id, "removed"))
    await asyncio.sleep(0)
    await containers.start(id)
    assert (await containers.wait(id))[0] == 6
    assert not waiting.done()
    await containers.remove(id)
    assert (await waiting)[0] == 6


async def test_a_container_joins_the_namespaces_of_another(engine: InProcess) -> None:
    first = await engine.start("sleep", "100", ipc_mode="shareable", hostname="shared")
    links = {kind: str(Path(f"/proc/{first.state.pid}/ns/{kind}").readlink()) for kind in ("net", "pid", "ipc")}
    joined = f"container:{first.name}"
    second = await engine.start("sleep", "100", network_mode=joined, pid_mode=joined, ipc_mode=joined)
    assert second.host_config.network_mode == f"container:{first.id}"
    assert {kind: str(Path(f"/proc/{second.state.pid}/ns/{kind}").readlink()) for kind in links} == links
    await engine.engine.containers.kill(first.id)
    with pytest.raises(Conflict, match="non running container"):
        await engine.start("true", network_mode=f"container:{first.id}")


async def test_volumes_are_filled_shared_and_removed_with_v(engine: InProcess) -> None:
    containers = engine.engine.containers
    container = await engine.start("sleep", "100", volumes={"/etc": {}})
    (point,) = container.mounts
    assert (Path(point.source) / "passwd").read_text().startswith("root:")
    code, out, _ = await engine.run("head", "-c4", "/etc/passwd", volumes_from=[container.id])
    assert (code, out) == (0, b"root")
    assert [volume.name for volume in engine.engine.volumes.all()] == [point.name]
    for other in containers.all():
        if any(mount.name == point.name for mount in other.mounts):
            await containers.remove(other.id, force=True, volumes=True)
    assert engine.engine.volumes.all() == []


async def test_a_resize_waits_for_the_execs_process(engine: InProcess) -> None:
    """aiodocker sends it as soon as the start is answered, which is before there is a process."""
    containers = engine.engine.containers
    container = await engine.start("sleep", "100")
    words = ["sh", "-c", "until stty size | grep 11; do :; done"]
    id = await containers.exec_create(container.id, ExecConfig(cmd=words, tty=True, attach_stdout=True))
    resizing = asyncio.ensure_future(containers.exec_resize(id, 11, 22))
    await asyncio.sleep(0)
    assert not resizing.done()
    stream = await containers.exec_start(id, detach=False)
    assert stream is not None
    await resizing
    said = b""
    while (item := await stream.read()) is not None:
        said += item[1]
    assert b"11 22" in said
    await stream.close()


async def test_right_after_a_start_the_program_is_there_to_be_looked_at_and_signalled(engine: InProcess) -> None:
    containers = engine.engine.containers
    for _ in range(3):
        container = await engine.start("sleep", "100")
        (row,) = (await containers.top(container.id)).rows
        assert row[-1] == "sleep 100"
        container = await engine.start("sleep", "100")
        await containers.kill(container.id, "HUP")  # no handler, so pid 1 does not hear it
        assert Path(f"/proc/{container.state.pid}/cmdline").read_bytes() == b"sleep\x00100\0"


async def test_events_tell_the_story_in_order(engine: InProcess) -> None:
    since = engine.engine.events.history(0)[-1].time + 1
    container = await engine.start("sleep", "100", name="story", labels={"a": "b"})
    await engine.engine.containers.stop(container.id, timeout=0)
    await engine.engine.containers.remove(container.id)
    told = engine.engine.events.history(since)
    actions = [event.action for event in told]
    assert actions.index("disconnect") < actions.index("die"), "who hears of the end may count on the taking down"
    story = [event for event in told if event.type == "container"]
    assert [event.action for event in story] == ["create", "start", "kill", "kill", "die", "stop", "destroy"]
    assert {event.attributes["name"] for event in story} == {"story"}
    assert story[0].attributes["a"] == "b"
    assert [event.attributes.get("signal") for event in story][2:4] == ["15", "9"]
    assert story[4].attributes["exitCode"] == "137"
