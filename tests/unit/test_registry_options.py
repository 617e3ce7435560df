"""The registry's flags: the client's list is the server's, and what cannot be meant is refused."""

from __future__ import annotations

import pytest

from sampan.cli.registry.serve import FLAGS
from sampan.registry import options
from sampan.registry.pulling import asked_range


def test_the_client_lists_the_servers_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--help"])
    shown = capsys.readouterr().out
    for flag in FLAGS:
        assert f"--{flag.name}" in shown
    assert {flag.name.replace("-", "_") for flag in FLAGS} == set(options.Options.__struct_fields__)


@pytest.mark.parametrize(
    "words",
    [
        ["--address", "nowhere"],
        ["--tlscert", "/x"],
        ["--mirror", "registry-1.docker.io"],
        ["--mirror-username", "u"],
        ["--s3-endpoint", "http://x"],
        ["--gc-grace", "1s"],
        ["--gc-interval", "often"],
        ["--htpasswd", "/no/such/file"],
        ["--nonsense"],
        ["serve"],
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(words)
    assert ended.value.code == 1
    assert "See 'sampan registry serve --help'" in capsys.readouterr().err


def test_durations_and_addresses() -> None:
    given = options.parse(["--gc-grace", "1h30m", "--mirror-keep", "2d", "--gc-interval", "0"])
    assert (given.gc_grace, given.mirror_keep, given.gc_interval) == (5400, 172800, 0)
    assert options.split_address("[::1]:5000") == ("::1", 5000)
    assert options.split_address(":5000") == ("", 5000)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", (0, 10)), ("bytes=0-", (0, 10)), ("bytes=3-5", (3, 6)), ("bytes=-4", (6, 10)), ("items=1-2", (0, 10))],
)
def test_ranges(header: str, expected: tuple[int, int]) -> None:
    assert asked_range(header, 10) == expected
