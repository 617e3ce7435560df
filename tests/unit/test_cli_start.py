"""The program from outside: what it imports, what it says without a daemon, where it looks for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).parents[2] / "src")
# each of these costs more than the whole rest of a command
SLOW = ("argparse", "re", "json", "socket", "ssl", "http", "urllib", "logging", "pathlib", "typing", "enum",
        "dataclasses", "subprocess", "asyncio", "contextlib", "signal", "tarfile", "shutil", "msgspec")  # fmt: skip


def sampan(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "SAMPAN_"))}
    return subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", *words],
        env={**clean, "PYTHONPATH": SOURCE, "HOME": "/nonexistent", "SAMPAN_AUTOSTART": "0", **environment},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("words", [["ps"], ["rm", "x"], ["run", "-d", "busybox"], ["exec", "x", "ls"], ["logs", "x"]])
def test_nothing_slow_is_imported_on_the_way_to_the_daemon(words: list[str]) -> None:
    code = (
        f"import sys; sys.path.insert(0, {SOURCE!r}); before = set(sys.modules)\n"
        "from sampan.cli.main import main\n"
        f"main({['-H', 'unix:///nonexistent/s', *words]!r})\n"
        f"print([name for name in {SLOW!r} if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert "Is the Sampan daemon running?" in done.stderr


def test_no_daemon() -> None:
    done = sampan("rm", "x", SAMPAN_HOST="unix:///nonexistent/s")
    assert done.stderr == (
        "Cannot connect to the Sampan daemon at unix:///nonexistent/s. Is the Sampan daemon running?\n"
    )
    assert done.returncode == 1


def test_no_daemon_is_125_for_run() -> None:
    done = sampan("run", "x", SAMPAN_HOST="unix:///nonexistent/s")
    assert done.stderr.startswith("sampan: Cannot connect to the Sampan daemon")
    assert done.stderr.endswith("\n\nRun 'sampan run --help' for more information\n")
    assert done.returncode == 125


@pytest.mark.parametrize(
    ("words", "environment", "asked"),
    [
        ([], {}, "/run/sampan/sampan.sock"),
        ([], {"DOCKER_HOST": "unix:///nonexistent/docker"}, "/nonexistent/docker"),
        ([], {"DOCKER_HOST": "unix:///nonexistent/docker", "SAMPAN_HOST": "unix:///nonexistent/own"},
         "/nonexistent/own"),
        (["-H", "unix:///nonexistent/flag"], {"SAMPAN_HOST": "unix:///nonexistent/own"}, "/nonexistent/flag"),
        (["--host=unix:///nonexistent/flag"], {}, "/nonexistent/flag"),
    ],
)  # fmt: skip
def test_which_daemon_is_asked(words: list[str], environment: dict[str, str], asked: str) -> None:
    if not words and not environment and Path(asked).exists():
        pytest.skip("this machine runs a sampand")
    assert f"daemon at unix://{asked}. Is" in sampan(*words, "rm", "x", **environment).stderr


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["nope"], 1, "sampan: unknown command: sampan nope\n\nRun 'sampan --help' for more information\n"),
        (["--nope"], 125, "unknown flag: --nope\n\nUsage:  sampan [OPTIONS] COMMAND [ARG...]\n\n"
                          "Run 'sampan --help' for more information\n"),
        (["-H", "a", "-H", "b", "rm", "x"], 1,
         "Failed to initialize: unable to resolve docker endpoint: Specify only one -H\n"),
        (["-l", "bogus", "ps"], 1, "Unable to parse logging level: bogus\n"),
        (["rename", "a"], 1, "sampan: 'sampan rename' requires 2 arguments\n\n"
                             "Usage:  sampan rename CONTAINER NEW_NAME\n\n"
                             "Run 'sampan rename --help' for more information\n"),
        (["container", "nope"], 1, "sampan: unknown command: sampan container nope\n\nUsage:  sampan container\n\n"
                                   "Run 'sampan container --help' for more information\n"),
        (["help", "nope"], 1, "unknown help topic: nope\n"),
    ],
)  # fmt: skip
def test_mistakes(words: list[str], code: int, error: str) -> None:
    done = sampan(*words)
    assert (done.returncode, done.stderr, done.stdout) == (code, error, "")


def test_a_context_is_no_silent_default() -> None:
    done = sampan("-c", "elsewhere", "rm", "x")
    assert done.returncode == 1
    assert 'context "elsewhere"' in done.stderr and "not supported" in done.stderr


def test_version_and_help() -> None:
    assert sampan("-v").stdout.startswith("Sampan version ")
    assert sampan("help", "container", "rm").stdout == sampan("container", "rm", "--help").stdout
    assert "Management Commands:" in sampan().stdout
