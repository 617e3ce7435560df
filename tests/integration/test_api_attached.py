"""Attached streams over the wire, with real containers: what the docker CLI never does, or does only over TLS."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def connect(daemon: Daemon) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(30)
    made.connect(str(daemon.socket))
    return made


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        stream, length = struct.unpack(">BxxxI", data[:8])
        found.append((stream, data[8 : 8 + length]))
        data = data[8 + length :]
    return found


def create(daemon: Daemon, name: str, command: list[str], **config: object) -> None:
    status, body = daemon.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": command, **config})
    assert status == 201, body


OPEN = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}


def test_without_upgrade_the_answer_is_200_and_raw(daemon: Daemon, container_name: str) -> None:
    create(daemon, container_name, ["cat"], **OPEN)
    with connect(daemon) as sock:
        sock.sendall(
            f"POST /containers/{container_name}/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nHost: d\r\n"
            "Content-Length: 0\r\n\r\nsent before the answer\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n")
        daemon.api("POST", f"/containers/{container_name}/start")
        sock.shutdown(socket.SHUT_WR)
        assert frames(read_all(sock)) == [(1, b"sent before the answer\n")]


def test_much_output_arrives_whole_and_in_order(daemon: Daemon, container_name: str) -> None:
    create(daemon, container_name, ["sh", "-c", "seq 1 200000"], **OPEN)
    with connect(daemon) as sock:
        sock.sendall(
            f"POST /containers/{container_name}/attach?stdout=1&stderr=1&stream=1 HTTP/1.1\r\nHost: d\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        daemon.api("POST", f"/containers/{container_name}/start")
        output = b"".join(data for _, data in frames(read_all(sock)))
    assert output == b"".join(b"%d\n" % number for number in range(1, 200001))


# -- websocket ---------------------------------------------------------------------------------------
def send(sock: socket.socket, data: bytes, opcode: int = 2) -> None:
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    sock.sendall(bytes([0x80 | opcode, 0x80 | len(data)]) + mask + masked)


def receive(sock: socket.socket) -> tuple[int, bytes]:
    head = sock.recv(2, socket.MSG_WAITALL)
    length = head[1] & 0x7F
    if length == 126:
        length = int.from_bytes(sock.recv(2, socket.MSG_WAITALL), "big")
    return head[0] & 0x0F, sock.recv(length, socket.MSG_WAITALL) if length else b""


@pytest.mark.parametrize(("version", "opcode"), [("1.51", 2), ("1.27", 1)])
def test_attach_over_a_websocket(daemon: Daemon, container_name: str, version: str, opcode: int) -> None:
    create(daemon, container_name, ["cat"], **OPEN)
    daemon.api("POST", f"/containers/{container_name}/start")
    with connect(daemon) as sock:
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET /v{version}/containers/{container_name}/attach/ws?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nHost: d\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        send(sock, b"hello\n")
        assert receive(sock) == (opcode, b"hello\n")
        daemon.api("POST", f"/containers/{container_name}/kill")
        assert receive(sock)[0] == 8


# -- TLS ---------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def secure() -> Iterator[tuple[Daemon, list[str]]]:
    """A daemon on tcp with mutual TLS, and the docker CLI's flags for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = Daemon("atls")
    place = daemon.root / "tls"
    place.mkdir()
    _certificates(place)
    try:
        daemon.start(
            "--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", f"{place}/ca.pem",
            "--tlscert", f"{place}/server.pem", "--tlskey", f"{place}/server.key",
        )  # fmt: skip
        from support.images import busybox_archive

        daemon.load(busybox_archive())
        flags = ["-H", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", f"{place}/ca.pem"]
        yield daemon, [*flags, "--tlscert", f"{place}/client.pem", "--tlskey", f"{place}/client.key"]
    finally:
        daemon.stop()


def _certificates(place: Path) -> None:
    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=place)

    key = ["-newkey", "rsa:2048", "-nodes"]
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    (place / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san"]
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signer)


def test_the_docker_cli_over_tls(secure: tuple[Daemon, list[str]]) -> None:
    daemon, flags = secure
    environment = {key: value for key, value in daemon.environment().items() if key != "DOCKER_HOST"}
    # Its stdin ends with a close_notify, after which the output must still come.
    command = [daemon.client[0], *flags, "run", "--rm", "-i", "busybox", "sh", "-c", "cat; sleep 0.3; echo later"]
    payload = os.urandom(8_000_000)
    result = subprocess.run(command, input=payload, capture_output=True, env=environment, timeout=60)
    assert (result.returncode, result.stdout == payload + b"later\n") == (0, True), result.stderr


def test_input_comes_back_over_tls(secure: tuple[Daemon, list[str]]) -> None:
    daemon, flags = secure
    port = int(flags[1].rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(daemon.root / "tls/ca.pem"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(daemon.root / "tls/client.pem", daemon.root / "tls/client.key")
    create(daemon, "tlscat", ["cat"], **OPEN)
    payload = os.urandom(1_000_000)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1") as sock:
        sock.settimeout(30)
        sock.sendall(
            b"POST /containers/tlscat/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nHost: d\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        daemon.api("POST", "/containers/tlscat/start")
        data = b""
        for at in range(0, len(payload), 50_000):
            sock.sendall(payload[at : at + 50_000])
            while len(b"".join(part for _, part in _whole_frames(data))) < min(at + 50_000, len(payload)):
                piece = sock.recv(1 << 20)
                assert piece, "the connection ended early"
                data += piece
    assert b"".join(part for _, part in _whole_frames(data)) == payload


def _whole_frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at + 8 <= len(data):
        stream, length = struct.unpack_from(">BxxxI", data, at)
        if at + 8 + length > len(data):
            break
        found.append((stream, data[at + 8 : at + 8 + length]))
        at += 8 + length
    return found
