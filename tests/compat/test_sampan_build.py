"""`sampan build` as a user of buildx knows it: outputs, shared caches, several platforms, attestations, contexts. Two
engines, a registry."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import CONTROL, SAMPAN, Daemon
from support.images import busybox_archive
from support.own_registry import OwnRegistry

pytestmark = pytest.mark.skipif(bool(CONTROL), reason="it is our own client's")
TWO = "linux/amd64,linux/arm64"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    yield from _started("sbuild")


@pytest.fixture(scope="module")
def other() -> Iterator[Daemon]:
    """A second machine, as far as an engine can tell."""
    yield from _started("sbuild2")


def _started(tag: str) -> Iterator[Daemon]:
    daemon = Daemon(tag).start()
    try:
        daemon.load(busybox_archive())
        daemon.client = SAMPAN
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRegistry]:
    registry = OwnRegistry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.stop()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    (place / "f.txt").write_text("content\n")
    return place


def build(daemon: Daemon, context: Path, dockerfile: str, *flags: str) -> subprocess.CompletedProcess[str]:
    (context / "Dockerfile").write_text(dockerfile)
    return daemon.cli("build", "--progress", "plain", *flags, str(context))


def built(daemon: Daemon, context: Path, dockerfile: str, *flags: str) -> str:
    """What it told."""
    result = build(daemon, context, dockerfile, *flags)
    assert result.returncode == 0, result.stderr
    return result.stderr


class Layout:
    """An OCI layout in a tar."""

    def __init__(self, place: Path) -> None:
        with tarfile.open(place) as tar:
            self.files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
        self.index = json.loads(self.files["index.json"])

    def blob(self, digest: str) -> bytes:
        return self.files[f"blobs/sha256/{digest.removeprefix('sha256:')}"]

    def document(self, digest: str) -> Any:
        return json.loads(self.blob(digest))

    @property
    def top(self) -> Any:
        return self.document(self.index["manifests"][0]["digest"])


DOCKERFILE = "FROM busybox\nCOPY f.txt /f\nRUN mkdir /d && echo made > /d/x\n"


# -- outputs -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "media_type", "magic"),
    [
        ("type=oci", "application/vnd.oci.image.layer.v1.tar+gzip", b"\x1f\x8b"),
        ("type=oci,compression=zstd,compression-level=9", "application/vnd.oci.image.layer.v1.tar+zstd", b"\x28\xb5"),
        ("type=oci,compression=uncompressed", "application/vnd.oci.image.layer.v1.tar", b""),
        ("type=docker", "application/vnd.docker.image.rootfs.diff.tar.gzip", b"\x1f\x8b"),
        ("type=oci,oci-mediatypes=false", "application/vnd.docker.image.rootfs.diff.tar.gzip", b"\x1f\x8b"),
    ],
)
def test_an_archive_has_the_layers_that_were_asked_for(
    daemon: Daemon, context: Path, tmp_path: Path, options: str, media_type: str, magic: bytes
) -> None:
    built(daemon, context, DOCKERFILE, "-t", "arch:1", "-o", f"{options},dest={tmp_path}/a.tar")
    layout = Layout(tmp_path / "a.tar")
    layers = layout.top["layers"]
    assert [layer["mediaType"] for layer in layers] == [media_type] * 3
    assert all(layout.blob(layer["digest"]).startswith(magic) for layer in layers)
    assert ("manifest.json" in layout.files) == options.startswith("type=docker")
    assert daemon.ok("images", "-q", "arch") == ""  # it is in the archive, and nowhere else
    daemon.ok("load", "-q", "-i", f"{tmp_path}/a.tar")
    assert daemon.ok("run", "--rm", "arch:1", "cat", "/f", "/d/x") == "content\nmade"
    daemon.ok("rmi", "arch:1")


def test_files_come_out_as_a_tar_and_as_a_directory(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    built(
        daemon,
        context,
        "FROM scratch\nCOPY f.txt /sub/f\n",
        "-o",
        f"{tmp_path}/out",
        "-o",
        f"type=tar,dest={tmp_path}/t",
    )
    assert (tmp_path / "out/sub/f").read_text() == "content\n"
    with tarfile.open(tmp_path / "t") as tar:
        assert tar.getnames() == ["sub", "sub/f"]


def test_every_push_has_the_digest_that_the_build_told(
    daemon: Daemon, context: Path, registry: OwnRegistry, tmp_path: Path
) -> None:
    name = f"{registry.address}/pushed/it:1"
    for options in ("compression=gzip", "compression=zstd,force-compression=true", "compression=uncompressed"):
        told = tmp_path / "m.json"
        flags = ("-o", f"type=registry,name={name},{options}", "--metadata-file", str(told))
        built(daemon, context, DOCKERFILE, *flags)
        metadata = json.loads(told.read_text())
        assert metadata["image.name"] == name
        assert metadata["containerimage.descriptor"]["digest"] == metadata["containerimage.digest"]
        assert metadata["containerimage.digest"] in daemon.ok("push", name)
        assert metadata["containerimage.digest"] in daemon.ok("inspect", name, "-f", "{{.RepoDigests}}")


def test_annotations_stand_where_they_were_asked_for(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    flags = ("--annotation", "a=b", "--annotation", "index,manifest-descriptor:c=d", "--platform", TWO)
    built(daemon, context, "FROM scratch\nCOPY f.txt /\n", *flags, "-o", f"type=oci,dest={tmp_path}/a.tar")
    layout = Layout(tmp_path / "a.tar")
    assert layout.top["annotations"] == {"c": "d"}
    assert [one["annotations"] for one in layout.top["manifests"]] == [{"c": "d"}] * 2
    assert layout.document(layout.top["manifests"][1]["digest"])["annotations"] == {"a": "b"}
    refused = build(daemon, context, "FROM scratch\nCOPY f.txt /\n", "--annotation", "index:c=d")
    assert "index annotations not supported for single platform export" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-o", "type=image,compression=estargz"), "estargz is not supported"),
        (("-o", "type=image,unknown=1"), "unknown is not supported"),
        (("--cache-to", "type=gha"), "type=gha is not supported"),
        (("--cache-from", "type=s3,bucket=b"), "type=s3 is not supported"),
        (("--sbom=true",), "--sbom is not supported"),
        (("--platform", TWO, "-o", "type=docker,dest=/nowhere"), "does not currently support exporting manifest lists"),
        (("--isolation", "hyperv"), "invalid isolation"),
        (("--build-context", "x=/nowhere/at/all"), "failed to get build context path"),
        (("--ssh", "default=/nowhere"), "failed to stat /nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused(daemon: Daemon, context: Path, flags: tuple[str, ...], words: str) -> None:
    result = build(daemon, context, "FROM scratch\nCOPY f.txt /\n", *flags)
    assert result.returncode == 1
    assert words in result.stderr


# -- several platforms -------------------------------------------------------------------------------
def test_a_build_for_two_platforms_is_one_index(
    daemon: Daemon, context: Path, registry: OwnRegistry, tmp_path: Path
) -> None:
    dockerfile = (
        "FROM --platform=$BUILDPLATFORM busybox AS build\nRUN echo once > /once\nARG TARGETARCH\n"
        "RUN echo $TARGETARCH > /arch\nFROM scratch\nCOPY --from=build /arch /once /\n"
    )
    name = f"{registry.address}/two/it:1"
    flags = ("--platform", TWO, "-t", name, "--push", "--metadata-file", f"{tmp_path}/m", "-o", f"{tmp_path}/out")
    told = built(daemon, context, dockerfile, *flags, "--no-cache")
    shared = re.findall(r"^#(\d+) \[linux/\w+ build 2/3\]", told, re.M)
    assert sorted(f"#{one} CACHED" in told for one in shared) == [False, True]  # a step of both runs once
    assert (tmp_path / "out/linux_arm64/arch").read_text() == "arm64\n"
    assert (tmp_path / "out/linux_amd64/arch").read_text() == "amd64\n"
    metadata = json.loads((tmp_path / "m").read_text())
    assert metadata["containerimage.descriptor"]["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert "containerimage.config.digest" not in metadata
    for platform in TWO.split(","):
        daemon.ok("pull", "-q", "--platform", platform, name)
        assert platform in daemon.ok("inspect", "-f", "{{.Os}}/{{.Architecture}}", name)


def test_a_base_for_another_platform_leaves_the_name_alone(
    daemon: Daemon, other: Daemon, context: Path, registry: OwnRegistry
) -> None:
    name = f"{registry.address}/base/it:1"
    built(daemon, context, "FROM scratch\nCOPY f.txt /\n", "--platform", TWO, "-t", name, "--push")
    other.ok("pull", "-q", "--platform", "linux/amd64", name)
    dockerfile = f"FROM {name}\nCOPY f.txt /g\n"
    built(other, context, dockerfile, "--platform", "linux/arm64", "-t", "on-arm")
    assert other.ok("inspect", "-f", "{{.Architecture}}", "on-arm", name) == "arm64\namd64"
    built(other, context, dockerfile, "--platform", TWO, "-t", "on-both")
    assert other.ok("inspect", "-f", "{{.Architecture}}", "on-both", name) == "amd64\namd64"


# -- shared caches -----------------------------------------------------------------------------------
STAGES = (
    "FROM busybox AS build\nRUN mkdir /out; cat /proc/sys/kernel/random/uuid > /out/n\n"
    "FROM busybox\nENV A=b\nWORKDIR /w\nCOPY --link f.txt /linked\nCOPY --from=build /out /out\nRUN cat /out/n > /w/n\n"
)


@pytest.mark.parametrize("how", ["mode=max", "mode=max,image-manifest=false", "mode=max,compression=zstd", "local"])
def test_a_second_machine_builds_everything_from_a_shared_cache(
    daemon: Daemon, other: Daemon, context: Path, registry: OwnRegistry, tmp_path: Path, how: str
) -> None:
    where = (
        f"type=local,dest={tmp_path}/c,mode=max"
        if how == "local"
        else f"type=registry,ref={registry.address}/c:1,{how}"
    )
    from_ = f"type=local,src={tmp_path}/c" if how == "local" else f"{registry.address}/c:1"
    built(daemon, context, STAGES, "--no-cache", "--cache-to", where, "--iidfile", f"{tmp_path}/1")
    other.ok("builder", "prune", "-af")
    told = built(other, context, STAGES, "--cache-from", from_, "--iidfile", f"{tmp_path}/2")
    assert told.count("CACHED") == 5
    assert (tmp_path / "1").read_text() == (tmp_path / "2").read_text()


def test_caches_of_several_tags_live_in_one_directory(
    daemon: Daemon, other: Daemon, context: Path, tmp_path: Path
) -> None:
    for tag in ("one", "two"):
        where = f"type=local,dest={tmp_path}/c,tag={tag}"
        built(
            daemon, context, f"FROM busybox\nRUN echo {tag} > /tag\n", "--cache-to", where, "--platform", "linux/amd64"
        )
    other.ok("builder", "prune", "-af")
    told = built(
        other, context, "FROM busybox\nRUN echo one > /tag\n", "--cache-from", f"type=local,src={tmp_path}/c,tag=one"
    )
    assert told.count("CACHED") == 1


def test_layers_that_nobody_needs_are_not_fetched(
    daemon: Daemon, other: Daemon, context: Path, registry: OwnRegistry
) -> None:
    """A stage that is only copied from: what was copied is known, and the copy has a layer of its own."""
    dockerfile = (
        "FROM busybox AS build\nRUN head -c 3000000 /dev/urandom > /big; echo x > /x\n"
        "FROM busybox\nCOPY --from=build /x /x\n"
    )
    ref = f"{registry.address}/lazy:1"
    built(daemon, context, dockerfile, "--cache-to", f"type=registry,ref={ref},mode=max")
    other.ok("builder", "prune", "-af")
    assert built(other, context, dockerfile, "--cache-from", ref, "-t", "lazy").count("CACHED") == 2
    assert other.ok("run", "--rm", "lazy", "cat", "/x") == "x"
    fetched = [path.stat().st_size for path in other.data_root.glob("layers/*/diff/big")]
    assert fetched == []
    more = dockerfile.replace("/x /x", "/big /big")  # now it is needed
    assert built(other, context, more, "--cache-from", ref, "-t", "lazy").count("CACHED") == 1
    assert other.ok("run", "--rm", "lazy", "stat", "-c", "%s", "/big") == "3000000"


def test_of_mode_min_only_the_last_stage_comes_back(
    daemon: Daemon, other: Daemon, context: Path, registry: OwnRegistry
) -> None:
    dockerfile = STAGES.replace("cat /proc/sys/kernel/random/uuid", "echo 1")
    ref = f"{registry.address}/min:1"
    built(daemon, context, dockerfile, "--cache-to", f"type=registry,ref={ref}")
    other.ok("builder", "prune", "-af")
    told = built(other, context, dockerfile, "--cache-from", ref)
    assert re.search(r"#(\d+) \[build 2/2\].*\n(?:.*\n)*?#\1 DONE", told)
    assert told.count("CACHED") == 4


def test_an_image_is_a_cache_too_and_a_missing_cache_is_a_warning(
    daemon: Daemon, other: Daemon, context: Path, registry: OwnRegistry
) -> None:
    name = f"{registry.address}/inline:1"
    built(daemon, context, DOCKERFILE, "-t", name, "--push", "--cache-to", "type=inline")
    other.ok("builder", "prune", "-af")
    assert built(other, context, DOCKERFILE, "--cache-from", f"type=registry,ref={name}").count("CACHED") == 2
    missing = f"{registry.address}/nothing:1"
    assert "WARNING: failed to import cache" in built(other, context, DOCKERFILE, "--cache-from", missing)


def test_a_cache_that_cannot_be_sent_fails_the_build_unless_told_otherwise(daemon: Daemon, context: Path) -> None:
    where = "type=registry,ref=127.0.0.1:1/c"
    assert "error writing cache to 127.0.0.1:1/c" in build(daemon, context, DOCKERFILE, "--cache-to", where).stderr
    assert build(daemon, context, DOCKERFILE, "--cache-to", f"{where},ignore-error=true").returncode == 0


# -- attestations ------------------------------------------------------------------------------------
def test_provenance_stands_beside_the_image(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    flags = ("--provenance", "mode=max", "--build-arg", "X=y", "-o", f"type=oci,dest={tmp_path}/p.tar")
    built(daemon, context, f"{DOCKERFILE}ARG X\n", *flags)
    layout = Layout(tmp_path / "p.tar")
    image, attestation = layout.top["manifests"]
    assert attestation["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert attestation["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    layer = layout.document(attestation["digest"])["layers"][0]
    statement = layout.document(layer["digest"])
    assert (
        layer["annotations"]["in-toto.io/predicate-type"]
        == statement["predicateType"]
        == "https://slsa.dev/provenance/v1"
    )
    assert statement["subject"][0]["digest"]["sha256"] == image["digest"].removeprefix("sha256:")
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["request"]["args"] == {"build-arg:X": "y"}
    assert [one["uri"] for one in definition["resolvedDependencies"]] == [
        "pkg:docker/busybox@latest?platform=linux%2Famd64"
    ]


@pytest.mark.parametrize("flag", ["--provenance=false", "--sbom=false", "--attest=type=provenance,disabled=true"])
def test_attestations_can_be_switched_off(daemon: Daemon, context: Path, flag: str) -> None:
    built(daemon, context, DOCKERFILE, flag)


# -- contexts, secrets, agents -----------------------------------------------------------------------
def test_named_contexts_of_every_kind(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    built(daemon, context, "FROM busybox\nRUN echo base > /base\n", "-o", f"type=oci,tar=false,dest={tmp_path}/layout")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/d").write_text("dir\n")
    dockerfile = (
        "FROM dir AS files\nFROM one\nCOPY --from=files d /\nCOPY --from=box /bin/busybox /b\n"
        "RUN cat /base /d; test -x /b\n"
    )
    contexts = (f"one=oci-layout://{tmp_path}/layout", f"dir={tmp_path}/dir", "box=docker-image://busybox")
    flags = [word for text in contexts for word in ("--build-context", text)]
    told = built(daemon, context, dockerfile, *flags)
    assert re.search(r"#\d+ [\d.]+ base\n#\d+ [\d.]+ dir\n", told)
    assert daemon.ok("images", "-q", "one") == ""  # a layout leaves no image here


def test_an_agent_is_there_in_a_run_and_only_there(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "agent"))
    dockerfile = (
        "FROM busybox\n"
        "RUN --mount=type=ssh,id=a,mode=0660,uid=7,gid=8 stat -c '%F %a %u %g %n' $SSH_AUTH_SOCK\n"
        'RUN test -z "$SSH_AUTH_SOCK" && test ! -e /run/buildkit\n'
    )
    told = built(daemon, context, dockerfile, "--ssh", f"a={tmp_path}/agent")
    assert " socket 660 7 8 /run/buildkit/ssh_agent.0\n" in told
    missing = build(daemon, context, "FROM busybox\nRUN --mount=type=ssh,required=true true\n", "--no-cache")
    assert "unset ssh forward key default" in missing.stderr


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="needs ssh-agent")
def test_a_key_file_gets_an_agent_and_one_with_a_passphrase_does_not(
    daemon: Daemon, context: Path, tmp_path: Path
) -> None:
    for name, passphrase in (("open", ""), ("locked", "secret")):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    dockerfile = "FROM busybox\nRUN --mount=type=ssh,required=true,target=/s/sock test -S /s/sock\n"
    built(daemon, context, dockerfile, "--ssh", f"default={tmp_path}/open")
    refused = build(daemon, context, dockerfile, "--ssh", f"default={tmp_path}/locked")
    assert "it has a passphrase" in refused.stderr


# -- asking without building -------------------------------------------------------------------------
def test_call_tells_targets_and_outline(daemon: Daemon, context: Path) -> None:
    dockerfile = (
        "# WHO is greeted\nARG WHO=world\n# one makes it\nFROM busybox AS one\nARG WHO\n"
        "RUN --mount=type=secret,id=tok,required=true true\n# two has it\nFROM one AS two\n"
    )
    (context / "Dockerfile").write_text(dockerfile)
    assert daemon.ok("build", "--call", "targets", str(context)) == (
        "TARGET          DESCRIPTION\none             makes it\ntwo (default)   has it"
    )
    assert daemon.ok("build", "--call", "outline", "--build-arg", "WHO=you", str(context)) == (
        "TARGET:       two\nDESCRIPTION:  has it\n\n"
        "BUILD ARG   VALUE   DESCRIPTION\nWHO         you     is greeted\n\nSECRET   REQUIRED\ntok      true"
    )
    document = json.loads(daemon.ok("build", "--call", "targets,format=json", str(context)))
    assert document["targets"][1] == {"name": "two", "default": True, "description": "has it", "base": "one"}


def test_two_builds_at_once_run_a_step_once(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN --mount=type=cache,target=/c,id=once echo x >> /c/n; sleep 1; echo ran $(wc -l < /c/n)\n"
    )
    command = [*SAMPAN, "build", "--progress", "plain", str(context)]
    environment = daemon.environment()
    running = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    told = [process.communicate()[1] for process in running]
    assert sorted("CACHED" in one for one in told) == [False, True]
    assert "ran 1\n" in "".join(told)


def test_prune_filters_are_heard(daemon: Daemon, context: Path) -> None:
    dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/cc true\nRUN echo pruned > /p\n"
    built(daemon, context, dockerfile)
    kept = daemon.ok("builder", "prune", "-af", "--filter", "type=exec.cachemount")
    assert "Deleted build cache objects:" in kept
    assert (
        built(daemon, context, "FROM busybox\nRUN --mount=type=cache,target=/cc true\nRUN echo pruned > /p\n").count(
            "CACHED"
        )
        == 2
    )
    refused = daemon.cli("builder", "prune", "-af", "--filter", "until=1h", "--filter", "unused-for=1h")
    assert "conflicting filters" in refused.stderr
