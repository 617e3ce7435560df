"""A hostile Dockerfile, context or repository against the host that builds it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from support.daemon import Daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

Member = tuple[str, bytes, str]
"""(name, tar type, content or link target)."""
FILE, HARD, LINK, DIRECTORY = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


def packed(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, content in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o755
            if kind == FILE:
                entry.size = len(content.encode("latin-1"))
                tar.addfile(entry, io.BytesIO(content.encode("latin-1")))
            else:
                entry.linkname = content
                tar.addfile(entry)
    return buffer.getvalue()


def build(daemon: Daemon, dockerfile: str, *members: Member, query: str = "") -> tuple[int, str]:
    """(status, everything that was said)."""
    context = packed(("Dockerfile", FILE, dockerfile), *members)
    status, answer = daemon.api("POST", f"/build?rm=1{query}", context, {"Content-Type": "application/x-tar"})
    return status, said(answer)


def said(answer: object) -> str:
    """The text of a stream of JSON messages, or of one refusal."""
    if not isinstance(answer, bytes):
        return json.dumps(answer)
    lines = [json.loads(line) for line in answer.splitlines()]
    return "".join(str(line.get("stream") or line.get("error") or "") for line in lines)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must stay as it is."""
    place = tmp_path / "host"
    place.mkdir()
    (place / "secret").write_text("host secret\n")
    yield place
    assert {path.name: path.read_text() for path in place.iterdir()} == {"secret": "host secret\n"}


# -- the context -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["../../../../../../../../etc/passwd", "/etc/passwd", "link", "deep/../../../etc/passwd"]
)
def test_the_dockerfile_is_one_of_the_context(daemon: Daemon, name: str) -> None:
    _, text = build(
        daemon, "FROM busybox\n", ("link", LINK, "/etc/passwd"), query=f"&dockerfile={quote(name, safe='')}"
    )
    assert "Cannot locate" in text or "cannot locate" in text, text
    assert "root:" not in text


@pytest.mark.parametrize(
    "instruction", ["COPY x /got", "COPY d/secret /got", "ADD d /got", "COPY d* /got/", "COPY . /got/"]
)
def test_a_link_of_the_context_shows_nothing_of_the_host(daemon: Daemon, host: Path, instruction: str) -> None:
    links = (("x", LINK, f"{host}/secret"), ("d", LINK, f"../../../../../../../..{host}"))
    _, text = build(daemon, f"FROM busybox\n{instruction}\nRUN cat /got /got/* /got/*/* 2>/dev/null; true\n", *links)
    assert "host secret" not in text


@pytest.mark.parametrize(
    "members",
    [
        (("../../{host}/planted", FILE, "x"),),
        (("{host}/planted", FILE, "x"),),
        (("d", LINK, "{host}"), ("d/planted", FILE, "x")),
        (("h", HARD, "{host}/secret"), ("h", FILE, "pwned")),
        (("s", LINK, "{host}/secret"), ("s", FILE, "pwned")),
    ],
    ids=["climbing", "absolute", "symlink", "hard link", "over a symlink"],
)
@pytest.mark.parametrize("way", ["context", "ADD"])
def test_an_archive_writes_nothing_on_the_host(
    daemon: Daemon, host: Path, members: tuple[Member, ...], way: str
) -> None:
    shaped = tuple((name.format(host=host), kind, content.format(host=host)) for name, kind, content in members)
    if way == "context":
        build(daemon, "FROM busybox\nRUN --mount=type=bind,target=/c,rw ls /c\nCOPY . /all\n", *shaped)
    else:
        inner = packed(*shaped).decode("latin-1")
        build(daemon, "FROM busybox\nADD inner.tar /\nADD inner.tar /deep/er/\n", ("inner.tar", FILE, inner))


def test_dockerignore_is_only_read_inside(daemon: Daemon, host: Path) -> None:
    """A link to the host as .dockerignore is none, and a pattern is never a program or a path."""
    links = ((".dockerignore", LINK, f"{host}/secret"), ("kept", FILE, "kept"))
    _, text = build(daemon, "FROM busybox\nCOPY . /c\nRUN cat /c/kept\n", *links)
    assert "kept" in text and "host secret" not in text
    patterns = (".dockerignore", FILE, f"{host}/*\n../../**\n!/etc/passwd\n")
    _, text = build(daemon, "FROM busybox\nCOPY . /c\nRUN ls -a /c\n", patterns, ("kept", FILE, "x"))
    assert "kept" in text and "passwd" not in text


# -- steps -------------------------------------------------------------------------------------------
MOUNTS = {
    "bind": "--mount=type=bind,from=one,source=/out,target=/in",
    "bind rw": "--mount=type=bind,from=one,source=/out,target=/in,rw",
    "file": "--mount=type=bind,from=one,source=/out/secret,target=/in/secret",
    "cache": "--mount=type=cache,id=attack,from=one,source=/out,target=/in",
}


@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS)
@pytest.mark.parametrize("up", ["", "/../../../../../.."])
def test_a_mount_s_source_is_inside(daemon: Daemon, host: Path, mount: str, up: str) -> None:
    dockerfile = (
        f"FROM busybox AS one\nRUN ln -s {up}{host} /out\nFROM busybox\nRUN {mount} cat /in/secret; echo x > /in/new\n"
    )
    _, text = build(daemon, dockerfile)
    assert "host secret" not in text


