"""What runtimes say, in the words that clients match on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.runtime.failures import create_failed, exec_failed, last_error

RUNC = "runc create failed: unable to start container process: "


@pytest.mark.parametrize(
    ("reason", "words", "exit_code", "status"),
    [
        (
            RUNC + 'exec: "x": executable file not found in $PATH',
            'exec: "x": executable file not found in $PATH',
            127,
            400,
        ),
        (
            "executable file `x` not found in $PATH: No such file or directory",
            'exec: "x": executable file not found in $PATH',
            127,
            400,
        ),
        (
            "executable file `x` not found: No such file or directory",
            'exec: "x": executable file not found in $PATH',
            127,
            400,
        ),
        (
            "executable file `/x` not found: No such file or directory",
            'exec: "/x": stat /x: no such file or directory',
            127,
            400,
        ),
        (
            "the path `/etc/passwd` exists but it is not executable: Operation not permitted",
            'exec: "/etc/passwd": permission denied',
            126,
            400,
        ),
        (
            "the path `/etc` is not a regular file: Operation not permitted",
            'exec: "/etc": is a directory: unknown: permission denied',
            126,
            400,
        ),
        ("open executable `/etc/passwd`: Permission denied", 'exec: "/etc/passwd": permission denied', 126, 400),
        (RUNC + 'exec: "/etc": is a directory', 'exec: "/etc": is a directory: unknown: permission denied', 126, 400),
        (
            "mount `/a` to `/b`: Not a directory",
            "Are you trying to mount a directory onto a file (or vice-versa)?",
            127,
            400,
        ),
        ("write to `/proc/x`: Invalid argument", RUNC + "write to `/proc/x`: invalid argument: unknown", 128, 500),
    ],
)
def test_create(reason: str, words: str, exit_code: int, status: int) -> None:
    failure = create_failed(reason)
    assert words in failure.message
    assert failure.message.startswith(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc"
    )
    assert (failure.exit_code, failure.status) == (exit_code, status)


def test_exec_of_what_is_not_there_is_127() -> None:
    failure = exec_failed("executable file `x` not found in $PATH: No such file or directory")
    assert failure.message == (
        "OCI runtime exec failed: exec failed: unable to start container process: "
        'exec: "x": executable file not found in $PATH: unknown'
    )
    assert failure.exit_code == 127


def test_the_last_error_of_a_runtimes_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_error(log) == ""
    log.write_text(
        '{"level":"error","msg":"first"}\n{"level":"error","msg":"second"}\n{"level":"debug","msg":"x"}\ntorn{'
    )
    assert last_error(log) == "second"


def test_what_crun_does_not_name_is_named() -> None:
    failure = create_failed("open executable: Operation not permitted", "/etc")
    assert failure.message.endswith('exec: "/etc": is a directory: unknown: permission denied')
    assert failure.exit_code == 126
    assert 'exec: "/x": permission denied' in exec_failed("open executable: Permission denied", "/x").message
