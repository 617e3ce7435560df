"""Log drivers that send elsewhere, through the stock docker CLI, each against a server of the test's own.

What is expected of the wire was taken from dockerd 26.1 with the same commands."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.images import busybox_archive
from support.log_servers import LogServer, messages

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HI = ("sh", "-c", "echo hi; echo err >&2; printf part; sleep 0.1; echo ial; echo; head -c 20000 /dev/zero | tr '\\0' x")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    made = Daemon("logdrv").start()
    try:
        made.load(busybox_archive())
        yield made
    finally:
        made.stop()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[LogServer]:
    made = LogServer(request.param)
    try:
        yield made
    finally:
        made.stop()


def run(daemon: Daemon, driver: str, *options: str, command: tuple[str, ...] = HI, flags: tuple[str, ...] = ()) -> str:
    """The container's id; it stays."""
    given = [word for option in options for word in ("--log-opt", option)]
    name = f"{driver}-{time.monotonic_ns()}"
    result = daemon.cli("run", "--name", name, *flags, "--log-driver", driver, *given, "busybox", *command)
    assert result.returncode == 0, result.stderr
    return daemon.ok("inspect", "-f", "{{.Id}}", name)


@pytest.mark.parametrize("server", ["udp"], indirect=True)
@pytest.mark.parametrize(
    ("form", "head"),
    [
        ("", r"<30>\w{3} [ \d]\d \d\d:\d\d:\d\d ID\[\d+\]: hi"),
        ("rfc3164", r"<30>\w{3} [ \d]\d \d\d:\d\d:\d\d HOST ID\[\d+\]: hi"),
        ("rfc5424", r"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) HOST ID \d+ ID - hi"),
        ("rfc5424micro", r"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) HOST ID \d+ ID - hi"),
    ],
)
def test_syslog_over_udp(daemon: Daemon, server: LogServer, form: str, head: str) -> None:
    id = run(daemon, "syslog", f"syslog-address={server.address}", *([f"syslog-format={form}"] if form else []))
    server.wait(lambda data: data.count(b"\n") == 5)
    pattern = head.replace("ID", id[:12]).replace("HOST", re.escape(os.uname().nodename))
    assert any(re.fullmatch(pattern + "\n", one.decode()) for one in server.received), server.received
    texts = [re.split(rb"\]: | - ", one)[-1] for one in server.received]
    # Empty lines are left out; long ones are cut at 16 KiB.
    assert sorted(texts) == sorted([b"hi\n", b"err\n", b"partial\n", b"x" * 16384 + b"\n", b"x" * 3616 + b"\n"])
    assert any(one.startswith(b"<27>") and one.endswith(b"err\n") for one in server.received)


@pytest.mark.parametrize("server", ["tcp"], indirect=True)
def test_syslog_over_tcp_with_facility_and_tag(daemon: Daemon, server: LogServer) -> None:
    tag = "{{.ImageName}}/{{.ID}}/{{.Command}}/{{.DaemonName}}/{{upper .ImageName}}"
    options = (f"syslog-address={server.address}", "syslog-facility=local3", f"tag={tag}")
    id = run(daemon, "syslog", *options, command=("echo", "hi"))
    data = server.wait(lambda data: data.endswith(b"\n")).decode()
    assert data.startswith("<158>") and f" busybox/{id[:12]}/echo hi/docker/BUSYBOX[" in data
    assert data.endswith("]: hi\n")


@pytest.mark.parametrize("compression", ["none", "gzip", "zlib"])
@pytest.mark.parametrize("server", ["udp"], indirect=True)
def test_gelf_over_udp_in_chunks(daemon: Daemon, server: LogServer, compression: str) -> None:
    options = (f"gelf-address={server.address}", f"gelf-compression-type={compression}", "labels=tier", "env=STAGE")
    id = run(daemon, "gelf", *options, flags=("--label", "tier=web", "-e", "STAGE=a"))
    unpack = {"none": bytes, "gzip": gzip.decompress, "zlib": zlib.decompress}[compression]

    def decoded(datagrams: list[bytes]) -> list[dict[str, object]]:
        chunked: dict[bytes, list[bytes]] = {}
        whole = []
        for one in datagrams:
            if one.startswith(b"\x1e\x0f"):
                chunked.setdefault(one[2:10], []).append(one)
            else:
                whole.append(one)
        for pieces in chunked.values():
            if len(pieces) == pieces[0][11]:
                whole.append(b"".join(piece[12:] for piece in sorted(pieces, key=lambda piece: piece[10])))
        return [json.loads(unpack(one)) for one in whole]

    server.wait(lambda _: len(decoded(server.received)) == 5)
    assert (compression == "none") == any(one.startswith(b"\x1e\x0f") for one in server.received)
    found = {str(entry["short_message"])[:10]: entry for entry in decoded(server.received)}
    assert found["err"]["level"] == 3
    hi = found["hi"]
    assert list(hi) == [
        *("version", "host", "short_message", "timestamp", "level", "_STAGE", "_command", "_container_id"),
        *("_container_name", "_created", "_image_id", "_image_name", "_tag", "_tier"),
    ]
    assert (hi["version"], hi["level"], hi["_STAGE"], hi["_tier"], hi["_tag"]) == ("1.1", 6, "a", "web", id[:12])
    assert (hi["_container_id"], hi["_image_name"]) == (id, "busybox")


