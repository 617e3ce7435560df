"""`sampan build`: what its flags mean, before anybody is asked."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sampan.cli.errors import CliError
from sampan.cli.image import build_cache, build_output, build_ssh
from sampan.cli.image.build_attest import provenance
from sampan.cli.image.build_context import _layout
from sampan.cli.image.build_progress import Plain


class Given:
    """Flags."""

    def __init__(self, **given: Any) -> None:
        self._given = given

    def many(self, name: str) -> list[str]:
        return list(self._given.get(name.replace("-", "_"), []))

    def yes(self, name: str) -> bool:
        return bool(self._given.get(name.replace("-", "_"), False))


def outputs(**given: Any) -> list[dict[str, Any]]:
    return [one.request() for one in build_output.outputs(Given(**given))]  # type: ignore[arg-type]


def test_outputs_are_what_buildx_makes_of_them(tmp_path: Path) -> None:
    assert outputs() == []
    assert outputs(output=["out"]) == [{"Type": "local", "Attrs": {}, "Streams": True}]
    assert outputs(output=["type=docker"]) == [{"Type": "docker", "Attrs": {}, "Streams": False}]
    assert outputs(output=['type=oci,dest=a.tar,"name=x,y"']) == [
        {"Type": "oci", "Attrs": {"name": "x,y"}, "Streams": True}
    ]
    assert outputs(push=True) == [{"Type": "image", "Attrs": {"push": "true"}, "Streams": False}]
    assert outputs(push=True, output=["type=image,compression=zstd"]) == [
        {"Type": "image", "Attrs": {"compression": "zstd", "push": "true"}, "Streams": False}
    ]
    assert [one["Type"] for one in outputs(load=True, output=["out"])] == ["local", "docker"]
    assert outputs(annotation=["a=b=c"]) == [
        {"Type": "image", "Attrs": {"annotation-manifest.a": "b=c"}, "Streams": False}
    ]
    unpacked = build_output.outputs(Given(output=["type=oci,tar=false,dest=d"]))[0]  # type: ignore[arg-type]
    assert unpacked.unpacks
    assert "tar" not in unpacked.attributes


@pytest.mark.parametrize(
    "text", ["type=local", "dest=x", "type=s3,dest=x", "type=image,dest=x", "type=oci,dest=-,tar=false", "type=oci,x"]
)
def test_outputs_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(CliError):
        outputs(output=[text])


def test_an_annotation_names_its_places() -> None:
    assert build_output.annotation("index,manifest[linux/amd64]:org.x=1") == [
        ("annotation-index[linux/amd64].org.x", "1"),
        ("annotation-manifest[linux/amd64].org.x", "1"),
    ]
    for text in ("novalue", "layer:a=b"):
        with pytest.raises(CliError):
            build_output.annotation(text)


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, ""),
        ({"provenance": ["false"]}, ""),
        ({"provenance": ["true"]}, "min"),
        ({"provenance": ["mode=max"]}, "max"),
        ({"attest": ["type=provenance,mode=max"], "provenance": ["false"]}, ""),
        ({"attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"]}, ""),
        ({"sbom": ["false"]}, ""),
    ],
)
def test_attestations(given: dict[str, list[str]], mode: str) -> None:
    assert provenance(Given(**given)) == mode  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [{"sbom": ["true"]}, {"attest": ["mode=max"]}, {"provenance": ["mode=most"]}, {"provenance": ["version=v0.2"]}],
)
def test_attestations_that_are_not_made_are_refused(given: dict[str, list[str]]) -> None:
    with pytest.raises(CliError):
        provenance(Given(**given))  # type: ignore[arg-type]


def test_of_a_layout_only_what_one_image_needs_is_sent(tmp_path: Path) -> None:
    (tmp_path / "blobs/sha256").mkdir(parents=True)
    kind = "application/vnd.oci.image.manifest.v1+json"
    for name in ("one", "two"):
        manifest = {"config": {"digest": f"sha256:{name}c"}, "layers": [{"digest": f"sha256:{name}l"}]}
        (tmp_path / f"blobs/sha256/{name}").write_text(json.dumps(manifest))
    entries = [{"digest": f"sha256:{name}", "mediaType": kind} for name in ("one", "two")]
    (tmp_path / "index.json").write_text(json.dumps({"manifests": entries}))
    skip = build_cache.reachable(str(tmp_path), "sha256:one")
    sent = {name for name in ("one", "onec", "onel", "two", "twoc") if not skip(f"blobs/sha256/{name}", False)}
    assert sent == {"one", "onec", "onel"}
    assert not skip("index.json", False)
    assert not skip("blobs", True)
    with pytest.raises(CliError, match="is no OCI layout"):
        build_cache.reachable(str(tmp_path / "nowhere"), "")


def test_a_layouts_path_may_have_a_tag_or_a_digest() -> None:
    assert _layout("/a/b") == ("/a/b", "latest")
    assert _layout("/a:1/b:2") == ("/a:1/b", "2")
    assert _layout("b@sha256:0") == ("b", "sha256:0")


def test_ssh_needs_an_agent_or_readable_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(CliError, match="invalid empty ssh agent socket"):
        build_ssh.Agents(["default"])
    (tmp_path / "key").write_text("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n")
    with pytest.raises(CliError, match="it has a passphrase"):
        build_ssh._check(str(tmp_path / "key"))
    (tmp_path / "key").write_text("no key\n")
    with pytest.raises(CliError, match="no key found"):
        build_ssh._check(str(tmp_path / "key"))


def test_a_character_in_two_pieces_is_one_and_only_the_end_of_long_output_is_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def output(data: bytes, stream: int = 1) -> dict[str, Any]:
        return {"event": "output", "step": 0, "stream": stream, "data": base64.b64encode(data).decode()}

    text = "é\n".encode()
    events = [{"event": "started", "step": 0, "keyword": "RUN", "name": "RUN x"}, output(text[:1])]
    events += [output(b"other\n", 2), output(text[1:])]
    events += [output(b"%d\n" % number) for number in range(1000)]
    shown = Plain(False)
    shown.run(events)
    told = capsys.readouterr().err
    assert " é\n" in told and " other\n" in told and "�" not in told
    assert "".join(shown.logs[0]).splitlines()[-1] == "999" and len(shown.logs[0]) < 300
