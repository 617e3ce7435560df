"""Our registry and CNCF's, our push and skopeo's, the stock client and `sampan`: what one pushed the others pull, under
the same digest."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.images import hello
from sampan.images.digests import digest
from support.daemon import CONTROL, Daemon
from support.own_registry import OCI_INDEX, OCI_MANIFEST, OwnRegistry, free_port
from support.registry import Registry

pytestmark = pytest.mark.skipif(bool(CONTROL), reason="about our own registry")
needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRegistry]:
    registry = OwnRegistry(tmp_path_factory.mktemp("own"))
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def cncf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("cncf"))
    yield registry
    registry.stop()


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pushed_digest(output: str) -> str:
    found = re.search(r"digest: (sha256:[0-9a-f]{64}) size: \d+", output)
    assert found, output
    return found[1]


def layout(path: Path) -> Path:
    """An OCI layout of two platforms."""
    index, blobs = hello.build()
    (path / "blobs/sha256").mkdir(parents=True)
    for key, data in {**blobs, digest(index): index}.items():
        (path / "blobs/sha256" / key.partition(":")[2]).write_bytes(data)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entry = {
        "mediaType": OCI_INDEX,
        "digest": digest(index),
        "size": len(index),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return path


@pytest.mark.parametrize("which", ["own", "cncf"])
def test_what_is_pushed_is_pulled_again_under_the_same_digest(
    daemon: Daemon, which: str, request: pytest.FixtureRequest
) -> None:
    name = f"{request.getfixturevalue(which).address}/push/{Path(daemon.client[-1]).name.replace('.', '-')}:v1"
    daemon.ok("tag", "busybox", name)
    first = pushed_digest(daemon.ok("push", name))
    assert pushed_digest(daemon.ok("push", name)) == first
    assert f"{name.rpartition(':')[0]}@{first}" in daemon.ok("image", "inspect", name, "-f", "{{.RepoDigests}}")
    daemon.ok("rmi", name)
    assert f"Digest: {first}" in daemon.ok("pull", name)
    assert daemon.ok("run", "--rm", name, "echo", "back") == "back"
    assert pushed_digest(daemon.ok("push", name)) == first
    daemon.ok("rmi", name)


def test_progress_says_what_happened_to_each_layer(daemon: Daemon, own: OwnRegistry) -> None:
    base = f"{own.address}/said/{'a' if len(daemon.client) == 1 else 'b'}"
    daemon.ok("tag", "busybox", f"{base}/one:1")
    said = daemon.ok("push", f"{base}/one:1")
    assert said.startswith(f"The push refers to repository [{base}/one]")
    assert re.search(r"^[0-9a-f]{12}: (Pushed|Mounted from |Layer already exists)", said, re.M)
    assert "Layer already exists" in daemon.ok("push", f"{base}/one:1")
    daemon.ok("tag", "busybox", f"{base}/two:1")
    assert f"Mounted from said/{base[-1]}/one" in daemon.ok("push", f"{base}/two:1")
    assert daemon.ok("push", "-q", f"{base}/two:1") == f"{base}/two:1"
    daemon.ok("tag", "busybox", f"{base}/two:2")
    said = daemon.ok("push", "-a", f"{base}/two")
    assert "1: digest:" in said and "2: digest:" in said


def test_layers_made_here_are_pushed_compressed_and_come_back_without_a_download(
    daemon: Daemon, cncf: Registry
) -> None:
    name = f"{cncf.address}/made/{'a' if len(daemon.client) == 1 else 'b'}:1"
    container = daemon.ok("create", "busybox", "true")
    daemon.ok("cp", "/etc/passwd", f"{container}:/copied")
    daemon.ok("commit", container, name)
    daemon.ok("rm", container)
    sent = pushed_digest(daemon.ok("push", name))
    with urllib.request.urlopen(
        urllib.request.Request(
            f"http://{name.replace('/', '/v2/', 1).rpartition(':')[0]}/manifests/1", headers={"Accept": OCI_MANIFEST}
        )
    ) as answer:
        document = json.loads(answer.read())
    assert {layer["mediaType"].rpartition(".")[2] for layer in document["layers"]} <= {"tar+gzip", "gzip"}
    assert len(document["layers"]) == 2
    assert pushed_digest(daemon.ok("push", name)) == sent
    said = daemon.ok("pull", name)
    assert f"Digest: {sent}" in said and "Image is up to date" in said and "Download" not in said
    daemon.ok("rmi", name)
    assert f"Digest: {sent}" in daemon.ok("pull", name)
    assert daemon.ok("run", "--rm", name, "cat", "/copied")
    assert pushed_digest(daemon.ok("push", name)) == sent
    daemon.ok("rmi", name)


def test_what_cannot_be_pushed(daemon: Daemon, own: OwnRegistry) -> None:
    missing = daemon.cli("push", f"{own.address}/not/here:1")
    assert missing.returncode == 1
    assert f"An image does not exist locally with the tag: {own.address}/not/here" in missing.stderr
    daemon.ok("tag", "busybox", f"{own.address}/only/v1:1")
    assert f"tag does not exist: {own.address}/only/v1:2" in daemon.cli("push", f"{own.address}/only/v1:2").stderr
    daemon.ok("tag", "busybox", "127.0.0.1:1/nobody/listens:1")
    refused = daemon.cli("push", "127.0.0.1:1/nobody/listens:1")
    assert refused.returncode == 1
    assert "connect: connection refused" in refused.stderr


@needs_skopeo
def test_an_index_keeps_its_digest_when_it_is_pushed_beside_itself(
    daemon: Daemon, own: OwnRegistry, tmp_path: Path
) -> None:
    """Only this host's platform was pulled: the rest is linked on the registry's side."""
    source, target = f"{own.address}/multi/from:1", f"{own.address}/multi/to-{daemon.tag}:1"
    skopeo(
        "copy",
        "-q",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{layout(tmp_path / 'l')}:1",
        f"docker://{source}",
    )
    index = digest(hello.build()[0])
    assert f"Digest: {index}" in daemon.ok("pull", source)
    daemon.ok("tag", source, target)
    assert pushed_digest(daemon.ok("push", target)) == index
    shown = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}")
    assert digest(shown.encode()) == index
    skopeo(
        "copy",
        "-q",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        f"docker://{target}",
        f"dir:{tmp_path / 'all'}",
    )
    daemon.ok("rmi", "-f", source, target)


@needs_skopeo
@pytest.mark.docker_cli(28)
def test_an_index_that_is_not_whole_goes_as_the_image_that_is_here(
    daemon: Daemon, own: OwnRegistry, cncf: Registry, tmp_path: Path
) -> None:
    source, target = f"{own.address}/multi/part:1", f"{cncf.address}/multi/part:1"
    skopeo(
        "copy",
        "-q",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{layout(tmp_path / 'l')}:1",
        f"docker://{source}",
    )
    index = re.search(r"Digest: (\S+)", daemon.ok("pull", source))
    daemon.ok("tag", source, target)
    said = re.sub(r"\x1b\[\d+m", "", daemon.ok("push", target))
    assert said.count("\n Info -> Not all multiplatform-content is present and only the available") == 1
    assert index and f"         {index[1]} -> {pushed_digest(said)}" in said
    shown = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}"))
    assert shown["mediaType"] == OCI_MANIFEST
    daemon.ok("rmi", "-f", source, target)


@needs_skopeo
def test_skopeo_carries_an_image_from_registry_to_registry(daemon: Daemon, own: OwnRegistry, cncf: Registry) -> None:
    first, second, third = f"{own.address}/carry:1", f"{cncf.address}/carry:1", f"{own.address}/carried:1"
    daemon.ok("tag", "busybox", first)
    sent = pushed_digest(daemon.ok("push", first))
    flags = ("--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo("copy", "-q", *flags, f"docker://{first}", f"docker://{second}")
    skopeo("copy", "-q", *flags, f"docker://{second}", f"docker://{third}")
    assert f"Digest: {sent}" in daemon.ok("pull", third)
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{own.address}/carried"))["Tags"] == ["1"]
    skopeo("delete", "--tls-verify=false", f"docker://{third}")
    assert daemon.cli("pull", third).returncode == 1


def test_login_push_and_pull_with_a_password(daemon: Daemon, tmp_path: Path) -> None:
    bcrypt = pytest.importorskip("bcrypt")
    (tmp_path / "users").write_text(f"ann:{bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}\n")
    registry = OwnRegistry(tmp_path / "r", "--htpasswd", str(tmp_path / "users"))
    try:
        name = f"{registry.address}/private/image:1"
        daemon.ok("tag", "busybox", name)
        refused = daemon.cli("push", name)
        assert refused.returncode == 1
        assert "no basic auth credentials" in refused.stderr
        wrong = daemon.cli("login", "-u", "ann", "--password-stdin", registry.address, input="wrong")
        assert wrong.returncode == 1
        assert f"login attempt to http://{registry.address}/v2/ failed with status: 401 Unauthorized" in wrong.stderr
        assert "Login Succeeded" in daemon.ok("login", "-u", "ann", "--password-stdin", registry.address, input="right")
        sent = pushed_digest(daemon.ok("push", name))
        daemon.ok("rmi", name)
        assert f"Digest: {sent}" in daemon.ok("pull", name)
        daemon.ok("logout", registry.address)
        assert daemon.cli("push", name).returncode == 1
        daemon.ok("rmi", name)
    finally:
        registry.stop()


def test_search_asks_the_registry_that_is_named(daemon: Daemon, own: OwnRegistry, cncf: Registry) -> None:
    for address in (own.address, cncf.address):
        daemon.ok("tag", "busybox", f"{address}/search/needle:1")
        daemon.ok("push", "-q", f"{address}/search/needle:1")
        found = daemon.ok("search", "--format", "{{.Name}}", f"{address}/needle").splitlines()
        assert found == [f"{address}/search/needle"]
        assert daemon.ok("search", "--format", "{{.Name}}", "--filter", "stars=3", f"{address}/needle") == ""


def test_distribution_says_what_is_behind_a_name(daemon: Daemon, own: OwnRegistry) -> None:
    name = f"{own.address}/about:1"
    daemon.ok("tag", "busybox", name)
    sent = pushed_digest(daemon.ok("push", name))
    status, told = daemon.api("GET", f"/distribution/{name}/json")
    assert (status, told["Descriptor"]["digest"], told["Platforms"][0]["os"]) == (200, sent, "linux")
    status, told = daemon.api("GET", f"/distribution/{own.address}/about:2/json")
    assert (status, told["message"]) == (404, "manifest unknown: manifest unknown")


def test_the_daemons_own_registry_shares_its_blobs(tmp_path: Path) -> None:
    """Pushing copies nothing, and what was pushed stays when the image goes, over a kill -9 as well."""
    from support.images import busybox_archive

    port = free_port()
    daemon = Daemon("ownreg", "--registry", f"127.0.0.1:{port}")
    try:
        daemon.start()
        daemon.load(busybox_archive())
        blobs = daemon.data_root / "blobs/sha256"
        before = {path.name for path in blobs.iterdir()}
        name = f"127.0.0.1:{port}/my/busybox:1"
        daemon.ok("tag", "busybox", name)
        daemon.ok("push", name)
        assert {path.name for path in blobs.iterdir()} == before
        daemon.ok("rmi", "-f", name, "busybox")
        daemon.kill()
        daemon.start()
        assert daemon.ok("run", "--rm", name, "echo", "still there").endswith("still there")
    finally:
        daemon.stop()


def test_a_mirror_serves_docker_hubs_names(tmp_path: Path, own: OwnRegistry) -> None:
    """`registry-mirrors` of the daemon, our mirror, an upstream: `pull busybox` needs no address."""
    mirror = OwnRegistry(tmp_path / "mirror", "--mirror", f"http://{own.address}")
    daemon = Daemon("mirror", "--registry-mirror", f"http://{mirror.address}")
    try:
        sent = own.push_image("library/only-here", "latest", _tar(), **_runnable(_tar(), own))
        daemon.start()
        assert f"Digest: {sent}" in daemon.ok("pull", "only-here")
        assert "docker.io/library/only-here" not in daemon.ok("images", "--format", "{{.Repository}}")
        assert any(mirror.ask("GET", "/v2/_catalog").json["repositories"])
    finally:
        daemon.stop()
        mirror.stop()


def _tar() -> bytes:
    return b"\0" * 1024


def _runnable(layer: bytes, registry: OwnRegistry) -> dict[str, Any]:
    """A config whose diffID fits the layer."""
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}
    ).encode()
    registry.push_blob("library/only-here", config)
    return {
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config),
            "size": len(config),
        }
    }
