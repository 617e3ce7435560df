"""Logs of real containers: followed, rotated, with and without a driver that keeps them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from sampan.containers import LogOptions
from sampan.containers.model import LogConfig
from sampan.errors import NotSupported, SampanError
from support.inprocess import InProcess
from support.log_servers import JournalSocket, LogServer

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[InProcess]:
    process = await InProcess("clogs").open()
    try:
        await process.load_busybox()
        yield process
    finally:
        await process.close()


async def test_follow_gives_everything_and_ends_with_the_container(engine: InProcess) -> None:
    container = await engine.start("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; printf end")
    assert await asyncio.wait_for(engine.logs(container.id, follow=True), 10) == b"1\n2\n3\nend"


async def test_a_line_longer_than_any_buffer_comes_back_whole(engine: InProcess) -> None:
    await engine.run("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo next", name="long")
    assert await engine.logs("long") == b"x" * 100000 + b"\nnext\n"
    assert await engine.logs("long", tail=1) == b"next\n"
    stamped = await engine.logs("long", timestamps=True)
    assert stamped.count(b"Z ") == 2


async def test_what_is_asked_for_while_it_prints_is_whole_lines(engine: InProcess) -> None:
    container = await engine.start("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done")
    seen = await asyncio.wait_for(engine.logs(container.id, follow=True), 20)
    assert seen == b"".join(b"%d\n" % number for number in range(1, 20001))


async def test_logs_rotate_and_the_follower_misses_nothing(engine: InProcess) -> None:
    script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i $(head -c 900 /dev/zero | tr '\\0' x); sleep 0.05; done"
    rule = LogConfig(type="json-file", config={"max-size": "10k", "max-file": "3"})
    container = await engine.start("sh", "-c", script, log_config=rule)
    seen = await asyncio.wait_for(engine.logs(container.id, follow=True), 30)
    assert [int(line.split()[0]) for line in seen.splitlines()] == list(range(1, 61))
    log = Path(container.log_path)
    assert log.with_name("container.log.1").exists() and log.with_name("container.log.2").exists()
    assert not log.with_name("container.log.3").exists()
    kept = await engine.logs(container.id)
    assert seen.endswith(kept) and 10_000 < len(kept) < len(seen)


@pytest.mark.parametrize("driver", ["json-file", "local"])
async def test_compressed_logs_are_read_as_others(engine: InProcess, driver: str) -> None:
    script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i $(head -c 900 /dev/zero | tr '\\0' x); sleep 0.05; done"
    rule = LogConfig(type=driver, config={"max-size": "10k", "max-file": "9", "compress": "true"})
    container = await engine.start("sh", "-c", script, log_config=rule)
    seen = await asyncio.wait_for(engine.logs(container.id, follow=True), 30)
    assert [int(line.split()[0]) for line in seen.splitlines()] == list(range(1, 61))
    log = Path(container.log_path)
    for _ in range(100):
        if not log.with_name("container.log.1").exists():
            break
        await asyncio.sleep(0.05)
    assert log.with_name("container.log.1.gz").exists() and log.with_name("container.log.2.gz").exists()
    assert sorted(path.suffix for path in log.parent.glob("container.log.*")) == [".gz"] * len(
        list(log.parent.glob("container.log.*"))
    )
    assert await engine.logs(container.id) == seen
    assert (await engine.logs(container.id, tail=40)).splitlines() == seen.splitlines()[-40:]


async def test_the_daemon_s_log_options_are_checked_at_its_start() -> None:
    process = InProcess("clogopts")
    process.settings = msgspec.structs.replace(process.settings, log_options={"bogus": "1"})
    with pytest.raises(SampanError) as failure:
        await process.open()
    assert failure.value.message == "failed to set log opts: unknown log opt 'bogus' for json-file log driver"
    process.settings = msgspec.structs.replace(process.settings, log_options={"max-size": "1m"})
    await process.open()
    try:
        await process.load_busybox()
        made = process.engine.containers.get(await process.create("true"))
        assert made.host_config.log_config == LogConfig(type="json-file", config={"max-size": "1m"})
    finally:
        await process.close()


async def test_driver_none_keeps_nothing_and_says_so(engine: InProcess) -> None:
    code, out, _ = await engine.run("echo", "hi", name="silent", log_config=LogConfig(type="none"))
    assert (code, out) == (0, b"hi\n")
    with pytest.raises(SampanError, match="configured logging driver does not support reading"):
        await engine.logs("silent")
    with pytest.raises(NotSupported, match="no log driver named 'awslogs' is registered"):
        await engine.create("true", log_config=LogConfig(type="awslogs"))


async def test_labels_and_variables_are_chosen_by_pattern_too(engine: InProcess) -> None:
    rule = LogConfig(type="json-file", config={"labels-regex": "^ti", "env-regex": "AGE$"})
    labels, env = {"tier": "web", "other": "x"}, ["STAGE=a", "NO=b"]
    await engine.run("echo", "hi", name="patterned", log_config=rule, labels=labels, env=env)
    options = LogOptions(stdout=True, details=True)
    lines = [line.data async for batch in engine.engine.containers.logs("patterned", options) for line in batch]
    assert b"".join(lines) == b"STAGE=a,tier=web hi\n"


async def test_details_are_the_labels_and_variables_that_were_named(engine: InProcess) -> None:
    rule = LogConfig(type="json-file", config={"labels": "tier", "env": "STAGE"})
    await engine.run("echo", "hi", name="detailed", log_config=rule, labels={"tier": "web"}, env=["STAGE=a"])
    options = LogOptions(stdout=True, details=True)
    lines = [line.data async for batch in engine.engine.containers.logs("detailed", options) for line in batch]
    assert b"".join(lines) == b"STAGE=a,tier=web hi\n"


async def test_journald_gets_dockers_fields(engine: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampan.containers.logs.remote.journald.SOCKET", str(tmp_path / "journal"))
    rule = LogConfig(type="journald", config={"labels": "my.tier", "tag": "{{.Name}}"})
    with pytest.raises(SampanError, match="failed to initialize logging driver: journald is not enabled on this host"):
        await engine.start("true", log_config=rule)
    journal = JournalSocket(tmp_path / "journal")
    try:
        script = "echo hi; sleep 0.1; head -c 20000 /dev/zero | tr '\\0' x >&2"
        container = await engine.start("sh", "-c", script, name="jd", log_config=rule, labels={"my.tier": "web"})
        entries = [await asyncio.to_thread(journal.entry) for _ in range(3)]
    finally:
        journal.close()
    assert entries[0] | {"SYSLOG_TIMESTAMP": b"", "CONTAINER_LOG_EPOCH": b""} == {
        "MESSAGE": b"hi",
        "PRIORITY": b"6",
        "CONTAINER_ID": container.id[:12].encode(),
        "CONTAINER_ID_FULL": container.id.encode(),
        "CONTAINER_NAME": b"jd",
        "CONTAINER_TAG": b"jd",
        "SYSLOG_IDENTIFIER": b"jd",
        "IMAGE_NAME": b"busybox:latest",
        "MY_TIER": b"web",
        "CONTAINER_LOG_ORDINAL": b"1",
        "SYSLOG_TIMESTAMP": b"",
        "CONTAINER_LOG_EPOCH": b"",
    }
    assert [(len(one["MESSAGE"]), one["PRIORITY"], one["CONTAINER_PARTIAL_LAST"]) for one in entries[1:]] == [
        (16384, b"3", b"false"),
        (3616, b"3", b"true"),
    ]
    assert "CONTAINER_PARTIAL_MESSAGE" in entries[1] and "CONTAINER_PARTIAL_MESSAGE" not in entries[2]
    assert (await engine.logs("jd")).startswith(b"hi\n")


async def test_lines_survive_rotation_of_the_cache_while_the_server_is_gone(engine: InProcess) -> None:
    server = LogServer("tcp")
    script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i $(head -c 900 /dev/zero | tr '\\0' x); sleep 0.04; done"
    options = {"syslog-address": server.address, "cache-max-size": "10k", "cache-max-file": "9"}
    container = await engine.start("sh", "-c", script, log_config=LogConfig(type="syslog", config=options))
    await asyncio.to_thread(server.wait, lambda data: b"]: 3 " in data)
    server.stop()
    await asyncio.wait_for(engine.engine.containers.wait(container.id), 30)
    assert Path(container.log_path).with_name("container.log.2.gz").exists()
    server.start()
    data = await asyncio.to_thread(server.wait, lambda data: b"]: 60 " in data)
    server.stop()
    found = [int(line.split(b"]: ")[1].split()[0]) for line in data.splitlines()]
    assert list(dict.fromkeys(found)) == list(range(1, 61))


async def test_a_non_blocking_driver_drops_what_waits_beyond_its_buffer(engine: InProcess) -> None:
    server = LogServer("tcp")
    options = {"syslog-address": server.address, "mode": "non-blocking", "max-buffer-size": "4k"}
    script = "echo first; sleep 0.3; seq 5000; sleep 1.5; echo last"
    container = await engine.start("sh", "-c", script, log_config=LogConfig(type="syslog", config=options))
    await asyncio.to_thread(server.wait, lambda data: b"first" in data)
    server.stop()
    await asyncio.sleep(1)
    server.start()
    await asyncio.to_thread(server.wait, lambda data: b"]: last" in data)
    server.stop()
    assert b"]: 5000\n" in server.data and b"]: 2500\n" not in server.data
    assert (await engine.logs(container.id)).count(b"\n") == 5002  # the cache has them all
