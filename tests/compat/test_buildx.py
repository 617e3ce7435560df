"""The stock docker CLI with the stock buildx plugin, and Bake: builds over BuildKit's gRPC. What needs no plugin is in
tests/integration/test_buildkit.py. With a control in SAMPAN_TEST_CONTROL the same tests run against dockerd's
BuildKit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import CONTROL, REPOSITORY, Daemon
from support.images import busybox_archive
from support.registry import Registry

PLACES = (
    os.environ.get("SAMPAN_TEST_BUILDX", ""),
    str(REPOSITORY / ".venv/peers/usr/libexec/docker/cli-plugins/docker-buildx"),
    "/usr/libexec/docker/cli-plugins/docker-buildx",
    "/usr/lib/docker/cli-plugins/docker-buildx",
    "/usr/local/lib/docker/cli-plugins/docker-buildx",
)
BUILDX = next((place for place in PLACES if place and os.access(place, os.X_OK)), None)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(BUILDX is None, reason="no buildx plugin on this machine"),
]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    daemon = Daemon("cbuildx").start()
    plugins = daemon.root / "config/cli-plugins"
    plugins.mkdir(parents=True)
    assert BUILDX is not None
    (plugins / "docker-buildx").symlink_to(BUILDX)
    try:
        if not CONTROL:
            daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "f.txt").write_text("content\n")
    (tmp_path / "sub/g.txt").write_text("more\n")
    return tmp_path


def environment(daemon: Daemon) -> dict[str, str]:
    return {**daemon.environment(), "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}


def docker(daemon: Daemon, here: Path, *words: str, input: str | None = None) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) in the directory."""
    result = subprocess.run(
        [*daemon.client, *words],
        cwd=here,
        env=environment(daemon),
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def build(daemon: Daemon, here: Path, dockerfile: str, *flags: str) -> str:
    """What a build that succeeds says."""
    (here / "Dockerfile").write_text(dockerfile)
    code, out, said = docker(daemon, here, "build", *flags, ".")
    assert code == 0, said
    return out + said


def test_docker_build_is_buildx_and_builds_here(daemon: Daemon, here: Path) -> None:
    dockerfile = "FROM busybox AS one\nARG V=0\nRUN echo v=$V > /v\nFROM one\nCOPY f.txt sub /d/\nRUN cat /d/g.txt\n"
    said = build(daemon, here, dockerfile, "-t", "bx:1", "--build-arg", "V=7", "--label", "a=b", "--iidfile", "id",
                 "--metadata-file", "meta")  # fmt: skip
    assert "using docker driver" in said and re.search(r"\[stage-1 [0-9]/[0-9]\] COPY f.txt sub /d/", said)
    assert re.search(r"#[0-9]+ [0-9.]+ more", said)
    assert daemon.ok("run", "--rm", "bx:1", "cat", "/v", "/d/f.txt") == "v=7\ncontent"
    image = json.loads(daemon.ok("inspect", "bx:1"))[0]
    assert (image["Config"]["Labels"], (here / "id").read_text()) == ({"a": "b"}, image["Id"])
    assert json.loads((here / "meta").read_text())["image.name"] == "docker.io/library/bx:1"
    again = build(daemon, here, dockerfile, "--build-arg", "V=7", "-q")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", again.strip())


def test_failures_show_the_dockerfile(daemon: Daemon, here: Path) -> None:
    (here / "Dockerfile").write_text("FROM busybox\nRUN echo told && \\\n    exit 3\n")
    code, _, said = docker(daemon, here, "build", ".")
    assert code == 1
    assert re.search(r'ERROR: failed to (build: failed to )?solve: process "/bin/sh -c .*" did not complete', said)
    assert "   2 | >>> RUN echo told" in said and "   3 | >>>     exit 3" in said and "exit code: 3" in said
    (here / "Dockerfile").write_text("FROM busybox\nRUNN x\n")
    code, _, said = docker(daemon, here, "build", ".")
    assert (code, "unknown instruction: RUNN" in said, ">>> RUNN x" in said) == (1, True, True)


def test_secrets_and_contexts_of_the_client(daemon: Daemon, here: Path) -> None:
    (here / "token").write_text("hunter2")
    (here / ".dockerignore").write_text("*\n!f.txt\n")
    dockerfile = (
        "FROM busybox\nRUN --mount=type=secret,id=tok cat /run/secrets/tok; echo\nCOPY . /c/\n"
        "COPY --from=beside g.txt /\nRUN ls /c; cat /g.txt\n"
    )
    flags = ("--secret", "id=tok,src=token", "--build-context", f"beside={here / 'sub'}")
    said = build(daemon, here, dockerfile, "--no-cache", *flags)
    assert "hunter2" in said and re.search(r" f\.txt\n(.*\n)*.* more\n", said) and " token\n" not in said
    code, _, said = docker(daemon, here, "build", "-", input="FROM busybox\nRUN echo from stdin\n")
    assert code == 0 and "from stdin" in said, said


def test_results_come_back_as_files(daemon: Daemon, here: Path) -> None:
    dockerfile = (
        "FROM busybox AS b\nRUN mkdir -p /o/d && echo x > /o/d/x && ln -s d/x /o/l\nFROM scratch\nCOPY --from=b /o /\n"
    )
    build(daemon, here, dockerfile, "-o", "out")
    assert (here / "out/d/x").read_text() == "x\n" and (here / "out/l").readlink() == Path("d/x")
    build(daemon, here, dockerfile, "-o", "type=tar,dest=t.tar")
    with tarfile.open(here / "t.tar") as tar:
        assert "d/x" in [name.removeprefix("./") for name in tar.getnames()]


@pytest.mark.skipif(bool(CONTROL), reason="dockerd has these with containerd's image store only")
def test_platforms_caches_and_archives(daemon: Daemon, here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    try:
        name = f"{registry.address}/bx"
        dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY f.txt /$TARGETARCH\n"
        build(daemon, here, dockerfile, "--platform", "linux/amd64,linux/arm64", "-t", f"{name}/multi:1", "--push")
        said = docker(daemon, here, "buildx", "imagetools", "inspect", f"{name}/multi:1")[1]
        assert "linux/amd64" in said and "linux/arm64" in said
        dockerfile = "FROM busybox AS a\nRUN echo once > /a\nFROM scratch\nCOPY --from=a /a /a\n"
        cache = f"type=registry,ref={name}/cache:1"
        build(daemon, here, dockerfile, "--cache-to", f"{cache},mode=max")
        assert docker(daemon, here, "buildx", "prune", "-af")[0] == 0
        said = build(daemon, here, dockerfile, "--cache-from", cache, "-o", "type=oci,dest=o.tar")
        assert re.search(r"#([0-9]+) \[a 2/2\] RUN echo once > /a\n#\1 CACHED", said), said
    finally:
        registry.stop()
    with tarfile.open(here / "o.tar") as tar:
        assert {"oci-layout", "index.json"} <= set(tar.getnames())


def test_bake_builds_targets_on_each_other(daemon: Daemon, here: Path) -> None:
    (here / "base").write_text("FROM busybox\nRUN echo base > /base\n")
    (here / "app").write_text("FROM mybase\nRUN echo app > /app\n")
    targets = {
        "base": {"dockerfile": "base"},
        "app": {"dockerfile": "app", "contexts": {"mybase": "target:base"}, "tags": ["bx/app:1"]},
    }
    (here / "docker-bake.json").write_text(json.dumps({"group": {"default": {"targets": ["app"]}}, "target": targets}))
    code, _, said = docker(daemon, here, "buildx", "bake")
    assert code == 0, said
    assert daemon.ok("run", "--rm", "bx/app:1", "cat", "/base", "/app") == "base\napp"


def test_the_builder_tells_of_itself(daemon: Daemon, here: Path) -> None:
    assert re.search(r"default\S*\s+docker\b", docker(daemon, here, "buildx", "ls")[1])
    build(daemon, here, "FROM busybox\nRUN echo some > /some\n")
    assert "Total:" in docker(daemon, here, "buildx", "du")[1]
    assert docker(daemon, here, "buildx", "prune", "-af")[0] == 0


def test_an_interrupt_ends_the_build(daemon: Daemon, here: Path) -> None:
    (here / "Dockerfile").write_text("FROM busybox\nRUN echo begun && sleep 1234\n")
    process = subprocess.Popen(
        [*daemon.client, "build", "."], cwd=here, env=environment(daemon), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert any("begun" in line and "RUN" not in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    process.stderr.close()
    for _ in range(100):
        if subprocess.run(["pgrep", "-fx", "sleep 1234"], capture_output=True, check=False).returncode:
            return
        time.sleep(0.1)
    raise AssertionError("its process goes on")
