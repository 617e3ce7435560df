"""What cannot be done is refused in Docker's words and status, and leaves nothing: no snapshot, namespace, link, rule,
mount, directory or document. The words were compared with dockerd's own."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.daemon import SAMPAN, Daemon, docker_binary
from support.images import PATH, busybox_archive, busybox_layer, docker_archive
from support.inventory import inventory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CREATE = "/containers/create"
TAR = {"Content-Type": "application/x-tar"}
JSON = {"Content-Type": "application/json"}


def footprint(daemon: Daemon) -> set[str]:
    """All that a request could have left behind."""
    found = inventory(daemon, network=False)
    members = Path(f"/sys/class/net/{daemon.bridge}/brif")
    found |= {f"link {path.name}" for path in members.iterdir()}
    ruled = subprocess.run(["nft", "list", "table", "inet", daemon.table], capture_output=True, text=True, check=True)
    found |= {f"rule {line.strip()}" for line in ruled.stdout.splitlines() if "counter" not in line}
    for path in ("/containers/json?all=1", "/networks", "/volumes", "/images/json?all=1"):
        found.add(f"{path} {json.dumps(daemon.api('GET', path)[1])}")
    return {line for line in found if "CreatedAt" not in line or "/volumes" in line}


@pytest.fixture(scope="module")
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    daemon = Daemon("badin")
    try:
        daemon.start()
        daemon.load(busybox_archive())
        daemon.load(docker_archive(["bare:1"], [busybox_layer()], {"Env": [PATH]}))
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def nothing_stays(daemon: Daemon) -> Iterator[None]:
    before = footprint(daemon)
    yield
    for _ in range(60):
        if footprint(daemon) == before:
            return
        time.sleep(0.05)
    assert footprint(daemon) == before


def creation(**fields: Any) -> dict[str, Any]:
    return {"Image": "busybox", "Cmd": ["true"], **fields}


def hosting(**fields: Any) -> dict[str, Any]:
    return creation(HostConfig=fields)


WRONG_TYPES: list[tuple[str, Any, str, str]] = [
    (CREATE, creation(Cmd=5), "number", "Cmd"),
    (CREATE, creation(Env="A=b"), "string", "Env"),
    (CREATE, creation(Tty="yes"), "string", "Tty"),
    (CREATE, creation(ExposedPorts=["80"]), "array", "ExposedPorts"),
    (CREATE, creation(Labels={"a": 1}), "number", "Labels"),
    (CREATE, creation(StopTimeout="5"), "string", "StopTimeout"),
    (CREATE, hosting(Memory="1g"), "string", "HostConfig.Resources.Memory"),
    (CREATE, hosting(Binds="a:b"), "string", "HostConfig.Binds"),
    (CREATE, hosting(PortBindings={"80/tcp": [{"HostPort": 8080}]}), "number", "PortBindings"),
    ("/networks/create", {"Name": 5}, "number", "Name"),
    ("/networks/create", {"Name": "n", "IPAM": {"Config": "x"}}, "string", "IPAM.Config"),
    ("/volumes/create", {"Name": 5}, "number", "Name"),
    ("/volumes/create", {"Name": "vv", "DriverOpts": ["a"]}, "array", "DriverOpts"),
]


@pytest.mark.parametrize(("path", "body", "given", "field"), WRONG_TYPES)
def test_a_wrong_type_is_400_with_the_field_s_name(
    daemon: Daemon, nothing_stays: None, path: str, body: Any, given: str, field: str
) -> None:
    status, answer = daemon.api("POST", path, body)
    assert status == 400
    assert answer["message"].startswith(f"invalid JSON: json: cannot unmarshal {given} into Go struct field ")
    assert field in answer["message"]


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("POST", CREATE, {"Image": "nosuch:1"}, 404, "No such image: nosuch:1"),
    ("POST", CREATE, {"Image": "Bad//Ref"}, 400, "invalid reference format"),
    ("POST", CREATE, {"Image": "bare:1"}, 400, "no command specified"),
    ("POST", CREATE + "?name=-bad", creation(), 400, "Invalid container name (-bad)"),
    ("POST", CREATE + "?name=a/b", creation(), 400, "Invalid container name (a/b)"),
    ("POST", CREATE + "?name=%00", creation(), 400, "Invalid container name"),
    ("POST", CREATE + "?platform=bogus", creation(), 400, ""),
    ("POST", CREATE, creation(WorkingDir="relative"), 400, "needs to be an absolute path"),
    ("POST", CREATE, creation(StopSignal="SIGBOGUS"), 400, "invalid signal: SIGBOGUS"),
    ("POST", CREATE, creation(Env=["=x"]), 400, "invalid environment variable: =x"),
    ("POST", CREATE, creation(MacAddress="zz"), 400, "invalid MAC address zz"),
    ("POST", CREATE, creation(Volumes={"/a": {}, "/": {}}), 400, "destination can't be '/'"),
    ("POST", CREATE, hosting(Memory=1), 400, "Minimum memory limit allowed is 6MB"),
    ("POST", CREATE, hosting(NanoCpus=10**15), 400, "ange of CPUs is from 0.01 to"),
    ("POST", CREATE, hosting(CpusetCpus="7777"), 400, "7777"),
    ("POST", CREATE, hosting(Binds=["new-volume:relative"]), 400, "mount path must be absolute"),
    ("POST", CREATE, hosting(Binds=["new-volume:/b:bogus"]), 400, "invalid mode: bogus"),
    ("POST", CREATE, hosting(PortBindings={"99999/tcp": [{}]}), 400, "invalid port specification"),
    ("POST", CREATE, hosting(CapAdd=["BOGUS"]), 400, "BOGUS"),
    ("POST", CREATE, hosting(SecurityOpt=["bogus=x"]), 400, 'invalid --security-opt 2: "bogus=x"'),
    ("POST", CREATE, hosting(RestartPolicy={"Name": "sometimes"}), 400, "unknown policy 'sometimes'"),
    ("POST", CREATE, hosting(LogConfig={"Type": "bogus"}), 400, "error looking up logging plugin bogus"),
    (
        "POST",
        CREATE,
        hosting(LogConfig={"Type": "json-file", "Config": {"bogus": "1"}}),
        400,
        "unknown log opt 'bogus'",
    ),
    ("POST", CREATE, hosting(LogConfig={"Type": "splunk"}), 501, "is registered: not supported"),
    ("POST", CREATE, hosting(VolumesFrom=["nosuch"], Binds=["new-volume:/x"]), 400, "No such container: nosuch"),
    ("POST", CREATE, hosting(PidMode="container:nosuch"), 400, "No such container: nosuch"),
    ("POST", CREATE, hosting(Mounts=[{"Type": "bind", "Source": "/no/such", "Target": "/x"}]), 400, "does not exist"),
    ("POST", "/containers/nosuch/start", None, 404, "No such container: nosuch"),
    ("POST", "/containers/nosuch/kill?signal=BOGUS", None, 400, "invalid signal: BOGUS"),
    ("GET", "/containers/json?filters=x", None, 400, "invalid"),
    ("GET", "/containers/json?filters=%7B%22bogus%22:%5B%22a%22%5D%7D", None, 400, "invalid filter 'bogus'"),
    ("POST", "/images/create?fromImage=Bad//Ref", None, 400, "invalid reference format"),
    ("POST", "/images/busybox/tag?repo=Bad//", None, 400, "invalid reference format"),
    ("DELETE", "/images/nosuch", None, 404, "No such image: nosuch:latest"),
    ("GET", "/images/..%2f..%2fetc/json", None, 400, "invalid reference format"),
    ("POST", "/networks/create", {"Name": "bridge"}, 403, "bridge"),
    ("POST", "/networks/create", {"Name": "n", "Driver": "bogus"}, 404, "bogus"),
    ("POST", "/networks/create", {"Name": "n", "IPAM": {"Config": [{"Subnet": "bogus"}]}}, 400, "bogus"),
    ("DELETE", "/networks/bridge", None, 403, "bridge is a pre-defined network and cannot be removed"),
    ("POST", "/networks/bridge/connect", {"Container": "nosuch"}, 404, "No such container: nosuch"),
    ("POST", "/volumes/create", {"Name": "../x"}, 400, "includes invalid characters for a local volume name"),
    ("POST", "/volumes/create", {"Name": "vv", "Driver": "bogus"}, 404, 'plugin "bogus" not found'),
    ("POST", "/volumes/create", {"Name": "vv", "DriverOpts": {"bogus": "1"}}, 400, "bogus"),
    ("DELETE", "/volumes/..%2f..%2fetc", None, 404, "no such volume"),
    ("POST", "/exec/nosuch/start", {}, 404, "No such exec instance: nosuch"),
    ("GET", "/v1.99/info", None, 400, "client version 1.99 is too new"),
    ("GET", "/v1.12/info", None, 400, "client version 1.12 is too old"),
    ("GET", "/bogus", None, 404, "page not found"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), REFUSED)
def test_what_cannot_be_done_is_refused(
    daemon: Daemon, nothing_stays: None, method: str, path: str, body: Any, status: int, words: str
) -> None:
    got, answer = daemon.api(method, path, body)
    assert got == status, answer
    assert words in answer["message"]


@pytest.mark.parametrize(
    "body", [b"{not json", b"[]", b'"x"', b"{} trailing", b"\xff\xfe", b"", b'{"Image": "busybox"']
)
def test_a_body_that_is_not_json(daemon: Daemon, nothing_stays: None, body: bytes) -> None:
    status, answer = daemon.api("POST", CREATE, body, JSON)
    assert status == 400 and answer["message"]


def test_json_that_is_nested_beyond_reason(daemon: Daemon, nothing_stays: None) -> None:
    deep = b'{"Labels":' + b"[" * 1_000_000
    assert daemon.api("POST", CREATE, deep, JSON)[0] == 400


def truncated(archive: bytes) -> bytes:
    return archive[: len(archive) // 2]


def escaping() -> bytes:
    """An image whose layer would write above its root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("../../../../sampan-escaped")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    return docker_archive(["escaping:1"], [buffer.getvalue()], {})


