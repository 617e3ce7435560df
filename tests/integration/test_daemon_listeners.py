"""The daemon's sockets, its second instance, its signals. Real processes; no containers."""

from __future__ import annotations

import contextlib
import grp
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

TAG = f"spl{os.getpid() % 10000}"


class Sampand:
    def __init__(self, root: Path, *flags: str) -> None:
        self.root = root
        command = [
            sys.executable, "-m", "sampan.daemon", "--data-root", f"{root}/data", "--exec-root", f"{root}/run",
            "--bridge", "none", "--nft-table", TAG, "--cgroup-parent", f"/{TAG}",
            "--config-file", f"{root}/daemon.json", *flags,
        ]  # fmt: skip
        (root / "daemon.json").touch()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def ready(self, path: Path) -> Sampand:
        for _ in range(200):
            if ping(path) == 200:
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        pytest.fail(f"no answer: {self.process.communicate()[1]}")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        errors = self.process.communicate(timeout=30)[1]
        return self.process.returncode, errors


def ping(path: Path) -> int:
    connection = http.client.HTTPConnection("d")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", "/_ping")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.fixture
def started() -> Iterator[list[Sampand]]:
    daemons: list[Sampand] = []
    yield daemons
    for one in daemons:
        if one.process.poll() is None:
            one.process.terminate()  # killed, it would leave its table and its accept rule
            one.process.communicate(timeout=30)


def test_it_starts_answers_and_stops_cleanly(tmp_path: Path, started: list[Sampand]) -> None:
    path = tmp_path / "s.sock"
    started.append(daemon := Sampand(tmp_path, "-H", f"unix://{path}"))
    daemon.ready(path)
    status = path.stat()
    try:
        group = grp.getgrnam("sampan").gr_gid
    except KeyError:
        group = 0
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o660, 0, group)
    assert (tmp_path / "run/sampand.pid").read_text() == str(daemon.process.pid)
    code, errors = daemon.stop()
    assert code == 0, errors
    assert "Traceback" not in errors
    assert not path.exists()
    assert not (tmp_path / "run/sampand.pid").exists()


def test_a_second_daemon_on_the_data_root_is_refused(tmp_path: Path, started: list[Sampand]) -> None:
    path = tmp_path / "s.sock"
    started.append(first := Sampand(tmp_path, "-H", f"unix://{path}"))
    first.ready(path)
    for host in (path, tmp_path / "other.sock"):
        started.append(second := Sampand(tmp_path, "-H", f"unix://{host}"))
        errors = second.process.communicate(timeout=30)[1]
        assert second.process.returncode == 1
        assert f"another sampand (pid {first.process.pid}) already uses the data root {tmp_path}/data" in errors
    assert ping(path) == 200
    assert first.stop()[0] == 0


@pytest.mark.parametrize(
    ("shared", "complaint"),
    [
        ("--exec-root", "already uses the exec root"),
        ("--nft-table", "already uses the nftables table"),
        ("--bridge", "already uses the bridge"),
        ("--pidfile", "is another sampand's"),
    ],
)
def test_a_second_daemon_shares_nothing_with_the_first(
    tmp_path: Path, started: list[Sampand], shared: str, complaint: str
) -> None:
    """It would take the first one's containers for leftovers, and kill them."""
    taken = {"--exec-root": f"{tmp_path}/run", "--nft-table": TAG, "--bridge": f"{TAG}0", "--pidfile": f"{tmp_path}/p"}
    path = tmp_path / "s.sock"
    started.append(
        first := Sampand(tmp_path, "-H", f"unix://{path}", *(word for pair in taken.items() for word in pair))
    )
    first.ready(path)
    own = {
        "--exec-root": f"{tmp_path}/2/run",
        "--nft-table": f"{TAG}b",
        "--bridge": "none",
        "--pidfile": f"{tmp_path}/2/p",
    }
    flags = [word for pair in (own | {shared: taken[shared]}).items() for word in pair]
    (tmp_path / "2").mkdir()
    started.append(second := Sampand(tmp_path / "2", "-H", f"unix://{tmp_path}/2/s.sock", *flags))
    errors = second.process.communicate(timeout=30)[1]
    assert second.process.returncode == 1 and complaint in errors
    assert ping(path) == 200 and not (tmp_path / "2/s.sock").exists()
    assert first.stop()[0] == 0


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path, started: list[Sampand]) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    started.append(first := Sampand(tmp_path, "-H", f"unix://{path}"))
    first.ready(path)
    (tmp_path / "2").mkdir()
    started.append(second := Sampand(tmp_path / "2", "-H", f"unix://{path}", "--nft-table", f"{TAG}b"))
    errors = second.process.communicate(timeout=30)[1]
    assert second.process.returncode == 1
    assert "another daemon answers there" in errors
    assert ping(path) == 200
    first.stop()


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path, started: list[Sampand]) -> None:
    path = tmp_path / "s.sock"
    path.write_text("precious")
    started.append(daemon := Sampand(tmp_path, "-H", f"unix://{path}"))
    errors = daemon.process.communicate(timeout=30)[1]
    assert (daemon.process.returncode, "exists and is not a socket" in errors) == (1, True)
    assert path.read_text() == "precious"


