"""Streams over the API: attach, exec, logs, wait, events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sampan.containers.streams import STDERR, STDOUT, LogLine
from support.fake_engine import FakeStream, Served, running

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Served]:
    async with Served() as served:
        yield served


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


async def attach(
    api: Served, name: str, query: str = "stdin=1&stdout=1&stderr=1&stream=1", extra: bytes = b"", version: str = "1.51"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await api.connect()
    head = (
        f"POST /v{version}/containers/{name}/attach?{query} HTTP/1.1\r\nHost: d\r\n{UPGRADE}Content-Length: 0\r\n\r\n"
    )
    writer.write(head.encode() + extra)
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


def make(api: Served, name: str, tty: bool = False, **fields: object) -> FakeStream:
    api.engine.containers.add(name, **fields)
    stream = api.engine.containers.streams[name] = FakeStream(tty)
    return stream


async def test_attach_frames_output_and_ends_with_it(api: Served) -> None:
    stream = make(api, "c")
    reader, writer, head = await attach(api, "c")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert b"Content-Type: application/vnd.docker.multiplexed-stream\r\n" in head
    for item in ((STDOUT, b"out"), (STDERR, b"err"), None):
        stream.output.put_nowait(item)
    assert await reader.read() == frame(1, b"out") + frame(2, b"err")
    writer.close()
    await asyncio.wait_for(stream.closed.wait(), 5)


async def test_a_tty_is_not_framed(api: Served) -> None:
    stream = make(api, "c", tty=True)
    reader, _writer, head = await attach(api, "c")
    assert b"Content-Type: application/vnd.docker.raw-stream\r\n" in head
    stream.output.put_nowait((STDOUT, b"raw"))
    stream.output.put_nowait(None)
    assert await reader.read() == b"raw"


async def test_before_1_42_frames_were_called_raw(api: Served) -> None:
    make(api, "c")
    _, _, head = await attach(api, "c", version="1.41")
    assert b"Content-Type: application/vnd.docker.raw-stream\r\n" in head


async def test_input_sent_with_the_request_is_not_lost(api: Served) -> None:
    stream = make(api, "c")
    early = b"GET /_ping HTTP/1.1\r\n\r\n not HTTP at all \x00\xff"
    _, writer, _ = await attach(api, "c", extra=early)
    writer.write(b"later")
    writer.write_eof()
    while not stream.ended:
        stream.changed.clear()
        await asyncio.wait_for(stream.changed.wait(), 5)
    assert stream.input == early + b"later"


async def test_output_goes_on_after_the_client_closed_its_half(api: Served) -> None:
    stream = make(api, "c")
    reader, writer, _ = await attach(api, "c")
    writer.write_eof()
    while not stream.ended:
        stream.changed.clear()
        await asyncio.wait_for(stream.changed.wait(), 5)
    stream.output.put_nowait((STDOUT, b"still"))
    stream.output.put_nowait(None)
    assert await reader.read() == frame(1, b"still")


async def test_a_client_that_goes_away_is_detached(api: Served) -> None:
    stream = make(api, "c")
    _, writer, _ = await attach(api, "c")
    writer.close()
    await asyncio.wait_for(stream.closed.wait(), 5)


async def test_detach_keys_leave_a_tty(api: Served) -> None:
    stream = make(api, "c", tty=True)
    reader, writer, _ = await attach(api, "c")
    writer.write(b"ab\x10")
    await asyncio.sleep(0.01)
    writer.write(b"c\x10\x11dropped")
    assert await reader.read() == b""
    assert stream.input == b"ab\x10c"
    assert stream.closed.is_set()
    assert api.engine.containers.detachments


async def test_detach_keys_can_be_chosen_and_are_checked(api: Served) -> None:
    stream = make(api, "c", tty=True)
    reader, writer, _ = await attach(api, "c", "stdin=1&stdout=1&stream=1&detachKeys=x,ctrl-a")
    writer.write(b"\x10\x11x\x01")
    assert await reader.read() == b""
    assert stream.input == b"\x10\x11"
    status, _, body = await api.ask("POST", "/containers/c/attach?stream=1&detachKeys=ctrl-%3F%3F")
    assert (status, body) == (400, b"Invalid detach keys (ctrl-??) provided\r\n")


async def test_without_a_tty_detach_keys_are_data(api: Served) -> None:
    stream = make(api, "c")
    _, writer, _ = await attach(api, "c")
    writer.write(b"\x10\x11")
    await asyncio.wait_for(stream.changed.wait(), 5)
    assert stream.input == b"\x10\x11"


async def test_a_slow_client_holds_the_process_back(api: Served) -> None:
    stream = make(api, "c")
    reader, writer, _ = await attach(api, "c")
    piece = bytes(65536)
    for _ in range(256):
        stream.output.put_nowait((STDOUT, piece))
    stream.output.put_nowait(None)
    await asyncio.sleep(0.05)
    assert stream.output.qsize() > 100, "the whole output was buffered"
    assert len(await reader.read()) == 256 * (65536 + 8)
    writer.close()


async def test_attach_to_nothing_is_plain_text(api: Served) -> None:
    status, headers, body = await api.ask("POST", "/containers/nope/attach?stream=1")
    assert (status, body) == (404, b"No such container: nope\r\n")
    assert headers["content-type"] == "application/vnd.docker.raw-stream"


async def test_the_connection_serves_http_again_after_a_refused_attach(api: Served) -> None:
    reader, writer = await api.connect()
    writer.write(
        b"POST /exec/nope/start HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\nGET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 404 " in head
    await reader.readuntil(b"}\n")
    assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_a_hijackable_request_may_come_in_pieces(api: Served) -> None:
    stream = make(api, "e1", state=running())
    reader, writer = await api.connect()
    request = (
        b"POST /v1.51/exec/e1/start HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"
        b'Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{"Tty":false}early'
    )
    for at in range(0, len(request), 7):
        writer.write(request[at : at + 7])
        await asyncio.sleep(0)
    assert b" 101 UPGRADED" in await reader.readuntil(b"\r\n\r\n")
    while stream.input != b"early":
        stream.changed.clear()
        await asyncio.wait_for(stream.changed.wait(), 5)
    stream.output.put_nowait(None)
    assert await reader.read() == b""


async def test_a_hijackable_request_may_have_a_body_beyond_the_read_buffer(api: Served) -> None:
    """The parser keeps the rest of such a body back until the handler reads, and hands it on when asked with b""."""
    stream = make(api, "e1", state=running())
    reader, writer = await api.connect()
    body = b'{"Tty":false,"Unknown":"' + b"x" * 600_000 + b'"}'
    writer.write(
        b"POST /v1.51/exec/e1/start HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert b" 101 UPGRADED" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    stream.output.put_nowait(None)
    assert await reader.read() == b""


async def test_wait_answers_its_headers_at_once(api: Served) -> None:
    container = api.engine.containers.add("c")
    reader, writer = await api.connect()
    writer.write(b"POST /v1.51/containers/c/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
    assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    api.engine.containers.exits[container.id].set_result((3, None))
    assert b'{"StatusCode":3}' in await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def test_a_waiter_that_goes_away_is_forgotten(api: Served) -> None:
    container = api.engine.containers.add("c")
    reader, writer = await api.connect()
    writer.write(b"POST /containers/c/wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(api.engine.containers.exits[container.id], 5)


async def test_logs_are_framed_line_by_line(api: Served) -> None:
    api.engine.containers.add("c")
    api.engine.containers.lines = [
        LogLine(STDOUT, 1_500_000_000, b"one\nand\r"),
        LogLine(STDERR, 2_000_000_000, b"two\n"),
    ]
    _, headers, body = await api.ask("GET", "/containers/c/logs?stdout=1&stderr=1")
    assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert body == frame(1, b"one\n") + frame(1, b"and\r") + frame(2, b"two\n")
    status, _, body = await api.ask("GET", "/containers/c/logs")
    assert (status, json.loads(body)["message"]) == (400, "Bad parameters: you must choose at least one stream")


async def test_events_come_from_the_past_and_live_and_are_filtered(api: Served) -> None:
    log = api.engine.events
    log.publish("container", "start", "1", {"name": "a", "image": "busybox:1"})
    log.publish("image", "pull", "busybox", {"name": "busybox"})
    reader, writer = await api.connect()
    writer.write(b'GET /events?since=1&filters={"type":{"container":true}} HTTP/1.1\r\nHost: d\r\n\r\n')
    assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
    past = json.loads((await reader.readuntil(b"}\n")).partition(b"\r\n")[2])
    assert (past["status"], past["id"], past["from"], past["Type"]) == ("start", "1", "busybox:1", "container")
    log.publish("image", "pull", "busybox", {"name": "busybox"})
    log.publish("container", "die", "1", {"name": "a"})
    live = json.loads((await reader.readuntil(b"}\n")).splitlines()[-1])
    assert live["Action"] == "die"
    writer.close()
    for _ in range(100):
        if not log.listeners:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the subscription outlived its client")


async def test_events_are_live_although_the_clock_was_put_back(api: Served) -> None:
    log = api.engine.events
    log.publish("container", "start", "1", {"name": "a"})
    now = time.time_ns()
    log._clock = lambda: now - 3600 * 10**9
    log._last = 0  # as a daemon that starts
    reader, writer = await api.connect()
    writer.write(b"GET /events?since=1 HTTP/1.1\r\nHost: d\r\n\r\n")
    await reader.readuntil(b"}\n")
    log.publish("container", "die", "1", {"name": "a"})
    live = json.loads((await asyncio.wait_for(reader.readuntil(b"}\n"), 5)).splitlines()[-1])
    assert live["Action"] == "die"
    writer.close()


async def test_events_until_a_past_time_end(api: Served) -> None:
    assert (await api.ask("GET", "/events?since=1&until=2"))[::2] == (200, b"")
    status, _, body = await api.ask("GET", "/events?since=10&until=5")
    assert (status, json.loads(body)["message"]) == (
        400,
        "`since` time (10) cannot be after `until` time (5)",
    )


async def test_buildkits_doors_want_an_upgrade(api: Served) -> None:
    for path, expected in (("/grpc", 500), ("/session", 400)):
        status, _, body = await api.ask("POST", path)
        assert (status, json.loads(body)["message"]) == (expected, "no upgrade proto in request")
