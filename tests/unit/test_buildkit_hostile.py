"""A client's session sends whatever it likes: nothing leaves the context, and nothing is taken on trust."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from grpclib.client import UnaryUnaryMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sampan.buildkit import receiving, service
from sampan.buildkit.gateway import _told
from sampan.buildkit.receiving import go_mode, receive
from sampan.buildkit.sending import _walk
from sampan.buildkit.service import Solves
from sampan.buildkit.sessions import Session, Sessions
from sampan.buildkit.solving import Request, Wanted
from sampan.buildkit.status import Feed
from sampan.buildkit.transport import Called, Carried, Served, asked
from sampan.buildkit.tunnel import Tunnel
from sampan.buildkit.wire_pb2 import Bytes, Empty, Packet, RpcStatus, Stat
from sampan.builds.indexing import Index, Node
from sampan.errors import Conflict, SampanError

_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
FILE, LINK, DEVICE, SOCKET = (
    go_mode(kind | 0o644) for kind in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFSOCK)
)
Serve = Callable[[Any], Awaitable[None]]


class Service:
    """One method, which does as it likes with its stream."""

    def __init__(self, path: str, serve: Serve, kind: Cardinality, takes: type, gives: type) -> None:
        self._mapping = {path: Handler(serve, kind, takes, gives)}

    def __mapping__(self) -> dict[str, Handler]:
        return self._mapping


@asynccontextmanager
async def between(service: Service, channel: Called) -> AsyncIterator[asyncio.Transport]:
    """A connection of two; gives the server's end."""
    served, loop = Served([service]), asyncio.get_running_loop()
    ends: list[asyncio.Transport] = []
    carried = []
    for end, inner in zip(socket.socketpair(), (served.connection(), channel.connection()), strict=True):
        one = Carried(inner, lambda error: None)
        transport, _ = await loop.create_connection(lambda one=one: one, sock=end)  # type: ignore[misc]
        one.begin(transport)
        ends.append(transport)
        carried.append(one)
    try:
        yield ends[0]
    finally:
        for transport in ends:
            transport.close()
        await asyncio.gather(*(one.ended() for one in carried))
        channel.close()


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Callable[[Serve], Awaitable[Index]]]:
    """The context that a client sends."""
    async with AsyncExitStack() as stack:

        async def received(serve: Serve) -> Index:
            session = Session("s", frozenset([_COPY.lower()]))
            service = Service(_COPY, serve, Cardinality.STREAM_STREAM, Packet, Packet)
            await stack.enter_async_context(between(service, session.channel))
            index = Index(tmp_path / os.urandom(4).hex())
            stack.callback(index.close)
            async with asyncio.timeout(20):
                await receive(session, "context", index)
            return index

        yield received


def sends(*packets: Packet) -> Serve:
    async def serve(stream: Any) -> None:
        for packet in packets:
            await stream.send_message(packet)
        async for _ in stream:
            pass

    return serve


def told(path: str, mode: int = FILE, **more: Any) -> Packet:
    return Packet(type=Packet.STAT, stat=Stat(path=path, mode=mode, **more))


def data(number: int, content: bytes) -> Packet:
    return Packet(type=Packet.DATA, id=number, data=content)


END = Packet(type=Packet.STAT)
FIN = Packet(type=Packet.FIN)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "", "/", "a\0b"])
async def test_a_path_outside_is_refused(files: Any, path: str) -> None:
    with pytest.raises(SampanError, match="is outside of the build context"):
        await files(sends(told(path), END, FIN))


