"""What goes between a person and a container: frames, detach keys, half-close, and no side that waits for the other."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from sampan.cli.connection import Connection
from sampan.cli.errors import CliError
from sampan.cli.streams import Frames, Pump
from sampan.cli.terminal import DetachFilter, detach_keys


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("size", [1, 3, 8, 9, 1000])
def test_frames_survive_any_cut(size: int) -> None:
    data = frame(1, b"hello") + frame(2, b"") + frame(2, b"oops") + frame(1, b" world")
    frames = Frames()
    found = {1: b"", 2: b""}
    for at in range(0, len(data), size):
        for stream, piece in frames.feed(data[at : at + size]):
            found[stream] += piece
    assert found == {1: b"hello world", 2: b"oops"}


@pytest.mark.parametrize(
    ("typed", "passed", "detached"),
    [
        ([b"ab\x10\x11cd"], b"ab", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x11\x10"], b"\x11", False),
    ],
)
def test_detach_keys_are_held_back_until_they_are_none(typed: list[bytes], passed: bytes, detached: bool) -> None:
    held = DetachFilter(b"\x10\x11")
    assert b"".join(held.feed(data) for data in typed) == passed
    assert held.detached is detached


def test_detach_keys_by_name() -> None:
    assert detach_keys("") == b"\x10\x11"
    assert detach_keys("ctrl-a,b,ctrl-@,DEL,ctrl-[") == b"\x01b\x00\x7f\x1b"
    with pytest.raises(CliError, match=r"invalid detach keys \(ctrl-1\): Unknown character: 'ctrl-1'"):
        detach_keys("ctrl-1")


class Ends:
    """The daemon's end of a hijacked connection, and pipes in the place of the person's descriptors."""

    def __init__(self) -> None:
        ours, self.daemon = socket.socketpair()
        self.connection = Connection(ours)
        self.stdin, self.typing = os.pipe()
        self.screen, self.stdout = os.pipe()
        self.errors, self.stderr = os.pipe()

    def pump(self, *, tty: bool = False, stdin: bool = True, output: bool = True) -> Pump:
        return Pump(
            self.connection,
            tty=tty,
            stdin=self.stdin if stdin else None,
            stdout=self.stdout if output else None,
            stderr=self.stderr if output else None,
            keys=b"\x10\x11",
        )

    def close(self) -> None:
        self.daemon.close()
        for fd in (self.stdin, self.typing, self.screen, self.stdout, self.errors, self.stderr):
            try:
                os.close(fd)
            except OSError:
                continue


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def test_stdout_and_stderr_stay_apart(ends: Ends) -> None:
    ends.daemon.sendall(frame(1, b"out") + frame(2, b"err") + frame(1, b"put"))
    ends.daemon.shutdown(socket.SHUT_WR)
    with ends.pump(stdin=False) as pump:
        pump.run()
    assert os.read(ends.screen, 100) == b"output"
    assert os.read(ends.errors, 100) == b"err"


def test_the_end_of_stdin_reaches_the_container_and_its_output_still_comes(ends: Ends) -> None:
    os.write(ends.typing, b"question")
    os.close(ends.typing)

    def answer() -> None:
        asked = b""
        while data := ends.daemon.recv(100):
            asked += data
        ends.daemon.sendall(frame(1, asked.upper()))
        ends.daemon.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with ends.pump() as pump:
        pump.run()
    thread.join()
    assert os.read(ends.screen, 100) == b"QUESTION"


def test_nobody_reading_our_output_does_not_stop_our_input(ends: Ends) -> None:
    """A pipe full of output while the same peer is still writing to us: `ssh -o ProxyCommand='docker run -i …'`."""
    sent = b"x" * (1 << 20)
    got: list[bytes] = []

    def daemon() -> None:
        ends.daemon.sendall(frame(1, b"o" * 300_000))  # more than a pipe holds
        while data := ends.daemon.recv(1 << 16):
            got.append(data)
        ends.daemon.close()

    def peer() -> None:
        view = memoryview(sent)
        while view:
            view = view[os.write(ends.typing, view) :]
        os.close(ends.typing)
        while os.read(ends.screen, 1 << 16):
            pass

    threads = [threading.Thread(target=target, daemon=True) for target in (daemon, peer)]
    for thread in threads:
        thread.start()
    with ends.pump() as pump:
        pump.run()
    os.close(ends.stdout)
    for thread in threads:
        thread.join(20)
    assert b"".join(got) == sent


def test_the_keys_detach_and_nothing_behind_them_is_sent(ends: Ends) -> None:
    os.write(ends.typing, b"ls\x10\x11never")
    with ends.pump(tty=True) as pump:
        pump.run()
        assert pump.detached
    assert ends.daemon.recv(100) == b"ls"
    assert ends.daemon.recv(100) == b""


def test_without_output_the_end_of_the_container_ends_it(ends: Ends) -> None:
    ended, other = socket.socketpair()
    other.send(b"{}")
    with ended, other, ends.pump(output=False) as pump:
        pump.run(ended=ended)


def test_an_error_in_the_stream_is_told(ends: Ends) -> None:
    ends.daemon.sendall(frame(1, b"a") + frame(3, b"log is broken"))
    ends.daemon.close()
    with ends.pump(stdin=False) as pump, pytest.raises(CliError, match="error from daemon in stream: log is broken"):
        pump.run()
