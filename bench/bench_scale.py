#!/usr/bin/env python3
"""How the engine bears many containers on one machine: created, running, listed, and asked by many clients at once.

    bench/bench_scale.py [CREATED] [RUNNING] [CLIENTS]      1000 150 100 unless given

A daemon of its own, in a temporary directory; run as root. Times are medians; memory is the daemon's PSS, and of a
running container all processes that keep it (conmon and its command).
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.daemon import Daemon
from support.images import busybox_archive


def pss(pid: int) -> int:
    """KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def many(count: int, clients: int, work: Callable[[int], Any]) -> float:
    """Seconds for `count` pieces of work by so many threads."""
    numbers = iter(range(count))
    lock = threading.Lock()

    def worker() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(number)

    threads = [threading.Thread(target=worker) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def say(what: str, value: str) -> None:
    print(f"{what:58} {value}", flush=True)


def kept(daemon: Daemon, ids: list[str]) -> int:
    """KiB of PSS of everything that keeps these containers running, and of their processes."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes()
            groups = (path / "cgroup").read_text()
        except OSError:
            continue
        if any(id.encode() in words or id in groups for id in ids):
            total += pss(int(path.name))
    return total


def measure(daemon: Daemon, created: int, running: int, clients: int) -> None:
    assert daemon.process is not None
    engine = daemon.process.pid

    def ask(method: str, path: str, body: Any = None) -> Any:
        status, answer = daemon.api(method, path, body)
        assert status < 400, (method, path, answer)
        return answer

    def create(number: int) -> None:
        body = {"Image": "busybox", "Cmd": ["sleep", "100000"], "Labels": {"number": str(number)}}
        ask("POST", f"/containers/create?name=c{number}", body)

    idle = pss(engine)
    say("daemon idle, PSS", f"{idle / 1024:.1f} MiB")
    seconds = many(created, 8, create)
    say(f"{created} created by 8 clients", f"{seconds:.1f} s, {seconds / created * 1000:.1f} ms each")
    say("daemon then, PSS", f"{pss(engine) / 1024:.1f} MiB ({(pss(engine) - idle) / created:.1f} KiB each)")
    before = pss(engine)
    seconds = many(running, 8, lambda number: ask("POST", f"/containers/c{number}/start"))
    say(f"{running} started by 8 clients", f"{seconds:.1f} s, {seconds / running * 1000:.1f} ms each")
    after = pss(engine)
    say("daemon then, PSS", f"{after / 1024:.1f} MiB ({(after - before) / running:.1f} KiB a running container)")
    ids = [entry["Id"] for entry in ask("GET", "/containers/json")]
    say("kept for a running container (conmon and sleep), PSS", f"{kept(daemon, ids) / len(ids) / 1024:.2f} MiB")
    for path, what in (("/containers/json?all=1", "ps -a"), ("/containers/json", "ps"), ("/_ping", "ping")):
        times = sorted(timed(lambda path=path: ask("GET", path)) for _ in range(21))
        say(f"{what}, {created} containers, {running} of them running", f"{statistics.median(times):.1f} ms")
    paths = ["/containers/json", "/info", "/containers/c1/json", "/images/json", "/networks", "/_ping"]
    count = clients * 20
    seconds = many(count, clients, lambda number: ask("GET", paths[number % len(paths)]))
    say(f"{clients} clients at once, {count} requests of 6 kinds", f"{count / seconds:.0f} a second")
    times = []

    def exec_(number: int) -> None:
        name = f"c{number % running}"
        body = {"Cmd": ["true"], "AttachStdout": True}
        began = time.perf_counter()
        ask("POST", f"/exec/{ask('POST', f'/containers/{name}/exec', body)['Id']}/start", {})
        times.append((time.perf_counter() - began) * 1000)

    seconds = many(clients * 2, clients, exec_)
    say(f"{clients} execs at once, {clients * 2} in all", f"{seconds:.1f} s, median {statistics.median(times):.0f} ms")
    daemon.kill()
    seconds = timed(daemon.start) / 1000
    say(f"killed and started again with {running} running", f"{seconds:.2f} s until it answers")
    assert daemon.process is not None
    say("daemon then, PSS", f"{pss(daemon.process.pid) / 1024:.1f} MiB")
    seconds = many(created, 8, lambda number: ask("DELETE", f"/containers/c{number}?force=1"))
    say(f"{created} removed by 8 clients", f"{seconds:.1f} s")
    time.sleep(1)
    say("daemon then, PSS", f"{pss(daemon.process.pid) / 1024:.1f} MiB")


def main(created: int = 1000, running: int = 150, clients: int = 100) -> None:
    daemon = Daemon("scale")
    try:
        daemon.start()
        daemon.load(busybox_archive())
        measure(daemon, created, running, clients)
    finally:
        daemon.stop()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
