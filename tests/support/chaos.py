"""A daemon that is killed again and again while it works: run as a program, in namespaces of its own.

Usage: unshare --net --mount python -m support.chaos ROUNDS SEED STEADY. Clients do random things; at a random moment
the daemon gets SIGKILL and is started again. Then what the clients were told must be so, nothing may be there that no
object accounts for, and the steady containers must be the ones they were and answer.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import inventory
from support.daemon import Daemon
from support.images import busybox_archive, busybox_layer, docker_archive
from support.registry import Registry, push

WORKERS = 4
LEGAL = (200, 201, 204, 304)


class Lost(AssertionError):
    """The daemon broke a promise."""


@dataclass
class Ledger:
    """What one client was told. `None`: the answer did not come, either is right."""

    things: dict[tuple[str, str], bool | None] = field(default_factory=dict)
    running: dict[str, bool | None] = field(default_factory=dict)
    memory: dict[str, int | None] = field(default_factory=dict)
    """Limits that `update` set."""
    live: dict[str, bool | None] = field(default_factory=dict)
    """Whether a volume was mounted at /live while the container ran."""

    def forget(self, name: str) -> None:
        """A container that is made or goes has none of what its forerunner was given."""
        self.memory[name] = self.live[name] = None


class Client:
    """Does random things to objects that are its own, until the daemon is gone."""

    def __init__(self, chaos: Chaos, number: int, seed: int) -> None:
        self.chaos, self.number = chaos, number
        self.daemon = chaos.daemon
        self.random = random.Random(seed)
        self.ledger = chaos.ledgers[number]
        self.done: list[str] = []
        self.failure: str = ""

    def work(self) -> None:
        try:
            while not self.chaos.killed.is_set():
                self.random.choice(self.actions())()
        except (OSError, http.client.HTTPException):
            pass  # killed: the ledger says what is unknown
        except Lost as lost:
            self.failure = str(lost)

    def actions(self) -> list[Callable[[], None]]:
        return [
            *(self.create, self.create_and_start, self.start, self.start, self.stop, self.kill, self.remove),
            *(self.remove, self.force_remove, self.run_removed, self.load, self.pull, self.remove_image, self.rename),
            *(
                self.network,
                self.volume,
                self.connect,
                self.execute,
                self.commit,
                self.upload,
                self.kill_keeper,
                self.build,
                self.limit,
                self.mount,
                self.publish,
            ),
        ]

    # -- one request, and what it means -----------------------------------------------------------
    def call(self, method: str, path: str, body: Any = None, legal: tuple[int, ...] = LEGAL) -> tuple[int, Any]:
        headers = {"Content-Type": "application/x-tar"} if isinstance(body, bytes) else None
        status, answer = self.daemon.api(method, path, body, headers)
        self.done.append(f"{method} {path} {status}")
        if status not in legal:
            raise Lost(f"{method} {path}: {status} {answer}")
        return status, answer

    def name(self, kind: str) -> str:
        return f"{kind}{self.number}-{self.random.randrange(5)}"

    def told(self, kind: str, name: str, is_there: bool, request: Callable[[], tuple[int, Any]]) -> int:
        """Notes what the request promises once it is answered with success."""
        before = self.ledger.things.get((kind, name), False)
        self.ledger.things[kind, name] = None
        status, _ = request()
        self.ledger.things[kind, name] = is_there if status < 300 else before
        return status

    # -- containers -------------------------------------------------------------------------------
    def create(self) -> None:
        name = self.name("c")
        script = self.random.choice(["sleep 1000", "sleep 0.1", "exit 3", "while :; do echo x; sleep 0.05; done"])
        host: dict[str, Any] = {"Binds": [f"{self.name('v')}:/data"] if self.random.random() < 0.2 else None}
        if self.random.random() < 0.3:
            host["PortBindings"] = {"80/tcp": [{}]}
        if self.random.random() < 0.2:
            host["RestartPolicy"] = {"Name": "on-failure", "MaximumRetryCount": 2}
        body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host, "StopTimeout": 1}
        if self.random.random() < 0.2:
            body["Volumes"] = {"/etc": {}}
        for bind in host["Binds"] or []:
            self.ledger.things["v", bind.partition(":")[0]] = None
        self.told("c", name, True, lambda: self.call("POST", f"/containers/create?name={name}", body, (201, 409, 404)))

    def create_and_start(self) -> None:
        name = self.name("s")
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "StopTimeout": 0}
        path = f"/containers/create?name={name}"
        self.ledger.forget(name)
        if self.told("s", name, True, lambda: self.call("POST", path, body, (201, 409))) == 201:
            self.running(name, True, lambda: self.call("POST", f"/containers/{name}/start"))

    def running(self, name: str, runs: bool, request: Callable[[], tuple[int, Any]]) -> None:
        before = self.ledger.running.get(name, False)
        self.ledger.running[name] = None
        status, _ = request()
        self.ledger.running[name] = runs if status < 305 else before

    def start(self) -> None:
        self.call("POST", f"/containers/{self.name('c')}/start", legal=(204, 304, 404, 409))

    def stop(self) -> None:
        name = self.name("s")
        self.running(name, False, lambda: self.call("POST", f"/containers/{name}/stop?t=0", legal=(204, 304, 404)))

    def kill(self) -> None:
        self.call("POST", f"/containers/{self.name('c')}/kill", legal=(204, 404, 409))

    def remove(self) -> None:
        name = self.name("c")
        self.told("c", name, False, lambda: self.call("DELETE", f"/containers/{name}?v=1", legal=(204, 404, 409)))

    def force_remove(self) -> None:
        kind = self.random.choice("cs")
        name = self.name(kind)
        if kind == "s":
            self.ledger.running[name] = None
            self.ledger.forget(name)
        self.told(kind, name, False, lambda: self.call("DELETE", f"/containers/{name}?force=1&v=1", legal=(204, 404)))
        if kind == "s":
            self.ledger.running[name] = False

    def run_removed(self) -> None:
        """`run --rm`: there is nothing to be told of, and nothing may be left of it."""
        body = {"Image": "busybox", "Cmd": ["sh", "-c", "sleep 0.05"], "HostConfig": {"AutoRemove": True}}
        _, created = self.call("POST", "/containers/create", body)
        self.call("POST", f"/containers/{created['Id']}/start")

    def limit(self) -> None:
        name, memory = self.name("s"), self.random.choice([32, 64, 128]) << 20
        self.ledger.memory[name] = None
        body = {"Memory": memory, "MemorySwap": -1}
        if self.call("POST", f"/containers/{name}/update", body, (200, 404, 409))[0] == 200:
            self.ledger.memory[name] = memory

    def mount(self) -> None:
        """A volume into a container while it runs, or out of it; 400: it is there, or is not."""
        name, volume, coming = self.name("s"), self.name("v"), self.random.random() < 0.6
        self.ledger.things["v", volume] = None
        known, self.ledger.live[name] = self.ledger.live.get(name), None
        added = [{"Type": "volume", "Source": volume, "Target": "/live"}]
        body: dict[str, Any] = {"MountAdd": added} if coming else {"MountRm": ["/live"]}
        status, _ = self.call("POST", f"/containers/{name}/update", body, (200, 400, 404, 409))
        self.ledger.live[name] = coming if status == 200 else known

    def publish(self) -> None:
        verb = self.random.choice(["PublishAdd", "PublishRm"])
        body = {verb: {"81/tcp": [{}] if verb == "PublishAdd" else None}}
        self.call("POST", f"/containers/{self.name('s')}/update", body, (200, 400, 404, 409))

    def kill_keeper(self) -> None:
        """conmon is killed, too."""
        name = self.name("c")
        status, found = self.call("GET", f"/containers/{name}/json", legal=(200, 404))
        if status == 200 and found["State"]["Running"]:
            with contextlib.suppress(OSError, ValueError):
                pidfile = self.daemon.exec_root / "containers" / found["Id"] / "conmon.pid"
                os.kill(int(pidfile.read_text()), signal.SIGKILL)

    def rename(self) -> None:
        name, other = self.name("c"), self.name("c")
        before = self.ledger.things.get(("c", name)), self.ledger.things.get(("c", other))
        self.ledger.things["c", name] = self.ledger.things["c", other] = None
        status, _ = self.call("POST", f"/containers/{name}/rename?name={other}", legal=(204, 400, 404, 409))
        after = (False, True) if status == 204 else before
        self.ledger.things["c", name], self.ledger.things["c", other] = after

    def execute(self) -> None:
        name = self.name("s")
        body = {"Cmd": ["sleep", "0.1"], "AttachStdout": True}
        status, answer = self.call("POST", f"/containers/{name}/exec", body, (201, 404, 409))
        if status == 201:
            self.call("POST", f"/exec/{answer['Id']}/start", {"Detach": True}, (200, 404, 409, 500))

    def upload(self) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo("uploaded")
            info.size = 100_000
            tar.addfile(info, io.BytesIO(bytes(100_000)))
        self.call("PUT", f"/containers/{self.name('c')}/archive?path=/tmp", buffer.getvalue(), (200, 404, 409, 500))

    # -- images -----------------------------------------------------------------------------------
    def load(self) -> None:
        name = self.name("i")
        archive = docker_archive([f"{name}:latest"], [busybox_layer(), _layer(self.random)], {"Cmd": ["sh"]})

        def request() -> tuple[int, Any]:
            status, answer = self.call("POST", "/images/load?quiet=1", archive)
            if b"error" in (answer if isinstance(answer, bytes) else json.dumps(answer).encode()):
                raise Lost(f"load: {answer!r}")
            return status, answer

        self.told("i", name, True, request)

    def pull(self) -> None:
        name = self.name("i")
        source, tag = self.chaos.registry, self.random.choice(["1", "2", "3"])

        def request() -> tuple[int, Any]:
            _, answer = self.call("POST", f"/images/create?fromImage={source}/chaos&tag={tag}")
            if b'"error"' in (answer if isinstance(answer, bytes) else json.dumps(answer).encode()):
                raise Lost(f"pull: {answer!r}")
            return self.call("POST", f"/images/{source}/chaos:{tag}/tag?repo={name}", legal=(201, 404))

        self.told("i", name, True, request)

    def remove_image(self) -> None:
        name = self.name("i")
        self.told("i", name, False, lambda: self.call("DELETE", f"/images/{name}", legal=(200, 404, 409)))
        if self.random.random() < 0.3:
            self.call("DELETE", f"/images/{self.chaos.registry}/chaos:1?force=1", legal=(200, 404, 409))

    def commit(self) -> None:
        name = self.name("i")
        path = f"/commit?container={self.name('c')}&repo={name}"
        self.told("i", name, True, lambda: self.call("POST", path, {}, (201, 404, 409, 501)))

    def build(self) -> None:
        name = self.name("i")
        source = (
            f"FROM busybox AS one\nRUN echo {self.random.randrange(9)} > /made && sleep 0.1\n"
            "FROM busybox\nRUN --mount=type=cache,target=/cache date >> /cache/dates\n"
            "COPY --from=one /made /made\nCOPY file0 /copied\n"
        )
        context = _layer(self.random, ("Dockerfile", source.encode()))

        def request() -> tuple[int, Any]:
            status, answer = self.call("POST", f"/build?t={name}&rm=1", context, (200, 501))
            if b'"error"' in (answer if isinstance(answer, bytes) else json.dumps(answer).encode()):
                raise Lost(f"build: {answer!r}")
            return status, answer

        self.told("i", name, True, request)

    # -- networks and volumes ---------------------------------------------------------------------
    def network(self) -> None:
        name = self.name("n")
        if self.random.random() < 0.5:
            body = {"Name": name}
            self.told("n", name, True, lambda: self.call("POST", "/networks/create", body, (201, 409)))
        else:
            self.told("n", name, False, lambda: self.call("DELETE", f"/networks/{name}", legal=(204, 403, 404)))

    def connect(self) -> None:
        path = f"/networks/{self.name('n')}/{self.random.choice(['connect', 'disconnect'])}"
        self.call("POST", path, {"Container": self.name("s")}, (200, 403, 404, 409, 500))

    def volume(self) -> None:
        name = self.name("v")
        if self.random.random() < 0.5:
            self.told("v", name, True, lambda: self.call("POST", "/volumes/create", {"Name": name}))
        else:
            self.told("v", name, False, lambda: self.call("DELETE", f"/volumes/{name}", legal=(204, 404, 409)))


def _layer(source: random.Random, *more: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in more:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for number in range(20):
            info = tarfile.TarInfo(f"file{number}")
            info.size = 20_000
            tar.addfile(info, io.BytesIO(source.randbytes(20_000)))
    return buffer.getvalue()


class Chaos:
    def __init__(self, seed: int, steady: int) -> None:
        self.random = random.Random(seed)
        self.daemon = Daemon("chaos")
        self.killed = threading.Event()
        self.ledgers = [Ledger() for _ in range(WORKERS)]
        self.steady = [f"steady{number}" for number in range(steady)]
        self.pids: dict[str, int] = {}
        self.ports: dict[str, int] = {}
        self.answers = 0
        self.silences: list[str] = []
        self.registry = ""
        self.requests: dict[str, int] = {}
        self.kills = 0

    # -- before and after -------------------------------------------------------------------------
    def prepare(self, registry: str) -> None:
        self.registry = registry
        self.daemon.start()
        self.daemon.load(busybox_archive())
        for name in self.steady:
            body = {
                "Image": "busybox",
                "Cmd": ["nc", "-ll", "-p", "80", "-e", "echo", name],
                "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}},
            }
            self._ok("POST", f"/containers/create?name={name}", body)
            self._ok("POST", f"/containers/{name}/start")
            found = self._ok("GET", f"/containers/{name}/json")
            self.pids[name] = found["State"]["Pid"]
            self.ports[name] = int(found["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        time.sleep(0.3)
        self.baseline = inventory.inventory(self.daemon)

    def _ok(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.daemon.api(method, path, body)
        if status not in LEGAL:
            raise Lost(f"{method} {path}: {status} {answer}")
        return answer

    def poll(self) -> None:
        """The steady containers never stop answering, least of all while there is no daemon."""
        while not self.over.wait(0.05):
            for name, port in self.ports.items():
                try:
                    with socket.create_connection(("127.0.0.1", port), 5) as connection:
                        said = connection.recv(100)
                except OSError as error:
                    said = str(error).encode()
                if said.strip() == name.encode():
                    self.answers += 1
                else:
                    self.silences.append(f"{name}: {said!r}")

    # -- rounds -----------------------------------------------------------------------------------
    def rounds(self, count: int) -> None:
        self.over = threading.Event()
        polling = threading.Thread(target=self.poll)
        polling.start()
        try:
            for number in range(count):
                try:
                    self.round(number)
                    if number % 10 == 9 or number == count - 1:
                        self.quiesce()
                except Exception as error:
                    raise Lost(f"round {number}: {error}") from error
        finally:
            self.over.set()
            polling.join()
        if self.silences:
            raise Lost(f"steady containers did not answer: {self.silences[:5]} ({len(self.silences)})")

    def round(self, number: int) -> None:
        self.killed.clear()
        clients = [Client(self, n, self.random.randrange(1 << 30)) for n in range(WORKERS)]
        threads = [threading.Thread(target=client.work, daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(self.random.uniform(0.02, 0.9))
        self.killed.set()
        self.daemon.kill()
        self.kills += 1
        for client, thread in zip(clients, threads, strict=True):
            thread.join(60)
            for line in client.done:
                kind = line.split()[0] + " " + line.split()[1].split("?")[0].split("/")[1]
                self.requests[kind] = self.requests.get(kind, 0) + 1
        if failures := [client.failure for client in clients if client.failure]:
            raise Lost("; ".join(failures))
        if self.random.random() < 0.15:  # killed while it recovers, too
            self._kill_early()
        self.daemon.start()
        self.check_promises()
        self.check_accounts()

    def _kill_early(self) -> None:
        def strike() -> None:
            if self.daemon.process is not None:
                self.daemon.process.kill()

        timer = threading.Timer(self.random.uniform(0.15, 0.5), strike)
        with contextlib.suppress(AssertionError):
            timer.start()
            self.daemon.start()
        timer.join()
        assert self.daemon.process is not None
        self.daemon.process.wait()
        self.kills += 1

    def check_promises(self) -> None:
        containers = {entry["Names"][0][1:]: entry for entry in self._ok("GET", "/containers/json?all=1")}
        there = {
            "c": set(containers),
            "s": set(containers),
            "n": {entry["Name"] for entry in self._ok("GET", "/networks")},
            "v": {entry["Name"] for entry in self._ok("GET", "/volumes")["Volumes"] or []},
            "i": {t.rpartition(":")[0] for e in self._ok("GET", "/images/json") for t in e["RepoTags"] or []},
        }
        for ledger in self.ledgers:
            for (kind, name), expected in ledger.things.items():
                if expected is not None and (name in there[kind]) != expected:
                    raise Lost(f"{kind} {name} should {'' if expected else 'not '}be there")
                ledger.things[kind, name] = name in there[kind]
            for name, runs in ledger.running.items():
                now = name in containers and containers[name]["State"] == "running"
                if runs is not None and name in containers and now != runs:
                    raise Lost(f"container {name} should {'' if runs else 'not '}run: {containers[name]}")
                ledger.running[name] = now
            self._check_updates(ledger)
        for name in containers:
            found = self._ok("GET", f"/containers/{name}/json")
            if name in self.pids and found["State"]["Pid"] != self.pids[name]:
                raise Lost(f"{name} is another process: {found['State']}")
            if found["State"]["Status"] in ("removing", "dead"):
                raise Lost(f"{name} is half removed: {found['State']}")
        for tag in there["i"]:
            if not tag.startswith(self.registry):
                self._ok("GET", f"/images/{tag}/json")

    def _check_updates(self, ledger: Ledger) -> None:
        for name in ledger.memory.keys() | ledger.live.keys():
            status, found = self.daemon.api("GET", f"/containers/{name}/json")
            if status == 404:
                ledger.forget(name)
                continue
            memory, live = ledger.memory.get(name), ledger.live.get(name)
            if memory is not None and found["HostConfig"]["Memory"] != memory:
                raise Lost(f"{name} should have {memory} bytes: {found['HostConfig']['Memory']}")
            has = any(mount["Destination"] == "/live" for mount in found["Mounts"])
            if live is not None and has != live:
                raise Lost(f"{name} should {'' if live else 'not '}have a mount at /live: {found['Mounts']}")
            if found["State"]["Running"]:
                pid = found["State"]["Pid"]
                if (" /live " in Path(f"/proc/{pid}/mountinfo").read_text()) != has:
                    raise Lost(f"{name}: /live is {'not ' if has else ''}mounted inside")
                self._check_limit(found)
            ledger.live[name] = has

    @staticmethod
    def _check_limit(found: dict[str, Any]) -> None:
        """What the kernel has is what the API says."""
        said = found["HostConfig"]["Memory"]
        for line in Path(f"/proc/{found['State']['Pid']}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            tree = Path("/sys/fs/cgroup/memory" if "memory" in controllers.split(",") else "/sys/fs/cgroup")
            for name in ("memory.limit_in_bytes", "memory.max"):
                with contextlib.suppress(OSError, ValueError):
                    limit = int((tree / path.strip("/") / name).read_text())
                    if said and limit != said:
                        raise Lost(f"{found['Name']}: {limit} bytes in its cgroup, {said} by the API")

    def check_accounts(self) -> None:
        """Everything on kernel and disk belongs to something that the API tells of."""
        wrong: list[str] = []
        for _ in range(60):
            try:
                wrong = self._unaccounted()
            except subprocess.CalledProcessError:
                wrong = ["inventory failed"]
            if not wrong:
                return
            time.sleep(0.05)
        raise Lost("unaccounted for: " + "; ".join(wrong))

    def _unaccounted(self) -> list[str]:
        containers = self._ok("GET", "/containers/json?all=1")
        every = {entry["Id"] for entry in containers}
        alive = {entry["Id"] for entry in containers if entry["State"] in ("running", "paused")}
        networks = self._ok("GET", "/networks")
        found = inventory.inventory(self.daemon)
        wrong = []
        for kind in ("bundle", "netns", "state-runc", "state-crun", "cgroup"):
            for name in inventory.of(found, kind):
                if name.rpartition("/")[2] not in alive:
                    wrong.append(f"{kind} {name}")
        for name in inventory.of(found, "mount"):
            if not any(id in name for id in alive) and name != "run/netns":
                wrong.append(f"mount {name}")
        for kind in ("directory", "snapshot"):
            wrong += [f"{kind} {name}" for name in inventory.of(found, kind) if name not in every]
        for kind in ("exit", "ingest", "temporary"):
            wrong += [f"{kind} {name}" for name in inventory.of(found, kind)]
        for line in inventory.of(found, "process"):
            if not any(id in line for id in alive):
                pid = line.split()[0]
                with contextlib.suppress(OSError):
                    if not any(id in Path(f"/proc/{pid}/cgroup").read_text() for id in alive):
                        wrong.append(f"process {line}")
        attached = sum(
            1
            for entry in containers
            if entry["Id"] in alive
            for settings in entry["NetworkSettings"]["Networks"].values()
            if settings["EndpointID"]
        )
        links = [line for line in inventory.of(found, "link") if not line.startswith("lo ")]
        bridges = sum(1 for network in networks if network["Driver"] == "bridge")
        if len(links) != attached + bridges:
            wrong.append(f"{len(links)} links for {attached} endpoints and {bridges} bridges: {links}")
        return wrong

    def quiesce(self) -> None:
        """All that clients made is removed: then all must be as it was before they came."""
        for entry in self._ok("GET", "/containers/json?all=1"):
            if entry["Names"][0][1:] not in self.pids:
                status, answer = self.daemon.api("DELETE", f"/containers/{entry['Id']}?force=1&v=1")
                if status not in (204, 404, 409):
                    raise Lost(f"{entry['Names']} cannot be removed: {answer}")
        for entry in self._ok("GET", "/networks"):
            if entry["Name"] not in ("bridge", "host", "none"):
                self._ok("DELETE", f"/networks/{entry['Id']}")
        for entry in self._ok("GET", "/volumes")["Volumes"] or []:
            self._ok("DELETE", f"/volumes/{entry['Name']}")
        for entry in self._ok("GET", "/images/json?all=1"):
            if "busybox:latest" not in (entry["RepoTags"] or []):
                self.daemon.api("DELETE", f"/images/{entry['Id']}?force=1")
        self._ok("POST", "/build/prune?all=1")
        for ledger in self.ledgers:
            ledger.things.clear()
            ledger.running.clear()
            ledger.memory.clear()
            ledger.live.clear()
        difference: set[str] = set()
        for _ in range(60):
            difference = inventory.inventory(self.daemon) ^ self.baseline
            if not difference:
                return
            time.sleep(0.05)
        raise Lost("not as before: " + "; ".join(sorted(difference)))

    def close(self) -> None:
        if self.daemon.process is not None and self.daemon.process.poll() is not None:
            self.daemon.start()
        self.daemon.stop()


def main(rounds: int, seed: int, steady: int) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # While there is no daemon nobody holds a published port, and the kernel may give its number to a client as the
    # source of a connection. Not in this network namespace: the clients here tell of the engine's doings only.
    Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text("32768-33800\n")
    root = Path(tempfile.mkdtemp(prefix="sampan-chaosregistry-"))
    registry = Registry(root)
    chaos = Chaos(seed, steady)
    began = time.monotonic()
    code = 1
    try:
        chaos.prepare(registry.address)
        for tag in ("1", "2", "3"):
            _publish(registry, tag)
        chaos.rounds(rounds)
        code = 0
    except (Lost, AssertionError) as lost:
        print(f"seed {seed}, {chaos.kills} kills: {lost}")
        lines = chaos.daemon.log.read_text().splitlines(keepends=True)
        print("".join([line for line in lines if "level=info" not in line and "/commit" not in line][-40:]))
    finally:  # SIGTERM comes here, too
        seconds = time.monotonic() - began
        print(f"{chaos.kills} kills, {sum(chaos.requests.values())} requests, {chaos.answers} answers, {seconds:.0f} s")
        print(", ".join(f"{kind} {count}" for kind, count in sorted(chaos.requests.items())))
        with contextlib.suppress(Exception) if code else contextlib.nullcontext():
            chaos.close()
        registry.stop()
        shutil.rmtree(root)
    return code


def _publish(registry: Registry, tag: str) -> None:
    """Something to pull: two layers of which one is busybox's."""
    push(registry, "chaos", tag, [busybox_layer(), _layer(random.Random(int(tag)))], ["sh"])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