@pytest.mark.parametrize(
    "archive",
    [
        b"this is no tar at all",
        bytes(10240),
        b"\x1f\x8bbroken",
        b"\x28\xb5\x2f\xfd broken zstd",
        truncated(docker_archive(["cut:1"], [busybox_layer()], {})),
        docker_archive(["bad:1"], [b"a layer that is no tar"], {}),
        docker_archive(["Bad//Name"], [busybox_layer() + bytes(512)], {}),
    ],
    ids=["text", "zeros", "gzip", "zstd", "truncated", "layer", "name"],
)
def test_a_broken_archive_loads_nothing(daemon: Daemon, nothing_stays: None, archive: bytes) -> None:
    status, answer = daemon.api("POST", "/images/load?quiet=1", archive, TAR)
    assert status >= 400 or "error" in str(answer), answer


def test_an_escaping_layer_stays_inside(daemon: Daemon) -> None:
    daemon.api("POST", "/images/load?quiet=1", escaping(), TAR)
    above = [daemon.root, *daemon.root.parents]
    assert not [place for place in above if (place / "sampan-escaped").exists()]
    daemon.api("DELETE", "/images/escaping:1")


def test_a_name_or_a_port_in_use(daemon: Daemon) -> None:
    _, first = daemon.api(
        "POST", CREATE + "?name=owner", hosting(PortBindings={"80/tcp": [{}]}) | {"Cmd": ["sleep", "99"]}
    )
    daemon.api("POST", "/containers/owner/start")
    port = daemon.api("GET", "/containers/owner/json")[1]["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    before = footprint(daemon)
    status, answer = daemon.api("POST", CREATE + "?name=owner", hosting(Binds=["fresh:/x"]))
    assert (status, answer["message"]) == (
        409,
        f'Conflict. The container name "/owner" is already in use by container "{first["Id"]}". '
        "You have to remove (or rename) that container to be able to reuse that name.",
    )
    assert footprint(daemon) == before
    with socket.create_server(("0.0.0.0", 0)) as foreign:
        for taken in (port, str(foreign.getsockname()[1])):
            wanted = hosting(PortBindings={"80/tcp": [{"HostPort": taken}]})
            _, made = daemon.api("POST", CREATE, wanted)
            status, answer = daemon.api("POST", f"/containers/{made['Id']}/start")
            assert status == 500 and "driver failed programming external connectivity" in answer["message"], answer
            daemon.api("DELETE", f"/containers/{made['Id']}")
    for _ in range(60):
        if footprint(daemon) == before:
            break
        time.sleep(0.05)
    assert footprint(daemon) == before
    daemon.api("DELETE", "/containers/owner?force=1")


@pytest.mark.parametrize("client", [[docker_binary()], SAMPAN], ids=["docker", "sampan"])
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "--rm", "--pull", "never", "nosuch:1", "true"], 125, "No such image: nosuch:1"),
        (["run", "--rm", "Bad//Ref", "true"], 125, "invalid reference format"),
        (["run", "--bogus", "busybox"], 125, "unknown flag: --bogus"),
        (["run", "--memory", "lots", "busybox", "true"], 125, "invalid argument"),
        (["run", "-p", "http", "busybox", "true"], 125, "http"),
        (["run", "--rm", "busybox", "no-such-command"], 127, "executable file not found in $PATH"),
        (["run", "--rm", "busybox", "/etc"], 126, "permission denied"),
        (["run", "--rm", "-u", "nosuch", "busybox", "true"], 125, "unable to find user nosuch"),
        (["run", "--rm", "--network", "nosuch", "busybox", "true"], 125, "network nosuch not found"),
        (["run", "--rm", "-v", "new-volume:relative", "busybox", "true"], 125, "must be absolute"),
        (["load", "-i", "/etc/passwd"], 1, ""),
        (["start", "nosuch"], 1, "No such container: nosuch"),
        (["ps", "--filter", "bogus=1"], 1, "invalid filter 'bogus'"),
        (["frobnicate"], 1, "frobnicate"),
    ],
)
def test_both_clients_say_it(
    daemon: Daemon, nothing_stays: None, client: list[str], words: list[str], code: int, said: str
) -> None:
    daemon.client = client
    result = daemon.cli(*words)
    assert result.returncode == code, result.stderr
    assert said in result.stderr


