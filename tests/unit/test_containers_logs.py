"""conmon's log file read back: whole, from the end, between two moments, while it grows."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from pathlib import Path

import pytest

from sampan.containers.logs import log_drivers, log_rotation
from sampan.containers.logs.log_chain import Chain, open_part
from sampan.containers.logs.log_format import Formatter, moment, stamp
from sampan.containers.logs.log_reading import Growth, LogOptions, read
from sampan.containers.model import Container, LogConfig, State, Status
from sampan.containers.roster import Record
from sampan.containers.service import first_words
from sampan.containers.streams import STDERR, STDOUT
from sampan.errors import InvalidParameter

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def record(text: str, stream: str = "stdout", kind: str = "F", second: int = 0) -> bytes:
    return stamp(START + second * SECOND) + f"+00:00 {stream} {kind} {text}\n".encode()


async def collect(path: Path, live: bool = False, **options: object) -> bytes:
    wanted = LogOptions(stdout=True, stderr=True, **options)  # type: ignore[arg-type]
    growth = Growth()
    found = b""
    async for lines in read(path, wanted, details=b"", growth=growth, wake=asyncio.Event(), live=lambda: live):
        found += b"".join(line.data for line in lines)
    growth.close()
    return found


def test_times_survive() -> None:
    assert moment(record("x", second=5)) == START + 5 * SECOND
    local = b"2023-11-15T00:13:20.000000007+02:00 stdout F x"
    assert moment(local) == START + 7


def test_neighbours_of_one_stream_are_joined_and_pieces_make_one_line() -> None:
    block = record("a") + record("b", kind="P") + record("c") + record("e", "stderr") + record("d")
    lines = Formatter(stdout=True, stderr=True).format(block)
    assert [(line.stream, line.data) for line in lines] == [
        (STDOUT, b"a\nbc\n"),
        (STDERR, b"e\n"),
        (STDOUT, b"d\n"),
    ]
    assert [line.data for line in Formatter(stdout=False, stderr=True).format(block)] == [b"e\n"]


def test_timestamps_come_once_a_line() -> None:
    block = record("long", kind="P") + record("er")
    (line,) = Formatter(stdout=True, stderr=True, timestamps=True).format(block)
    assert line.data == b"2023-11-14T22:13:20.000000000Z longer\n"


def test_records_in_local_time_are_compared_and_shown_in_utc() -> None:
    block = b"2023-11-15T00:13:20.000000007+02:00 stdout F x\n"
    (line,) = Formatter(stdout=True, stderr=True, timestamps=True, since=START, until=START + 10).format(block)
    assert line.data == b"2023-11-14T22:13:20.000000007Z x\n"


async def test_since_and_until(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(record(str(second), second=second) for second in range(10)))
    assert await collect(path, since=START + 7 * SECOND) == b"7\n8\n9\n"
    assert await collect(path, until=START + 2 * SECOND) == b"0\n1\n2\n"
    assert await collect(path, since=START + 3 * SECOND, until=START + 3 * SECOND) == b"3\n"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 999, 5000, 10000])
async def test_tail_counts_lines_from_the_end(tmp_path: Path, count: int) -> None:
    """Lines are long enough that several blocks are read, and some are in pieces."""
    path = tmp_path / "log"
    lines = [f"{number} " + "x" * (number % 300) for number in range(5000)]
    with path.open("wb") as file:
        for line in lines:
            if len(line) > 100:
                file.write(record(line[:50], kind="P") + record(line[50:]))
            else:
                file.write(record(line))
    wanted = lines[len(lines) - count :] if count < len(lines) else lines
    assert await collect(path, tail=count) == "".join(line + "\n" for line in wanted if count).encode()


async def test_tail_goes_into_rotated_files(tmp_path: Path) -> None:
    (tmp_path / "log.2").write_bytes(record("1") + record("2"))
    (tmp_path / "log.1").write_bytes(record("3") + record("4"))
    (tmp_path / "log").write_bytes(record("5"))
    assert await collect(tmp_path / "log") == b"1\n2\n3\n4\n5\n"
    assert await collect(tmp_path / "log", tail=2) == b"4\n5\n"
    assert await collect(tmp_path / "log", tail=4) == b"2\n3\n4\n5\n"


async def test_an_unfinished_last_line_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(record("done") + record("not yet", kind="P"))
    assert await collect(path, tail=1) == b"not yet"
    assert await collect(path, tail=2) == b"done\nnot yet"


async def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert await collect(tmp_path / "none", tail=3) == b""


async def test_follow_sees_growth_torn_writes_and_replacement(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(record("one"))
    growth, wake, live = Growth(), asyncio.Event(), True
    seen: list[bytes] = []
    options = LogOptions(stdout=True, stderr=True, follow=True)

    async def follow() -> None:
        async for lines in read(path, options, details=b"", growth=growth, wake=wake, live=lambda: live):
            seen.extend(line.data for line in lines)

    async def until(count: int) -> None:
        for _ in range(500):
            if len(seen) >= count:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(seen)

    task = asyncio.ensure_future(follow())
    await until(1)
    whole = record("two")
    with path.open("ab", buffering=0) as file:
        file.write(whole[:60])
        await asyncio.sleep(0.02)
        file.write(whole[60:])
    await until(2)
    os.rename(path, tmp_path / "log.1")  # noqa: PTH104
    path.write_bytes(record("three"))
    await until(3)
    live = False
    wake.set()
    await asyncio.wait_for(task, 5)
    growth.close()
    assert seen == [b"one\n", b"two\n", b"three\n"]


def test_a_log_without_options_has_a_limit_all_the_same() -> None:
    assert log_drivers.rotation(log_drivers.check(None)) == (100_000_000, 5)
    assert log_drivers.rotation(LogConfig(type="json-file", config={"max-size": "-1"})) == (0, 1)
    assert log_drivers.rotation(LogConfig(type="json-file", config={"max-size": "10m"})) == (10_000_000, 1)
    assert log_drivers.rotation(LogConfig(type="local")) == (20_000_000, 5)


def test_the_daemon_s_driver_and_options_are_for_those_that_name_no_others() -> None:
    default = LogConfig(type="local", config={"max-size": "1m", "max-file": "2"})
    assert log_drivers.check(None, default) == default
    own = log_drivers.check(LogConfig(type="", config={"max-file": "7"}), default)
    assert (own.type, own.config) == ("local", {"max-size": "1m", "max-file": "7"})
    assert log_drivers.check(LogConfig(type="json-file"), default).config == {}


def test_compression_needs_files_to_compress() -> None:
    with pytest.raises(InvalidParameter, match="compress cannot be true when max-file is less than 2"):
        log_drivers.check(LogConfig(type="json-file", config={"max-size": "1m", "compress": "true"}))
    with pytest.raises(InvalidParameter, match="ParseBool"):
        log_drivers.check(LogConfig(type="json-file", config={"compress": "perhaps"}))
    with pytest.raises(InvalidParameter, match="error parsing regexp"):
        log_drivers.check(LogConfig(type="json-file", config={"env-regex": "("}))
    assert not log_drivers.compresses(log_drivers.check(None))


def test_setting_aside_keeps_so_many_and_compresses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for number in range(6):
        log.write_text(f"{number}")
        log_rotation.set_aside(log, 4)
        log_rotation.compress(log)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.1.gz", "log.2.gz", "log.3.gz"]
    assert [gzip.decompress((tmp_path / f"log.{n}.gz").read_bytes()) for n in (1, 2, 3)] == [b"5", b"4", b"3"]


async def test_a_reader_that_was_overtaken_by_rotations_misses_nothing(tmp_path: Path) -> None:
    """Files are renamed and compressed under it: they are known by how they begin, not by their names."""
    path = tmp_path / "log"
    for number in range(1, 4):
        with path.open("ab") as file:
            file.write(record(f"{number}a", second=number) + record(f"{number}b", second=number))
        if number == 1:
            chain = Chain(path, None)
            assert b"1a" in await chain.records()
        log_rotation.set_aside(path, 9)
        log_rotation.compress(path)
    path.write_bytes(record("4", second=4))
    seen = b""
    while block := await chain.records():
        seen += block
    chain.close()
    assert [line.split()[-1] for line in seen.splitlines()] == [b"2a", b"2b", b"3a", b"3b", b"4"]


async def test_logs_right_after_a_start_wait_for_the_first_words() -> None:
    run = Record(Container(id="c" * 64, state=State(status=Status.RUNNING, started_at=time.time_ns())))
    waiting = asyncio.ensure_future(first_words(run))
    await asyncio.sleep(0)
    assert not waiting.done()
    run.wake_exit((0, None))  # all that it said is in the file
    await waiting
    run.container.state.started_at -= SECOND
    later = asyncio.ensure_future(first_words(run))
    await asyncio.sleep(0)
    assert later.done()


async def test_a_file_that_went_unread_is_followed_by_the_next_younger_one(tmp_path: Path) -> None:
    """Not by older ones that were read long ago."""
    path = tmp_path / "log"
    (tmp_path / "log.2").write_bytes(record("1", second=1))
    (tmp_path / "log.1").write_bytes(record("2", second=2))
    path.write_bytes(record("3", second=3))
    chain = Chain(path, open_part(path, 0))
    assert b" 3\n" in await chain.records()
    path.unlink()
    path.write_bytes(record("4", second=4))
    assert b" 4\n" in await chain.records()
    assert await chain.records() == b""
    chain.close()
