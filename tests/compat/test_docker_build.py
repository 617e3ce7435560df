"""`docker build` with the stock CLI (its classic builder): streams, words, tags, cache, errors. With a control in
SAMPAN_TEST_CONTROL the same tests run against dockerd."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import CONTROL, SAMPAN, Daemon
from support.images import busybox_archive
from support.terminal import Terminal

sampan_only = pytest.mark.skipif(bool(CONTROL), reason="dockerd's classic builder has no such thing")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    daemon = Daemon("cbuild").start()
    try:
        if not CONTROL:
            daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    (place / "sub").mkdir(parents=True)
    (place / "f.txt").write_text("content\n")
    (place / "sub/g.txt").write_text("more\n")
    return place


def build(daemon: Daemon, context: Path, dockerfile: str, *flags: str) -> tuple[int, str]:
    """(exit code, all that was said)."""
    (context / "Dockerfile").write_text(dockerfile)
    result = daemon.cli("build", *flags, str(context))
    return result.returncode, result.stdout + result.stderr


def test_the_stream_has_steps_ids_and_a_last_word(daemon: Daemon, context: Path) -> None:
    code, said = build(
        daemon, context, "FROM busybox\nRUN echo out; echo err >&2\nCOPY f.txt /f\n", "-t", "cbuild:1", "--no-cache"
    )
    assert code == 0, said
    lines = said.replace("\x1b[91m", "").replace("\x1b[0m", "")
    assert re.search(
        r"Step 1/3 : FROM busybox\n ---> [0-9a-f]{12}\nStep 2/3 : RUN echo out; echo err >&2\n"
        r" ---> Running in [0-9a-f]{12}\n",
        lines,
    )
    assert "out\n" in lines
    assert "err\n" in lines
    ending = re.search(
        r"Step 3/3 : COPY f.txt /f\n ---> ([0-9a-f]{12})\nSuccessfully built \1\nSuccessfully tagged cbuild:1\n", lines
    )
    assert ending is not None, lines
    assert daemon.ok("images", "-q", "cbuild:1") == ending[1]
    assert daemon.ok("run", "--rm", "cbuild:1", "cat", "/f") == "content"
    daemon.ok("rmi", "cbuild:1")


def test_a_second_build_uses_the_cache_and_gives_the_same_image(daemon: Daemon, context: Path) -> None:
    dockerfile = "FROM busybox\nENV A=1\nRUN echo $A > /a\nCOPY sub /sub/\nCMD cat /a\n"
    code, _ = build(daemon, context, dockerfile, "-t", "cbuild:2")
    assert code == 0
    first = daemon.ok("images", "-q", "cbuild:2")
    (context / "sub/g.txt").touch()
    _, said = build(daemon, context, dockerfile, "-t", "cbuild:2")
    assert said.count(" ---> Using cache\n") == 4
    assert daemon.ok("images", "-q", "cbuild:2") == first
    assert daemon.ok("run", "--rm", "cbuild:2") == "1"
    created = daemon.ok("history", "--no-trunc", "--format", "{{.CreatedBy}}", "cbuild:2").split("\n")
    assert created[0] == '/bin/sh -c #(nop)  CMD ["/bin/sh" "-c" "cat /a"]'
    assert re.fullmatch(r"/bin/sh -c #\(nop\) COPY dir:[0-9a-f]{64} in /sub/ ?", created[1])
    assert created[2:4] == ["/bin/sh -c echo $A > /a", "/bin/sh -c #(nop)  ENV A=1"]
    daemon.ok("rmi", "cbuild:2")


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        ("FROM busybox\nRUN exit 3\n", "The command '/bin/sh -c exit 3' returned a non-zero code: 3"),
        ('FROM busybox\nRUN ["nope"]\n', 'exec: "nope": executable file not found in $PATH'),
        (
            "FROM busybox\nCOPY nope /\n",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist",
        ),
        ("FROM busybox\nCOPY ../x /\n", "COPY failed: forbidden path outside the build context: ../x ()"),
        ("FROM busybox\nFOO x\n", "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("FROM busybox\nWORKDIR\n", "dockerfile parse error on line 2: WORKDIR requires exactly one argument"),
        ("FROM scratch\n", "No image was generated. Is your Dockerfile empty?"),
        ("", "the Dockerfile (Dockerfile) cannot be empty"),
    ],
)
def test_failures_in_dockers_words(daemon: Daemon, context: Path, dockerfile: str, words: str) -> None:
    code, said = build(daemon, context, dockerfile)
    assert words in said
    assert code != 0


@sampan_only
def test_a_pattern_that_fits_nothing_copies_nothing_as_in_buildkit(daemon: Daemon, context: Path) -> None:
    """dockerd's classic builder ends with "no source files were specified"."""
    assert build(daemon, context, "FROM busybox\nCOPY *.none f.txt /\nRUN test -e /f.txt\n")[0] == 0