@pytest.mark.parametrize(
    ("packets", "words"),
    [
        ([data(0, b"x")], r"data for a file that was not asked for \(0\)"),
        ([told("a", size=2), data(1, b"x")], r"not asked for \(1\)"),
        ([told("a", size=2), data(0, b"abc")], "a grew while it was being sent"),
        ([told("a", size=2), data(0, b"ab"), data(0, b"c")], "a grew while it was being sent"),
        ([told("a", size=2), data(0, b"ab"), data(0, b""), told("b", size=1), data(0, b"c")], r"not asked for \(0\)"),
        ([told("a", size=1 << 62), told("b", size=1 << 62)], "the build context is larger than"),
        ([told("a"), told("b", linkname="../../etc/passwd")], "is not in the build context"),
        ([told("a", LINK, linkname="/etc/passwd"), told("b", linkname="a/x")], "is not in the build context"),
        ([told("a", LINK, linkname="b\0c")], "links to a name with NUL"),
        ([told("a", DEVICE, devmajor=-1)], "is a device that there is not"),
        ([told("a", DEVICE, devminor=1 << 40)], "is a device that there is not"),
        ([told("a"), told("a/b")], "mkdir /a/b: not a directory"),
        ([told("a", size=1), END, told("b")], "after the last one"),
        ([Packet(type=Packet.ERR, data=b"no")], "error from sender: no"),
    ],
)
async def test_a_client_that_breaks_the_protocol_is_told_so(files: Any, packets: list[Packet], words: str) -> None:
    with pytest.raises(SampanError, match=words):
        await files(sends(*packets))


async def test_more_files_than_memory_holds_are_refused(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "_MOST", 100)
    with pytest.raises(SampanError, match="more than 100 files"):
        await files(sends(*(told(f"f{number}") for number in range(200)), END))


async def test_an_absolute_path_is_inside(files: Any) -> None:
    assert (await files(sends(told("/../x/../../y"), END, FIN))).find("y") is not None


async def test_links_lead_nowhere_and_sockets_stay_out(files: Any) -> None:
    packets = [told("l", LINK, linkname="/../../etc"), told("l/passwd"), told("s", SOCKET), told("z", size=1), END]
    index = await files(sends(*packets, data(3, b"z"), data(3, b""), FIN))
    assert index.find("etc/passwd") is not None and index.find("s") is None
    assert b"".join(index.read(index.find("z"))) == b"z"


async def test_a_client_that_leaves_or_stops_in_the_middle_fails_the_build(files: Any) -> None:
    async def stops(stream: Any) -> None:
        await stream.send_message(told("a", size=5))

    async def refuses(stream: Any) -> None:
        raise GRPCError(Status.PERMISSION_DENIED, "not yours")

    with pytest.raises(SampanError, match="stopped in the middle"):
        await files(stops)
    with pytest.raises(SampanError, match="failed to read context from the client: not yours"):
        await files(refuses)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (struct.pack(">BI", 0, 0xFFFFFFFF) + b"x", "larger than max"),
        (struct.pack(">BI", 0, 3) + b"\xff\xff\xff", "failed to unmarshal"),
        (struct.pack(">BI", 0, 100) + b"x", "unexpected EOF"),
    ],
)
async def test_messages_of_a_client_are_bounded_and_whole(files: Any, raw: bytes, words: str) -> None:
    async def serve(stream: Any) -> None:
        await stream.send_initial_metadata()
        await stream._stream.send_data(raw)
        if words == "unexpected EOF":
            return
        async for _ in stream:
            pass

    with pytest.raises(SampanError, match=words):
        await files(serve)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (struct.pack(">BI", 0, 0xFFFFFFFF) + b"x", Status.RESOURCE_EXHAUSTED),
        (struct.pack(">BI", 0, 3) + b"\xff\xff\xff", Status.INTERNAL),
        (struct.pack(">BI", 0, 100) + b"x", Status.INTERNAL),
        (b"", Status.INTERNAL),
    ],
)
async def test_requests_are_bounded_and_whole(raw: bytes, status: Status, caplog: pytest.LogCaptureFixture) -> None:
    async def serve(stream: Any) -> None:
        await asked(stream)
        await stream.send_message(Empty())

    channel = Called()
    async with between(Service("/a/B", serve, Cardinality.UNARY_UNARY, Bytes, Empty), channel):
        async with asyncio.timeout(20):
            with pytest.raises(GRPCError) as caught:
                async with UnaryUnaryMethod(channel, "/a/B", Bytes, Empty).open() as stream:
                    await stream.send_request()
                    await stream._stream.send_data(raw, end_stream=True)
                    await stream.recv_message()
        assert caught.value.status == status
    assert "Traceback" not in caplog.text


