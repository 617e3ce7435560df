"""Registries that lie, and layers that are traps: a pull says which blob or entry it was, and leaves nothing."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zstandard
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.errors import SampanError
from sampan.images import Images, Snapshots, manifests
from sampan.images.digests import digest
from sampan.images.remote import wire
from sampan.linux import mounts
from sampan.store import Database, EventLog

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers have owners")

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def tar(*names: str, data: bytes = b"data") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


LAYER = gzip.compress(tar("f", data=os.urandom(300_000)), 1, mtime=0)


class Registry:
    """One image. A test changes what is said of it (`layer_size`, `config`) or how something is answered (`odd`)."""

    def __init__(self, layer: bytes = LAYER, diff_id: str = "") -> None:
        self.layer = layer
        diff_id = diff_id or digest(gzip.decompress(layer))
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        self.config = json.dumps(config).encode()
        self.layer_size = len(layer)
        self.odd: dict[str, Answer] = {}
        self.given: bytes | None = None
        self.asked = 0

    @property
    def manifest(self) -> bytes:
        if self.given is not None:
            return self.given
        config = {"mediaType": manifests.OCI_CONFIG, "digest": digest(self.config), "size": len(self.config)}
        layer = {"mediaType": f"{manifests.OCI_LAYER}+gzip", "digest": digest(self.layer), "size": self.layer_size}
        document = {"schemaVersion": 2, "mediaType": manifests.OCI_MANIFEST, "config": config, "layers": [layer]}
        return json.dumps(document).encode()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if "/manifests/" in request.path:
            if "manifest" in self.odd:
                return await self.odd["manifest"](request)  # type: ignore[arg-type]
            return web.Response(body=self.manifest, headers={"Content-Type": manifests.OCI_MANIFEST})
        what = "config" if name == digest(self.config) else "layer"
        self.asked += what == "layer"
        if what in self.odd:
            return await self.odd[what](request)  # type: ignore[arg-type]
        return web.Response(body=self.config if what == "config" else self.layer)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        runner = web.ServerRunner(web.Server(self.answer), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"127.0.0.1:{runner.addresses[0][1]}/bad/image:1"
        finally:
            await runner.cleanup()


class Room:
    """Images on a data root of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = Database(root / "state.db")
        self.snapshots = Snapshots(root)
        self.images = Images(root, self.database, EventLog(self.database), self.snapshots)

    async def refusal(self, registry: Registry) -> str:
        """What a pull says; proves that nothing of it can be run or takes room."""
        async with registry.serving() as name:
            with pytest.raises(SampanError) as caught:
                await asyncio.wait_for(self.images.pull(name, None, None, lambda _: None), 60)
        assert self.images.list() == [] and self.snapshots.layers() == []
        assert list(self.images.holdings.content.digests()) == []
        assert not [path for path in (self.root / "layers").iterdir() if path.name.startswith(".")]
        return caught.value.message

    def partials(self) -> list[str]:
        return [path.name for path in (self.root / "ingest").iterdir()]

    async def close(self) -> None:
        await self.images.close()
        self.database.close()


@pytest.fixture
async def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    async def none(tries: int) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(wire, "pause", none)
    room = Room(tmp_path / "data")
    yield room
    await room.close()


async def endless(request: web.Request) -> web.StreamResponse:
    """Chunked, without end."""
    response = web.StreamResponse(headers={"Content-Type": manifests.OCI_MANIFEST})
    await response.prepare(request)
    for _ in range(10_000):
        await response.write(bytes(1 << 16))
    return response


