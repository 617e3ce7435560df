"""Manifests, indexes, configs, platforms: what is taken, what is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidParameter, NotFound, NotSupported, SampanError
from sampan.images import manifests, platforms
from sampan.images.manifests import Index, Manifest
from sampan.images.model import Platform

D = "sha256:" + "1" * 64


def descriptor(media_type: str = manifests.OCI_CONFIG, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": D, "size": 3, **more}


def manifest(**more: Any) -> bytes:
    document = {"schemaVersion": 2, "config": descriptor(), "layers": [descriptor(manifests.OCI_LAYER)], **more}
    return json.dumps(document).encode()


def index(*entries: dict[str, Any], **more: Any) -> bytes:
    document = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": list(entries), **more}
    return json.dumps(document).encode()


def entry(platform: str) -> dict[str, Any]:
    os, architecture, *variant = platform.split("/")
    return descriptor(
        manifests.OCI_MANIFEST,
        platform={"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})},
        annotations={"name": platform},
    )


def test_kinds_are_told_apart_with_and_without_a_media_type() -> None:
    assert isinstance(manifests.decode(manifest()), Manifest)
    assert isinstance(manifests.decode(manifest(mediaType=manifests.DOCKER_MANIFEST)), Manifest)
    assert isinstance(manifests.decode(index()), Index)
    assert isinstance(
        manifests.decode(manifest(), "application/vnd.oci.image.manifest.v1+json; charset=utf-8"), Manifest
    )


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (manifest(manifests=[]), ""),  # both at once (CVE-2021-41190)
        (manifest(mediaType=manifests.OCI_MANIFEST), manifests.OCI_INDEX),
        (b'{"schemaVersion": 2}', ""),
        (b"[]", ""),
        (b"{", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
        (manifest(config=descriptor(digest="sha256:zz")), ""),
        (manifest(config=descriptor(digest="../../etc/passwd")), ""),
        (manifest(config=descriptor(size=-1)), ""),
        (manifest(schemaVersion=3), ""),
        (b" " * (manifests.LIMIT + 1), ""),
    ],
)
def test_ambiguous_and_damaged_documents_are_refused(data: bytes, media_type: str) -> None:
    with pytest.raises(InvalidParameter):
        manifests.decode(data, media_type)


def test_schema_one_says_why_it_is_refused() -> None:
    with pytest.raises(NotSupported, match="schema 1 support is removed"):
        manifests.decode(b'{"schemaVersion": 1, "fsLayers": []}')


def test_artefacts_are_no_images() -> None:
    decoded = manifests.decode(manifest(config=descriptor("application/vnd.cncf.helm.config.v1+json")))
    assert isinstance(decoded, Manifest)
    with pytest.raises(InvalidParameter, match="not an image"):
        manifests.image_layers(decoded, "m")


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64/v8", "linux/amd64"], "linux/amd64"),
        ("linux/arm64", ["linux/amd64", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm64", ["linux/arm/v7"], "linux/arm/v7"),
        ("linux/amd64", ["linux/386"], "linux/386"),
        ("linux/amd64", ["unknown/unknown", "windows/amd64", "linux/amd64"], "linux/amd64"),
    ],
)
def test_the_best_platform_is_chosen(wanted: str, offered: list[str], chosen: str) -> None:
    decoded = manifests.decode(index(*map(entry, offered)))
    assert isinstance(decoded, Index)
    found = manifests.select(decoded, platforms.parse(wanted))
    assert (found.annotations or {})["name"] == chosen


@pytest.mark.parametrize(("wanted", "offered"), [("linux/arm/v6", "linux/arm/v7"), ("linux/386", "linux/amd64")])
def test_no_fitting_platform_is_said_as_docker_says_it(wanted: str, offered: str) -> None:
    decoded = manifests.decode(index(entry(offered)))
    assert isinstance(decoded, Index)
    with pytest.raises(NotFound, match=f"no matching manifest for {wanted} in the manifest list entries"):
        manifests.select(decoded, platforms.parse(wanted))


def test_platform_spellings() -> None:
    assert platforms.parse("linux/aarch64") == Platform(os="linux", architecture="arm64")
    assert platforms.parse("arm64").os == "linux"
    assert platforms.parse("linux/x86_64/v1") == Platform(os="linux", architecture="amd64")
    for bad in ("", "a/b/c/d", "linux/", "nonsense", "linux/ar m"):
        with pytest.raises(InvalidParameter):
            platforms.parse(bad)


def test_config_nulls_mean_absent() -> None:
    config = manifests.decode_config(
        b'{"os": "linux", "author": null, "config": {"Env": null, "User": null, "Cmd": ["a"]}, "history": null,'
        b' "rootfs": {"type": "layers", "diff_ids": ["' + D.encode() + b'"]}}'
    )
    assert (config.author, config.config.user, config.config.cmd, config.history) == ("", "", ["a"], [])


def test_config_with_a_bad_diff_id_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="invalid diffID"):
        manifests.decode_config(b'{"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}}')


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(
    st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform"]), c
)))  # fmt: skip
def test_any_json_is_decoded_or_refused(document: object) -> None:
    data = json.dumps(document).encode()
    for decode in (manifests.decode, manifests.decode_config):
        with contextlib.suppress(SampanError):
            decode(data)
