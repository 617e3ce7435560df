"""BuildKit's protocol, as buildx speaks it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import Iterator

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from sampan.buildkit.wire_pb2 import Definition, Empty, Filters, FrontendRequest, FrontendResponse, Info, Workers
from support.buildx import Buildx, Client
from support.daemon import Daemon
from support.images import busybox_archive

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    daemon = Daemon("buildkit")
    daemon.start()
    try:
        daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


def client(dockerfile: str, files: dict[str, bytes] | None = None, **more: object) -> Client:
    directories = {"dockerfile": {"Dockerfile": dockerfile.encode()}, "context": files or {}}
    return Client(directories=directories, **more)  # type: ignore[arg-type]


async def test_an_image_is_built_of_shared_files(engine: Daemon) -> None:
    shared = client(
        'FROM busybox\nARG V\nCOPY . /d/\nRUN echo v=$V && ls /d\nCMD ["cat","/d/sub/a"]\n',
        {"sub/a": b"content\n", "b": b"", "left.log": b"x", ".dockerignore": b"*.log\n"},
    )
    async with Buildx(engine.socket, shared) as buildx:
        told = await buildx.build({"build-arg:V": "7"}, [("moby", {"name": "docker.io/library/bk:1"})])
    assert b"v=7\n" in told.logs and b"left.log" not in told.logs
    assert "context/left.log" not in shared.asked, "what .dockerignore leaves out does not travel"
    assert engine.ok("run", "--rm", "bk:1") == "content"
    image = engine.api("GET", "/images/bk:1/json")[1]
    assert told.response["containerimage.config.digest"] == image["Id"]
    assert told.response["image.name"] == "docker.io/library/bk:1"
    assert told.vertexes["[2/3] COPY . /d/"].HasField("completed")
    assert not any(name.startswith("CMD") for name in told.vertexes)
    async with Buildx(engine.socket, shared) as buildx:
        again = await buildx.build({"build-arg:V": "7"})
    assert again.vertexes["[3/3] RUN echo v=$V && ls /d"].cached


async def test_a_failed_step_names_its_place(engine: Daemon) -> None:
    shared = client("FROM busybox\nRUN echo before && \\\n    exit 5\n")
    with pytest.raises(GRPCError) as raised:
        async with Buildx(engine.socket, shared) as buildx:
            await buildx.build({})
    assert raised.value.message == (
        'process "/bin/sh -c echo before &&     exit 5" did not complete successfully: exit code: 5'
    )
    url, data = raised.value.details[0]
    assert url == "github.com/moby/buildkit/errdefs.Source+json"
    assert json.loads(data)["ranges"] == [{"start": {"line": 2}, "end": {"line": 3}}]
    with pytest.raises(GRPCError, match="unknown instruction: RUNN") as raised:
        async with Buildx(engine.socket, client("FROM busybox\nRUNN x\n", {"big": bytes(1 << 20)})) as buildx:
            await buildx.build({})
    assert json.loads(raised.value.details[0][1])["ranges"][0]["start"]["line"] == 2


async def test_secrets_are_asked_for_by_name(engine: Daemon) -> None:
    dockerfile = "FROM busybox\nRUN --mount=type=secret,id=token,required cat /run/secrets/token\n"
    async with Buildx(engine.socket, client(dockerfile, secrets={"token": b"hunter2", "other": b"no"})) as buildx:
        assert b"hunter2" in (await buildx.build({})).logs
    with pytest.raises(GRPCError, match="secret token: not found"):
        async with Buildx(engine.socket, client(dockerfile)) as buildx:
            await buildx.build({"no-cache": ""})


async def test_credentials_are_asked_for_only_where_they_may_be_needed(engine: Daemon) -> None:
    shared = client("FROM busybox\n", credentials={"registry-1.docker.io": ("me", "secret")})
    async with Buildx(engine.socket, shared) as buildx:
        await buildx.build({})
        assert not [host for host in shared.asked if "docker.io" in host], "the image is here"
    shared = client("FROM 127.0.0.1:1/nothing\n")
    with pytest.raises(GRPCError):
        async with Buildx(engine.socket, shared) as buildx:
            await buildx.build({})
    assert "127.0.0.1:1" in shared.asked


async def test_a_result_is_sent_as_an_archive(engine: Daemon) -> None:
    shared = client("FROM scratch\nCOPY a /a\n", {"a": b"data"})
    async with Buildx(engine.socket, shared) as buildx:
        await buildx.build({}, [("tar", {})])
    with tarfile.open(fileobj=io.BytesIO(shared.received["archive"])) as tar:
        assert tar.extractfile("a").read() == b"data"  # type: ignore[union-attr]


async def test_only_what_changed_and_what_is_read_travels(engine: Daemon) -> None:
    dockerfile = "FROM busybox\nCOPY one two/ /d/\nRUN cat /d/*\n"
    files = {"one": b"1\n", "two/a": b"a\n", "two/b": b"b\n", "three": bytes(1 << 20)}
    shared = client(dockerfile, files, shared_key="here:me")
    async with Buildx(engine.socket, shared) as buildx:
        assert b"a\nb\n1\n" in (await buildx.build({})).logs
    assert "context/three" not in shared.asked, "no instruction names it"
    files["two/a"] = b"changed\n"
    async with Buildx(engine.socket, shared) as buildx:
        assert b"changed\nb\n1\n" in (await buildx.build({})).logs
    assert shared.contents == [0, 3, 0, 1], "each time .dockerignore is asked for, and then the files"
    shared.directories["dockerfile"] = {"Dockerfile": b"FROM busybox\nRUN true\n"}
    async with Buildx(engine.socket, shared) as buildx:
        await buildx.build({})
    assert shared.contents == [0, 3, 0, 1, 0], "a context that nothing reads does not travel at all"


async def test_named_contexts_and_checks(engine: Daemon) -> None:
    shared = client("FROM busybox\nCOPY --from=other o /o\nRUN cat /o\n")
    shared.directories["place"] = {"o": b"from beside", "skip": b"x", ".dockerignore": b"skip\n"}
    async with Buildx(engine.socket, shared) as buildx:
        assert b"from beside" in (await buildx.build({"context:other": "local:place"})).logs
    assert "place/skip" not in shared.asked
    async with Buildx(engine.socket, client("FROM busybox\nCMD echo hi\n")) as buildx:
        await buildx.build({"requestid": "frontend.lint"}, ())
        assert json.loads(buildx.answer["result.json"])["warnings"][0]["ruleName"] == "JSONArgsRecommended"


async def test_what_is_not_there_is_said(engine: Daemon) -> None:
    async with Buildx(engine.socket, client("FROM busybox\n")) as buildx:
        with pytest.raises(GRPCError) as raised:
            await buildx.build({}, definition=Definition(**{"def": [b"x"]}))
        assert raised.value.status == Status.NOT_FOUND or "LLB is not supported" in str(raised.value.message)
    with pytest.raises(GRPCError, match="open Nope: no such file or directory"):
        async with Buildx(engine.socket, client("FROM busybox\n")) as buildx:
            await buildx.build({"filename": "Nope"})
    async with Buildx(engine.socket, client("FROM busybox\n")) as buildx:
        workers = await buildx.unary("/moby.buildkit.v1.Control/ListWorkers", Filters, Workers)(Filters())
        assert "org.mobyproject.buildkit.worker.snapshotter" in workers.record[0].labels
        assert (await buildx.unary("/moby.buildkit.v1.Control/Info", Empty, Info)(Empty())).version.package == "sampan"
        with pytest.raises(GRPCError, match="no such method") as raised:
            await buildx.unary("/moby.buildkit.v1.Control/ListenBuildHistory", Empty, Empty)(Empty())
        assert raised.value.status == Status.UNIMPLEMENTED
        with pytest.raises(GRPCError, match="no such job"):
            path = "/moby.buildkit.v1.frontend.LLBBridge/Solve"
            await buildx.unary(path, FrontendRequest, FrontendResponse)(FrontendRequest(frontend="dockerfile.v0"))


async def test_a_build_ends_with_its_client(engine: Daemon) -> None:
    shared = client("FROM busybox\nRUN echo running && sleep 1000\n")
    buildx = await Buildx(engine.socket, shared).__aenter__()
    building = asyncio.ensure_future(buildx.build({"no-cache": ""}))
    await asyncio.sleep(2)
    assert not building.done()
    building.cancel()
    await buildx.__aexit__()
    await asyncio.gather(building, return_exceptions=True)
    for _ in range(100):
        if not _running(engine):
            break
        await asyncio.sleep(0.1)
    assert not _running(engine)


def _running(engine: Daemon) -> list[str]:
    """Processes of a RUN that are still there, whichever cgroup tree this host has."""
    with os.popen("ps -eo args") as processes:
        return [line for line in processes.read().splitlines() if line.strip() == "sleep 1000"]
