"""A hostile client of `sampan registry serve`: its directory and what others pushed must stay as they are."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from support.own_registry import OCI_MANIFEST, OwnRegistry, digest


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRegistry]:
    registry = OwnRegistry(tmp_path_factory.mktemp("attacked") / "registry")
    registry.push_image("team/app", "1", b"the team's layer")
    yield registry
    registry.stop()


@pytest.fixture(autouse=True)
def nothing_beside_it(registry: OwnRegistry) -> Iterator[None]:
    """Its directory's files, but for what an upload that was answered brings; and nothing next to it."""
    outside = registry.root.parent
    before = everything(registry)
    yield
    assert everything(registry) == before
    assert {path.name for path in outside.iterdir()} == {"registry"}
    answer = registry.ask("GET", "/v2/team/app/manifests/1")
    assert answer.status == 200 and digest(answer.body) == answer.headers["Docker-Content-Digest"]


def everything(registry: OwnRegistry) -> set[str]:
    root = registry.root / "data"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


EVIL = [
    "..",
    "../..",
    "a/../../b",
    "/etc",
    "a/..",
    ".",
    "a//b",
    "a/./b",
    "a\0b",
    "a\nb",
    "A",
    "a/_b",
    "%2e%2e",
    "a" * 300,
]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
def test_a_name_is_never_a_path(registry: OwnRegistry, evil: str, escaped: bool) -> None:
    if not escaped and ("\0" in evil or "\n" in evil):
        pytest.skip("no request line can hold that")
    name = quote(evil, safe="") if escaped else evil
    data = b"{}"
    for method, path, body in (
        ("GET", f"/v2/{name}/manifests/latest", None),
        ("GET", f"/v2/{name}/tags/list", None),
        ("POST", f"/v2/{name}/blobs/uploads/", b""),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={digest(data)}", data),
        ("PUT", f"/v2/{name}/manifests/latest", data),
        ("DELETE", f"/v2/{name}/manifests/{digest(data)}", None),
        ("POST", f"/v2/team/app/blobs/uploads/?mount={digest(data)}&from={quote(evil, safe='')}", b""),
    ):
        answer = registry.ask(method, path, body)
        if "mount=" in path:
            assert answer.status == 202, "an upload instead of a mount"
            assert registry.ask("DELETE", answer.headers["Location"]).status == 204
        else:
            assert 400 <= answer.status < 500, (method, path, answer)


@pytest.mark.parametrize(
    "evil", ["..", "../../../../etc/passwd", ".hidden", "-x", "a/b", "a\0", "a" * 200, "sha256:../../x"]
)
def test_a_tag_or_a_digest_is_never_a_path(registry: OwnRegistry, evil: str) -> None:
    where = quote(evil, safe=":")
    for method, path, body in (
        ("GET", f"/v2/team/app/manifests/{where}", None),
        ("PUT", f"/v2/team/app/manifests/{where}", b"{}"),
        ("DELETE", f"/v2/team/app/manifests/{where}", None),
        ("GET", f"/v2/team/app/blobs/{where}", None),
        ("DELETE", f"/v2/team/app/blobs/{where}", None),
        ("GET", f"/v2/team/app/referrers/{where}", None),
        ("PUT", f"/v2/team/app/manifests/1?tag={where}", b"{}"),
    ):
        answer = registry.ask(method, path, body)
        assert 400 <= answer.status < 500, (method, path, answer)


def test_an_upload_s_id_is_never_a_path_and_is_not_guessed(registry: OwnRegistry) -> None:
    mine = registry.ask("POST", "/v2/mine/app/blobs/uploads/", b"").headers["Docker-Upload-UUID"]
    assert len(mine) == 32, "128 random bits"
    for evil in ("../records/x", "..%2f..%2fblobs", "%2e%2e", mine[:-1], mine.upper() + "0", f"{mine}%00", "0" * 32):
        for method, body in (("PATCH", b"planted"), ("PUT", b"planted"), ("GET", None), ("DELETE", None)):
            query = f"?digest={digest(b'planted')}" if method == "PUT" else ""
            answer = registry.ask(method, f"/v2/mine/app/blobs/uploads/{evil}{query}", body)
            assert 400 <= answer.status < 500, (method, evil, answer)
    assert registry.ask("DELETE", f"/v2/mine/app/blobs/uploads/{mine}").status == 204


