"""What `--output`, `--annotation`, `--cache-to` and `--cache-from` ask for, and the documents of a shared cache."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zlib
from collections.abc import AsyncIterator, Iterator

import pytest

from sampan.api.cache_filters import CacheFilters
from sampan.builds.cache import CacheRecord, StoredLayer, kept
from sampan.builds.outputs.exports import Exports
from sampan.builds.outputs.requests import output
from sampan.builds.sharing import format
from sampan.builds.sharing.requests import cache_from, cache_to
from sampan.errors import InvalidParameter, NotSupported, SampanError
from sampan.images import manifests, platforms
from sampan.images.converting import Compression, compressed
from sampan.images.manifests import Descriptor, Index, Manifest


async def test_a_client_that_leaves_in_the_middle_of_a_result_stops_its_making_first() -> None:
    exports, ended = Exports(), list[str]()

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            ended.append("stream")

    tokens = asyncio.Queue[str]()
    offering = asyncio.ensure_future(exports.offer(stream(), tokens.put_nowait))
    taking = exports.take(await tokens.get())
    assert await anext(taking) == b"a"
    await taking.aclose()  # type: ignore[attr-defined]
    assert ended == ["stream"]
    with pytest.raises(SampanError, match="the client did not take the result"):
        await offering


def test_an_output_is_packaged_only_when_something_was_said() -> None:
    assert output("image", {"name": "a,b"}, False).compression is None
    assert output("image", {"name": "a,b"}, False).names == ("a", "b")
    assert output("image", {"push": "true"}, False).compression == Compression()
    assert output("registry", {"name": "a"}, False).compression == Compression()
    assert output("oci", {}, True).compression == Compression()
    given = {"compression": "zstd", "compression-level": "7", "force-compression": "true"}
    assert output("image", given, False).compression == Compression(kind="zstd", level=7, force=True)


def test_media_types_are_dockers_for_an_archive_of_dockers_unless_it_has_annotations() -> None:
    assert not output("docker", {}, True).oci
    assert output("docker", {"annotation.a": "b"}, True).oci
    assert output("oci", {}, True).oci
    assert not output("image", {"oci-mediatypes": "false"}, False).oci


@pytest.mark.parametrize(
    ("type", "attributes", "words"),
    [
        ("nothing", {}, "exporter 'nothing' could not be found"),
        ("image", {"compression": "estargz"}, "estargz is not supported"),
        ("image", {"compression": "lz4"}, "unsupported compression type lz4"),
        ("image", {"compression-level": "x"}, "non-integer value x specified for compression-level"),
        ("image", {"compression": "gzip", "compression-level": "10"}, "not between -1 and 9"),
        ("image", {"push-by-digest": "true"}, "push-by-digest is not supported"),
        ("image", {"unpack": "false"}, "stores and unpacks every image"),
        ("image", {"oci-mediatypes": "perhaps"}, "non-bool value specified for oci-mediatypes"),
        ("image", {"annotation-layer.a": "b"}, "unrecognized annotation type layer"),
        ("tar", {"compression": "gzip"}, "compression is not supported"),
    ],
)
def test_an_output_that_cannot_be_made_is_refused(type: str, attributes: dict[str, str], words: str) -> None:
    with pytest.raises(SampanError, match=words):
        output(type, attributes, False)


def test_annotations_of_one_platform_win_over_those_of_all() -> None:
    found = output("oci", {"annotation.a": "1", "annotation[linux/arm64].a": "2", "annotation-index.b": "3"}, True)
    assert found.annotations.of("manifest", platforms.parse("linux/arm64/v8")) == {"a": "2"}
    assert found.annotations.of("manifest", platforms.parse("linux/amd64")) == {"a": "1"}
    assert found.annotations.of("index") == {"b": "3"}
    with pytest.raises(InvalidParameter, match="not supported for single platform"):
        found.annotations.check(several=False)


@pytest.mark.parametrize("level", [None, 1, 9])
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_layer_is_compressed_to_the_same_bytes_each_time(kind: str, level: int | None) -> None:
    data = bytes(range(256)) * 5000

    def pieces(size: int) -> Iterator[bytes]:
        reader = io.BytesIO(data)
        return iter(lambda: reader.read(size), b"")

    wanted = Compression(kind=kind, level=level)
    made = b"".join(compressed(pieces(1 << 20), wanted))
    assert made == b"".join(compressed(pieces(1 << 20), wanted))
    if kind == "gzip":
        assert zlib.decompress(made, 31) == data
        assert made[4:8] == b"\0\0\0\0"  # no time


# -- caches ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("type", "attributes", "words"),
    [
        ("s3", {"bucket": "b"}, "type=s3 is not supported"),
        ("registry", {}, "requires ref"),
        ("registry", {"ref": "a", "mode": "most"}, "unsupported cache mode most"),
        ("registry", {"ref": "a", "oci-mediatypes": "false", "image-manifest": "true"}, "requires oci-mediatypes"),
        ("registry", {"ref": "a", "registry.insecure": "true"}, "registry.insecure is not supported"),
    ],
)
def test_a_cache_that_cannot_be_made_is_refused(type: str, attributes: dict[str, str], words: str) -> None:
    with pytest.raises(SampanError, match=words):
        cache_to(type, attributes)


def test_a_cache_is_asked_for() -> None:
    assert cache_to("registry", {"ref": "a"}).image_manifest
    assert not cache_to("registry", {"ref": "a", "oci-mediatypes": "false"}).image_manifest
    assert cache_to("local", {"mode": "max"}).everything
    assert cache_from("local", {"tag": "t"}, "contexts/0").tag == "t"
    with pytest.raises(InvalidParameter, match="requires src"):
        cache_from("local", {})
    with pytest.raises(NotSupported):
        cache_from("gha", {})


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _record(key: str, parent: str, below: str, layer: str = "") -> CacheRecord:
    stored = StoredLayer(_digest(f"{layer} plain"), _digest(layer), manifests.OCI_LAYER, f"chain {layer}", 1)
    return CacheRecord(key, parent, f"RUN {key}", stored if layer else None, below or None, "2020-01-01T00:00:00Z")


@pytest.mark.parametrize(("image", "oci"), [(True, True), (False, True), (False, False)])
def test_a_shared_cache_comes_back_as_it_was(image: bool, oci: bool) -> None:
    records = [_record("one", "base", "", "x"), _record("env", "one", "chain x"), _record("two", "env", "chain x", "y")]
    packed = [
        Descriptor(media_type=f"{manifests.OCI_LAYER}+gzip", digest=_digest(f"{name} gzip"), size=7) if name else None
        for name in ("x", "", "y")
    ]
    data, layers = format.encode(records, packed)
    config = Descriptor(media_type=format.CONFIG, digest=_digest("config"), size=len(data))
    document = format.manifest(config, layers, image=image, oci=oci)
    assert isinstance(document, Manifest if image else Index)
    parts = format.config_of(manifests.decode(manifests.encode(document)))
    assert parts is not None
    assert parts[0].digest == config.digest
    found = format.decode(data, parts[1])
    assert list(found) == ["one", "env", "two"]
    assert found["env"].layer is None
    assert found["two"].layer == packed[2]
    assert (found["two"].diff_id, found["two"].own.below, found["two"].own.parent) == (_digest("y"), "chain x", "env")


def test_a_cache_of_buildkits_own_is_read_and_has_nothing_for_us() -> None:
    data = b'{"layers":[{"blob":"sha256:aa","parent":-1}],"records":[{"digest":"sha256:bb","results":[{"layer":0}]}]}'
    assert format.decode(data, []) == {}
    image = Manifest(
        schema_version=2, config=Descriptor(media_type=manifests.OCI_CONFIG, digest="x", size=1), layers=[]
    )
    assert format.config_of(image) is None


@pytest.mark.parametrize("data", [b"[]", b"{", b'{"records":[{"digest":"a","results":[{"layer":3}],"sampan":{}}]}'])
def test_a_damaged_cache_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidParameter):
        format.decode(data, [])


# -- pruning -----------------------------------------------------------------------------------------
def test_prune_filters_are_all_heard() -> None:
    record = {"id": "abcdef", "type": "regular", "shared": True, "private": False, "parent": "p"}
    for text, fits in (
        ('{"id":["bcd"]}', True),
        ('{"id":["^b"]}', False),
        ('{"type":["regular"]}', True),
        ('{"type":["exec.cachemount"]}', False),
        ('{"shared":[]}', True),
        ('{"private":["true"]}', False),
        ('{"parent":["q"]}', False),
        ('{"unused-for":["1h"]}', True),
    ):
        assert CacheFilters.parse(text).fits(record, 0) is fits, text
    assert not CacheFilters.parse('{"until":["1h"]}').fits(record, 1 << 62)
    assert not CacheFilters.parse('{"label":["a","b"]}').fits(record, 0), "as system prune sends it"
    assert CacheFilters.parse('{"label!":["a","b"]}').fits(record, 0)
    with pytest.raises(InvalidParameter, match="failed to prune build cache: filters expect only one value"):
        CacheFilters.parse('{"id":["a","b"]}')


def test_a_prune_keeps_what_it_was_told_to_keep() -> None:
    assert kept(100, 1000, 0) == 0
    assert kept(100, 1000, 30) == 30
    assert kept(100, 1000, 0, most=60) == 60
