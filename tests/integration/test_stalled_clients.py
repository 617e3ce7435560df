"""Clients that begin to send an archive and then send nothing: nobody else waits for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from support.daemon import Daemon
from support.images import busybox_archive

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

STALLED = 24
"""More than any pool of threads in the daemon has."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    daemon = Daemon("stalled")
    daemon.start()
    try:
        daemon.load(busybox_archive())
        daemon.api("POST", "/volumes/create", {"Name": "data"})
        status, _ = daemon.api("POST", "/containers/create?name=main", {"Image": "busybox", "Cmd": ["sleep", "1000"]})
        assert status == 201
        daemon.api("POST", "/containers/main/start")
        yield daemon
    finally:
        daemon.stop()


def stalled(daemon: Daemon, request: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(daemon.socket))
    head = f"{request} HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: 1000000000\r\n\r\n"
    client.sendall(head.encode() + busybox_archive()[:600_000])
    return client


@pytest.mark.parametrize(
    "request_line",
    [
        "POST /images/load",
        "POST /images/create?fromSrc=-&repo=x",
        "POST /build?t=x",
        "PUT /containers/main/archive?path=/tmp",
        "POST /volumes/data/import",
    ],
)
def test_nobody_waits_for_clients_that_stall(engine: Daemon, request_line: str) -> None:
    clients = [stalled(engine, request_line) for _ in range(STALLED)]
    try:
        assert engine.ok("run", "--rm", "busybox", "echo", "runs") == "runs"
        engine.ok("commit", "main", "made")
        engine.ok("cp", "main:/etc/passwd", "-")
        engine.load(busybox_archive())
    finally:
        for client in clients:
            client.close()
