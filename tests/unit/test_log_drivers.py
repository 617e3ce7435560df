"""Log drivers that send elsewhere: lines out of conmon's records, tags, the wire's forms."""

from __future__ import annotations

import pytest

from sampan.containers.logs import log_drivers
from sampan.containers.logs.log_format import stamp
from sampan.containers.logs.remote.gelf import chunks
from sampan.containers.logs.remote.identity import Identity
from sampan.containers.logs.remote.journald import field_bytes
from sampan.containers.logs.remote.messages import LONGEST, Assembler, Message
from sampan.containers.logs.remote.times import duration, rfc3339
from sampan.containers.model import Config, Container, HostConfig, LogConfig
from sampan.containers.streams import STDERR, STDOUT
from sampan.errors import NotSupported, SampanError

START = 1_700_000_000 * 10**9


def record(text: str, stream: str = "stdout", kind: str = "F", second: int = 0) -> bytes:
    return stamp(START + second * 10**9) + f"+00:00 {stream} {kind} {text}\n".encode()


def identity(**options: str) -> Identity:
    return Identity(
        Container(
            id="0123456789ab" + "c" * 52,
            name="web",
            image_id="sha256:" + "d" * 64,
            image_name="busybox",
            path="sh",
            args=["-c", "x"],
            config=Config(labels={"tier": "front", "b": "2"}, env=["STAGE=a", "NO=b"]),
            host_config=HostConfig(log_config=LogConfig(type="syslog", config=options)),
        )
    )


def test_pieces_become_lines_and_long_lines_become_pieces() -> None:
    assembler = Assembler()
    assert assembler.feed(record("a") + record("b", kind="P") + record("e\r", "stderr", second=1)) == [
        Message(STDOUT, START, b"a"),
        Message(STDERR, START + 10**9, b"e\r"),
    ]
    assert assembler.feed(record("c")) == [Message(STDOUT, START, b"bc")]
    found = assembler.feed(record("x" * (LONGEST - 1), kind="P") + record("yz"))
    assert [(len(one.text), one.partial.ordinal, one.partial.last) for one in found if one.partial] == [
        (LONGEST, 1, False),
        (1, 2, True),
    ]
    assert assembler.feed(record("open", kind="P")) == []
    assert [one.text for one in assembler.finish()] == [b"open"] and assembler.finish() == []


def test_tags_have_dockers_fields_and_functions() -> None:
    assert identity().tag() == "0123456789ab"
    made = identity(
        tag='{{.Name}}/{{ .ImageID }}/{{.Command | upper}}/{{index .ContainerLabels "tier"}}/{{.DaemonName}}'
    )
    assert made.tag() == "web/sha256:ddddd/SH -C X/front/docker"
    assert identity(tag='{{join .ContainerArgs ","}}-{{json .ContainerArgs}}').tag() == '-c,x-["-c","x"]'
    with pytest.raises(SampanError, match="can't evaluate field Nope in type"):
        identity(tag="{{.Nope}}").tag()
    with pytest.raises(NotSupported, match="the log tag"):
        identity(tag="{{if .Name}}x{{end}}").tag()


def test_attributes_are_what_the_options_name() -> None:
    assert identity(labels="tier,none", **{"env-regex": "^ST"}).extra() == {"tier": "front", "STAGE": "a"}
    assert identity().extra() == {}


def test_gelf_chunks_hold_the_message_or_nothing() -> None:
    assert list(chunks(b"x" * 1420)) == [b"x" * 1420]
    made = list(chunks(bytes(range(256)) * 20))
    assert b"".join(one[12:] for one in made) == bytes(range(256)) * 20
    assert {one[:2] for one in made} == {b"\x1e\x0f"} and [one[10] for one in made] == list(range(len(made)))
    assert max(map(len, made)) == 1420 and list(chunks(b"x" * 200_000)) == []


def test_journal_fields_with_newlines_are_counted() -> None:
    assert field_bytes({"A": "b"}) == b"A=b\n"
    assert field_bytes({"A": b"b\nc"}) == b"A\n\x03\0\0\0\0\0\0\0b\nc\n"


def test_times_as_go_writes_them() -> None:
    assert rfc3339(START) == "2023-11-14T22:13:20Z" and rfc3339(START + 500_000_000) == "2023-11-14T22:13:20.5Z"
    assert (duration("1m1.5s"), duration("250ms")) == (61.5, 0.25)
    with pytest.raises(ValueError, match='time: missing unit in duration "3"'):
        duration("3")


def test_the_cache_has_limits_of_its_own() -> None:
    def config(**options: str) -> LogConfig:
        given = {name.replace("_", "-"): value for name, value in options.items()}
        return log_drivers.check(LogConfig(type="syslog", config=given))

    assert log_drivers.rotation(config()) == (20_000_000, 5) and log_drivers.compresses(config())
    assert log_drivers.rotation(config(cache_max_size="1m", cache_max_file="2")) == (1_000_000, 2)
    assert not log_drivers.compresses(config(cache_compress="false"))
    assert not log_drivers.keeps(config(cache_disabled="true")) and log_drivers.has_file(config(cache_disabled="true"))
    assert log_drivers.backlog(config()) == 0
    assert log_drivers.backlog(config(mode="non-blocking")) == 1 << 20
    assert log_drivers.backlog(config(mode="non-blocking", max_buffer_size="4k")) == 4096
