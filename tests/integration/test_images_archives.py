"""Whatever an archive to load says: it is loaded or refused with a reason, and what is refused leaves nothing."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import random
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.errors import InvalidParameter, SampanError
from sampan.images import Images, Snapshots, loading
from sampan.images.digests import digest
from sampan.store import Database, EventLog
from support.own_registry import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners")

File = tuple[str, bytes | tuple[bytes, str]]
"""A name, and its bytes or (type, target)."""


def tar(files: list[File]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, what in files:
            entry = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                entry.size = len(what)
                archive.addfile(entry, io.BytesIO(what))
            else:
                entry.type, entry.linkname = what
                archive.addfile(entry)
    return buffer.getvalue()


LAYERS = [tar([("f", b"hello" * 300), ("d/x", b"y")]), tar([("g", b"z" * 1000)])]
CONFIG = {
    "os": "linux", "architecture": "amd64", "created": "2026-01-01T00:00:00Z",
    "config": {"Cmd": ["x"], "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1}},
    "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in LAYERS]},
    "history": [{"created_by": "x"}, {"created_by": "y"}],
}  # fmt: skip
_TEXTS = ["", "../x", "/etc/passwd", "a" * 5000, "sha256:" + "0" * 64, "sha256:xyz", "BAD NAME", "l0.tar", "c.json"]
_KEYS = ["Config", "RepoTags", "Layers", "layers", "manifests", "digest", "size", "mediaType", "diff_ids", "os"]


class Tamperer:
    """Makes archives that are wrong somewhere."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def junk(self, depth: int = 0) -> Any:
        kind = self._chance.randrange(5 if depth < 3 else 3)
        if kind == 0:
            return self._chance.choice([None, 0, -1, 1 << 64, 1.5, True, 10**30])
        if kind in (1, 2):
            return self._chance.choice(_TEXTS)
        if kind == 3:
            return [self.junk(depth + 1) for _ in range(self._chance.randrange(4))]
        return {self._chance.choice(_KEYS): self.junk(depth + 1) for _ in range(self._chance.randrange(4))}

    def changed(self, value: Any) -> Any:
        if self._chance.random() < 0.1:
            return self.junk()
        if isinstance(value, dict):
            return {key: self.changed(item) for key, item in value.items() if self._chance.random() > 0.04}
        if isinstance(value, list):
            return [self.changed(item) for item in value if self._chance.random() > 0.04]
        return value

    def document(self, value: Any) -> bytes:
        return json.dumps(self.changed(value) if self._chance.random() < 0.5 else value).encode()

    def docker(self) -> list[File]:
        items = [{"Config": "c.json", "RepoTags": ["t:1", "t:2"], "Layers": ["l0.tar", "l1.tar"]}]
        named = [(f"l{number}.tar", layer) for number, layer in enumerate(LAYERS)]
        return [("c.json", self.document(CONFIG)), *named, ("manifest.json", self.document(items))]

    def layout(self) -> list[File]:
        blobs = [*LAYERS, self.document(CONFIG)]
        layers = [{"mediaType": OCI_LAYER, "digest": digest(layer), "size": len(layer)} for layer in LAYERS]
        config = {"mediaType": OCI_CONFIG, "digest": digest(blobs[-1]), "size": len(blobs[-1])}
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        blobs.append(self.document(manifest))
        entry: dict[str, Any] = {"mediaType": OCI_MANIFEST, "digest": digest(blobs[-1]), "size": len(blobs[-1])}
        for _ in range(self._chance.randrange(5)):  # deeper than anybody means it
            blobs.append(self.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}))
            entry = {"mediaType": OCI_INDEX, "digest": digest(blobs[-1]), "size": len(blobs[-1])}
        entry["annotations"] = {"io.containerd.image.name": "docker.io/library/t:3"}
        index = self.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
        stored: list[File] = [(f"blobs/sha256/{digest(blob)[7:]}", blob) for blob in blobs]
        return [*stored, ("index.json", index)]

    def archive(self) -> bytes:
        files = self._chance.choice([self.docker, self.layout])()
        twist = self._chance.randrange(8)
        if twist == 0:
            self._chance.shuffle(files)
        elif twist == 1:
            files.append(self._chance.choice(files))
        elif twist == 2:
            kind = self._chance.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
            files.insert(0, (self._chance.choice(["l0.tar", "c.json", "index.json"]), (kind, "l0.tar")))
        data = tar(files)
        if twist == 3:
            data = data[: self._chance.randrange(len(data))]
        elif twist == 4:
            packed = gzip.compress(data)
            data = packed[: self._chance.randrange(10, len(packed))]
        return data


async def load_and_look(room: Path, data: bytes) -> None:
    """Loads, uses what came, removes it."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 3000):
            yield data[start : start + 3000]

    database = Database(room / "state.db")
    images = Images(room, database, EventLog(database), Snapshots(room))
    try:
        try:
            await images.load(chunks(), lambda _: None, True)
        except SampanError as error:
            assert error.message
            assert images.list(all=True) == []
        for row in images.list(all=True):
            saved = [chunk async for chunk in images.save([row.image.id])]
            assert saved
            with_history = images.history(row.image.id) if len(row.image.config.history) <= 2 else []
            assert len(with_history) <= 2
            images.delete(row.image.id, force=True)
        rooms = ("blobs/sha256", "ingest", "layers")
        assert [path.name for one in rooms for path in (room / one).iterdir() if path.name != "empty"] == []
    finally:
        await images.close()
        database.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_a_wrong_archive_is_refused_whole(tmp_path: Path, chance: random.Random) -> None:
    room = tmp_path / os.urandom(6).hex()
    room.mkdir()
    asyncio.run(load_and_look(room, Tamperer(chance).archive()))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("manifest.json", b"[" + b" " * (5 << 20) + b"]")], "manifest.json is too large"),
        ([("manifest.json", b"[" * 100_000)], "invalid manifest.json"),
        ([("index.json", b'{"a":' * 100_000)], "index.json is not valid"),
        ([(f"{number}.json", bytes(3 << 20)) for number in range(23)], "too much metadata"),
        ([(f"{number}.json", b"") for number in range(60)], "more than 50 entries"),
        ([("manifest.json", (tarfile.SYMTYPE, "manifest.json"))], "neither manifest.json .* nor index.json"),
        ([("manifest.json", json.dumps([{"Config": "a"}]).encode()), ("a", (tarfile.LNKTYPE, "b")),
          ("b", (tarfile.LNKTYPE, "a"))], "'a' is a loop of links"),
        ([("manifest.json", json.dumps([{"Config": "../../etc/passwd"}]).encode())], "config .* is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    tmp_path: Path, files: list[File], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_ENTRIES", 50)

    async def load() -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield tar(files)

        database = Database(tmp_path / "state.db")
        images = Images(tmp_path, database, EventLog(database), Snapshots(tmp_path))
        try:
            with pytest.raises(InvalidParameter, match=message):
                await images.load(chunks(), lambda _: None)
        finally:
            await images.close()
            database.close()

    asyncio.run(load())
