"""Pushing over bad lines: cut connections, refused bodies, tokens that are asked for on the way."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sampan.errors import SampanError
from sampan.images import Images, Snapshots, hello, references
from sampan.images.manifests import Descriptor
from sampan.images.model import RunConfig
from sampan.images.references import Reference
from sampan.images.remote import Remote
from sampan.images.remote.hosts import Hosts
from sampan.images.remote.uploads import Uploads
from sampan.store import Database, EventLog
from support.own_registry import EMPTY, OwnRegistry, digest, image
from support.registry import Registry

BLOB = os.urandom(1 << 16) * 40


@pytest.fixture
def registry(tmp_path: Path) -> Any:
    registry = OwnRegistry(tmp_path / "registry")
    yield registry
    registry.stop()


async def read(start: int, stop: int) -> AsyncIterator[bytes]:
    for at in range(start, stop, 1 << 16):
        yield BLOB[at : min(at + (1 << 16), stop)]


def descriptor() -> Descriptor:
    return Descriptor(media_type="application/octet-stream", digest=digest(BLOB), size=len(BLOB))


class Line:
    """A TCP relay to the registry that cuts the connection once that many bytes went up, as often as told."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._port, self._cuts = port, cuts
        self.cut = 0

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        down = asyncio.ensure_future(self._copy(up_reader, writer))
        passed = 0
        try:
            while data := await reader.read(1 << 16):
                up_writer.write(data)
                await up_writer.drain()
                passed += len(data)
                if self._cuts and passed > self._cuts[0]:
                    self._cuts.pop(0)
                    self.cut += 1
                    break
        except ConnectionError:
            pass
        finally:
            up_writer.close()
            writer.transport.abort() if self.cut else writer.close()
            await asyncio.gather(down, return_exceptions=True)

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()


async def whole(request: web.BaseRequest) -> bytes:
    return b"".join([chunk async for chunk in request.content.iter_any()])


async def pushed(address: str, work: Callable[[Uploads], Awaitable[None]]) -> None:
    remote = Remote(Hosts(), "test")
    try:
        await work(Uploads(remote.repository(Reference(address, "some/repo"), pull=False)))
    finally:
        await remote.close()


async def test_a_cut_upload_goes_on_where_the_registry_has_come_to(registry: OwnRegistry) -> None:
    async with Line(registry.port, [700_000, 900_000]) as line:
        await pushed(line.address, lambda uploads: uploads.blob(descriptor(), read))
        assert line.cut == 2
    assert registry.ask("GET", f"/v2/some/repo/blobs/{digest(BLOB)}").body == BLOB


