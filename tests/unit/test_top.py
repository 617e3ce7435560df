"""The lines of ps that are a container's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from sampan.containers import top
from sampan.errors import InvalidParameter, SampanError

OUTPUT = """USER  PID %CPU COMMAND
root    1  0.0 /sbin/init
app    42  0.1 sh -c   x
app     -  0.1 -
root   43  0.0 other
"""


def test_lines_are_chosen_by_pid_and_threads_go_with_their_process() -> None:
    found = top.parse(OUTPUT, {42})
    assert found.titles == ["USER", "PID", "%CPU", "COMMAND"]
    assert found.rows == [["app", "42", "0.1", "sh -c x"], ["app", "-", "0.1", "-"]]


def test_without_a_pid_column_nothing_can_be_chosen() -> None:
    with pytest.raises(SampanError, match="Couldn't find PID field in ps output"):
        top.parse("CMD\nsh\n", {1})


def test_no_column_may_pose_as_the_pid() -> None:
    with pytest.raises(InvalidParameter, match='specifying "ppid=PID" is not allowed'):
        asyncio.run(top.top([1], "-o ppid=PID -o cmd"))


def test_the_default_columns_are_those_of_ps() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        while not Path(f"/proc/{sleeper.pid}/cmdline").read_bytes().startswith(b"sleep"):
            time.sleep(0.01)  # exec(2) is under way
        found = asyncio.run(top.top([sleeper.pid, os.getpid(), 0x3FFFFF]))
        assert found.titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        row = next(row for row in found.rows if row[1] == str(sleeper.pid))
        assert (row[2], row[6], row[7]) == (str(os.getpid()), "00:00:00", "sleep 60")
        assert len(found.rows) == 2
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize(
    ("device", "name"), [(0, "?"), (136 << 8 | 3, "pts/3"), (137 << 8 | 1, "pts/257"), (4 << 8 | 1, "tty1")]
)
def test_terminals(device: int, name: str) -> None:
    assert top._terminal(device) == name


def test_times() -> None:
    assert (top._clock(59), top._clock(3661), top._clock(90000)) == ("00:00:59", "01:01:01", "1-01:00:00")
