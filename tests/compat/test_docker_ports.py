"""Published ports with the stock CLI and ours: the four forms of -p, from every side of the host."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time

from support.daemon import Daemon

SERVE = "while :; do echo answer | nc -l -p 80; done"


def serve(daemon: Daemon, name: str, *ports: str) -> None:
    flags = [word for port in ports for word in ("-p", port)]
    daemon.ok("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", SERVE)


def ask(address: str, port: int) -> bytes:
    for _ in range(100):
        try:
            with socket.create_connection((address, port), 2) as connection:
                if data := connection.recv(100):
                    return data
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no answer from {address}:{port}")


def port_of(daemon: Daemon, name: str, spec: str = "80/tcp") -> int:
    return int(daemon.ok("port", name, spec).splitlines()[0].rpartition(":")[2])


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_address() -> str:
    """An address of this host that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def test_host_port_and_container_port(daemon: Daemon, container_name: str) -> None:
    port = free_port()
    serve(daemon, container_name, f"{port}:80")
    assert ask("127.0.0.1", port) == b"answer\n"
    shown = daemon.ok("ps", "--filter", f"name={container_name}", "--format", "{{.Ports}}")
    assert f"0.0.0.0:{port}->80/tcp" in shown
    if address := host_address():
        assert ask(address, port) == b"answer\n"


def test_address_and_both_ports(daemon: Daemon, container_name: str) -> None:
    port = free_port()
    serve(daemon, container_name, f"127.0.0.1:{port}:80")
    assert ask("127.0.0.1", port) == b"answer\n"
    assert daemon.ok("port", container_name) == f"80/tcp -> 127.0.0.1:{port}"


def test_address_and_any_port(daemon: Daemon, container_name: str) -> None:
    serve(daemon, container_name, "127.0.0.1::80")
    assert ask("127.0.0.1", port_of(daemon, container_name)) == b"answer\n"


def test_container_port_alone(daemon: Daemon, container_name: str) -> None:
    serve(daemon, container_name, "80")
    assert ask("127.0.0.1", port_of(daemon, container_name)) == b"answer\n"


def test_publish_all(daemon: Daemon, container_name: str) -> None:
    daemon.ok("run", "-d", "--name", container_name, "-P", "--expose", "80", "busybox", "sh", "-c", SERVE)
    assert ask("127.0.0.1", port_of(daemon, container_name)) == b"answer\n"


UDP_ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 53))
print("bound", flush=True)
data, client = server.recvfrom(100)
server.sendto(data.upper(), client)
"""


def test_udp(daemon: Daemon, container_name: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    daemon.ok("run", "-d", "--name", container_name, "-p", f"{port}:53/udp", "busybox", "sleep", "60")
    pid = daemon.ok("inspect", "-f", "{{.State.Pid}}", container_name)
    command = ["nsenter", "-t", pid, "-n", sys.executable, "-c", UDP_ECHO]  # busybox has no UDP server
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "bound\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"ping", ("127.0.0.1", port))
            assert client.recv(100) == b"PING"


def test_from_another_container_through_the_host(daemon: Daemon, container_name: str) -> None:
    port = free_port()
    serve(daemon, container_name, f"{port}:80")
    ask("127.0.0.1", port)
    networks = json.loads(daemon.ok("inspect", "-f", "{{json .NetworkSettings.Networks}}", container_name))
    gateway = networks["bridge"]["Gateway"]
    assert daemon.ok("run", "--rm", "busybox", "nc", "-w", "3", gateway, str(port)) == "answer"
    address = networks["bridge"]["IPAddress"]
    assert daemon.ok("run", "--rm", "busybox", "nc", "-w", "3", address, "80") == "answer"


def test_a_container_reaches_its_own_published_port(daemon: Daemon, container_name: str) -> None:
    port = free_port()
    serve(daemon, container_name, f"{port}:80")
    ask("127.0.0.1", port)
    gateway = daemon.ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}}", container_name)
    assert daemon.ok("exec", container_name, "nc", "-w", "3", gateway, str(port)) == "answer"


def test_port_in_use_by_a_container(daemon: Daemon, container_name: str) -> None:
    port = free_port()
    serve(daemon, container_name, f"{port}:80")
    result = daemon.cli("run", "-d", "--name", container_name + "-2", "-p", f"{port}:80", "busybox", "sleep", "60")
    try:
        assert result.returncode == 125
        assert f"Bind for 0.0.0.0:{port} failed: port is already allocated" in result.stderr
        assert daemon.ok("inspect", "-f", "{{.State.Status}}", container_name + "-2") == "created"
    finally:
        daemon.cli("rm", "-f", container_name + "-2")
    assert ask("127.0.0.1", port) == b"answer\n"


def test_port_in_use_by_a_process(daemon: Daemon, container_name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = daemon.cli("run", "-d", "--name", container_name, "-p", f"{port}:80", "busybox", "sleep", "60")
        assert result.returncode == 125 and "address already in use" in result.stderr


def test_port_is_free_again_after_stop(daemon: Daemon, container_name: str) -> None:
    port = free_port()
    serve(daemon, container_name, f"{port}:80")
    ask("127.0.0.1", port)
    daemon.ok("rm", "-f", container_name)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("0.0.0.0", port))


def test_range(daemon: Daemon, container_name: str) -> None:
    daemon.ok("create", "--name", container_name, "-p", "18000-18002:8000-8002", "busybox", "sleep", "60")
    daemon.ok("start", container_name)
    shown = daemon.ok("port", container_name)
    assert {int(number) for number in re.findall(r"0\.0\.0\.0:(\d+)", shown)} == {18000, 18001, 18002}
