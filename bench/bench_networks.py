#!/usr/bin/env python3
"""Times networks: published ports, connect and disconnect, names, bytes. Options and output are bench_sampan.py's.

usage: bench_networks.py [--only REGEX] [--n RUNS] [--json FILE] LABEL=unix:///path.sock …

Needs root (it looks names up from inside containers' network namespaces) and busybox:latest in every engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import bench_sampan
from bench_sampan import Engine, case, milliseconds

BYTES = 256 << 20
LOOKUPS = 2000
CLONE_NEWNET = 0x40000000

bench_sampan.CASES.clear()


@contextlib.contextmanager
def network(engine: Engine, name: str = "bench-net") -> Iterator[str]:
    identifier: str = engine.call("POST", "/networks/create", {"Name": name, "CheckDuplicate": True})["Id"]
    try:
        yield identifier
    finally:
        engine.call("DELETE", f"/networks/{identifier}")


@contextlib.contextmanager
def container(engine: Engine, *command: str, name: str = "", network: str = "", **host: Any) -> Iterator[str]:
    body: dict[str, Any] = {"Image": "busybox", "Cmd": command, "ExposedPorts": {"80/tcp": {}}, "HostConfig": host}
    if network:
        host["NetworkMode"] = network
    identifier: str = engine.call("POST", f"/containers/create?name={name}" if name else "/containers/create", body)[
        "Id"
    ]
    try:
        engine.start(identifier)
        yield identifier
    finally:
        engine.remove(identifier)


def inspected(engine: Engine, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.call("GET", f"/containers/{identifier}/json")
    return found


@case("api: start, one published port")
def _(engine: Engine) -> float:
    host = {"PortBindings": {"80/tcp": [{"HostPort": ""}]}}
    body = {"Image": "busybox", "Cmd": ["sleep", "60"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": host}
    made = engine.call("POST", "/containers/create", body)["Id"]
    taken = milliseconds(lambda: engine.start(made))
    engine.remove(made)
    return taken


@case("api: start, no published port")
def _(engine: Engine) -> float:
    made = engine.create("sleep", "60")
    taken = milliseconds(lambda: engine.start(made))
    engine.remove(made)
    return taken


@case("api: start, on a user-defined network")
def _(engine: Engine) -> float:
    with network(engine) as net:
        made = engine.create("sleep", "60", NetworkMode=net)
        taken = milliseconds(lambda: engine.start(made))
        engine.remove(made)
        return taken


@case("api: network create")
def _(engine: Engine) -> float:
    made: list[str] = []
    taken = milliseconds(lambda: made.append(engine.call("POST", "/networks/create", {"Name": "bench-net"})["Id"]))
    engine.call("DELETE", f"/networks/{made[0]}")
    return taken


@case("api: connect a running container")
def _(engine: Engine) -> float:
    with network(engine) as net, container(engine, "sleep", "60") as box:
        return milliseconds(lambda: engine.call("POST", f"/networks/{net}/connect", {"Container": box}))


@case("api: disconnect a running container")
def _(engine: Engine) -> float:
    with network(engine) as net, container(engine, "sleep", "60") as box:
        engine.call("POST", f"/networks/{net}/connect", {"Container": box})
        return milliseconds(lambda: engine.call("POST", f"/networks/{net}/disconnect", {"Container": box}))


def inside(pid: int, work: Callable[[], object]) -> None:
    """In a thread of its own in the process' network namespace."""

    def run() -> None:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)
        work()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@case(f"dns: {LOOKUPS} look-ups of a container's name, one after another", "/s", 3)
def _(engine: Engine) -> float:
    with (
        network(engine) as net,
        container(engine, "sleep", "60", network=net) as asking,
        container(engine, "sleep", "60", name="bench-peer", network=net),
    ):
        sockets: list[socket.socket] = []
        inside(
            inspected(engine, asking)["State"]["Pid"],
            lambda: sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        )
        with sockets[0] as client:
            client.settimeout(5)
            client.connect(("127.0.0.11", 53))
            before = time.perf_counter()
            for number in range(LOOKUPS):
                head = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0)
                client.send(head + b"\x0abench-peer\x00" + struct.pack(">2H", 1, 1))
                answer = client.recv(512)
                if answer[6:8] != b"\x00\x01":
                    raise RuntimeError(f"{engine.label}: no answer for bench-peer: {answer!r}")
            return LOOKUPS / (time.perf_counter() - before)


def published(engine: Engine, address: str) -> float:
    """MiB a second that a client of a published port receives: a file, by sendfile(2)."""
    serve = f"mkdir /srv; truncate -s {BYTES} /srv/file; exec httpd -f -p 80 -h /srv"
    with container(engine, "sh", "-c", serve, PortBindings={"80/tcp": [{"HostIp": address, "HostPort": ""}]}) as box:
        port = int(inspected(engine, box)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        time.sleep(0.3)  # until it listens
        with socket.create_connection((address, port), 10) as client:
            client.sendall(b"GET /file HTTP/1.0\r\n\r\n")
            before = time.perf_counter()
            got = 0
            while data := client.recv(1 << 20):
                got += len(data)
            if got < BYTES:
                raise RuntimeError(f"{engine.label}: the port gave {got} bytes")
            return BYTES / (1 << 20) / (time.perf_counter() - before)


@case("published port: 256 MiB to 127.0.0.1", "MiB/s", 3)
def _(engine: Engine) -> float:
    return published(engine, "127.0.0.1")


@case("published port: 256 MiB to the host's own address", "MiB/s", 3)
def _(engine: Engine) -> float:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = probe.getsockname()[0]
    return published(engine, address)


@case("update: publish a port of a running container (Sampan only)")
def _(engine: Engine) -> float:
    with container(engine, "sleep", "60") as box:
        body = {"PublishAdd": {"80/tcp": [{"HostPort": ""}]}}
        taken = milliseconds(lambda: engine.call("POST", f"/containers/{box}/update", body))
        if not inspected(engine, box)["NetworkSettings"]["Ports"]["80/tcp"]:
            raise RuntimeError("this engine cannot do it")
        return taken


@case("update: mount a volume into a running container (Sampan only)")
def _(engine: Engine) -> float:
    with container(engine, "sleep", "60") as box:
        body = {"MountAdd": [{"Type": "volume", "Target": "/data"}]}
        taken = milliseconds(lambda: engine.call("POST", f"/containers/{box}/update", body))
        if not inspected(engine, box)["Mounts"]:
            raise RuntimeError("this engine cannot do it")
        return taken


if __name__ == "__main__":
    bench_sampan.main()
