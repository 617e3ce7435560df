"""`save` and `load` against what other engines read and write: skopeo's docker-archive and OCI archive in every
compression, layouts of several images and several platforms."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from sampan.images.digests import digest
from support.daemon import CONTROL, Daemon
from support.images import busybox_layer, docker_archive
from support.own_registry import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

pytestmark = pytest.mark.skipif(bool(CONTROL), reason="about our own archives")
needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


def skopeo(*words: str | Path) -> str:
    done = subprocess.run(["skopeo", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def layer(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def identifier(daemon: Daemon, name: str) -> str:
    return daemon.ok("images", "-q", "--no-trunc", name)


def layers(daemon: Daemon, name: str) -> str:
    return daemon.ok("image", "inspect", "--format", "{{.RootFS.Layers}}", name)


class Layout:
    """An OCI layout under construction, as a tar."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.index: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}

    def manifest(self, tar: bytes, architecture: str, suffix: str = "", packed: bytes = b"", **more: Any) -> Any:
        config = {
            "os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
        }  # fmt: skip
        document = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": self.blob(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [self.blob(packed or tar, OCI_LAYER + suffix)],
        }  # fmt: skip
        platform = {"os": "linux", "architecture": architecture}
        return self.blob(json.dumps(document).encode(), OCI_MANIFEST, platform=platform, **more)

    def several(self, *entries: dict[str, Any]) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
        return self.blob(json.dumps(document).encode(), OCI_INDEX)

    def name(self, entry: dict[str, Any], name: str) -> None:
        self.index.append({**entry, "annotations": {"io.containerd.image.name": name}})

    def tar(self) -> bytes:
        files = {f"blobs/sha256/{key.partition(':')[2]}": data for key, data in self.blobs.items()}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": self.index}).encode()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


@needs_skopeo
def test_what_is_saved_is_read_by_others_and_comes_back(daemon: Daemon, tmp_path: Path) -> None:
    """Two images in one archive."""
    daemon.load(docker_archive(["interop/two:1"], [busybox_layer(), layer("two")], {"Cmd": ["x"]}))
    ids = {name: identifier(daemon, name) for name in ("busybox:latest", "interop/two:1")}
    daemon.ok("save", "-o", str(tmp_path / "s.tar"), *ids)
    for number, (name, id) in enumerate(ids.items()):
        docker = f"docker-archive:{tmp_path / 's.tar'}:{name}"
        assert json.loads(skopeo("inspect", "--raw", docker))["config"]["digest"] == id
        for kind in ("docker-archive", "oci-archive"):
            carried = tmp_path / f"{kind}{number}.tar"
            skopeo("copy", "-q", docker, f"{kind}:{carried}:carried/{kind}:{number}")
            assert daemon.ok("load", "-i", str(carried)) == f"Loaded image: carried/{kind}:{number}"
            if kind == "docker-archive":  # for OCI, skopeo writes another config
                assert identifier(daemon, f"carried/{kind}:{number}") == id
            assert layers(daemon, f"carried/{kind}:{number}") == layers(daemon, id)
            daemon.ok("rmi", f"carried/{kind}:{number}")
    daemon.ok("save", "-o", str(tmp_path / "one.tar"), "interop/two:1")
    assert len(json.loads(skopeo("inspect", "--raw", f"oci-archive:{tmp_path / 'one.tar'}"))["layers"]) == 2
    daemon.ok("rmi", "interop/two:1")


@needs_skopeo
@pytest.mark.parametrize("format", ["gzip", "zstd"])
def test_compressed_layers_of_an_oci_archive(daemon: Daemon, tmp_path: Path, format: str) -> None:
    daemon.ok("save", "-o", str(tmp_path / "s.tar"), "busybox")
    packed = tmp_path / "packed.tar"
    flags = ("--dest-compress", "--dest-compress-format", format)
    skopeo("copy", "-q", *flags, f"oci-archive:{tmp_path / 's.tar'}", f"oci-archive:{packed}:packed/box:{format}")
    with tarfile.open(packed) as tar:
        assert sum(entry.size for entry in tar) < len(busybox_layer()) * 0.8
    daemon.ok("load", "-i", str(packed))
    assert layers(daemon, f"packed/box:{format}") == layers(daemon, "busybox")
    assert daemon.ok("run", "--rm", f"packed/box:{format}", "echo", "runs") == "runs"
    daemon.ok("rmi", f"packed/box:{format}")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive(daemon: Daemon, tmp_path: Path, pack: Any) -> None:
    (tmp_path / "a").write_bytes(pack(docker_archive(["packed/all:1", "packed/all:2"], [layer("packed")], {})))
    assert daemon.ok("load", "-i", str(tmp_path / "a")).splitlines() == [
        "Loaded image: packed/all:1", "Loaded image: packed/all:2",
    ]  # fmt: skip
    daemon.ok("rmi", "packed/all:1", "packed/all:2")


@pytest.mark.docker_cli(28)
def test_a_layout_of_several_platforms(daemon: Daemon, tmp_path: Path) -> None:
    """The host's, or the one that is asked for; the index keeps its digest."""
    made, tars = Layout(), {name: layer(name) for name in ("amd64", "s390x")}
    packed = gzip.compress(tars["s390x"])
    index = made.several(made.manifest(tars["amd64"], "amd64"), made.manifest(tars["s390x"], "s390x", "+gzip", packed))
    made.name(index, "docker.io/several/box:1")
    (tmp_path / "a").write_bytes(made.tar())
    if daemon.ok("info", "--format", "{{.Architecture}}") == "x86_64":
        assert daemon.ok("load", "-i", str(tmp_path / "a")) == "Loaded image: several/box:1"
        assert daemon.ok("image", "inspect", "--format", "{{.Architecture}}", "several/box:1") == "amd64"
    said = daemon.ok("load", "--platform", "linux/s390x", "-i", str(tmp_path / "a"))
    assert said.splitlines()[-1] == "Loaded image: several/box:1"
    assert daemon.ok("image", "inspect", "--format", "{{.Architecture}}", "several/box:1") == "s390x"
    refused = daemon.cli("load", "--platform", "linux/riscv64", "-i", str(tmp_path / "a"))
    assert refused.returncode == 1 and "no matching manifest for linux/riscv64" in refused.stderr
    (row,) = daemon.api("GET", '/v1.50/images/json?manifests=1&filters={"reference":["several/box:1"]}')[1]
    assert row["Descriptor"]["digest"] == index["digest"]
    daemon.ok("save", "--platform", "linux/s390x", "-o", str(tmp_path / "b"), "several/box:1")
    assert daemon.cli("save", "--platform", "linux/arm64", "-o", str(tmp_path / "b"), "several/box:1").returncode == 1
    daemon.ok("rmi", "several/box:1")


def test_several_images_of_a_layout_with_a_shared_layer(daemon: Daemon) -> None:
    made, shared = Layout(), layer("shared")
    for number in (1, 2):
        made.name(made.manifest(shared, "amd64", packed=shared), f"docker.io/shared/box:{number}")
    made.name(made.manifest(shared, "arm64", packed=shared), "registry.example:5000/shared/box:3")
    daemon.load(made.tar())
    named = daemon.ok(
        "images", "--filter", "reference=*/*/box", "--filter", "reference=shared/box", "--format", "{{.Tag}}"
    )
    assert sorted(named.split()) == ["1", "2", "3"]
    daemon.ok("rmi", "shared/box:1", "shared/box:2", "registry.example:5000/shared/box:3")
