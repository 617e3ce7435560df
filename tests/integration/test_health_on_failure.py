"""`--health-on-failure`: what follows when a container turns unhealthy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sampan.containers.model import Container, HealthcheckConfig, RestartPolicy, Status
from sampan.errors import Conflict, InvalidParameter
from support.inprocess import InProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
FAILS = HealthcheckConfig(test=["CMD-SHELL", "exit 1"], interval=20_000_000, retries=1)
SLEEP = ("sh", "-c", "trap exit TERM; sleep 600 & wait")


@pytest_asyncio.fixture(loop_scope="function")
async def engine() -> AsyncIterator[InProcess]:
    process = await InProcess("hof").open()
    try:
        await process.load_busybox()
        yield process
    finally:
        await process.close()


async def until(engine: InProcess, box: Container, *actions: str) -> None:
    for _ in range(500):
        if set(actions) <= set(engine.events()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError((engine.events(), box.state))


async def test_restart_starts_it_again_whatever_its_policy(engine: InProcess) -> None:
    box = await engine.start(*SLEEP, name="box", healthcheck=FAILS, health_on_failure="restart")
    await until(engine, box, "health_status: unhealthy", "die", "restart")
    assert box.restart_count >= 1


async def test_kill_leaves_the_rest_to_the_policy(engine: InProcess) -> None:
    alone = await engine.start(*SLEEP, name="alone", healthcheck=FAILS, health_on_failure="kill")
    await until(engine, alone, "health_status: unhealthy", "die")
    assert (alone.state.status, alone.state.exit_code) == (Status.EXITED, 137)
    policy = RestartPolicy(name="on-failure", maximum_retry_count=5)
    box = await engine.start(*SLEEP, name="box", healthcheck=FAILS, health_on_failure="kill", restart_policy=policy)
    for _ in range(500):
        if box.restart_count:
            break
        await asyncio.sleep(0.02)
    assert box.restart_count


async def test_stop_is_final(engine: InProcess) -> None:
    always = RestartPolicy(name="always")
    box = await engine.start(*SLEEP, name="box", healthcheck=FAILS, health_on_failure="stop", restart_policy=always)
    await until(engine, box, "health_status: unhealthy", "stop")
    assert box.state.status is Status.EXITED and box.state.manually_stopped and box.restart_count == 0


async def test_waiting_for_health(engine: InProcess) -> None:
    containers = engine.engine.containers
    late = HealthcheckConfig(test=["CMD-SHELL", "test -e /ready"], interval=20_000_000, retries=1000)
    await engine.start("sh", "-c", "sleep 0.3; touch /ready; sleep 600", name="box", healthcheck=late)
    assert await asyncio.wait_for(containers.wait("box", "healthy"), 20) == (0, None)
    assert await containers.wait("box", "healthy") == (0, None)
    await engine.start("sh", "-c", "sleep 0.3; exit 7", name="dies", healthcheck=late)
    code, error = await asyncio.wait_for(containers.wait("dies", "healthy"), 20)
    assert (code, error) == (7, "container dies ended before it was healthy")
    await engine.start(*SLEEP, name="plain")
    with pytest.raises(Conflict, match="container plain has no healthcheck"):
        await containers.wait("plain", "healthy")


async def test_without_it_an_unhealthy_container_runs_on(engine: InProcess) -> None:
    box = await engine.start(*SLEEP, name="box", healthcheck=FAILS)
    await until(engine, box, "health_status: unhealthy")
    assert box.state.status is Status.RUNNING
    with pytest.raises(InvalidParameter, match="invalid health-on-failure action 'reboot'"):
        await engine.create("true", health_on_failure="reboot")
