"""A laboratory for networks: a "host" that is a network namespace of its own, and a client outside it.

Everything an engine does to the host's network (bridges, rules, sysctls, foreign firewalls) happens in namespaces that
end with the test, so a test may set FORWARD to DROP or flush every rule. Threads inherit the namespace of the thread
that starts them, so a whole event loop with its executors lives in the lab's host.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from sampan.linux import namespaces
from sampan.networks import Networks, Sandbox
from sampan.settings import Settings
from sampan.store import Database, EventLog

T = TypeVar("T")

HOST = "198.51.100.1"
OUTSIDE = "198.51.100.2"
HOST6 = "2001:db8:5::1"
OUTSIDE6 = "2001:db8:5::2"


@dataclass
class Lab:
    """One host with a client outside it. `networks` is the engine under test; `restart` is its `kill -9`."""

    root: Path
    networks: Networks
    events: EventLog
    settings: Settings
    _outside: int
    _database: Database
    _sockets: list[socket.socket] = field(default_factory=list)

    def outside(self, work: Callable[[], T]) -> T:
        return _in(f"/proc/self/fd/{self._outside}", work)

    def inside(self, sandbox: Sandbox, work: Callable[[], T]) -> T:
        assert sandbox.netns is not None
        return _in(str(sandbox.netns), work)

    def serve(self, sandbox: Sandbox, port: int, kind: int = socket.SOCK_STREAM, address: str = "0.0.0.0") -> None:
        """Answers in the container, on `port`, with the client's address."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = self.inside(sandbox, lambda: socket.socket(family, kind))
        listener.bind((address, port))
        self._sockets.append(listener)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        threading.Thread(target=_answer, args=(listener, kind), daemon=True).start()

    async def restart(self, live: dict[str, Sandbox]) -> None:
        """A daemon that was killed: its sockets and memory are gone, nothing was tidied."""
        wiring = self.networks._wiring
        assert wiring is not None
        if self.networks._foreign is not None:
            self.networks._foreign.close()
        self.networks._serving.close()
        await self.networks._run(wiring.close)
        self.networks = Networks(self.settings, self._database, self.events)
        await self.networks.open(live)

    def close(self) -> None:
        for listener in self._sockets:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def run(
    root: Path, scenario: Callable[[Lab], Awaitable[None]], prepare: Callable[[], None] | None = None, **changes: object
) -> None:
    """Runs `scenario` on a fresh lab, then checks that a clean stop leaves nothing on its host. `prepare` runs on the
    host first; `changes` are settings other than the lab's."""

    def host() -> None:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        _ip("link set lo up")
        outside = _outside()
        if prepare is not None:
            prepare()
        before = state()
        asyncio.run(_scenario(root, outside, scenario, changes))
        after = state()
        os.close(outside)
        changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
        assert not changed, f"left on the host: {changed}"
        assert not (root / "run" / "netns").exists()

    namespaces.in_thread(host)


async def _scenario(
    root: Path, outside: int, scenario: Callable[[Lab], Awaitable[None]], changes: dict[str, object]
) -> None:
    settings = msgspec.structs.replace(
        Settings(
            data_root=root / "data",
            exec_root=root / "run",
            bridge="lab0",
            nft_table="lab",
            address_pools=(("10.177.0.0/16", 24),),
        ),
        **changes,
    )
    settings.exec_root.mkdir(parents=True)
    database = Database(settings.data_root / "state.db")
    events = EventLog(database)
    events.bind(asyncio.get_running_loop())
    lab = Lab(root, Networks(settings, database, events), events, settings, outside, database)
    try:
        await lab.networks.open({})
        await scenario(lab)
    finally:
        await lab.networks.close(keep=False)
        lab.close()
        database.close()


def state() -> dict[str, str]:
    """What a host's network is made of: links, IPv4 addresses and routes, rules, forwarding."""
    links = json.loads(sh("ip -j link"))
    return {
        "links": str([(link["ifname"], link.get("master"), link["mtu"]) for link in links]),
        "addresses": sh("ip -o -4 address"),
        "routes": sh("ip route").replace(" linkdown", ""),
        "rules": sh("nft list ruleset"),
    }


def ask(address: str, port: int, kind: int = socket.SOCK_STREAM, timeout: float = 3) -> str:
    """What a server of `Lab.serve` answers: the client's address as it saw it. "" when there is no answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as client:
        client.settimeout(timeout)
        try:
            client.connect((address, port))
            client.sendall(b"?")
            return client.recv(100).decode()
        except OSError:
            return ""


def sh(command: str) -> str:
    """Runs a command in the namespace of the calling thread."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _outside() -> int:
    """A namespace with a client, wired to this host."""

    def make() -> int:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    descriptor = namespaces.in_thread(make)
    _ip("link add out0 type veth peer name eth0")
    peer = f"/proc/{os.getpid()}/fd/{descriptor}"
    subprocess.run(["ip", "link", "set", "eth0", "netns", peer], check=True)
    _ip(f"address add {HOST}/24 dev out0", f"address add {HOST6}/64 dev out0 nodad", "link set out0 up")
    _in(
        peer,
        lambda: _ip(
            "link set lo up",
            f"address add {OUTSIDE}/24 dev eth0",
            f"address add {OUTSIDE6}/64 dev eth0 nodad",
            "link set eth0 up",
            # A neighbour that would route to the containers directly, if it could.
            f"route add 10.177.0.0/16 via {HOST}",
        ),
    )
    return descriptor


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def _in(path: str, work: Callable[[], T]) -> T:
    return namespaces.in_netns(path, work)


def _answer(listener: socket.socket, kind: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            if kind == socket.SOCK_STREAM:
                connection, peer = listener.accept()
                with connection:
                    connection.recv(1)
                    connection.sendall(peer[0].encode())
            else:
                data, peer = listener.recvfrom(100)
                if not data:
                    return  # shut down
                listener.sendto(peer[0].encode(), peer)