# -- the wire ----------------------------------------------------------------------------------------
def exchange(daemon: Daemon, request: bytes) -> bytes:
    """All the daemon answers on one connection until it closes it, or says nothing more for a while."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        connection.settimeout(2)
        answer = b""
        with contextlib.suppress(ConnectionError):  # refused before it was read
            connection.sendall(request)
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except (ConnectionError, TimeoutError):
            pass
        return answer


SMUGGLED = b"POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
SMUGGLED += b'{"Name": "smuggled"}'
START = b"POST /volumes/prune HTTP/1.1\r\nHost: d\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        START + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED,
        START + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
        START + b"Content-Length: 0, 0\r\n\r\n" + SMUGGLED,
        START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + SMUGGLED,
        START + b"X: a\r\n b: c\r\nContent-Length: -1\r\n\r\n" + SMUGGLED,
        START + b"X\0Y: a\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    ],
    ids=["both", "two", "plus", "list", "unknown", "not-last", "space", "hex", "negative", "nul"],
)
def test_an_ambiguous_request_ends_the_connection(daemon: Daemon, nothing_stays: None, request_: bytes) -> None:
    """A proxy before the daemon might see one request where the daemon sees two."""
    answer = exchange(daemon, request_)
    assert answer.split()[:2][1:] == [b"400"], answer[:300]
    assert answer.count(b"HTTP/1.") == 1


def test_headers_without_end_are_refused(daemon: Daemon, nothing_stays: None) -> None:
    for headers in (b"X: " + b"a" * 2_000_000 + b"\r\n", b"".join(b"X%d: a\r\n" % n for n in range(20_000))):
        answer = exchange(daemon, b"GET /_ping HTTP/1.1\r\nHost: d\r\n" + headers + b"\r\n")
        assert not answer or answer.split()[1] in (b"400", b"431"), answer[:200]
    answer = exchange(daemon, b"GET /" + b"a" * 2_000_000 + b" HTTP/1.1\r\nHost: d\r\n\r\n")
    assert not answer or answer.split()[1] in (b"400", b"414", b"431"), answer[:200]
    assert daemon.api("GET", "/_ping")[0] == 200


def test_a_json_body_without_end_is_refused_before_it_is_read(daemon: Daemon, nothing_stays: None) -> None:
    head = b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
    answer = exchange(daemon, head + b"Content-Length: 99999999999\r\n\r\n{")
    assert b"request body too large" in answer
    chunks = b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 17
    answer = exchange(daemon, head + chunks + b"0\r\n\r\n")
    assert not answer or b"request body too large" in answer


def test_a_name_cannot_split_the_answer(daemon: Daemon, nothing_stays: None) -> None:
    answer = exchange(daemon, b"GET /containers/a%0d%0aX-Injected:%201%0d%0a/json HTTP/1.1\r\nHost: d\r\n\r\n")
    head, _, _ = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404") and b"X-Injected" not in head
    answer = exchange(daemon, b"GET //a%0d%0aX-Injected:%201/ HTTP/1.1\r\nHost: d\r\n\r\n")
    assert b"\r\nX-Injected" not in answer.partition(b"\r\n\r\n")[0]


def half_closed(daemon: Daemon, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(daemon.socket))
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_a_client_that_closes_its_half_is_answered(daemon: Daemon, nothing_stays: None) -> None:
    """`nc -N` and `socat` do; a stream that serves only its caller ends, and half a request is none."""
    volume = SMUGGLED.replace(b"20", b"16").replace(b"smuggled", b"half")
    assert half_closed(daemon, b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").endswith(b"OK")
    assert half_closed(daemon, b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n" * 2).count(b"HTTP/1.1 200") == 2
    assert half_closed(daemon, volume).startswith(b"HTTP/1.1 201")
    assert half_closed(daemon, b"DELETE /volumes/half HTTP/1.1\r\nHost: d\r\n\r\n").startswith(b"HTTP/1.1 204")
    half_closed(daemon, b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
    assert b"HTTP/1.1 2" not in half_closed(daemon, volume[:-3])


# -- what goes on to a registry ----------------------------------------------------------------------
@pytest.fixture
def overheard() -> Iterator[tuple[str, list[bytes]]]:
    """(host:port of a registry that only listens, the heads of the requests it got)."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(2)
                        heard.append(connection.recv(65536))
                        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", heard
        over.set()
        thread.join()