def test_numbers_of_thousands_of_digits_are_numbers_or_refused(registry: OwnRegistry) -> None:
    long = "1" * 5000
    assert registry.ask("GET", f"/v2/team/app/tags/list?n={long}").status == 200
    assert registry.ask("GET", f"/v2/team/app/tags/list?n={'0' * 5000}1").status == 200
    blob = "/v2/team/app/blobs/" + digest(b"the team's layer")
    for asked in (f"bytes={long}-", f"bytes=0-{long}", f"bytes=-{long}"):
        assert registry.ask("GET", blob, Range=asked).status == 416
    where = registry.ask("POST", "/v2/team/app/blobs/uploads/", b"").headers["Location"]
    assert registry.ask("PATCH", where, b"x", Content_Range=f"{long}-{long}").status == 416
    assert registry.ask("DELETE", where).status == 204


def test_bytes_are_never_published_under_another_digest(registry: OwnRegistry) -> None:
    theirs = digest(b"the team's layer")
    assert registry.ask("POST", f"/v2/team/app/blobs/uploads/?digest={theirs}", b"not the layer").status == 400
    assert registry.ask("PUT", f"/v2/team/app/manifests/{theirs}", b"{}", Content_Type=OCI_MANIFEST).status == 400
    assert registry.ask("GET", f"/v2/team/app/blobs/{theirs}").body == b"the team's layer"
    assert registry.ask("GET", f"/v2/other/blobs/{theirs}").status == 404, "by its digest alone nobody reads it"


@pytest.mark.parametrize("media_type", ["application/json\r\nX-Injected: 1", "text/html", "a/b\0"])
def test_a_manifest_s_type_is_no_header_and_no_page(registry: OwnRegistry, media_type: str) -> None:
    """A browser must never be given somebody's HTML from here."""
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "layers": []}).encode()
    safe = {} if set(media_type) & set("\r\n\0") else {"Content_Type": media_type}
    assert registry.ask("PUT", "/v2/evil/app/manifests/1", body, **safe).status == 400


def raw(registry: OwnRegistry, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", registry.port), 5) as connection:
        connection.settimeout(3)
        connection.sendall(request)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except (TimeoutError, ConnectionError):
            pass
        return answer


SECOND = b"DELETE /v2/team/app/manifests/1 HTTP/1.1\r\nHost: r\r\n\r\n"
FIRST = b"POST /v2/team/app/blobs/uploads/x HTTP/1.1\r\nHost: r\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["both", "two", "plus", "unknown", "space"],
)
def test_no_second_request_is_smuggled_in(registry: OwnRegistry, head: bytes) -> None:
    answer = raw(registry, FIRST + head + SECOND)
    assert answer.split()[1] == b"400" and answer.count(b"HTTP/1.") == 1, answer[:300]


def test_headers_and_manifests_have_their_limits(registry: OwnRegistry) -> None:
    answer = raw(registry, b"GET /v2/ HTTP/1.1\r\nHost: r\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n")
    assert not answer or answer.split()[1] in (b"400", b"431")
    many = b"".join(b"X%d: a\r\n" % number for number in range(20_000))
    answer = raw(registry, b"GET /v2/ HTTP/1.1\r\nHost: r\r\n" + many + b"\r\n")
    assert not answer or answer.split()[1] in (b"400", b"431")
    declared = b"PUT /v2/team/app/manifests/2 HTTP/1.1\r\nHost: r\r\nContent-Length: 99999999999\r\n\r\n{"
    assert b" 413 " in raw(registry, declared).split(b"\r\n")[0] + b" "
    deep = b"[" * 500_000
    assert registry.ask("PUT", "/v2/team/app/manifests/2", deep, Content_Type=OCI_MANIFEST).status == 400