@pytest.mark.parametrize("server", ["tcp"], indirect=True)
def test_gelf_over_tcp(daemon: Daemon, server: LogServer) -> None:
    run(daemon, "gelf", f"gelf-address={server.address}", "tag=t")
    data = server.wait(lambda data: data.count(b"\0") == 5)
    first = json.loads(data.split(b"\0")[0])
    assert first["_tag"] == "t" and first["short_message"] in ("hi", "err")


def test_fluentd_with_acknowledgements(daemon: Daemon) -> None:
    def acknowledge(data: bytes) -> bytes:
        chunks = re.findall(rb"\xa5chunk\xb8(.{24})", data, re.S)
        return b"".join(b"\x81\xa3ack\xb8" + chunk for chunk in chunks)

    server = LogServer("tcp", acknowledge)
    try:
        address = server.address.removeprefix("tcp://")
        options = (f"fluentd-address={address}", "fluentd-request-ack=true", "fluentd-sub-second-precision=true")
        id = run(daemon, "fluentd", *options, "tag=docker.{{.Name}}", "labels=tier", flags=("--label", "tier=web"))
        server.wait(lambda data: len(messages(data)) == 6)
        found = messages(server.data)
    finally:
        server.stop()
    name = daemon.ok("inspect", "-f", "{{.Name}}", id)
    tag, moment, record, option = next(one for one in found if one[2]["log"] == "hi")
    assert tag == f"docker.{name[1:]}" and len(option["chunk"]) == 24
    assert moment.code == 0 and len(moment.data) == 8
    own = {"container_id": id, "container_name": name}
    assert record == own | {"source": "stdout", "log": "hi", "tier": "web"}
    pieces = [one[2] for one in found if "partial_id" in one[2]]
    assert [(one["partial_ordinal"], one["partial_last"], len(one["log"])) for one in pieces] == [
        ("1", "false", 16384),
        ("2", "true", 3616),
    ]


def test_logs_reads_the_cache_unless_there_is_none(daemon: Daemon) -> None:
    id = run(daemon, "syslog", "syslog-address=udp://127.0.0.1:9")
    assert daemon.ok("logs", id).startswith("hi\n")
    assert daemon.ok("inspect", "-f", "{{.LogPath}}", id) == ""
    id = run(daemon, "syslog", "syslog-address=udp://127.0.0.1:9", "cache-disabled=true")
    refused = daemon.cli("logs", id)
    assert refused.returncode == 1
    assert refused.stderr.strip() == "Error response from daemon: configured logging driver does not support reading"
    for _ in range(200):  # what is sent needs no disk
        if not list((daemon.data_root / "containers" / id).glob("container.log*")):
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the spool stays")