def test_the_exit_code_is_the_steps(daemon: Daemon, context: Path) -> None:
    assert build(daemon, context, "FROM busybox\nRUN exit 42\n")[0] == 42


def test_targets_arguments_labels_and_quiet(daemon: Daemon, context: Path) -> None:
    dockerfile = "ARG BASE=nothing\nFROM $BASE AS one\nARG WHO\nRUN echo $WHO > /who\nFROM busybox\nRUN exit 1\n"
    flags = ("--target", "one", "--build-arg", "BASE=busybox", "--build-arg", "WHO=me", "--label", "a=b", "-q")
    (context / "Dockerfile").write_text(dockerfile)
    id = daemon.ok("build", *flags, "-t", "cbuild:3", str(context))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", id)
    assert daemon.ok("run", "--rm", "cbuild:3", "cat", "/who") == "me"
    assert json.loads(daemon.ok("inspect", "-f", "{{json .Config.Labels}}", "cbuild:3")) == {"a": "b"}
    assert 'target stage "zz" could not be found' in daemon.cli("build", "--target", "zz", str(context)).stderr
    daemon.ok("rmi", "cbuild:3")


def test_a_quiet_build_does_not_tell_warnings(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nCMD echo a\nCMD echo b\n")
    result = daemon.cli("build", "-q", str(context))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", result.stdout) and "arning" not in result.stderr
    daemon.ok("rmi", result.stdout.strip())


def test_dockerignore_and_a_dockerfile_from_elsewhere(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (context / ".dockerignore").write_text("sub\n!sub/g.txt\n.dockerignore\n")
    (context / "sub/h.txt").write_text("h")
    outside = tmp_path / "Outside"
    outside.write_text("FROM busybox\nCOPY . /all\nRUN cd /all && find . -type f | sort\n")
    said = daemon.ok("build", "--no-cache", "-f", str(outside), str(context))
    assert "\n./f.txt\n./sub/g.txt\n" in said
    assert "h.txt" not in said.replace("\nStep", "")
    piped = daemon.cli("build", "-", input="FROM busybox\nRUN echo from stdin\n")
    assert piped.returncode == 0


def test_limits_and_hosts(daemon: Daemon, context: Path) -> None:
    _, said = build(
        daemon, context,
        "FROM busybox\nRUN grep db.test /etc/hosts; ulimit -n; df -k /dev/shm | tail -1 | awk '{print \"shm\", $2}'\n",
        "--no-cache", "--add-host", "db.test:10.1.2.3", "--ulimit", "nofile=77:77", "--shm-size", "1m",
    )  # fmt: skip
    assert re.search(r"10\.1\.2\.3\s+db\.test\n77\nshm 1024\n", said)


@sampan_only
def test_our_own_client_explains_the_cache(daemon: Daemon, context: Path) -> None:
    daemon.client, before = SAMPAN, daemon.client
    try:
        (context / "Dockerfile").write_text("FROM busybox\nCOPY f.txt sub/g.txt /d/\nRUN cat /d/*\n")
        first = daemon.cli("build", "--progress", "plain", "-t", "cbuild:own", str(context))
        assert first.returncode == 0, first.stderr
        assert re.search(r"#3 \[3/3\] RUN cat /d/\*\n#3 [0-9.]+ content\n#3 [0-9.]+ more\n#3 DONE", first.stderr)
        again = daemon.cli("build", "--explain", "-t", "cbuild:own", str(context))
        assert "#2 CACHED" in again.stderr
        (context / "f.txt").write_text("changed")
        third = daemon.cli("build", "--explain", "-t", "cbuild:own", str(context))
        assert "#2 not cached: f.txt changed\n" in third.stderr
        assert "#3 not cached: line 2 was not cached: COPY f.txt sub/g.txt /d/\n" in third.stderr
        failed = daemon.cli("build", "-", input="FROM busybox\nRUN echo why; exit 9\n")
        assert failed.returncode == 1
        assert 'process "/bin/sh -c echo why; exit 9" did not complete successfully: exit code: 9' in failed.stderr
    finally:
        daemon.client = before


@sampan_only
def test_our_own_client_writes_results_elsewhere(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    daemon.client, before = SAMPAN, daemon.client
    try:
        (context / "Dockerfile").write_text("FROM scratch\nCOPY --from=other /f.txt /from-other\nCOPY f.txt /\n")
        (tmp_path / "id").write_text("old")
        daemon.ok(
            "build", "-o", str(tmp_path / "out"), "--build-context", f"other={context}", "--iidfile",
            str(tmp_path / "id"), str(context),
        )  # fmt: skip
        assert (tmp_path / "out/from-other").read_text() == "content\n"
        assert (tmp_path / "id").read_text() == ""  # files are no image
        assert "FromAsCasing" in daemon.cli("build", "--check", "-", input="FROM busybox as x\n").stdout
    finally:
        daemon.client = before


@sampan_only
def test_our_own_client_shows_mistakes_and_checks_as_buildx_does(daemon: Daemon, context: Path) -> None:
    daemon.client, before = SAMPAN, daemon.client
    try:
        (context / "Dockerfile").write_text("FROM busybox\nMAINTAINER me\nRUN --mount=type=foo,target=/x true\n")
        wrong = daemon.cli("build", str(context))
        assert wrong.returncode == 1
        assert (
            "Dockerfile:3\n--------------------\n   1 |     FROM busybox\n   2 |     MAINTAINER me\n"
            "   3 | >>> RUN --mount=type=foo,target=/x true\n" in wrong.stderr
        )
        assert wrong.stderr.endswith('ERROR: failed to build: failed to solve: unsupported mount type "foo"\n')
        assert " - MaintainerDeprecated: Maintainer instruction is deprecated" in wrong.stderr
        (context / "Dockerfile").write_text("# check=error=true\nFROM busybox\nCMD echo hi\nENV A=$PATH$NONE\n")
        strict = daemon.cli("build", str(context))
        assert strict.returncode == 1
        assert "lint violation found for rules: JSONArgsRecommended, UndefinedVar" in strict.stderr
        (context / "Dockerfile").write_text("FROM busybox\nCMD echo hi\n")
        checked = daemon.cli("build", "--check", str(context))
        assert checked.returncode == 1
        assert checked.stdout.startswith(
            "Check complete, 1 warning has been found!\n\nWARNING: JSONArgsRecommended - "
            "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\n"
            "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\nDockerfile:2\n"
        )
        (context / "Dockerfile").write_text("FROM busybox\n")
        assert daemon.ok("build", "--check", str(context)) == "Check complete, no warnings found."
    finally:
        daemon.client = before


@sampan_only
def test_progress_is_drawn_on_a_terminal(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo working; sleep 2\n")
    with Terminal([*SAMPAN, "build", "--no-cache", str(context)], daemon.environment()) as terminal:
        terminal.expect("=> [2/2] RUN echo working; sleep 2")
        terminal.expect("=> => # working")
        terminal.expect(") FINISHED")
        assert terminal.wait() == 0


@pytest.mark.skipif(bool(CONTROL), reason="a control has its own ways with versions of clients")
def test_a_client_without_buildx_builds_over_its_session(daemon: Daemon, context: Path) -> None:
    """docker CLIs before 23.0 with DOCKER_BUILDKIT=1: POST /build?version=2, files through /session."""
    version = daemon.ok("version", "--format", "{{.Client.Version}}")
    if int(version.partition(".")[0]) >= 23:
        pytest.skip("this client leaves BuildKit to the buildx plugin")
    (context / "Dockerfile").write_text("FROM busybox\nCOPY f.txt sub /d/\nRUN cat /d/g.txt\n")
    environment = {**daemon.environment(), "DOCKER_BUILDKIT": "1"}

    def docker(*words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*daemon.client, *words], env=environment, capture_output=True, timeout=60, **more)

    told = docker("build", "--progress=plain", "-t", "session:1", str(context))
    assert told.returncode == 0 and re.search(rb"#[0-9]+ [0-9.]+ more\n", told.stderr), told.stderr
    assert daemon.ok("run", "--rm", "session:1", "cat", "/d/f.txt") == "content"
    told = docker("build", "-q", "-", input=b"FROM busybox\nRUN true\n")
    assert re.fullmatch(rb"sha256:[0-9a-f]{64}\n", told.stdout), told