def cut(data: bytes, *, claimed: int, sent: int) -> Answer:
    """`claimed` as Content-Length, and then only `sent` bytes before the connection breaks."""

    async def answer(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        response = web.StreamResponse(status=206 if start else 200)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response.content_length = max(claimed - start, 0)
        await response.prepare(request)
        await response.write(data[start:sent])
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


# -- what a registry may get wrong -------------------------------------------------------------------
async def test_a_blob_that_is_always_cut_is_given_up_by_name(room: Room) -> None:
    registry = Registry()
    registry.odd["layer"] = cut(LAYER, claimed=len(LAYER), sent=200_000)
    said = await room.refusal(registry)
    assert digest(LAYER) in said and f"of {len(LAYER)} bytes" in said
    assert registry.asked > 1, "it was tried again"
    assert room.partials() == [digest(LAYER)[7:]], "what came is kept for the next pull to go on from"


@pytest.mark.parametrize("claimed", [len(LAYER) // 2, len(LAYER) * 2])
async def test_a_content_length_that_lies(room: Room, claimed: int) -> None:
    registry = Registry()
    registry.odd["layer"] = cut(LAYER, claimed=claimed, sent=len(LAYER) // 2)
    assert digest(LAYER) in await room.refusal(registry)


async def test_a_blob_longer_than_its_descriptor_ends_there(room: Room) -> None:
    registry = Registry()
    registry.odd["layer"] = endless
    said = await room.refusal(registry)
    assert digest(LAYER) in said and ("is longer than" in said or "damaged" in said or "digest" in said)
    assert room.partials() == []


async def test_a_descriptor_that_promises_too_much_or_too_little(room: Room) -> None:
    for size in (len(LAYER) - 1, len(LAYER) + 1):
        registry = Registry()
        registry.layer_size = size
        assert digest(LAYER) in await room.refusal(registry)


@pytest.mark.parametrize("what", ["manifest", "config"])
async def test_documents_without_end_are_not_read_to_it(room: Room, what: str) -> None:
    registry = Registry()
    registry.odd[what] = endless
    said = await room.refusal(registry)
    assert "is too large" in said and what.replace("config", digest(registry.config)) in said


async def test_a_config_of_other_bytes_is_refused_by_name(room: Room) -> None:
    registry = Registry()

    async def other(request: web.Request) -> web.StreamResponse:
        return web.Response(body=registry.config.replace(b"amd64", b"arm64"))

    registry.odd["config"] = other
    assert digest(registry.config) in await room.refusal(registry)


@pytest.mark.parametrize(
    "document",
    [
        b'{"schemaVersion":2,"annotations":{"a":"' + b"x" * (10 << 20) + b'"}}',
        b"[" * 1_000_000,
        b'{"a":' * 500_000 + b"1" + b"}" * 500_000,
        b'{"schemaVersion":2' + b"0" * 100_000 + b"}",
        b'{"schemaVersion":1e999}',
        b'{"schemaVersion":2,"config":{"size":-1}}',
        b"\xff\xfe{}",
        b"",
    ],
    ids=["10 MB", "nested lists", "nested objects", "long number", "infinity", "negative size", "not UTF-8", "nothing"],
)
async def test_manifests_that_are_bombs(room: Room, document: bytes) -> None:
    registry = Registry()
    registry.given = document
    assert "manifest" in await room.refusal(registry)


@pytest.mark.parametrize(
    "config",
    [
        b'{"rootfs":' + b"[" * 500_000,
        b'{"os":"linux","rootfs":{"diff_ids":["../../etc/passwd"]}}',
        json.dumps({"os": "linux", "rootfs": {"diff_ids": [digest(b"")] * 100_000}}).encode(),
        b"null",
    ],
    ids=["nested", "a path for a diffID", "100,000 diffIDs", "null"],
)
async def test_configs_that_are_bombs(room: Room, config: bytes) -> None:
    registry = Registry()
    registry.config = config
    assert digest(config) in await room.refusal(registry)


# -- what a layer may be -----------------------------------------------------------------------------
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 2000), pack=st.sampled_from([bytes, gzip.compress, zstandard.compress]))
async def test_a_layer_cut_at_any_byte_is_never_an_image(
    room: Room, position: int, pack: Callable[[bytes], bytes]
) -> None:
    """Cut at its source, so that the blob's digest is right: the reader or the diffID must notice."""
    whole = pack(tar("one", "two", data=b"d" * 700))
    if position < len(whole) - 1:
        layer = whole[:position]
        said = await room.refusal(Registry(layer, diff_id=digest(tar("one", "two", data=b"d" * 700))))
        assert any(word in said for word in (digest(layer), "unexpected EOF", "truncated", "invalid", "damaged")), said


async def test_a_path_as_deep_as_paths_can_be(room: Room) -> None:
    deep = "a/" * 2000 + "f"
    registry = Registry(gzip.compress(tar(deep), mtime=0))
    async with registry.serving() as name:
        await room.images.pull(name, None, None, lambda _: None)
    here = room.snapshots.layer(room.snapshots.layers()[0])
    depth = 0
    opened = os.open(here, os.O_RDONLY)
    names = os.listdir  # Path has no descriptors
    while names(opened) == ["a"]:
        below = os.open("a", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened, depth = below, depth + 1
    assert depth == 2000 and names(opened) == ["f"]
    os.close(opened)
    room.images.delete(name)
    assert room.snapshots.layers() == [] and not list((room.root / "layers").glob(".*"))


async def test_a_path_deeper_than_that_is_refused(room: Room) -> None:
    said = await room.refusal(Registry(gzip.compress(tar("b/" * 100_000 + "f"), mtime=0)))
    assert "b/b/b" in said and "File name too long" in said


async def test_millions_of_empty_files_stop_before_the_last_inode(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounts.mount("tmpfs", small, {"size": "400m", "nr_inodes": "4000"})
    try:
        room = Room(small)
        try:
            said = await room.refusal(Registry(gzip.compress(tar(*map(str, range(5000)), data=b""), 1)))
        finally:
            await room.close()
        assert "no space left on device" in said and "inodes" in said
    finally:
        mounts.unmount(small)


async def test_one_hash_for_all_that_was_sent(room: Room) -> None:
    """Bytes behind the archive's end belong to the layer's digest too."""
    plain = tar("f") + hashlib.shake_128(b"tail").digest(5000)
    registry = Registry(gzip.compress(plain, mtime=0))
    async with registry.serving() as name:
        await room.images.pull(name, None, None, lambda _: None)
        assert room.images.resolve(name).config.rootfs.diff_ids == [digest(plain)]
