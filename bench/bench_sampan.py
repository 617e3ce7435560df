#!/usr/bin/env python3
"""Times what people do most with an engine, on one or more engines that take turns inside each case (A B A B …).

usage: bench_sampan.py [--only REGEX] [--n RUNS] [--json FILE] [--docker CMD] [--sampan CMD] LABEL=unix:///path.sock …

Every engine needs the image busybox:latest. Rows say cli where a client's whole process is timed (`docker` or
`sampan`, whose own start is part of it), api where one raw HTTP request is. The median of each engine is shown and its
ratio to the first engine's. Figures of speed are not limits: nothing fails for being slow.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SLEEPERS = 10
"""Containers that run while the memory of one is measured."""
STREAM = 64 << 20
"""Bytes sent through attach."""
LOG = 16 << 20
"""Bytes of log read back."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=300)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(self._path)


class Engine:
    def __init__(self, text: str) -> None:
        self.label, equals, self.host = text.partition("=")
        if not equals or not self.host.startswith("unix://"):
            raise SystemExit(f"{text}: want LABEL=unix:///path.sock")
        self.path = self.host.removeprefix("unix://")
        self._connection: _Connection | None = None
        self._running = ""

    def call(self, method: str, url: str, body: object = None, ok: tuple[int, ...] = (200, 201, 204, 304)) -> Any:
        if self._connection is None:
            self._connection = _Connection(self.path)
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, f"/v1.43{url}", data, {"Content-Type": "application/json"} if data else {})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status not in ok:
            raise RuntimeError(f"{self.label}: {method} {url}: {answer.status} {content[:300]!r}")
        try:
            return json.loads(content) if content else None
        except ValueError:
            return content

    def create(self, *command: str, **host: Any) -> str:
        body = {"Image": "busybox", "Cmd": command, "HostConfig": host}
        identifier: str = self.call("POST", "/containers/create", body)["Id"]
        return identifier

    def start(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/start")

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}?force=1&v=1", ok=(204, 404))

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[str]:
        container = self.create(*(command or ("sleep", "3600")))
        try:
            self.start(container)
            yield container
        finally:
            self.remove(container)

    def client(self, command: list[str], *words: str) -> None:
        environment = {
            **os.environ, "DOCKER_HOST": self.host, "SAMPAN_HOST": self.host, "SAMPAN_AUTOSTART": "0",
            "DOCKER_CLI_HINTS": "false",
        }  # fmt: skip
        subprocess.run([*command, *words], env=environment, check=True, stdout=subprocess.DEVNULL)

    # memory

    def pid(self) -> int:
        """The process that listens on the socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            found: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return found

    def memory(self, inits: list[int]) -> float:
        """MiB (PSS) of the daemon, what it started (but for containers) and what holds the containers `inits`."""
        parents = _parents()
        holders = {parents.get(init, 0) for init in inits} - {0, 1}
        mine = {self.pid(), *holders}
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in mine and pid not in inits} - mine
            mine |= more
            grown = bool(more)
        return sum(map(_pss, mine)) / 1024


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _pss(pid: int) -> int:
    """KiB."""
    with contextlib.suppress(OSError):
        match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(match.group(1)) if match else 0
    return 0


Case = tuple[str, str, int, Callable[[Engine], float]]
"""Name, unit, most runs, and the measurement."""
CASES: list[Case] = []
OPTIONS: argparse.Namespace


def case(name: str, unit: str = "ms", most: int = 1000) -> Callable[[Callable[[Engine], float]], None]:
    def keep(measure: Callable[[Engine], float]) -> None:
        CASES.append((name, unit, most, measure))

    return keep


def milliseconds(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1000


@case("cli: sampan ps, cold")
def _(engine: Engine) -> float:
    return milliseconds(lambda: engine.client(OPTIONS.sampan, "ps"))


@case("cli: docker ps, cold")
def _(engine: Engine) -> float:
    return milliseconds(lambda: engine.client(OPTIONS.docker, "ps"))


@case("cli: docker run --rm busybox true")
def _(engine: Engine) -> float:
    return milliseconds(lambda: engine.client(OPTIONS.docker, "run", "--rm", "busybox", "true"))


@case("cli: sampan run --rm busybox true")
def _(engine: Engine) -> float:
    return milliseconds(lambda: engine.client(OPTIONS.sampan, "run", "--rm", "busybox", "true"))


@case("cli: sampan run --rm --network none busybox true")
def _(engine: Engine) -> float:
    words = ("run", "--rm", "--network", "none", "busybox", "true")
    return milliseconds(lambda: engine.client(OPTIONS.sampan, *words))


@case("api: create")
def _(engine: Engine) -> float:
    made: list[str] = []
    taken = milliseconds(lambda: made.append(engine.create("true")))
    engine.remove(made[0])
    return taken


@case("api: start")
def _(engine: Engine) -> float:
    container = engine.create("sleep", "60")
    taken = milliseconds(lambda: engine.start(container))
    engine.remove(container)
    return taken


@case("api: exec true, until it has ended")
def _(engine: Engine) -> float:
    with engine.running() as container:

        def run() -> None:
            body = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
            made = engine.call("POST", f"/containers/{container}/exec", body)["Id"]
            engine.call("POST", f"/exec/{made}/start", {"Detach": False, "Tty": False})

        return milliseconds(run)


@case("cli: sampan exec true")
def _(engine: Engine) -> float:
    with engine.running() as container:
        return milliseconds(lambda: engine.client(OPTIONS.sampan, "exec", container, "true"))


@case("api: kill and remove")
def _(engine: Engine) -> float:
    container = engine.create("sleep", "60")
    engine.start(container)
    return milliseconds(lambda: engine.remove(container))


@case("memory: daemon, no container running (PSS)", "MiB", 1)
def _(engine: Engine) -> float:
    return engine.memory([])


@case(f"memory: each of {SLEEPERS} running containers, without its own processes (PSS)", "MiB", 1)
def _(engine: Engine) -> float:
    containers: list[str] = []
    try:
        before = engine.memory([])
        for _ in range(SLEEPERS):
            containers.append(engine.create("sleep", "3600"))
            engine.start(containers[-1])
        inits = [engine.call("GET", f"/containers/{container}/json")["State"]["Pid"] for container in containers]
        return (engine.memory(inits) - before) / SLEEPERS
    finally:
        for container in containers:
            engine.remove(container)


@case("attach: 64 MiB of stdout", "MiB/s", 3)
def _(engine: Engine) -> float:
    command = ["sh", "-c", f"read x; head -c {STREAM} /dev/zero"]
    body = {"Image": "busybox", "Cmd": command, "OpenStdin": True, "HostConfig": {"LogConfig": {"Type": "none"}}}
    container = engine.call("POST", "/containers/create", body)["Id"]
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(engine.path)
            query = "stream=1&stdin=1&stdout=1&stderr=1"
            sock.sendall(
                f"POST /v1.43/containers/{container}/attach?{query} HTTP/1.1\r\nHost: d\r\n"
                "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
            )
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(65536)
            engine.start(container)
            before = time.perf_counter()
            sock.sendall(b"go\n")
            got = len(head.partition(b"\r\n\r\n")[2])
            while got < STREAM:
                data = sock.recv(1 << 20)
                if not data:
                    raise RuntimeError(f"{engine.label}: attach ended after {got} bytes")
                got += len(data)
            return STREAM / (1 << 20) / (time.perf_counter() - before)
    finally:
        engine.remove(container)


@case("logs: 16 MiB of lines read back", "MiB/s", 3)
def _(engine: Engine) -> float:
    with engine.running("sh", "-c", f"yes 'a line of forty characters, more or less' | head -c {LOG}") as container:
        engine.call("POST", f"/containers/{container}/wait")
        got: list[bytes] = []
        url = f"/containers/{container}/logs?stdout=1&stderr=1"
        taken = milliseconds(lambda: got.append(engine.call("GET", url)))
        return len(got[0]) / (1 << 20) / (taken / 1000)


def measure(engines: list[Engine]) -> list[dict[str, Any]]:
    rows = []
    for name, unit, most, work in CASES:
        if not re.search(OPTIONS.only, name):
            continue
        values: dict[str, list[float]] = {engine.label: [] for engine in engines}
        for turn in range(min(OPTIONS.n, most) + (most > 3)):
            for engine in engines:
                try:
                    value = work(engine)
                except (RuntimeError, OSError, subprocess.CalledProcessError, KeyError) as error:
                    print(f"{engine.label}: {name}: {error}", file=sys.stderr)
                    continue
                if turn or most <= 3:  # the first turn only warms up
                    values[engine.label].append(value)
        row = {"case": name, "unit": unit, "values": values}
        rows.append(row)
        print(_line(row, engines), flush=True)
    return rows


def _line(row: dict[str, Any], engines: list[Engine]) -> str:
    medians = [statistics.median(row["values"][engine.label] or [float("nan")]) for engine in engines]
    cells = [f"{row['case']:<78}"]
    for index, median in enumerate(medians):
        ratio = f" {median / medians[0]:5.2f}x" if index and medians[0] else ""
        cells.append(f"{median:10.1f} {row['unit']:<5}{ratio}")
    return "  ".join(cells)


def main() -> None:
    global OPTIONS
    ours = "sampan" if shutil.which("sampan") else f"{sys.executable} -m sampan.cli.main"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name matches this regular expression")
    parser.add_argument("--n", type=int, default=10, help="counted runs of each case")
    parser.add_argument("--json", help="write every value to this file")
    parser.add_argument("--docker", type=shlex.split, default=["docker"], help="the docker client")
    parser.add_argument("--sampan", type=shlex.split, default=shlex.split(ours), help="the sampan client")
    parser.add_argument("engines", nargs="+", metavar="LABEL=unix:///path.sock")
    OPTIONS = parser.parse_args()
    engines = [Engine(text) for text in OPTIONS.engines]
    print(f"{'':<78}  " + "  ".join(f"{engine.label:>16}" for engine in engines))
    rows = measure(engines)
    if OPTIONS.json:
        Path(OPTIONS.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