@pytest.mark.parametrize("kind", ["secret", "cache", "tmpfs", "bind"])
def test_a_mount_s_target_is_inside(daemon: Daemon, host: Path, kind: str) -> None:
    """The mount point would be made on the host, and what is mounted there would cover it."""
    mount = {
        "secret": "type=secret,id=s,target=/link/made",
        "cache": "type=cache,target=/link/made",
        "tmpfs": "type=tmpfs,target=/link/made",
        "bind": "type=bind,target=/link/made",
    }[kind]
    headers = {"Content-Type": "application/x-tar", "X-Sampan-Build-Secrets": "eyJzIjogImFHVnNiRzg9In0="}
    dockerfile = f"FROM busybox\nRUN ln -s /../../../../../..{host} /link\nRUN --mount={mount} true\n"
    daemon.api("POST", "/build?rm=1", packed(("Dockerfile", FILE, dockerfile)), headers)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device of the host: `b MAJOR MINOR`."""
    image = tmp_path / "disk"
    image.write_bytes(b"host secret\n".ljust(1 << 16, b"x"))
    made = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip("no loop device here")
    device = made.stdout.strip()
    number = os.stat(device).st_rdev  # noqa: PTH116
    yield f"b {os.major(number)} {os.minor(number)}"
    subprocess.run(["losetup", "-d", device], check=True)


@pytest.mark.parametrize(
    "line", ["COPY --from=one /disk /got", "COPY --from=one / /got", "COPY --link --from=one /disk /got"]
)
def test_a_device_of_a_stage_is_never_read(daemon: Daemon, disk: str, line: str) -> None:
    """A stage may make any node; whoever opened it here would read the host's disk, or never end."""
    made = f"FROM busybox AS one\nRUN mknod /disk {disk} && mkfifo /pipe\n"
    _, text = build(
        daemon, f"{made}FROM busybox\n{line}\nRUN find /got -type f -name disk; head -c 12 /got /got/disk; true\n"
    )
    assert "Successfully built" in text and "host secret" not in text and "\n/got/disk\n" not in text, text


@pytest.mark.parametrize("name", ["/disk", "/pipe"])
@pytest.mark.parametrize("options", ["", ",rw"])
def test_a_mounted_device_is_never_read_here(daemon: Daemon, disk: str, name: str, options: str) -> None:
    made = f"FROM busybox AS one\nRUN mknod /disk {disk} && mkfifo /pipe\n"
    mount = f"--mount=type=bind,from=one,source={name},target=/got{options}"
    _, text = build(daemon, f"{made}FROM busybox\nRUN {mount} ls -l /got && timeout 1 head -c 12 /got; true\n")
    assert "host secret" not in text and "Successfully built" in text, text


@pytest.mark.parametrize("place", ["/proc/self/fd/7", "/proc/self/cwd/../../..", "/link"])
def test_no_working_directory_of_a_step_leads_out(daemon: Daemon, host: Path, place: str) -> None:
    """CVE-2024-21626: the build's WORKDIR and RUN."""
    dockerfile = (
        f"FROM busybox\nRUN ln -s /proc/self/fd/7 /link\nWORKDIR {place}\nRUN ls; cat ../../../../..{host}/secret\n"
    )
    _, text = build(daemon, dockerfile)
    assert "host secret" not in text


# -- repositories ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ("git://-oProxyCommand=touch${IFS}/tmp/sampan-pwned/x.git", ""),
        ("ssh://-oProxyCommand=touch${IFS}/tmp/sampan-pwned/x.git", ""),
        ("--upload-pack=touch /tmp/sampan-pwned@host:x.git", "neither a URL nor a git repository"),
        ("-u@host:x.git", "invalid git URL"),
        ("ext::sh -c touch% /tmp/sampan-pwned", "neither a URL nor a git repository"),
        ("file:///etc/.git", "neither a URL nor a git repository"),
        ("/etc/.git", "neither a URL nor a git repository"),
        ("http://127.0.0.1:1/x.git#--upload-pack=touch /tmp/sampan-pwned", "invalid git reference"),
        ("http://127.0.0.1:1/x.git#-h:", "invalid git reference"),
    ],
)
def test_a_repository_s_name_is_no_option_and_no_program(daemon: Daemon, remote: str, words: str) -> None:
    status, answer = daemon.api("POST", f"/build?remote={quote(remote, safe='')}")
    assert (status >= 400 or "error" in str(answer)) and words in str(answer), answer
    assert not Path("/tmp/sampan-pwned").exists()


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """The URL of a repository whose directory a/link is a link that leads out once it is moved."""
    work = tmp_path / "work"
    (work / "a/b/c").mkdir(parents=True)
    (work / "Dockerfile").write_text("FROM busybox\nCOPY . /got\nRUN find /got\n")
    (work / "a/b/c/Dockerfile").write_text("FROM busybox\nCOPY . /got\nRUN find /got\n")
    (work / "a/link").symlink_to("..")
    (work / "out").symlink_to("/etc")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(work)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    bare = tmp_path / "served" / "evil.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True, capture_output=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}/evil.git"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("directory", ["a/link", "out", "../..", "a/../../..", "/etc"])
@pytest.mark.parametrize("way", ["remote", "ADD"])
def test_a_repository_s_directory_is_inside(daemon: Daemon, repository: str, directory: str, way: str) -> None:
    """A link to the repository's own top leads into the data root from where it is moved to."""
    where = f"{repository}#:{directory}"
    if way == "ADD":
        _, text = build(daemon, f"FROM busybox\nADD {where} /got\nRUN find /got\n", query="&nocache=1")
    else:
        _, answer = daemon.api("POST", f"/build?nocache=1&remote={quote(where, safe='')}")
        text = said(answer)
    assert ("Successfully built" in text) == ("/got/a/b/c/Dockerfile" in text), "the repository, or nothing"
    for others in ("state.db", "passwd", "sampand.log"):
        assert others not in text
