"""The registry over HTTP: the four workflows of distribution-spec 1.1 (pull, push, content discovery, content
management), on every storage; what is refused; collection beside pushes; several processes on one place."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.own_registry import EMPTY, OCI_INDEX, OCI_MANIFEST, S3, OwnRegistry, digest, image

pytest.importorskip("obstore")
LAYER = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    if S3.binary() is None:
        pytest.skip("moto_server is not installed")
    server = S3(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """(flags, environment) of a storage."""
    if request.param == "directory":
        return ["--storage", str(tmp_path_factory.mktemp("place"))], {}
    server: S3 = request.getfixturevalue("s3")
    return ["--storage", f"s3://{S3.BUCKET}/in/side", "--s3-endpoint", server.endpoint], S3.environment


@pytest.fixture(scope="module")
def registry(
    place: tuple[list[str], dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnRegistry]:
    flags, environment = place
    made = OwnRegistry(tmp_path_factory.mktemp("registry"), *flags, environment=environment)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def second(place: tuple[list[str], dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRegistry]:
    """Another process on the same storage."""
    flags, environment = place
    made = OwnRegistry(tmp_path_factory.mktemp("second"), *flags, environment=environment)
    yield made
    made.stop()


def sha512(data: bytes) -> str:
    return "sha512:" + hashlib.sha512(data).hexdigest()


def begin(registry: OwnRegistry, name: str) -> str:
    answer = registry.ask("POST", f"/v2/{name}/blobs/uploads/", b"")
    assert answer.status == 202
    assert answer.headers["Range"] == "0-0"
    return str(answer.headers["Location"])


# -- pull --------------------------------------------------------------------------------------------
def test_the_base_says_which_api_this_is(registry: OwnRegistry) -> None:
    answer = registry.ask("GET", "/v2/")
    assert (answer.status, answer.headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


def test_a_manifest_is_pulled_by_tag_and_by_digest(registry: OwnRegistry) -> None:
    pushed = registry.push_image("pull/image", "v1")
    for reference in ("v1", pushed):
        head = registry.ask("HEAD", f"/v2/pull/image/manifests/{reference}")
        got = registry.ask("GET", f"/v2/pull/image/manifests/{reference}")
        assert head.status == got.status == 200
        assert (
            digest(got.body) == pushed == got.headers["Docker-Content-Digest"] == head.headers["Docker-Content-Digest"]
        )
        assert got.headers["Content-Type"] == head.headers["Content-Type"] == OCI_MANIFEST
        assert int(head.headers["Content-Length"]) == len(got.body)
        assert head.body == b""


def test_a_client_that_has_it_already_is_told_so(registry: OwnRegistry) -> None:
    pushed = registry.push_image("pull/image", "v1")
    assert registry.ask("GET", "/v2/pull/image/manifests/v1", If_None_Match=f'"{pushed}"').status == 304


def test_a_blob_is_pulled_whole_and_in_ranges(registry: OwnRegistry) -> None:
    where = registry.push_blob("pull/blob", LAYER)
    path = f"/v2/pull/blob/blobs/{where}"
    assert registry.ask("GET", path).body == LAYER
    head = registry.ask("HEAD", path)
    assert (head.status, int(head.headers["Content-Length"])) == (200, len(LAYER))
    for asked, start, stop in (
        ("10-19", 10, 20),
        ("10000-", 10000, 10240),
        ("-5", 10235, 10240),
        ("0-99999", 0, 10240),
    ):
        answer = registry.ask("GET", path, Range=f"bytes={asked}")
        assert (answer.status, answer.body) == (206, LAYER[start:stop])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LAYER)}"
    refused = registry.ask("GET", path, Range="bytes=10240-")
    assert (refused.status, refused.headers["Content-Range"]) == (416, f"bytes */{len(LAYER)}")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/no/such/manifests/latest", "MANIFEST_UNKNOWN"),
        (f"/v2/no/such/manifests/{digest(b'x')}", "MANIFEST_UNKNOWN"),
        (f"/v2/no/such/blobs/{digest(b'x')}", "BLOB_UNKNOWN"),
        ("/v2/no/such/tags/list", "NAME_UNKNOWN"),
        ("/v2/no/such/blobs/uploads/00000000000000000000000000000000", "BLOB_UPLOAD_UNKNOWN"),
        ("/v2/no/such/blobs/uploads/..%2f..%2fetc", "NAME_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_404_with_the_specs_code(registry: OwnRegistry, path: str, code: str) -> None:
    answer = registry.ask("GET", path)
    assert (answer.status, answer.code) == (404, code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/UPPER/manifests/latest", "NAME_INVALID"),
        ("/v2/a/../b/manifests/latest", "NAME_INVALID"),
        ("/v2/a/_tags/x/manifests/latest", "NAME_INVALID"),
        (f"/v2/{'a' * 256}/tags/list", "NAME_INVALID"),
        ("/v2/a/manifests/.hidden", "MANIFEST_INVALID"),
        ("/v2/a/blobs/sha256:abc", "DIGEST_INVALID"),
        ("/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", "DIGEST_INVALID"),
        ("/v2/a/tags/list?n=-1", "PAGINATION_NUMBER_INVALID"),
    ],
)
def test_what_cannot_be_meant_is_400(registry: OwnRegistry, path: str, code: str) -> None:
    answer = registry.ask("GET", path)
    assert (answer.status, answer.code) == (400, code)


def test_a_blob_of_another_repository_is_not_served(registry: OwnRegistry) -> None:
    where = registry.push_blob("pull/private", b"secret of one repository")
    assert registry.ask("GET", f"/v2/pull/other/blobs/{where}").status == 404


# -- push --------------------------------------------------------------------------------------------
def test_a_blob_is_pushed_at_once(registry: OwnRegistry) -> None:
    data = b"post with digest"
    answer = registry.ask("POST", f"/v2/push/a/blobs/uploads/?digest={digest(data)}", data)
    assert answer.status == 201
    assert registry.ask("GET", answer.headers["Location"]).body == data


def test_a_blob_is_pushed_by_post_and_put(registry: OwnRegistry) -> None:
    data = b"post, then put"
    where = begin(registry, "push/a")
    answer = registry.ask("PUT", f"{where}?digest={digest(data)}", data)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest(data))
    assert registry.ask("GET", answer.headers["Location"]).body == data


def test_an_empty_blob_is_a_blob(registry: OwnRegistry) -> None:
    answer = registry.ask("PUT", f"{begin(registry, 'push/a')}?digest={digest(b'')}", b"")
    assert answer.status == 201
    assert registry.ask("GET", answer.headers["Location"]).body == b""


def test_a_blob_is_pushed_in_chunks_over_two_processes(registry: OwnRegistry, second: OwnRegistry) -> None:
    where = begin(registry, "push/chunks")
    one, two, three = LAYER[:4000], LAYER[4000:8000], LAYER[8000:]
    answer = registry.ask("PATCH", where, one, Content_Range="0-3999")
    assert (answer.status, answer.headers["Range"]) == (202, "0-3999")
    answer = second.ask("PATCH", answer.headers["Location"], two, Content_Range="4000-7999")
    assert (answer.status, answer.headers["Range"]) == (202, "0-7999")
    status = registry.ask("GET", answer.headers["Location"])
    assert (status.status, status.headers["Range"]) == (204, "0-7999")
    answer = registry.ask(
        "PUT", f"{status.headers['Location']}?digest={digest(LAYER)}", three, Content_Range="8000-10239"
    )
    assert answer.status == 201
    assert second.ask("GET", answer.headers["Location"]).body == LAYER


def test_a_chunk_out_of_order_is_416_and_says_where_the_upload_is(registry: OwnRegistry) -> None:
    where = begin(registry, "push/chunks")
    assert registry.ask("PATCH", where, b"12345", Content_Range="5-9").status == 416
    assert registry.ask("PATCH", where, b"12345", Content_Range="0-4").status == 202
    again = registry.ask("PATCH", where, b"12345", Content_Range="0-4")
    assert (again.status, again.headers["Range"], again.headers["Location"]) == (416, "0-4", where)
    assert registry.ask("PATCH", where, b"123", Content_Range="5-9").code == "SIZE_INVALID"
    assert registry.ask("PATCH", where, b"123", Content_Range="x-y").status == 416
    assert registry.ask("PUT", f"{where}?digest={digest(b'12345')}", b"").status == 201


def test_a_wrong_digest_is_refused_and_nothing_stays(registry: OwnRegistry) -> None:
    where, wrong = begin(registry, "push/wrong"), digest(b"something else")
    answer = registry.ask("PUT", f"{where}?digest={wrong}", b"what was sent")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert registry.ask("GET", f"/v2/push/wrong/blobs/{wrong}").status == 404
    assert registry.ask("GET", where).status == 404
    assert registry.ask("PUT", begin(registry, "push/wrong"), b"x").code == "DIGEST_INVALID"


def test_an_upload_is_cancelled(registry: OwnRegistry) -> None:
    where = begin(registry, "push/cancel")
    assert registry.ask("DELETE", where).status == 204
    assert registry.ask("GET", where).status == 404
    assert registry.ask("PATCH", where, b"x").code == "BLOB_UPLOAD_UNKNOWN"


def test_a_body_that_breaks_off_can_be_continued(registry: OwnRegistry) -> None:
    where = begin(registry, "push/broken")
    with socket.create_connection(("127.0.0.1", registry.port)) as client:
        client.sendall(f"PATCH {where} HTTP/1.1\r\nHost: r\r\nContent-Length: 10000\r\n\r\n".encode() + LAYER[:3000])
    for _ in range(100):
        status = registry.ask("GET", where)
        came = int(status.headers["Range"].partition("-")[2])
        if came == 2999:
            break
    came = came + 1 if came else 0  # S3 keeps nothing of half a request
    answer = registry.ask("PATCH", where, LAYER[came:], Content_Range=f"{came}-{len(LAYER) - 1}")
    assert answer.status == 202
    assert registry.ask("PUT", f"{where}?digest={digest(LAYER)}", b"").status == 201


def test_a_blob_is_mounted_from_another_repository(registry: OwnRegistry) -> None:
    where = registry.push_blob("mount/from", b"mounted")
    answer = registry.ask("POST", f"/v2/mount/to/blobs/uploads/?mount={where}&from=mount/from", b"")
    assert answer.status == 201
    assert registry.ask("GET", answer.headers["Location"]).body == b"mounted"


def test_a_mount_needs_no_source(registry: OwnRegistry) -> None:
    where = registry.push_blob("mount/from", b"found by its digest")
    answer = registry.ask("POST", f"/v2/mount/anywhere/blobs/uploads/?mount={where}", b"")
    assert answer.status == 201
    assert registry.ask("GET", answer.headers["Location"]).body == b"found by its digest"


def test_sha512_is_a_digest_too(registry: OwnRegistry) -> None:
    config, layer = b'{"sha": 512}', b"layer by sha512"
    for data in (config, layer):
        answer = registry.ask("POST", f"/v2/push/sha512/blobs/uploads/?digest={sha512(data)}", data)
        assert answer.status == 201
        assert registry.ask("GET", answer.headers["Location"]).body == data
    wrong = registry.ask("POST", f"/v2/push/sha512/blobs/uploads/?digest={sha512(b'x')}", b"y")
    assert (wrong.status, wrong.code) == (400, "DIGEST_INVALID")
    described = image(config, layer)
    described["config"]["digest"], described["layers"][0]["digest"] = sha512(config), sha512(layer)
    document = json.dumps(described).encode()
    path = f"/v2/push/sha512/manifests/{sha512(document)}"
    answer = registry.ask("PUT", f"{path}?tag=a&tag=b", document, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.headers["OCI-Tag"]) == (201, "a, b")
    got = registry.ask("GET", "/v2/push/sha512/manifests/b")
    assert (got.body, got.headers["Docker-Content-Digest"]) == (document, sha512(document))
    assert registry.ask("DELETE", path).status == 202
    assert registry.ask("GET", "/v2/push/sha512/tags/list").json["tags"] == []


def test_a_mount_that_is_not_possible_begins_an_upload(registry: OwnRegistry) -> None:
    missing = digest(b"nobody has this")
    for query in (f"mount={missing}&from=mount/from", f"mount={missing}", f"mount={missing}&from=Not/Valid"):
        answer = registry.ask("POST", f"/v2/mount/to/blobs/uploads/?{query}", b"")
        assert answer.status == 202
        assert answer.headers["Location"].startswith("/v2/mount/to/blobs/uploads/")


def test_a_manifest_needs_its_blobs(registry: OwnRegistry) -> None:
    document = json.dumps(image(b"no such config", b"no such layer")).encode()
    answer = registry.ask("PUT", "/v2/push/incomplete/manifests/v1", document, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert registry.ask("GET", "/v2/push/incomplete/manifests/v1").status == 404


def test_an_index_needs_its_manifests(registry: OwnRegistry) -> None:
    child = registry.push_image("push/index", "child")
    entry = {"mediaType": OCI_MANIFEST, "digest": child, "size": 1}
    index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    registry.push_manifest("push/index", "all", index)
    answer = registry.ask("GET", "/v2/push/index/manifests/all")
    assert (answer.headers["Content-Type"], answer.json) == (OCI_INDEX, index)
    index["manifests"] = [{**entry, "digest": digest(b"elsewhere")}]
    document = json.dumps(index).encode()
    assert registry.ask("PUT", "/v2/push/index/manifests/x", document, Content_Type=OCI_INDEX).status == 404


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        (b"", OCI_MANIFEST),
        (b"not json", OCI_MANIFEST),
        (b"{}", OCI_MANIFEST),
        (b'{"schemaVersion":2}', "text/plain"),
        (b'{"schemaVersion":1,"fsLayers":[]}', "application/vnd.docker.distribution.manifest.v1+json"),
        (b"[" * 100_000, OCI_MANIFEST),
        (
            b'{"schemaVersion":2,"manifests":[],"config":{"mediaType":"a/b","digest":"sha256:00","size":0},"layers":[]}',
            OCI_INDEX,
        ),
    ],
)
def test_a_manifest_that_means_nothing_is_refused(registry: OwnRegistry, document: bytes, media_type: str) -> None:
    assert registry.ask("PUT", "/v2/push/bad/manifests/v1", document, Content_Type=media_type).status == 400


def test_a_manifest_beyond_4_mib_is_refused(registry: OwnRegistry) -> None:
    answer = registry.ask("PUT", "/v2/push/big/manifests/v1", b" " * ((4 << 20) + 1), Content_Type=OCI_MANIFEST)
    assert answer.status == 413


def test_a_manifest_under_a_digest_that_is_not_its_own_is_refused(registry: OwnRegistry) -> None:
    config, layer = b"{}", b"layer"
    registry.push_blob("push/a", config)
    registry.push_blob("push/a", layer)
    document = json.dumps(image(config, layer)).encode()
    answer = registry.ask("PUT", f"/v2/push/a/manifests/{digest(b'x')}", document, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_curl_is_told_to_go_on(registry: OwnRegistry) -> None:
    data = b"expecting"
    where = begin(registry, "push/expect")
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as client:
        client.sendall(
            f"PUT {where}?digest={digest(data)} HTTP/1.1\r\nHost: r\r\nContent-Length: {len(data)}\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(data)
        assert client.recv(100).startswith(b"HTTP/1.1 201")


# -- content discovery -------------------------------------------------------------------------------
def test_tags_are_listed_in_order_page_by_page(registry: OwnRegistry) -> None:
    for tag in ("b", "A", "c", "a1"):
        registry.push_image("find/tags", tag)
    assert registry.ask("GET", "/v2/find/tags/tags/list").json == {"name": "find/tags", "tags": ["A", "a1", "b", "c"]}
    page = registry.ask("GET", "/v2/find/tags/tags/list?n=2")
    assert page.json["tags"] == ["A", "a1"]
    link = page.headers["Link"]
    assert link.endswith('; rel="next"')
    rest = registry.ask("GET", link.partition("<")[2].partition(">")[0])
    assert (rest.json["tags"], rest.headers["Link"]) == (["b", "c"], None)
    assert registry.ask("GET", "/v2/find/tags/tags/list?last=b").json["tags"] == ["c"]
    assert registry.ask("GET", "/v2/find/tags/tags/list?n=0").json["tags"] == []


def test_the_catalogue_and_the_search_know_repositories_with_images(registry: OwnRegistry) -> None:
    registry.push_image("find/zebra", "v1", annotations={"org.opencontainers.image.description": "stripes"})
    registry.push_image("find/zebra-2", "v1")
    registry.push_blob("find/zebra-blob-only", b"no image")
    names = registry.ask("GET", "/v2/_catalog").json["repositories"]
    assert [name for name in names if "zebra" in name] == ["find/zebra", "find/zebra-2"]
    assert names == sorted(names, key=lambda name: name.replace("/", ","))
    seen, path = [], "/v2/_catalog?n=1"
    while path:
        page = registry.ask("GET", path)
        seen += page.json["repositories"]
        path = (page.headers["Link"] or "").partition("<")[2].partition(">")[0]
    assert seen == names
    found = registry.ask("GET", "/v1/search?q=ZEBRA&n=1").json
    assert (found["num_results"], [one["name"] for one in found["results"]]) == (2, ["find/zebra"])
    assert found["results"][0]["description"] == "stripes"


def test_referrers_are_listed_and_filtered(registry: OwnRegistry) -> None:
    subject = registry.push_image("find/refs", "v1")
    registry.push_blob("find/refs", b"{}")
    about = {"subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}}
    empty = {"mediaType": EMPTY, "digest": digest(b"{}"), "size": 2}
    signature = {**image(b"{}", b"{}"), **about, "config": empty, "artifactType": "app/signature"}
    bill = {**image(b"{}", b"{}"), **about, "config": {**empty, "mediaType": "app/bill"}, "annotations": {"a": "b"}}
    document = json.dumps(signature).encode()
    answer = registry.ask("PUT", f"/v2/find/refs/manifests/{digest(document)}", document, Content_Type=OCI_MANIFEST)
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, subject)
    second_one = registry.push_manifest("find/refs", "", bill)
    listed = registry.ask("GET", f"/v2/find/refs/referrers/{subject}")
    assert (listed.status, listed.headers["Content-Type"]) == (200, OCI_INDEX)
    assert {one["digest"]: one["artifactType"] for one in listed.json["manifests"]} == {
        digest(document): "app/signature",
        second_one: "app/bill",
    }
    chosen = registry.ask("GET", f"/v2/find/refs/referrers/{subject}?artifactType=app/bill")
    assert chosen.headers["OCI-Filters-Applied"] == "artifactType"
    assert [(one["digest"], one["annotations"]) for one in chosen.json["manifests"]] == [(second_one, {"a": "b"})]
    registry.ask("DELETE", f"/v2/find/refs/manifests/{second_one}")
    assert len(registry.ask("GET", f"/v2/find/refs/referrers/{subject}").json["manifests"]) == 1


def test_nobody_refers_to_what_is_unknown(registry: OwnRegistry) -> None:
    answer = registry.ask("GET", f"/v2/find/none/referrers/{digest(b'x')}")
    assert (answer.status, answer.json["manifests"]) == (200, [])
    assert registry.ask("GET", "/v2/find/none/referrers/nonsense").status == 400


# -- content management ------------------------------------------------------------------------------
def test_deleting_a_tag_leaves_the_manifest(registry: OwnRegistry) -> None:
    pushed = registry.push_image("manage/tag", "v1")
    assert registry.ask("DELETE", "/v2/manage/tag/manifests/v1").status == 202
    assert registry.ask("GET", "/v2/manage/tag/manifests/v1").status == 404
    assert registry.ask("GET", f"/v2/manage/tag/manifests/{pushed}").status == 200
    assert registry.ask("DELETE", "/v2/manage/tag/manifests/v1").code == "MANIFEST_UNKNOWN"


def test_deleting_a_manifest_takes_its_tags_and_the_catalogue_entry(registry: OwnRegistry) -> None:
    pushed = registry.push_image("manage/image", "v1")
    registry.push_image("manage/image", "v2")
    assert registry.ask("DELETE", f"/v2/manage/image/manifests/{pushed}").status == 202
    assert registry.ask("GET", "/v2/manage/image/tags/list").json["tags"] == []
    assert "manage/image" not in registry.ask("GET", "/v2/_catalog").json["repositories"]


def test_a_blob_is_deleted_from_its_repository_only(registry: OwnRegistry) -> None:
    where = registry.push_blob("manage/a", b"deleted in one")
    registry.push_blob("manage/b", b"deleted in one")
    assert registry.ask("DELETE", f"/v2/manage/a/blobs/{where}").status == 202
    assert registry.ask("GET", f"/v2/manage/a/blobs/{where}").status == 404
    assert registry.ask("GET", f"/v2/manage/b/blobs/{where}").body == b"deleted in one"
    assert registry.ask("DELETE", f"/v2/manage/a/blobs/{where}").code == "BLOB_UNKNOWN"


def test_methods_that_mean_nothing_are_405(registry: OwnRegistry) -> None:
    for method, path in (("POST", "/v2/a/manifests/v1"), ("PUT", "/v2/a/tags/list"), ("DELETE", "/v2/")):
        answer = registry.ask(method, path, b"")
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")


def test_metrics_count_what_was_asked(registry: OwnRegistry) -> None:
    registry.ask("GET", "/v2/")
    text = registry.ask("GET", "/metrics").body.decode()
    assert 'sampan_registry_requests_total{method="GET",route="base",code="200"}' in text


# -- what outlives what ------------------------------------------------------------------------------
def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    registry = OwnRegistry(tmp_path)
    try:
        pushed = registry.push_image("kept", "v1", LAYER)
        where = begin(registry, "kept")
        registry.ask("PATCH", where, LAYER[:5000], Content_Range="0-4999")
        registry.kill()
        registry.start()
        assert digest(registry.ask("GET", "/v2/kept/manifests/v1").body) == pushed
        assert registry.ask("GET", f"/v2/kept/blobs/{digest(LAYER)}").body == LAYER
        assert registry.ask("GET", where).headers["Range"] == "0-4999"
        whole = LAYER + b"more"
        registry.ask("PATCH", where, whole[5000:], Content_Range=f"5000-{len(whole) - 1}")
        assert registry.ask("PUT", f"{where}?digest={digest(whole)}", b"").status == 201
    finally:
        registry.stop()


def test_two_processes_see_each_others_images(registry: OwnRegistry, second: OwnRegistry) -> None:
    pushed = registry.push_image("shared/image", "v1")
    assert second.ask("HEAD", "/v2/shared/image/manifests/v1").headers["Docker-Content-Digest"] == pushed
    assert second.ask("DELETE", f"/v2/shared/image/manifests/{pushed}").status == 202
    assert registry.ask("GET", "/v2/shared/image/manifests/v1").status == 404


def test_a_client_that_leaves_is_no_error_and_leaves_nothing(tmp_path: Path) -> None:
    registry = OwnRegistry(tmp_path)
    try:
        for path in (f"/v2/a/blobs/uploads/?digest={digest(LAYER)}", "/v2/a/manifests/v1"):
            method = "POST" if "uploads" in path else "PUT"
            with socket.create_connection(("127.0.0.1", registry.port)) as client:
                client.sendall(f"{method} {path} HTTP/1.1\r\nHost: r\r\nContent-Length: 10000\r\n\r\nhalf".encode())
        for _ in range(200):
            if registry.ask("GET", "/metrics").body.count(b'code="499"') == 2:
                break
        assert not list((tmp_path / "data/registry/uploads").iterdir())
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        registry.stop()


# -- who may come in ---------------------------------------------------------------------------------
def test_htpasswd_asks_for_a_password(tmp_path: Path) -> None:
    bcrypt = pytest.importorskip("bcrypt")
    entry = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    (tmp_path / "users").write_text(f"# who\nann:{entry}\n")
    registry = OwnRegistry(tmp_path / "r", "--htpasswd", str(tmp_path / "users"))
    try:
        answer = registry.ask("GET", "/v2/")
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="sampan registry"'
        assert registry.ask("GET", "/v2/", Authorization="Basic YW5uOnJpZ2h0").status == 200  # ann:right
        for wrong in ("Basic YW5uOndyb25n", "Basic Ym9iOnJpZ2h0", "Basic !!", "Bearer x", "Basic"):
            assert registry.ask("GET", "/v2/", Authorization=wrong).status == 401
        assert registry.ask("GET", "/metrics").status == 401
    finally:
        registry.stop()


# -- mirror ------------------------------------------------------------------------------------------
def test_a_mirror_fetches_once_and_serves_when_the_upstream_is_gone(tmp_path: Path) -> None:
    upstream = OwnRegistry(tmp_path / "upstream")
    mirror = OwnRegistry(tmp_path / "mirror", "--mirror", f"http://{upstream.address}")
    try:
        pushed = upstream.push_image("some/image", "v1", LAYER)
        blob = f"/v2/some/image/blobs/{digest(LAYER)}"
        assert digest(mirror.ask("GET", "/v2/some/image/manifests/v1").body) == pushed
        assert mirror.ask("GET", blob).body == LAYER
        assert mirror.ask("GET", blob, Range="bytes=5-9").body == LAYER[5:10]
        assert mirror.ask("GET", "/v2/some/image/manifests/v9").code == "MANIFEST_UNKNOWN"
        assert mirror.ask("GET", f"/v2/some/image/blobs/{digest(b'no')}").code == "BLOB_UNKNOWN"
        assert mirror.ask("POST", "/v2/some/image/blobs/uploads/", b"").status == 405
        newer = upstream.push_image("some/image", "v1", b"another layer")
        assert mirror.ask("HEAD", "/v2/some/image/manifests/v1").headers["Docker-Content-Digest"] == newer
        assert mirror.ask("GET", "/v2/some/image/tags/list").json["tags"] == ["v1"]
        upstream.kill()
        assert mirror.ask("HEAD", "/v2/some/image/manifests/v1").headers["Docker-Content-Digest"] == newer
        assert mirror.ask("GET", blob).body == LAYER
        assert mirror.ask("GET", "/v2/never/seen/manifests/v1").status == 502
    finally:
        mirror.stop()
        upstream.stop()


# -- TLS ---------------------------------------------------------------------------------------------
def test_https_and_client_certificates(tmp_path: Path) -> None:
    names = "subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=r", "-addext", names,
         "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    flags = ("--tlscert", str(tmp_path / "cert"), "--tlskey", str(tmp_path / "key"))
    registry = OwnRegistry(tmp_path / "r", *flags, "--tlscacert", str(tmp_path / "cert"))
    try:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            secure(registry, context, "GET", "/v2/")
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
        assert secure(registry, context, "GET", "/v2/") == (200, b"{}")
        where = f"/v2/a/blobs/uploads/?digest={digest(LAYER)}"
        assert secure(registry, context, "POST", where, LAYER)[0] == 201
        assert secure(registry, context, "GET", f"/v2/a/blobs/{digest(LAYER)}") == (200, LAYER)
    finally:
        registry.stop()


def secure(
    registry: OwnRegistry, context: ssl.SSLContext, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", registry.port, context=context, timeout=20)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
