"""The stream of exits, from the files conmon leaves."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.runtime.exits import KILLED, Exit, Exits, exec_exit

A, B = "a" * 64, "b" * 64


@pytest.fixture
async def exits(tmp_path: Path) -> AsyncIterator[Exits]:
    made = Exits(tmp_path, lambda id: id == B)
    yield made
    await made.close()


def leave(directory: Path, name: str, text: str) -> None:
    """As g_file_set_contents does it."""
    temporary = directory / f"{name}.ABC123"
    temporary.write_text(text)
    temporary.rename(directory / name)


async def following(exits: Exits) -> Exit:
    return await asyncio.wait_for(anext(exits.stream()), 5)


async def test_what_was_there_before_comes_first_then_live(exits: Exits, tmp_path: Path) -> None:
    leave(tmp_path, A, "3")
    (tmp_path / "notes").write_text("not ours")
    first = await following(exits)
    assert (first.id, first.exit_code, first.oom_killed) == (A, 3, False)
    assert first.time == (tmp_path / A).stat().st_mtime_ns
    leave(tmp_path, B, "137")
    second = await following(exits)
    assert (second.id, second.exit_code, second.oom_killed) == (B, 137, True)


async def test_an_exit_is_reported_once_in_each_run(exits: Exits, tmp_path: Path) -> None:
    exits.listen()
    exits.put(Exit(A, None, KILLED, 1))
    leave(tmp_path, A, "0")
    leave(tmp_path, B, "0")
    assert [(await following(exits)).id for _ in range(2)] == [A, B]
    exits.forget(A)
    assert not (tmp_path / A).exists()
    leave(tmp_path, A, "9")
    assert (await following(exits)).exit_code == 9


async def test_a_torn_file_is_a_kill(exits: Exits, tmp_path: Path) -> None:
    leave(tmp_path, A, "")
    assert (await following(exits)).exit_code == KILLED


async def test_a_directory_is_watched_until_its_exit_is_found(exits: Exits, tmp_path: Path) -> None:
    place = tmp_path / "exec"
    place.mkdir()
    found = asyncio.Event()

    def look() -> bool:
        if exec_exit(A, "x", place):
            found.set()
        return found.is_set()

    exits.watch_directory(place, look)
    leave(place, "other", "1")
    leave(place, "exit", "5")
    await asyncio.wait_for(found.wait(), 5)
    exit = exec_exit(A, "x", place)
    assert exit is not None and (exit.exec_id, exit.exit_code) == ("x", 5)


async def test_an_exit_that_cannot_be_read_now_is_read_later(
    exits: Exits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon without a descriptor left: an exit is told once, so it must be asked for again."""
    monkeypatch.setattr("sampan.runtime.exits.AGAIN", 0.02)
    left = [3]

    def busy(id: str) -> bool:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return False

    monkeypatch.setattr(exits, "_oom", busy)
    exits.listen()
    leave(tmp_path, A, "5")
    assert (await following(exits)).exit_code == 5
    leave(tmp_path, B, "6")
    assert (await following(exits)).exit_code == 6, "the watch lives"