@pytest.mark.parametrize(
    ("driver", "option", "reason"),
    [
        ("syslog", "syslog-address=tcp://127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused"),
        (
            "gelf",
            "gelf-address=tcp://127.0.0.1:1",
            "gelf: cannot connect to GELF endpoint: 127.0.0.1:1 dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        ("fluentd", "fluentd-address=127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused"),
        (
            "json-file",
            "tag={{.Foo}}",
            'template: log-tag:1:2: executing "log-tag" at <.Foo>: can\'t evaluate field Foo in type *logger.Info',
        ),
    ],
)
def test_a_server_that_is_not_there_fails_the_start(daemon: Daemon, driver: str, option: str, reason: str) -> None:
    refused = daemon.cli("run", "--rm", "--log-driver", driver, "--log-opt", option, "busybox", "true")
    assert refused.returncode == 125
    assert f"failed to create task for container: failed to initialize logging driver: {reason}" in refused.stderr


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("syslog", ["x=1"], "unknown log opt 'x' for syslog log driver"),
        ("syslog", ["syslog-format=x"], "Invalid syslog format"),
        ("syslog", ["syslog-facility=x"], "invalid syslog facility"),
        ("syslog", ["syslog-address=x"], "unsupported scheme: ''"),
        ("gelf", [], "gelf-address is a required parameter"),
        (
            "gelf",
            ["gelf-address=udp://x:1", "gelf-compression-type=x"],
            'unknown value "x" for log opt "gelf-compression-type" for gelf log driver',
        ),
        (
            "gelf",
            ["gelf-address=udp://x:1", "gelf-tcp-max-reconnect=1"],
            '"gelf-tcp-max-reconnect" is only valid for TCP',
        ),
        ("fluentd", ["fluentd-address=x://y"], "invalid fluentd-address (x://y): unsupported scheme: 'x'"),
        ("fluentd", ["fluentd-retry-wait=x"], 'time: invalid duration "x"'),
        ("journald", ["x=1"], "unknown log opt 'x' for journald log driver"),
        ("local", ["tag=x"], "unknown log opt 'tag' for log driver local"),
        ("awslogs", [], "logger: no log driver named 'awslogs' is registered: not supported by Sampan"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_at_create(
    daemon: Daemon, driver: str, options: list[str], message: str
) -> None:
    given = [word for option in options for word in ("--log-opt", option)]
    refused = daemon.cli("create", "--log-driver", driver, *given, "busybox", "true")
    assert refused.returncode == 1 and message in refused.stderr


COUNT = ("sh", "-c", "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.05; done")


def numbers(data: bytes) -> list[int]:
    """Without what came twice, one after the other."""
    return list(dict.fromkeys(int(found) for found in re.findall(rb": line (\d+)\n", data)))


def test_no_line_is_lost_while_the_daemon_is_killed_and_the_server_is_gone() -> None:
    """The container prints on all the while; what nobody could take comes later, in order."""
    daemon = Daemon("logkill").start()
    server = LogServer("tcp")
    try:
        daemon.load(busybox_archive())
        options = ("--log-driver", "syslog", "--log-opt", f"syslog-address={server.address}")
        daemon.ok("run", "-d", "--name", "cc", *options, "busybox", *COUNT)
        server.wait(lambda data: b"line 5\n" in data)
        daemon.kill()
        time.sleep(0.5)
        daemon.start()
        server.wait(lambda data: len(numbers(data)) >= 20)
        server.stop()
        assert daemon.ok("wait", "cc") == "0"
        assert daemon.ok("logs", "--tail", "1", "cc") == "line 60"
        daemon.kill()
        daemon.start()
        server.start()
        assert numbers(server.wait(lambda data: b"line 60\n" in data)) == list(range(1, 61))
        position = next(daemon.data_root.glob("containers/*/container.log.sent"))
        for _ in range(100):
            if (now := json.loads(position.read_text().partition("\n")[0]))["offset"] == _size(position):
                break
            time.sleep(0.02)
        daemon.kill()
        daemon.start()  # all was sent, and is not sent again
        assert now["offset"] == _size(position) and server.data.count(b"line 60\n") == 1
        # A dead server holds up nothing: neither what prints, nor what removes.
        server.stop()
        server.start()
        daemon.ok("run", "-d", "--name", "dd", *options, "busybox", "sh", "-c", "sleep 0.5; seq 50000")
        server.stop()
        assert daemon.ok("wait", "dd") == "0"
        daemon.ok("rm", "-f", "cc", "dd")
    finally:
        server.stop()
        daemon.stop()


def _size(position: Path) -> int:
    return position.with_suffix("").stat().st_size


@pytest.mark.parametrize("server", ["tcp"], indirect=True)
def test_the_daemon_s_driver_and_the_last_words_of_rm(server: LogServer) -> None:
    daemon = Daemon("logdef", "--log-driver", "syslog", "--log-opt", f"syslog-address={server.address}").start()
    try:
        daemon.load(busybox_archive())
        assert daemon.ok("info", "-f", "{{.LoggingDriver}} {{json .Plugins.Log}}") == (
            'syslog ["fluentd","gelf","journald","json-file","local","syslog"]'
        )
        daemon.ok("run", "--rm", "busybox", "sh", "-c", "seq 3000")
        server.wait(lambda data: data.endswith(b": 3000\n"))
        assert server.data.count(b"\n") == 3000
    finally:
        daemon.stop()


def test_syslog_over_tls_has_counted_frames(daemon: Daemon, tmp_path: Path) -> None:
    import ssl

    key, certificate = tmp_path / "key", tmp_path / "cert"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = LogServer("tcp", secure=context)
    try:
        address = server.address.replace("tcp://", "tcp+tls://")
        options = (f"syslog-address={address}", "syslog-format=rfc5424", f"syslog-tls-ca-cert={certificate}")
        run(daemon, "syslog", *options, command=("echo", "hi"))
        data = server.wait(lambda data: data.endswith(b"hi\n"))
        count, _, frame = data.partition(b" ")
        assert int(count) == len(frame) and frame.startswith(b"<30>1 ")
        words = ["run", "--rm", "--log-driver", "syslog", "--log-opt", f"syslog-address={address}", "busybox", "true"]
        assert "certificate verify failed" in daemon.cli(*words).stderr.replace("_", " ").lower()
    finally:
        server.stop()
