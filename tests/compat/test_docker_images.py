"""Images with the stock CLI and ours: images, tag, rmi, history, save, load, pull, the image inside the package."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import CONTROL, Daemon
from support.images import busybox_archive, busybox_layer, docker_archive
from support.registry import Registry, push

sampan_only = pytest.mark.skipif(bool(CONTROL), reason="the control has no such image")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.stop()


def small_layer(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_images_columns_quiet_and_filters(daemon: Daemon) -> None:
    daemon.ok("tag", "busybox", "sampan-test/other:2")
    header, *rows = daemon.ok("images").splitlines()
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert any(row.split()[:2] == ["sampan-test/other", "2"] for row in rows)
    (identifier,) = set(daemon.ok("images", "-q", "busybox").split())
    assert len(identifier) == 12
    assert daemon.ok("images", "-q", "--no-trunc", "busybox").startswith(f"sha256:{identifier}")
    listed = daemon.ok("images", "--filter", "reference=sampan-test/*", "--format", "{{.Repository}}:{{.Tag}}")
    assert listed == "sampan-test/other:2"
    assert daemon.ok("rmi", "sampan-test/other:2") == "Untagged: sampan-test/other:2"


@sampan_only
def test_system_prune_takes_what_its_filter_names(daemon: Daemon) -> None:
    for label in ("prune=1", "prune=2"):
        daemon.load(
            docker_archive(["sampan-test/p:1"], [small_layer("f", label)], {"Labels": dict([label.split("=")])})
        )
    daemon.ok("create", "--name", "prune-me", "--label", "prune=1", "busybox", "true")
    kept = daemon.ok("system", "prune", "-f", "--filter", "label=prune=3")
    assert kept == "Total reclaimed space: 0B"
    _, before = daemon.api("GET", "/system/df")
    said = daemon.ok("system", "prune", "-f", "--filter", "label=prune=1")
    assert "Deleted Containers:" in said and "Deleted Images:\ndeleted: sha256:" in said
    _, after = daemon.api("GET", "/system/df")
    won = float(said.rpartition("Total reclaimed space: ")[2].removesuffix("kB")) * 1000
    assert abs(before["LayersSize"] - after["LayersSize"] - won) < 100
    assert daemon.ok("images", "-q", "sampan-test/p:1")
    daemon.ok("rmi", "sampan-test/p:1")


def test_rmi_untags_then_deletes(daemon: Daemon) -> None:
    daemon.load(docker_archive(["sampan-test/a:1", "sampan-test/b:1"], [small_layer("f", "one")], {"Cmd": ["x"]}))
    assert daemon.ok("rmi", "sampan-test/a:1").splitlines() == ["Untagged: sampan-test/a:1"]
    untagged, *deleted = daemon.ok("rmi", "sampan-test/b:1").splitlines()
    assert (
        untagged == "Untagged: sampan-test/b:1"
        and deleted
        and all(row.startswith("Deleted: sha256:") for row in deleted)
    )
    result = daemon.cli("rmi", "sampan-test/b:1")
    assert result.returncode == 1 and "No such image: sampan-test/b:1" in result.stderr


def test_rmi_is_refused_while_a_container_uses_it(daemon: Daemon, container_name: str) -> None:
    daemon.load(
        docker_archive(["sampan-test/used:1"], [busybox_layer(), small_layer("g", "used")], {"Cmd": ["sleep", "60"]})
    )
    daemon.ok("run", "-d", "--name", container_name, "sampan-test/used:1")
    refused = daemon.cli("rmi", "sampan-test/used:1")
    assert refused.returncode == 1 and "conflict: unable to remove repository reference" in refused.stderr
    daemon.ok("rm", "-f", container_name)
    daemon.ok("rmi", "sampan-test/used:1")


def test_history_has_a_row_a_layer(daemon: Daemon) -> None:
    rows = daemon.ok("history", "--no-trunc", "--format", "{{.CreatedBy}}", "busybox").splitlines()
    assert rows


def test_save_and_load_round_trip(daemon: Daemon, tmp_path: Path) -> None:
    daemon.load(docker_archive(["sampan-test/s:1"], [small_layer("h", "saved")], {"Cmd": ["x"], "Labels": {"k": "v"}}))
    before = daemon.ok("images", "-q", "--no-trunc", "sampan-test/s:1")
    daemon.ok("save", "-o", str(tmp_path / "s.tar"), "sampan-test/s:1")
    daemon.ok("rmi", "sampan-test/s:1")
    assert daemon.ok("load", "-i", str(tmp_path / "s.tar")) == "Loaded image: sampan-test/s:1"
    assert daemon.ok("images", "-q", "--no-trunc", "sampan-test/s:1") == before
    daemon.ok("rmi", "sampan-test/s:1")
    with gzip.open(tmp_path / "s.tar.gz", "wb") as compressed:
        compressed.write((tmp_path / "s.tar").read_bytes())
    assert "sampan-test/s:1" in daemon.ok("load", "-i", str(tmp_path / "s.tar.gz"))
    daemon.ok("rmi", "sampan-test/s:1")


def test_loading_a_broken_archive_says_so_and_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    before = set(daemon.ok("images", "-aq").split())
    archive = docker_archive(["sampan-test/cut:1"], [busybox_layer()], {"Cmd": ["x"]})
    (tmp_path / "cut.tar").write_bytes(archive[: len(archive) // 2])
    result = daemon.cli("load", "-i", str(tmp_path / "cut.tar"))
    assert result.returncode == 1 and result.stderr
    assert set(daemon.ok("images", "-aq").split()) == before
    assert daemon.cli("run", "--rm", "--pull", "never", "sampan-test/cut:1").returncode == 125


def test_pull_runs_and_keeps_the_digest(daemon: Daemon, registry: Registry) -> None:
    digest = push(
        registry, "team/tool", "1", [busybox_layer(), small_layer("etc/tool", "from layer two")], ["cat", "/etc/tool"]
    )
    name = f"{registry.address}/team/tool:1"
    shown = daemon.ok("pull", name)
    assert f"Digest: {digest}" in shown and f"Status: Downloaded newer image for {name}" in shown
    assert daemon.ok("run", "--rm", name) == "from layer two"
    assert f"Status: Image is up to date for {name}" in daemon.ok("pull", name)
    assert set(daemon.ok("images", "--digests", "--format", "{{.Digest}}", name.rpartition(":")[0]).split()) == {digest}
    by_digest = f"{registry.address}/team/tool@{digest}"
    daemon.ok("pull", by_digest)
    assert daemon.ok("run", "--rm", by_digest) == "from layer two"
    daemon.ok("rmi", "-f", name, by_digest)


def test_run_pulls_what_is_missing(daemon: Daemon, registry: Registry) -> None:
    push(registry, "team/auto", "latest", [busybox_layer()], ["echo", "pulled and run"])
    name = f"{registry.address}/team/auto"
    result = daemon.cli("run", "--rm", name)
    assert (result.returncode, result.stdout) == (0, "pulled and run\n")
    assert f"Unable to find image '{name}:latest' locally" in result.stderr
    daemon.ok("rmi", name)


def test_pull_of_what_is_not_there(daemon: Daemon, registry: Registry) -> None:
    result = daemon.cli("pull", f"{registry.address}/team/nosuch:1")
    assert result.returncode == 1
    assert f"manifest for {registry.address}/team/nosuch:1 not found: manifest unknown" in result.stderr


@pytest.mark.docker_cli(24)
def test_bad_reference(daemon: Daemon) -> None:
    result = daemon.cli("pull", "Upper")
    assert result.returncode == 1 and "repository name (library/Upper) must be lowercase" in result.stderr


@sampan_only
def test_the_image_inside_the_package_runs_without_a_registry(daemon: Daemon) -> None:
    first = daemon.cli("run", "--rm", "sampan/hello")
    assert first.returncode == 0 and "Sampan" in first.stdout
    assert "Unable to find image 'sampan/hello:latest' locally" in first.stderr
    assert daemon.ok("run", "--rm", "sampan/hello") == first.stdout.strip()
    daemon.ok("rmi", "sampan/hello")


def test_a_saved_image_is_a_docker_archive_and_an_oci_layout(daemon: Daemon, tmp_path: Path) -> None:
    daemon.ok("save", "-o", str(tmp_path / "b.tar"), "busybox")
    with tarfile.open(tmp_path / "b.tar") as tar:
        names = set(tar.getnames())
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert {"manifest.json", "oci-layout", "index.json"} <= names
    assert manifest[0]["RepoTags"] == ["busybox:latest"] and set(manifest[0]["Layers"]) <= names


def test_load_from_stdin(daemon: Daemon) -> None:
    loaded = subprocess.run(
        [*daemon.client, "load"], input=busybox_archive(), capture_output=True, env=daemon.environment(), check=True
    )
    assert b"Loaded image: busybox:latest" in loaded.stdout


@sampan_only
@pytest.mark.docker_cli(28)
def test_the_tree_shows_every_platform_and_what_is_here_of_it(daemon: Daemon) -> None:
    daemon.ok("pull", "-q", "sampan/hello")
    (row,) = daemon.api("GET", '/v1.50/images/json?manifests=1&filters={"reference":["sampan/hello"]}')[1]
    here = [one for one in row["Manifests"] if one["Available"]]
    assert len(row["Manifests"]) == 5 and len(here) == 1
    assert (
        row["Size"] == here[0]["Size"]["Total"] == here[0]["Size"]["Content"] + here[0]["ImageData"]["Size"]["Unpacked"]
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", daemon.ok("images", "--tree", "sampan/hello"))
    columns = [line.split() for line in text.splitlines()[3:] if line]
    assert columns[0] == ["IMAGE", "ID", "DISK", "USAGE", "CONTENT", "SIZE", "EXTRA"]
    assert columns[1][0] == "sampan/hello:latest" and "0B" not in columns[1]
    assert [line[:2] for line in columns[2:]] == [
        ["├─", "linux/amd64"], ["├─", "linux/arm64/v8"], ["├─", "linux/arm/v7"], ["├─", "linux/386"],
        ["└─", "linux/riscv64"],
    ]  # fmt: skip
    assert [line[3:] == ["0B", "0B"] for line in columns[2:]].count(True) == 4
    (inspected,) = json.loads(daemon.ok("image", "inspect", "sampan/hello"))
    assert inspected["Descriptor"]["digest"] == row["Descriptor"]["digest"]
    refused = daemon.cli("images", "--tree", "--no-trunc")
    assert (refused.returncode, refused.stderr.strip()) == (1, "--no-trunc is not yet supported with --tree")