INJECTED = [
    "\r\nX-Injected: 1",
    "%0d%0aX-Injected: 1",
    " HTTP/1.1\r\nX-Injected: 1\r\n\r\n",
    "?x=1",
    "#x",
    "/../../v1",
    "\0",
    "é",
]


@pytest.mark.parametrize("evil", INJECTED)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/images/create?fromImage={host}/a{evil}&tag=1"),
        ("POST", "/images/create?fromImage={host}/a&tag=1{evil}"),
        ("POST", "/images/create?fromImage={host}{evil}/a&tag=1"),
        ("GET", "/distribution/{host}/a{evil}/json"),
        ("POST", "/images/{host}/a{evil}/push?tag=1"),
        ("POST", "/images/busybox/tag?repo={host}/a{evil}"),
        ("POST", "/images/busybox/tag?repo={host}/a&tag=1{evil}"),
        ("POST", "/build?remote=http://{host}/a{evil}"),
    ],
)
def test_a_reference_is_no_header_and_no_other_request(
    daemon: Daemon, nothing_stays: None, overheard: tuple[str, list[bytes]], method: str, path: str, evil: str
) -> None:
    host, heard = overheard
    status, answer = daemon.api(
        method, path.format(host=host, evil=quote(evil, safe="")), b"" if method == "POST" else None,
        {"X-Registry-Auth": "e30="},
    )  # fmt: skip
    assert status >= 400 or "error" in str(answer), answer
    for request in heard:
        assert b"\nX-Injected" not in request and request.count(b" HTTP/1.1\r\n") == 1
        assert b"/../" not in request.split(b"\r\n")[0]
    if "remote=" not in path:
        assert not heard, "what is no reference goes nowhere"


def test_credentials_are_no_header(daemon: Daemon, nothing_stays: None, overheard: tuple[str, list[bytes]]) -> None:
    host, heard = overheard
    for evil in ("user\r\nX-Injected: 1", "user\nX-Injected: 1", "a:b\0"):
        daemon.api("POST", "/auth", {"username": evil, "password": evil, "serveraddress": host})
        token = base64.urlsafe_b64encode(json.dumps({"registrytoken": evil}).encode()).decode()
        daemon.api("POST", f"/images/create?fromImage={host}/a&tag=1", None, {"X-Registry-Auth": token})
    assert heard and not [request for request in heard if b"\nX-Injected" in request]
