#!/usr/bin/env python3
"""An hour of an engine's life, looked at for leaks: everything people do, over and over, and what it costs each minute.

    bench/soak.py [MINUTES] [SHARE] [JSON]      60 minutes and a share of 0.3 of the time unless given

A daemon and a registry of its own in network and mount namespaces of their own (`unshare`), so that every link, rule
and mount counted is the daemon's. Run as root. Ten containers run throughout; clients follow logs, events and stats and
come and go. Whatever a round makes it removes, so every column should be flat: the slope of each per hour is printed at
the end, beside the first and the last sample. Not in CI: it takes as long as one says.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.daemon import Daemon
from support.images import busybox_archive
from support.inventory import inventory
from support.own_registry import OwnRegistry

APART = "SAMPAN_SOAK_APART"
"""Set in the process that runs in namespaces of its own."""
STEADY = 10
SAMPLE_EVERY = 60.0
SETTLE = 25.0
"""Seconds before the first and the last sample: the daemon returns freed memory every twenty."""
Sample = dict[str, float]


class Failed(AssertionError):
    """A request was not answered as it should be."""


# -- what is counted ---------------------------------------------------------------------------------
def pss(pid: int, field: str = "Pss") -> float:
    """MiB. "Anonymous" is what is its own alone: a share of the libraries depends on who else on the host has them."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def entries(path: str) -> int:
    try:
        return sum(1 for _ in Path(path).iterdir())
    except OSError:
        return 0


def children(root: Path) -> list[int]:
    """The conmons of this engine."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes()
            if words.startswith((b"conmon", b"/usr/bin/conmon")) and str(root).encode() in words:
                found.append(int(path.name))
    return found


def files(root: Path) -> tuple[int, float]:
    """(number, MiB) below a root, without what containers' own mounts show."""
    count, size = 0, 0
    said = subprocess.run(
        ["find", root, "-xdev", "-printf", "%b\n"], capture_output=True, text=True, check=False
    ).stdout.split()
    for blocks in said:
        count, size = count + 1, size + int(blocks) * 512
    return count, size / (1 << 20)


def sample(daemon: Daemon, registry: OwnRegistry) -> Sample:
    assert daemon.process is not None
    pid = daemon.process.pid
    info = daemon.api("GET", "/info")[1]
    conmons = children(daemon.root)
    found = inventory(daemon)
    kinds = [line.partition(" ")[0] for line in found]
    data, size = files(daemon.data_root)
    status = Path(f"/proc/{pid}/status").read_text()
    return {
        "daemon PSS (MiB)": pss(pid),
        "daemon's own memory (MiB)": pss(pid, "Anonymous"),
        "descriptors": entries(f"/proc/{pid}/fd"),
        "threads": int(status.partition("Threads:")[2].split()[0]),
        "asyncio tasks": info["NGoroutines"],
        "its child processes": len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()),
        "conmons": len(conmons),
        "conmons PSS (MiB)": sum(map(pss, conmons)),
        "processes": kinds.count("process"),
        "mounts": kinds.count("mount"),
        "links": kinds.count("link"),
        "nft rules, sets and elements": kinds.count("nft"),
        "cgroups": kinds.count("cgroup"),
        "network namespaces": kinds.count("netns"),
        "bundles, exits, states": sum(map(kinds.count, ("bundle", "exit", "temporary", "state-crun", "state-runc"))),
        "files under the data root": data,
        "files under the exec root": files(daemon.exec_root)[0],
        "data root (MiB)": size,
        "state.db (MiB)": sum(p.stat().st_size for p in daemon.data_root.glob("state.db*")) / (1 << 20),
        "registry PSS (MiB)": pss(registry.process.pid),
        "registry descriptors": entries(f"/proc/{registry.process.pid}/fd"),
    }


