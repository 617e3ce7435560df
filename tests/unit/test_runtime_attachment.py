"""The client side of conmon's attach socket, against a socket that behaves like conmon's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.runtime.attachment import Attachment, connect

Pair = tuple[Attachment, socket.socket]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async for made in _pair(tmp_path / "attach", stdin=True):
        yield made


async def _pair(path: Path, *, stdin: bool) -> AsyncIterator[Pair]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(1)
    stream = await connect(path, tty=False, stdin=stdin, closes_stdin=True)
    conmon, _ = listener.accept()
    conmon.setblocking(False)
    yield stream, conmon
    await stream.close()
    conmon.close()
    listener.close()


async def test_packets_of_one_stream_are_joined_and_streams_keep_their_order(pair: Pair) -> None:
    stream, conmon = pair
    for packet in (b"\2a", b"\2b", b"\3c", b"\2d"):
        conmon.send(packet)
    conmon.close()
    assert [await stream.read() for _ in range(4)] == [(1, b"ab"), (2, b"c"), (1, b"d"), None]


async def test_long_input_is_cut_into_packets_conmon_can_read(pair: Pair) -> None:
    stream, conmon = pair
    data = bytes(range(256)) * 400
    sending = asyncio.create_task(stream.write(data))
    got = b""
    while len(got) < len(data):
        packet = await asyncio.get_running_loop().sock_recv(conmon, 1 << 20)
        assert len(packet) <= 32768
        got += packet
    await sending
    assert got == data


async def test_a_half_close_leaves_the_other_direction(pair: Pair) -> None:
    stream, conmon = pair
    await stream.close_input()
    assert conmon.recv(10) == b""
    conmon.send(b"\2still")
    assert await stream.read() == (1, b"still")
    await stream.write(b"ignored")


async def test_input_after_the_end_is_ignored(pair: Pair) -> None:
    stream, conmon = pair
    conmon.close()
    await stream.write(b"x")
    assert await stream.read() is None


async def test_a_cancelled_read_loses_nothing(pair: Pair) -> None:
    stream, conmon = pair
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    conmon.send(b"\2kept")
    assert await stream.read() == (1, b"kept")


async def test_closing_wakes_those_who_wait(pair: Pair) -> None:
    stream, _ = pair
    waiting = [asyncio.create_task(stream.read()), asyncio.create_task(stream.write(b"x" * (4 << 20)))]
    await asyncio.sleep(0.05)
    await stream.close()
    assert await asyncio.wait_for(waiting[0], 5) is None
    await asyncio.wait_for(waiting[1], 5)


async def test_a_listener_that_leaves_stays_connected_until_conmon_ends(tmp_path: Path) -> None:
    async for stream, conmon in _pair(tmp_path / "attach", stdin=False):
        await stream.close()
        for _ in range(200):  # more than the socket holds, if nobody read
            await asyncio.get_running_loop().sock_sendall(conmon, b"\2" + b"x" * 8192)
        with pytest.raises(BlockingIOError):
            conmon.recv(1)  # an end of file here would close the container's stdin


async def test_a_path_longer_than_sun_path(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    short = tmp_path / "s"
    short.symlink_to(directory)
    listener.bind(f"{short}/attach") if len(f"{short}/attach") < 108 else pytest.skip("temporary directory too deep")
    listener.listen(1)
    stream = await connect(directory / "attach", tty=False, stdin=True, closes_stdin=False)
    await stream.close()
    listener.close()
    with pytest.raises(OSError):
        await connect(directory / "nosuch", tty=False, stdin=True, closes_stdin=False)
