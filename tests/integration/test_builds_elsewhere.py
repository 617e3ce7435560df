"""Builds and what is not on this machine: ssh agents of the client, and another machine's build of the same."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import stat
import struct
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.builds import BuildOptions, ssh
from sampan.builds.outputs.requests import Output
from sampan.builds.service import Built
from sampan.images import platforms
from sampan.images.converting import Compression
from support.inprocess import InProcess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def _build(host: InProcess, dockerfile: str, options: BuildOptions, mtime: int = 0) -> Built:
    async def archive() -> AsyncIterator[bytes]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in (("Dockerfile", dockerfile.encode()), ("f", b"f\n"), ("d/g", b"g\n")):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(data), mtime
                tar.addfile(entry, io.BytesIO(data))
        yield buffer.getvalue()

    context = await host.engine.builds.receive(archive(), options)
    try:
        return await host.engine.builds.build(options, context, lambda event: None)
    finally:
        context.close()


# -- ssh ---------------------------------------------------------------------------------------------
async def test_an_agent_lists_and_signs_and_does_nothing_else(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def ask(message: bytes) -> bytes:
        asked.append(message)
        return b"\x0c" + message

    deep = tmp_path / ("x" * 120)  # longer than a socket's address can be
    deep.mkdir()
    async with ssh.served(ask, deep, "agent", 0o640, 7, 8) as place:
        found = place.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 7, 8)
        opened = os.open(deep, os.O_PATH)
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{opened}/agent")
        answers = []
        for message in (b"\x0b", b"\x0d-sign", b"\x13", b"\x11-add", b"\x1b-extension"):
            writer.write(struct.pack(">I", len(message)) + message)
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            answers.append(await reader.readexactly(length))
        writer.close()
        os.close(opened)
    assert answers == [b"\x0c\x0b", b"\x0c\x0d-sign", *[b"\x05"] * 3]
    assert asked == [b"\x0b", b"\x0d-sign"]
    assert not place.exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
async def test_add_fetches_a_repository_with_the_clients_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssh` is a stand-in: it asks the agent, and then runs what it was told to run over there, here."""
    repository = tmp_path / "repository"
    script = (
        f"git init -q -b main {repository} && cd {repository} && echo in > g && git add g && "
        "git -c user.email=a@b -c user.name=n commit -q -m one"
    )
    process = await asyncio.create_subprocess_shell(script)
    assert await process.wait() == 0
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/ssh"
    fake.write_text(
        "#!/usr/bin/env python3\nimport os, socket, sys\n"
        "agent = socket.socket(socket.AF_UNIX)\nagent.connect(os.environ['SSH_AUTH_SOCK'])\n"
        "agent.sendall(b'\\0\\0\\0\\1\\x0b')\nassert agent.recv(5)[4] == 12\n"
        "os.execlp('sh', 'sh', '-c', sys.argv[-1])\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    asked: list[bytes] = []

    async def ask(message: bytes) -> bytes:
        asked.append(message)
        return b"\x0c\0\0\0\0"

    host = await InProcess("bssh").open()
    try:
        dockerfile = f"FROM scratch\nADD git@somewhere:{repository} /src\n"
        built = await _build(host, dockerfile, BuildOptions(ssh={"default": ask}))
        assert b"\x0b" in asked
        assert len(host.engine.images.resolve(built.id).config.rootfs.diff_ids) == 1
        assert not any((host.settings.data_root / "builds").iterdir())
    finally:
        await host.close()


# -- the same elsewhere ------------------------------------------------------------------------------
_DOCKERFILE = """\
FROM busybox AS base
LABEL a=b
WORKDIR /made/by/workdir
RUN date > /dev/null; mkdir /new; echo x > /new/x; ln -s x /new/l; touch /bin/ls; rm /bin/vi
COPY --link f /linked/
COPY d /d
RUN --mount=type=cache,target=/cache echo x > /cache/x; echo y > /fromcache
FROM base
COPY --from=base /new /again
CMD ["x"]
"""


async def test_with_source_date_epoch_two_machines_make_one_digest() -> None:
    found = []
    for number in range(2):
        host = await InProcess(f"brep{number}").open()
        try:
            await host.load_busybox()
            if number:  # a cache of other times must not show
                await _build(host, _DOCKERFILE, BuildOptions(), mtime=1)
            args = {"SOURCE_DATE_EPOCH": "1600000000"}
            options = BuildOptions(args=args, tags=["rep:1"], outputs=[Output(compression=Compression())])
            one = await _build(host, _DOCKERFILE, options, mtime=1_700_000_000 + number)
            two = BuildOptions(
                args=args, tags=["rep:2"], platforms=[platforms.parse("linux/amd64"), platforms.parse("linux/arm64")]
            )
            several = await _build(host, "FROM scratch\nCOPY . /\nLABEL a=b\n", two, mtime=1_700_000_000 + number)
            found.append((one.id, one.manifest, several.manifest))
        finally:
            await host.close()
    assert found[0] == found[1]
