"""The client's HTTP: bodies in every form, kept connections, versions learnt without a ping, docker's errors."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.cli.endpoint import Endpoint, endpoint
from sampan.cli.errors import ApiError, CliError, Unreachable
from sampan.cli.flags import Flags
from sampan.cli.http import Client, encode_query, quote
from sampan.cli.main import global_flags


class Scripted:
    """A unix socket that answers each request with the next of `answers`, raw, and remembers what it was sent."""

    def __init__(self, answers: list[bytes]) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self.path = str(Path(self._directory.name) / "s")
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(10)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._try_to_serve, args=(connection,), daemon=True).start()

    def _try_to_serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a client may go without a word
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while True:
                head = b""
                while (line := lines.readline()) not in (b"\r\n", b""):
                    head += line
                if not head:
                    return
                length = next(
                    (int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.startswith(b"Content-Length")), 0
                )
                body = lines.read(length)
                if b"chunked" in head:
                    while size := int(lines.readline(), 16):
                        body += lines.read(size)
                        lines.readline()
                    lines.readline()
                self.requests.append(head + body)
                answer = self.answers.pop(0)
                connection.sendall(answer)
                if b"Connection: close" in answer:
                    return

    def client(self) -> Client:
        where = Endpoint("unix", f"unix://{self.path}")
        where.path = self.path
        return Client(where)

    def close(self) -> None:
        self._listener.close()
        self._directory.cleanup()


Make = Callable[..., Scripted]


@pytest.fixture
def scripted() -> Iterator[Make]:
    made: list[Scripted] = []

    def make(*answers: bytes) -> Scripted:
        made.append(Scripted(list(answers)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\nApi-Version: 1.51\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_one_connection_serves_one_request_after_another(scripted: Make) -> None:
    server = scripted(ok(b'{"a":1}'), CHUNKED + b"4\r\n[1,2\r\n1\r\n]\r\n0\r\n\r\n", ok(b"", status="204 No Content"))
    client = server.client()
    assert client.get("/x") == {"a": 1}
    assert client.get("/y") == [1, 2]
    assert client.post("/z", body={"k": "v"}) is None
    assert server.connections == 1
    assert server.requests[2].startswith(b"POST /v1.51/z HTTP/1.1\r\n")
    assert server.requests[2].endswith(b'{"k":"v"}')


def test_a_connection_the_daemon_closed_meanwhile_is_replaced(scripted: Make) -> None:
    server = scripted(ok(b"1", "Keep-Alive: x"), ok(b"2"), ok(b"3"))
    client = server.client()
    assert client.get("/a") == 1
    kept = client._idle[0]
    kept.sock.shutdown(socket.SHUT_RDWR)
    assert client.get("/b") == 2
    assert server.connections == 2


def test_an_older_daemons_version_is_learnt_from_its_refusal(scripted: Make) -> None:
    refusal = b"HTTP/1.1 400 Bad Request\r\nApi-Version: 1.45\r\nContent-Length: 2\r\n\r\n{}"
    server = scripted(refusal, ok(b"[]"), ok(b"[]"))
    client = server.client()
    client.get("/containers/json", {"all": True})
    client.get("/images/json")
    assert [request.split()[1] for request in server.requests] == [
        b"/v1.51/containers/json?all=1",
        b"/v1.45/containers/json?all=1",
        b"/v1.45/images/json",
    ]


def test_a_body_that_cannot_be_sent_twice_pings_first(scripted: Make) -> None:
    ping = b"HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 2\r\n\r\n"
    server = scripted(ping, ok(b""))
    server.client().request("PUT", "/x", stream=iter([b"ab", b"", b"c"])).body()
    assert server.requests[0].startswith(b"HEAD /_ping ")
    assert server.requests[1].startswith(b"PUT /v1.44/x ") and server.requests[1].endswith(b"abc")


def test_an_error_is_the_daemons_message(scripted: Make) -> None:
    server = scripted(ok(b'{"message":"No such container: x\\n"}', status="404 Not Found"))
    with pytest.raises(ApiError) as caught:
        server.client().get("/containers/x/json")
    assert caught.value.message == "Error response from daemon: No such container: x"
    assert caught.value.status == 404


def test_documents_come_as_soon_as_they_are_there(scripted: Make) -> None:
    parts = [b'{"id":1}\r\n{"id"', b':2}\n{\n "id": 3\n}\n', b'{"id":4}']
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    server = scripted(CHUNKED + body)
    assert [item["id"] for item in server.client().request("GET", "/events").documents()] == [1, 2, 3, 4]


def test_a_body_cut_short_is_an_error_and_no_shorter_answer(scripted: Make) -> None:
    server = scripted(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc",
        CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"5\r\nab",
    )
    for _ in range(2):
        with pytest.raises(CliError, match="unexpected EOF"):
            server.client().request("GET", "/x").body()


def test_an_upgraded_connection_hands_over_what_was_read_ahead(scripted: Make) -> None:
    server = scripted(
        b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nUpgrade: tcp\r\n\r\nhello"
    )
    connection, kind = server.client().hijack("/containers/x/attach", {"stream": 1})
    assert connection.pending + connection.sock.recv(5 - len(connection.pending)) == b"hello"
    assert kind == "application/vnd.docker.raw-stream"


def test_requests_in_parallel_are_told_in_order(scripted: Make) -> None:
    server = scripted(
        ok(b""), ok(b"", status="204 No Content"), ok(b'{"message":"no"}', status="409 Conflict"), ok(b"")
    )
    calls = [("POST", f"/containers/{name}/stop", None) for name in ("a", "b", "c")]
    outcomes = list(server.client().in_parallel(calls))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ApiError", "NoneType", "NoneType"]


def test_nobody_behind_the_socket(tmp_path: Path) -> None:
    where = Endpoint("unix", f"unix://{tmp_path}/s")
    where.path = f"{tmp_path}/s"
    with pytest.raises(Unreachable) as caught:
        Client(where).get("/x")
    assert caught.value.message == (
        f"Cannot connect to the Sampan daemon at unix://{tmp_path}/s. Is the Sampan daemon running?"
    )


def test_a_daemon_is_started_once_when_nobody_answers(scripted: Make, tmp_path: Path) -> None:
    server = scripted(ok(b"1"))
    started: list[str] = []
    where = Endpoint("unix", "unix:///x")
    where.path = f"{tmp_path}/s"

    def start(path: str) -> None:
        started.append(path)
        Path(path).symlink_to(server.path)

    assert Client(where, autostart=start).get("/x") == 1
    assert started == [f"{tmp_path}/s"]


def test_queries_leave_out_what_is_not_given() -> None:
    query = {"a": None, "b": "", "c": True, "d": 0, "e": ["x", "y z"], "f": 'é"'}
    assert encode_query(query) == "c=1&d=0&e=x&e=y%20z&f=%C3%A9%22"
    assert quote("a/b", "/") == "a/b"


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("unix:///a/b", ("unix", "/a/b", "", 0)),
        ("tcp://h:99", ("tcp", "", "h", 99)),
        ("h", ("tcp", "", "h", 2375)),
        ("tcp://[::1]:4", ("tcp", "", "::1", 4)),
    ],
)
def test_addresses(host: str, found: tuple[str, str, str, int]) -> None:
    where = endpoint(host, Flags(global_flags()), "/nowhere")
    assert (where.kind, where.path, where.name, where.port) == found


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("foo://x", "invalid bind address format: foo://x"),
        ("tcp://1.1.1.1:xx", 'parse "tcp://1.1.1.1:xx": invalid port ":xx" after host'),
    ],
)
def test_addresses_that_are_none(host: str, problem: str) -> None:
    with pytest.raises(CliError) as caught:
        endpoint(host, Flags(global_flags()), "/nowhere")
    assert caught.value.message == f"Failed to initialize: unable to resolve docker endpoint: {problem}"