async def test_a_session_that_goes_is_an_error_of_the_build() -> None:
    async def hangs(stream: Any) -> None:
        await asyncio.sleep(60)

    path = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
    session = Session("s", frozenset([path.lower()]))
    async with between(Service(path, hangs, Cardinality.UNARY_UNARY, Bytes, Bytes), session.channel) as end:
        asking = asyncio.ensure_future(session.secret("x"))
        await asyncio.sleep(0.05)
        end.abort()
        async with asyncio.timeout(20):
            with pytest.raises(SampanError, match="the client has closed its session"):
                await asking


async def test_a_session_has_its_name_alone() -> None:
    sessions, headers = Sessions(), {"X-Docker-Expose-Session-Uuid": "one"}
    first = await sessions.add(headers, [])
    with pytest.raises(SampanError, match="already exists"):
        await sessions.add(headers, [])
    assert await sessions.get("one") is first
    sessions.remove(first)
    first.channel.close()
    with pytest.raises(SampanError, match="no session id"):
        await sessions.add({}, [])


def test_codes_that_there_are_not_are_unknown() -> None:
    assert _told(RpcStatus(code=99, message="m")).status == Status.UNKNOWN
    assert _told(RpcStatus(code=0)).status == Status.UNKNOWN
    assert _told(RpcStatus(code=5)).status == Status.NOT_FOUND


def test_results_may_nest_deeper_than_python_recurses() -> None:
    root = node = Node(stat.S_IFDIR)
    for _ in range(3000):
        node.children["d"] = node = Node(stat.S_IFDIR)
    assert sum(1 for _ in _walk(root)) == 3000


def test_a_log_of_single_bytes_is_clipped_before_it_fills_the_memory() -> None:
    feed = Feed()
    for _ in range(200_000):
        feed.log("v", 1, b"x")
    assert len(feed._messages) < 140_000
    assert feed._messages[-1].logs[0].msg == b"\n[output clipped, log limit reached]\n"


class Steered:
    """A build as `Solves` begins it, whose `_run` is ours."""

    def __init__(self) -> None:
        self.solves = Solves(cast("Any", None), Sessions())
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def run(self, *_: object) -> Any:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended.set()


async def test_a_build_that_nobody_waits_for_any_more_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    steered = Steered()
    monkeypatch.setattr(Request, "_run", steered.run)
    async with steered.solves.begun("one", Wanted("s")) as solve:
        request = solve.requested(solve.request({}, {}))
        first, second = (asyncio.ensure_future(request.image()) for _ in range(2))
        await steered.begun.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert not steered.ended.is_set(), "another one waits"
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert steered.ended.is_set()


async def test_a_build_has_its_name_alone_until_it_ends_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_KEPT", 0.01)
    solves = Steered().solves
    async with solves.begun("one", Wanted("s")) as first:
        with pytest.raises(Conflict, match="job ID one exists"):
            async with solves.begun("one", Wanted("s")):
                pass
        first.feed.log("v", 1, b"text")
        solves.remember("id", first.requested(first.request({}, {})))
    async with solves.begun("one", Wanted("s")) as second:
        await asyncio.sleep(0.1)
        assert await solves.get("one") is second, "the end of the first takes nothing from the second"
    assert first.feed._messages == [], "a result is remembered, its logs are not"
    first.feed.log("v", 1, b"late")
    assert first.feed._messages == []


class Broken:
    """A call whose next message cannot be read."""

    async def recv_message(self) -> None:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, "larger than max")

    async def send_message(self, message: object) -> None:
        await asyncio.sleep(60)


async def test_a_session_in_a_call_that_breaks_is_lost_to_who_calls_over_it() -> None:
    lost = []

    class Inner(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)

    tunnel = Tunnel(Broken())
    tunnel.write(b"x")
    async with asyncio.timeout(20):
        await tunnel.run(Inner())
    assert lost == [None] and tunnel.is_closing()
