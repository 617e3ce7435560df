"""Pulls from a real registry (CNCF distribution): platforms, digests, credentials, resuming."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.errors import NotFound, SampanError
from sampan.images import Images, Platform, Snapshots, hello, manifests
from sampan.images.digests import digest
from sampan.images.manifests import Index
from sampan.images.service import RegistryAuth
from sampan.store import Database, EventLog
from support.registry import Registry

# "secret" by bcrypt, the only hash that registry takes.
HTPASSWD = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"


def request(url: str, data: bytes | None, method: str, **headers: str) -> Any:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return urllib.request.urlopen(urllib.request.Request(url, data, named, method=method))


def push(registry: Registry, repository: str, blobs: dict[str, bytes], tagged: dict[str, str], **headers: str) -> None:
    """Blobs, then manifests (whatever says it is one) by digest or tag."""
    base = f"http://{registry.address}/v2/{repository}"
    for key, blob in blobs.items():
        if b"schemaVersion" in blob[:200]:
            continue
        location = request(f"{base}/blobs/uploads/", b"", "POST", **headers).headers["Location"]
        joined = location + ("&" if "?" in location else "?") + f"digest={key}"
        request(joined, blob, "PUT", Content_Type="application/octet-stream", **headers).close()
    documents = [(key, blob) for key, blob in blobs.items() if b"schemaVersion" in blob[:200]]
    for key, blob in sorted(documents, key=lambda item: b'"manifests"' in item[1]):
        media_type = json.loads(blob)["mediaType"]
        request(f"{base}/manifests/{tagged.get(key, key)}", blob, "PUT", Content_Type=media_type, **headers).close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    index, blobs = hello.build()
    push(registry, "team/hello", blobs, {digest(index): "1"})
    yield registry
    registry.stop()


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Images]:
    root = tmp_path / "data"
    database = Database(root / "state.db")
    images = Images(root, database, EventLog(database), Snapshots(root))
    yield images
    await images.close()
    database.close()


async def test_an_index_gives_the_platform_that_was_asked_for(images: Images, registry: Registry) -> None:
    name = f"{registry.address}/team/hello"
    index, _ = hello.build()
    decoded = manifests.decode(index)
    assert isinstance(decoded, Index)
    for entry in decoded.manifests:
        assert entry.platform is not None
        told: list[dict[str, Any]] = []
        await images.pull(f"{name}:1", entry.platform, None, told.append)
        image = images.resolve(f"{name}:1")
        assert (image.config.architecture, image.manifest_digest) == (entry.platform.architecture, entry.digest)
        assert image.repo_digests == [f"{name}@{digest(index)}"], "the digest is the index's, as it was pulled"
        assert {"status": f"Digest: {digest(index)}"} in told
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        await images.pull(f"{name}:1", Platform(os="linux", architecture="s390x"), None, lambda _: None)


async def test_by_digest_and_all_tags(images: Images, registry: Registry) -> None:
    name = f"{registry.address}/team/hello"
    index, _ = hello.build()
    await images.pull(f"{name}@{digest(index)}", None, None, lambda _: None)
    assert images.resolve(f"{name}@{digest(index)}").repo_tags == []
    await images.pull(name, None, None, lambda _: None)
    assert images.resolve(f"{name}:1").repo_tags == [f"{name}:1"]


async def test_what_is_not_there_is_said_as_docker_says_it(images: Images, registry: Registry) -> None:
    for reference in (f"{registry.address}/team/hello:no", f"{registry.address}/no/such:1"):
        with pytest.raises(NotFound) as caught:
            await images.pull(reference, None, None, lambda _: None)
        assert caught.value.message == f"manifest for {reference} not found: manifest unknown: manifest unknown"


async def test_a_partial_blob_is_completed_by_range(images: Images, registry: Registry) -> None:
    """Part of the layer is here already, left by a pull that broke."""
    index, blobs = hello.build()
    decoded = manifests.decode(index)
    assert isinstance(decoded, Index)
    platform = decoded.manifests[0].platform
    manifest = manifests.decode(blobs[decoded.manifests[0].digest])
    assert isinstance(manifest, manifests.Manifest)
    layer = manifest.layers[0]
    with images.holdings.content.ingest(layer.digest, layer.size) as ingest:
        ingest.write(blobs[layer.digest][:1000])
    await images.pull(f"{registry.address}/team/hello:1", platform, None, lambda _: None)
    assert images.holdings.content.read(layer.digest) == blobs[layer.digest]


async def test_basic_credentials(images: Images, tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    registry = Registry(tmp_path, tmp_path / "htpasswd")
    try:
        auth = RegistryAuth("me", "secret")
        index, blobs = hello.build()
        push(registry, "private", blobs, {digest(index): "1"}, Authorization=auth.basic)
        name = f"{registry.address}/private:1"
        with pytest.raises(SampanError, match="no basic auth credentials"):
            await images.pull(name, None, None, lambda _: None)
        with pytest.raises(SampanError, match="unauthorized: authentication required"):
            await images.pull(name, None, RegistryAuth("me", "wrong"), lambda _: None)
        await images.pull(name, None, auth, lambda _: None)
        assert images.resolve(name)
    finally:
        registry.stop()


async def test_a_large_layer_arrives_whole(images: Images, registry: Registry) -> None:
    from sampan.images.tar import writer

    content = hashlib.shake_256(b"large").digest(24 << 20)
    tar = writer.header(b"large", b"0", size=len(content)) + content + writer.END
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest(tar)]}}
    ).encode()
    descriptors = {
        "config": {"mediaType": manifests.OCI_CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": manifests.OCI_LAYER, "digest": digest(tar), "size": len(tar)}],
    }
    manifest = json.dumps({"schemaVersion": 2, "mediaType": manifests.OCI_MANIFEST, **descriptors}).encode()
    blobs = {digest(blob): blob for blob in (tar, config, manifest)}
    push(registry, "large", blobs, {digest(manifest): "1"})
    await images.pull(f"{registry.address}/large:1", None, None, lambda _: None)
    chain = images.resolve(f"{registry.address}/large:1").chain_id
    assert chain and (images.holdings.snapshots.layer(chain) / "large").read_bytes() == content