async def test_a_line_that_is_always_cut_is_given_up(registry: OwnRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(tries: int) -> None: ...

    monkeypatch.setattr("sampan.images.remote.wire.pause", at_once)
    async with Line(registry.port, [1000] * 1000) as line:
        with pytest.raises(SampanError, match="upload of blob sha256:.* broke off|EOF|disconnected"):
            await pushed(line.address, lambda uploads: uploads.blob(descriptor(), read))
    assert registry.ask("GET", f"/v2/some/repo/blobs/{digest(BLOB)}").status == 404


async def test_a_registry_that_refuses_large_bodies_gets_chunks(
    registry: OwnRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nginx before a registry does, with client_max_body_size."""
    import aiohttp

    monkeypatch.setattr("sampan.images.remote.uploads._CHUNK", 1 << 20)
    sizes: list[int] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        length = request.content_length or 0
        if length > 1 << 20:
            return web.Response(status=413)
        sizes.append(length)
        headers = {key: value for key, value in request.headers.items() if key not in ("Host", "Content-Length")}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                f"http://{registry.address}{request.raw_path}",
                data=await whole(request),
                headers=headers,
            ) as answer,
        ):
            kept = {key: answer.headers[key] for key in ("Location", "Range") if key in answer.headers}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
    try:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await pushed(address, lambda uploads: uploads.blob(descriptor(), read))
    finally:
        server.close()
    assert registry.ask("GET", f"/v2/some/repo/blobs/{digest(BLOB)}").body == BLOB
    assert max(sizes) == 1 << 20


async def test_a_token_for_writing_is_asked_for(registry: OwnRegistry) -> None:
    """A registry with a token server, as Docker Hub: the scope says push, and credentials go to the token server."""
    import aiohttp

    scopes: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        base = f"http://{request.headers['Host']}"
        if request.path == "/token":
            scopes.append(request.rel_url.query["scope"])
            return web.json_response({"token": "good"})
        if request.headers.get("Authorization") != "Bearer good":
            challenge = f'Bearer realm="{base}/token",service="s",scope="repository:some/repo:pull,push"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        headers = {key: value for key, value in request.headers.items() if key != "Host"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                f"http://{registry.address}{request.raw_path}",
                data=await whole(request),
                headers=headers,
            ) as answer,
        ):
            kept = {key: answer.headers[key] for key in ("Location", "Range") if key in answer.headers}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
    try:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await pushed(address, lambda uploads: uploads.blob(descriptor(), read))
    finally:
        server.close()
    assert scopes == ["repository:some/repo:pull,push"]
    assert registry.ask("GET", f"/v2/some/repo/blobs/{digest(BLOB)}").body == BLOB


async def test_an_upload_elsewhere_gets_no_credentials(registry: OwnRegistry) -> None:
    """The Location of an upload may be on another host; what logs in at the registry is not for it."""
    seen: list[dict[str, str]] = []

    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(dict(request.headers))
        await whole(request)
        return web.Response(status=201)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
        return web.Response(status=202, headers={"Location": f"http://127.0.0.1:{other_port}/up?x=1"})

    from sampan.images.remote import RegistryAuth

    loop = asyncio.get_running_loop()
    other = await loop.create_server(web.Server(elsewhere), "127.0.0.1", 0)
    other_port = other.sockets[0].getsockname()[1]
    server = await loop.create_server(web.Server(handle), "127.0.0.1", 0)
    remote = Remote(Hosts(), "test")
    try:
        reference = Reference(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "a")
        repository = remote.repository(reference, RegistryAuth("me", "secret"), pull=False)
        await Uploads(repository).blob(descriptor(), read)
    finally:
        await remote.close()
        server.close()
        other.close()
    assert len(seen) == 1
    assert "Authorization" not in seen[0]


async def test_a_push_leaves_no_lease_and_tells_the_digest(registry: OwnRegistry, tmp_path: Path) -> None:
    root = tmp_path / "data"
    database = Database(root / "state.db")
    images = Images(root, database, EventLog(database), Snapshots(root))
    try:
        await images.pull("sampan/hello", None, None, lambda _: None)
        images.tag("sampan/hello", f"{registry.address}/team/hello", "1")
        told: list[dict[str, Any]] = []
        await images.push(f"{registry.address}/team/hello:1", None, None, told.append)
        aux = [line["aux"] for line in told if "aux" in line]
        sent = aux[0]["Digest"]
        assert registry.ask("HEAD", "/v2/team/hello/manifests/1").headers["Docker-Content-Digest"] == sent
        assert sent in json.dumps(images.resolve(f"{registry.address}/team/hello:1").repo_digests)
        assert not images.holdings._held
        if sent != digest(hello.build()[0]):
            assert aux[1]["manifestPushedInsteadOfIndex"] and aux[1]["selectedManifest"]["digest"] == sent
            assert aux[1]["originalIndex"]["digest"] == digest(hello.build()[0])
    finally:
        await images.close()
        database.close()


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Images]:
    root = tmp_path / "data"
    database = Database(root / "state.db")
    images = Images(root, database, EventLog(database), Snapshots(root))
    yield images
    await images.close()
    database.close()


def tar_layer() -> bytes:
    return bytes(1024)  # an archive without entries


def runnable(registry: OwnRegistry, name: str, **layer: Any) -> dict[str, Any]:
    """Puts config and layer into the registry; the manifest of an image without files. `layer` is said of its layer."""
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(tar_layer())]}}
    data = json.dumps(config).encode()
    registry.push_blob(name, data)
    if "urls" not in layer:
        registry.push_blob(name, tar_layer())
    document = image(data, tar_layer())
    document["layers"][0].update(layer)
    return document


def artefact(registry: OwnRegistry, name: str, subject: dict[str, Any], kind: str, content: bytes) -> str:
    """Pushes an artefact that refers to a manifest; its digest."""
    registry.push_blob(name, b"{}")
    registry.push_blob(name, content)
    data = json.dumps(subject).encode()
    refers = {"mediaType": subject["mediaType"], "digest": digest(data), "size": len(data)}
    document = {**image(b"{}", content), "artifactType": kind, "subject": refers}
    document["config"]["mediaType"] = EMPTY
    return registry.push_manifest(name, "", document)


async def test_referrers_that_were_asked_for_go_where_their_image_goes(
    registry: OwnRegistry, images: Images, tmp_path: Path
) -> None:
    """To a registry that lists referrers, and to one that knows only the tag schema."""
    subject = runnable(registry, "a/tool")
    sent = registry.push_manifest("a/tool", "1", subject)
    sbom = artefact(registry, "a/tool", subject, "application/spdx+json", b"all that is inside")
    document = json.loads(registry.ask("GET", f"/v2/a/tool/manifests/{sbom}").body)
    signature = artefact(registry, "a/tool", document, "application/vnd.example.signature", b"signed")
    name = f"{registry.address}/a/tool:1"
    await images.pull(name, None, None, lambda _: None)
    content = images.holdings.content
    assert not content.exists(sbom), "nobody asked for them"
    told: list[dict[str, Any]] = []
    await images.pull(name, None, None, told.append, referrers=True)
    assert sum(line.get("status", "").startswith("Pulled referrer") for line in told) == 2
    images.holdings.sweep()
    assert content.exists(sbom) and content.exists(signature)

    new = OwnRegistry(tmp_path / "new")
    old = Registry(tmp_path)
    try:
        images.tag(name, f"{new.address}/b/tool", "1")
        await images.push(f"{new.address}/b/tool:1", None, None, lambda _: None)
        listed = new.ask("GET", f"/v2/b/tool/referrers/{sent}").json["manifests"]
        assert [(entry["digest"], entry["artifactType"]) for entry in listed] == [(sbom, "application/spdx+json")]
        listed = new.ask("GET", f"/v2/b/tool/referrers/{sbom}").json["manifests"]
        assert [entry["digest"] for entry in listed] == [signature], "referrers of referrers, too"

        images.tag(name, f"{old.address}/c/tool", "1")
        for _ in range(2):  # the list has each once
            await images.push(f"{old.address}/c/tool:1", None, None, lambda _: None)
        repository = images.remote.repository(references.parse(f"{old.address}/c/tool:1"))
        assert [entry.digest for entry in await repository.referrers(sent)] == [sbom]
        assert (await repository.manifest(signature)).digest == signature
    finally:
        new.stop()
        old.stop()
    images.delete(f"{new.address}/b/tool:1")
    images.delete(f"{old.address}/c/tool:1")
    images.delete(name)
    assert list(content.digests()) == []


@pytest.mark.parametrize("allowed", [False, True])
async def test_layers_that_live_elsewhere_are_pushed_where_that_is_allowed(
    registry: OwnRegistry, tmp_path: Path, allowed: bool
) -> None:
    async def elsewhere(request: web.BaseRequest) -> web.Response:
        return web.Response(body=tar_layer())

    runner = web.ServerRunner(web.Server(elsewhere))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/layer"
    foreign = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "urls": [url]}
    sent = registry.push_manifest("a/far", "1", runnable(registry, "a/far", **foreign))
    root = tmp_path / "data"
    database = Database(root / "state.db")
    takers = [registry.address] if allowed else []
    images = Images(root, database, EventLog(database), Snapshots(root), nondistributable=takers)
    try:
        await images.pull(f"{registry.address}/a/far:1", None, None, lambda _: None)
        images.tag(f"{registry.address}/a/far:1", f"{registry.address}/b/far", "1")
        told: list[dict[str, Any]] = []
        await images.push(f"{registry.address}/b/far:1", None, None, told.append)
        assert registry.ask("HEAD", "/v2/b/far/manifests/1").headers["Docker-Content-Digest"] == sent
        steps = [line.get("status") for line in told]
        assert ("Skipped foreign layer" in steps) is not allowed
        assert registry.ask("HEAD", f"/v2/b/far/blobs/{digest(tar_layer())}").status == (200 if allowed else 404)
    finally:
        await images.close()
        database.close()
        await runner.cleanup()


async def test_a_push_that_is_left_stops_compressing(registry: OwnRegistry, images: Images) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("big")
        entry.size = 64 << 20
        archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))

    async def chunks() -> AsyncIterator[bytes]:
        yield buffer.getvalue()

    await images.import_archive(chunks(), f"{registry.address}/big", RunConfig(), "")
    ingest = images.holdings.content.root / "ingest"

    async def until(reached: Callable[[list[int]], bool]) -> list[int]:
        """The sizes of what is being written, once they are as told."""
        for _ in range(30_000):
            sizes = []
            for path in ingest.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    sizes.append(path.stat().st_size)
            seen.extend(sizes)
            if reached(sizes):
                return sizes
            await asyncio.sleep(0.001)
        raise AssertionError("it never happened")

    seen: list[int] = []
    push = asyncio.create_task(images.push(f"{registry.address}/big:latest", None, None, lambda _: None))
    await until(any)
    push.cancel()
    with pytest.raises(asyncio.CancelledError):
        await push
    await until(lambda sizes: not sizes)
    assert max(seen) < 64 << 20
    assert not images.holdings._held
