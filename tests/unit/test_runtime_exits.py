"""The stream of exits, from the files conmon leaves."""

from __future__ import annotations

import asyncio
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