# -- what is done ------------------------------------------------------------------------------------
class Mix:
    """One round does everything once and removes it again."""

    def __init__(self, daemon: Daemon, registry: OwnRegistry) -> None:
        self.daemon, self.registry = daemon, registry
        self.round = 0
        self.requests = 0
        self.followers: list[socket.socket] = []

    def ask(self, method: str, path: str, body: Any = None, legal: tuple[int, ...] = (200, 201, 204, 304)) -> Any:
        headers = {"Content-Type": "application/x-tar"} if isinstance(body, bytes) else None
        status, answer = self.daemon.api(method, path, body, headers)
        self.requests += 1
        if status not in legal or (isinstance(answer, bytes) and b'"error"' in answer):
            raise Failed(f"{method} {path}: {status} {answer!r}")
        return answer

    def open(self, request: str, body: bytes = b"") -> socket.socket:
        """A stream that stays open: hijacked, or an answer without an end."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(self.daemon.socket))
        head = f"{request} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if request.startswith("POST") else ""
        connection.sendall(f"{head}{upgrade}\r\n".encode() + body)
        self.requests += 1
        return connection

    def everything(self) -> None:
        self.round += 1
        for action in (
            *(self.run, self.life, self.exec, self.attach, self.terminal, self.copy, self.crash),
            *(self.logs, self.network, self.volume, self.live, self.health, self.refused, self.follow),
            *(self.commit, self.build, self.pull, self.load, self.stats, self.look),
        ):
            action()

    def create(self, name: str, *command: str, **host: Any) -> str:
        extra = host.pop("extra", {})
        body = {"Image": "busybox", "Cmd": list(command), "StopTimeout": 0, "HostConfig": host, **extra}
        return str(self.ask("POST", f"/containers/create?name={name}", body)["Id"])

    def remove(self, name: str) -> None:
        self.ask("DELETE", f"/containers/{name}?force=1&v=1")

    def run(self) -> None:
        """`run --rm`, five of them."""
        for number in range(5):
            id = self.create(f"run{number}", "echo", "hello", AutoRemove=True)
            connection = self.open(f"POST /containers/{id}/attach?stream=1&stdout=1&stderr=1")
            connection.recv(1000)
            waiting = self.open(f"POST /containers/{id}/wait?condition=removed")
            self.ask("POST", f"/containers/{id}/start")
            drain(connection)
            while b"StatusCode" not in waiting.recv(4000):
                pass
            waiting.close()

    def life(self) -> None:
        name = "life"
        self.create(name, "sleep", "1000", PortBindings={"80/tcp": [{}]}, Memory=64 << 20)
        for step in ("start", "pause", "unpause", "restart?t=0", "stop?t=0", "start", "kill"):
            self.ask("POST", f"/containers/{name}/{step}")
        self.ask("POST", f"/containers/{name}/wait")
        self.ask("POST", f"/containers/{name}/rename?name=other")
        self.remove("other")

    def exec(self) -> None:
        for tty in (False, True):
            body = {"Cmd": ["sh", "-c", "head -c 200000 /dev/zero"], "AttachStdout": True, "Tty": tty}
            id = self.ask("POST", "/containers/steady0/exec", body)["Id"]
            drain(self.open(f"POST /exec/{id}/start", json.dumps({"Tty": tty}).encode()))
        id = self.ask("POST", "/containers/steady1/exec", {"Cmd": ["true"]})["Id"]
        self.ask("POST", f"/exec/{id}/start", {"Detach": True})

    def attach(self) -> None:
        """Typed at; then a second client that goes away in the middle."""
        id = self.create("cat", "cat", extra={"OpenStdin": True, "StdinOnce": True, "AttachStdin": True})
        connection = self.open(f"POST /containers/{id}/attach?stream=1&stdin=1&stdout=1")
        self.ask("POST", f"/containers/{id}/start")
        leaving = self.open(f"POST /containers/{id}/attach?stream=1&stdout=1")
        connection.sendall(b"x" * 100_000)
        leaving.close()
        connection.shutdown(socket.SHUT_WR)
        drain(connection)
        self.remove("cat")

    def terminal(self) -> None:
        self.create("tty", "sh", extra={"Tty": True, "OpenStdin": True})
        connection = self.open("POST /containers/tty/attach?stream=1&stdin=1&stdout=1")
        self.ask("POST", "/containers/tty/start")
        self.ask("POST", "/containers/tty/resize?h=30&w=90")
        connection.sendall(b"stty size; exit\n")
        drain(connection)
        self.remove("tty")

    def copy(self) -> None:
        self.ask("PUT", "/containers/steady2/archive?path=/tmp", packed({"copied": bytes(300_000)}))
        self.ask("GET", "/containers/steady2/archive?path=/tmp/copied")
        self.ask("GET", "/containers/steady2/changes")

    def crash(self) -> None:
        """An exit code, a command that is not there, and a restart policy."""
        self.create("bad", "nothing-like-this")
        self.ask("POST", "/containers/bad/start", legal=(400, 404, 500))
        self.remove("bad")
        self.create("again", "false", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 1})
        self.ask("POST", "/containers/again/start")
        self.ask("POST", "/containers/again/wait")
        self.remove("again")

    def logs(self) -> None:
        self.ask("GET", "/containers/talker/logs?stdout=1&tail=100")
        connection = self.open("GET /containers/talker/logs?stdout=1&follow=1&tail=5")
        connection.recv(1000)
        connection.close()

    def network(self) -> None:
        self.ask("POST", "/networks/create", {"Name": "net"})
        self.create("member", "sleep", "1000", NetworkMode="net", extra={"Hostname": "member"})
        self.ask("POST", "/containers/member/start")
        self.ask("POST", "/networks/net/connect", {"Container": "steady3"})
        self.ask("POST", "/networks/net/disconnect", {"Container": "steady3"})
        self.ask("POST", "/networks/bridge/connect", {"Container": "member"})
        self.remove("member")
        self.ask("DELETE", "/networks/net")

    def volume(self) -> None:
        self.ask("POST", "/volumes/create", {"Name": "vol"})
        self.create("filler", "sh", "-c", "date > /data/file", Binds=["vol:/data"], extra={"Volumes": {"/anon": {}}})
        self.ask("POST", "/containers/filler/start")
        self.ask("POST", "/containers/filler/wait")
        self.remove("filler")
        self.ask("DELETE", "/volumes/vol")

    def live(self) -> None:
        self.ask("POST", "/containers/steady4/update", {"Memory": (100 + self.round % 2) << 20, "MemorySwap": -1})

    def health(self) -> None:
        check = {"Test": ["CMD", "true"], "Interval": 200_000_000, "Retries": 1}
        self.create("healthy", "sleep", "1000", extra={"Healthcheck": check})
        self.ask("POST", "/containers/healthy/start")
        for _ in range(200):
            if self.ask("GET", "/containers/healthy/json")["State"]["Health"]["Status"] == "healthy":
                break
            time.sleep(0.05)
        self.remove("healthy")

    def refused(self) -> None:
        """Errors cost nothing that lasts."""
        self.ask("GET", "/containers/none/json", legal=(404,))
        self.ask("POST", "/containers/create", {"Image": "none"}, legal=(404,))
        self.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Binds": ["x"]}}, legal=(400,))
        self.ask("DELETE", "/networks/bridge", legal=(403,))
        self.ask("POST", "/images/create?fromImage=127.0.0.1:1/none&tag=1", legal=(404, 500))

    def follow(self) -> None:
        """Eight clients that follow something; the oldest leaves when a new one comes."""
        kinds = ("/events", "/containers/talker/logs?stdout=1&follow=1&tail=1", "/containers/steady5/stats")
        self.followers.append(self.open(f"GET {kinds[self.round % 3]}"))
        for connection in self.followers:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while connection.recv(1 << 16):
                    pass
        if len(self.followers) > 8:
            self.followers.pop(0).close()

    def commit(self) -> None:
        self.ask("POST", "/commit?container=steady6&repo=committed", {})
        self.ask("DELETE", "/images/committed")

    def build(self) -> None:
        source = f'FROM busybox\nRUN echo {self.round} > /made\nCOPY file /copied\nCMD ["cat", "/made"]\n'
        context = packed({"Dockerfile": source.encode(), "file": os.urandom(50_000)})
        self.ask("POST", "/build?t=built", context)
        self.ask("POST", "/build?t=built", context)
        self.ask("DELETE", "/images/built?force=1")
        self.ask("POST", "/build/prune?all=1")

    def pull(self) -> None:
        name = f"{self.registry.address}/soak"
        self.ask("POST", f"/images/create?fromImage={name}&tag=1")
        self.ask("POST", f"/images/{name}:1/tag?repo={name}&tag=back")
        headers = {"X-Registry-Auth": "e30="}
        status, answer = self.daemon.api("POST", f"/images/{name}/push?tag=back", None, headers)
        if status != 200 or b'"error"' in answer:
            raise Failed(f"push: {status} {answer!r}")
        for tag in ("1", "back"):
            self.ask("DELETE", f"/images/{name}:{tag}")

    def load(self) -> None:
        saved = self.ask("GET", "/images/busybox/get")
        self.ask("POST", "/images/load?quiet=1", saved)

    def stats(self) -> None:
        self.ask("GET", "/containers/steady7/stats?stream=0&one-shot=1")
        self.ask("GET", "/containers/steady7/top")

    def look(self) -> None:
        for path in ("/containers/json?all=1&size=1", "/images/json", "/networks", "/volumes", "/info", "/system/df"):
            self.ask("GET", path)
        self.ask("GET", f"/events?since=1&until={int(time.time())}")

    def close(self) -> None:
        for connection in self.followers:
            connection.close()


def drain(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass
    connection.close()


def packed(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def steady(mix: Mix) -> None:
    mix.daemon.load(busybox_archive())
    for number in range(STEADY - 1):
        mix.create(f"steady{number}", "sleep", "1000000", PortBindings={"80/tcp": [{"HostIp": "127.0.0.1"}]})
        mix.ask("POST", f"/containers/steady{number}/start")
    # Rotated small: else its log is what grows.
    rotated = {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "2"}}
    mix.create("talker", "sh", "-c", "while :; do date; sleep 0.2; done", LogConfig=rotated)
    mix.ask("POST", "/containers/talker/start")


# -- what it comes to --------------------------------------------------------------------------------
def slope(points: list[tuple[float, float]]) -> float:
    """Per hour, by least squares; without the first fifth, while caches fill."""
    kept = points[len(points) // 5 :]
    if len(kept) < 2:
        return 0.0
    middle, mean = sum(x for x, _ in kept) / len(kept), sum(y for _, y in kept) / len(kept)
    spread = sum((x - middle) ** 2 for x, _ in kept)
    return 3600 * sum((x - middle) * (y - mean) for x, y in kept) / spread if spread else 0.0


def report(samples: list[tuple[float, Sample]], rounds: int, requests: int) -> None:
    print(f"\n{samples[-1][0] / 60:.0f} minutes, {rounds} rounds, {requests} requests, {len(samples)} samples\n")
    print("| | before | after | most | slope per hour |\n| --- | --- | --- | --- | --- |")
    for column in samples[0][1]:
        points = [(at, row[column]) for at, row in samples]
        first, last, most = points[0][1], points[-1][1], max(y for _, y in points)
        print(f"| {column} | {first:.4g} | {last:.4g} | {most:.4g} | {slope(points[1:-1]):+.2f} |")


def soak(minutes: float, share: float, into: Path | None) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    root = Path(tempfile.mkdtemp(prefix="sampan-soakregistry-"))
    daemon, registry = Daemon("soak"), OwnRegistry(root)
    mix = Mix(daemon, registry)
    samples: list[tuple[float, Sample]] = []
    began = time.monotonic()

    def look() -> None:
        samples.append((time.monotonic() - began, sample(daemon, registry)))
        line = ", ".join(f"{k} {v:.4g}" for k, v in samples[-1][1].items())
        print(f"{samples[-1][0]:6.0f} s, {mix.round} rounds: {line}", flush=True)
        if into:
            into.write_text(json.dumps(samples))

    try:
        daemon.start()
        steady(mix)
        publish(mix)
        mix.everything()
        for connection in mix.followers:
            connection.close()
        mix.followers.clear()
        time.sleep(SETTLE)
        began = time.monotonic()
        look()
        _rounds(mix, began + minutes * 60, share, look)
        mix.close()
        time.sleep(SETTLE)
        look()
        report(samples, mix.round, mix.requests)
    except BaseException:
        print(daemon.log.read_text()[-3000:], flush=True)
        raise
    finally:
        daemon.stop()
        registry.stop()
        shutil.rmtree(root)


def _rounds(mix: Mix, until: float, share: float, look: Callable[[], None]) -> None:
    while time.monotonic() < until:
        sampling = time.monotonic() + SAMPLE_EVERY
        while time.monotonic() < min(sampling, until):
            began = time.monotonic()
            mix.everything()
            time.sleep((time.monotonic() - began) * (1 / share - 1))
        time.sleep(1)  # what a round removed is taken down
        look()


def publish(mix: Mix) -> None:
    """An image for `pull`: a layer that nothing else has, put there by our own push."""
    context = packed({"Dockerfile": b"FROM busybox\nCOPY data /data\n", "data": os.urandom(2 << 20)})
    name = f"{mix.registry.address}/soak"
    mix.ask("POST", f"/build?t={name}:1", context)
    status, answer = mix.daemon.api("POST", f"/images/{name}/push?tag=1", None, {"X-Registry-Auth": "e30="})
    assert status == 200 and b'"error"' not in answer, answer
    mix.ask("DELETE", f"/images/{name}:1?force=1")
    mix.ask("POST", "/build/prune?all=1")


def main(minutes: float = 60, share: float = 0.3, into: str = "") -> None:
    if not os.environ.get(APART):
        words = ["unshare", "--net", "--mount", sys.executable, *sys.argv]
        os.execvpe(words[0], words, {**os.environ, APART: "1"})
    soak(minutes, share, Path(into) if into else None)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:3]), into="".join(sys.argv[3:4]))