def test_sigkill_leaves_a_socket_that_the_next_one_takes(tmp_path: Path, started: list[Sampand]) -> None:
    path = tmp_path / "s.sock"
    for _ in range(2):
        started.append(daemon := Sampand(tmp_path, "-H", f"unix://{path}"))
        daemon.ready(path)
        daemon.process.kill()
        daemon.process.communicate()
    assert path.exists()


def test_streams_do_not_hold_the_shutdown(tmp_path: Path, started: list[Sampand]) -> None:
    path = tmp_path / "s.sock"
    started.append(daemon := Sampand(tmp_path, "-H", f"unix://{path}", "--shutdown-timeout", "60"))
    daemon.ready(path)
    with socket.socket(socket.AF_UNIX) as events:
        events.connect(str(path))
        events.sendall(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        assert events.recv(1000).startswith(b"HTTP/1.1 200")
        daemon.process.terminate()
        daemon.process.wait(timeout=20)


def test_systemd_hands_over_sockets_and_is_told(tmp_path: Path, started: list[Sampand]) -> None:
    path, notified = tmp_path / "s.sock", tmp_path / "notify"
    with socket.socket(socket.AF_UNIX) as passed, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        passed.bind(str(path))
        passed.listen()
        notify.bind(str(notified))
        notify.settimeout(30)
        # LISTEN_PID must be the daemon's own: a shell sets it and becomes the daemon, as systemd does.
        command = (
            f"exec 3<&{passed.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec {sys.executable} -m sampan.daemon -H fd:// "
            f"--data-root {tmp_path}/data --exec-root {tmp_path}/run --bridge none --nft-table {TAG}"
        )
        process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(passed.fileno(),),
            stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(notified)},
        )
        try:
            assert notify.recv(100) == b"READY=1"
            assert ping(path) == 200
            process.terminate()
            assert notify.recv(100) == b"STOPPING=1"
            process.communicate(timeout=30)
            assert path.exists(), "systemd's socket is not ours to remove"
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)

    key = ["-newkey", "rsa:2048", "-nodes"]
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    (tmp_path / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", "san",
        )  # fmt: skip
    return tmp_path


def test_tcp_wants_a_client_certificate(certificates: Path, tmp_path: Path, started: list[Sampand]) -> None:
    path = tmp_path / "s.sock"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ["--tlscacert", f"{tmp_path}/ca.pem", "--tlscert", f"{tmp_path}/server.pem"]
    flags += ["--tlskey", f"{tmp_path}/server.key", "-H", f"tcp://127.0.0.1:{port}"]
    started.append(daemon := Sampand(tmp_path, "-H", f"unix://{path}", "--tlsverify", *flags))
    daemon.ready(path)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _over_tls(port, context)
    context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    assert _over_tls(port, context)["ApiVersion"] == "1.51"
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        plain.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert b"OK" not in plain.recv(1000)
    assert daemon.stop()[0] == 0


def _over_tls(port: int, context: ssl.SSLContext) -> dict[str, str]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    connection.request("GET", "/version")
    body: dict[str, str] = json.loads(connection.getresponse().read())
    connection.close()
    return body
