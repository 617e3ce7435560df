"""The registry client against registries of its own: tokens, redirects, ranges, mirrors, what is never sent where."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sampan.errors import InvalidParameter, NotFound, SampanError, TooManyRequests
from sampan.images import manifests, references
from sampan.images.content import DigestMismatch
from sampan.images.manifests import Descriptor
from sampan.images.remote import RegistryAuth, Remote, asking, wire
from sampan.images.remote import auth as auths
from sampan.images.remote.hosts import Endpoint, Hosts
from sampan.images.remote.tokens import Asked

BLOB = bytes(range(256)) * 4000
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": {"mediaType": manifests.OCI_CONFIG, "digest": DIGEST, "size": len(BLOB)},
        "layers": [],
    }
).encode()
WANTED = Descriptor(media_type=manifests.OCI_LAYER, digest=DIGEST, size=len(BLOB))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A host on loopback; `handler` answers everything, `seen` remembers (path, Authorization, Range)."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.seen: list[tuple[str, str, str]] = []
        self.port = 0

    async def __aenter__(self) -> Server:
        async def answer(request: web.Request) -> web.StreamResponse:
            headers = request.headers
            self.seen.append((request.path, headers.get("Authorization", ""), headers.get("Range", "")))
            return await self._handler(request)

        self._runner = web.AppRunner(web_app(answer), handle_signals=False, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def web_app(handler: Handler) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    return app


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(tries: int) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(wire, "pause", none)


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    remote = Remote(Hosts(), "test")
    yield remote
    await remote.close()


def at(server: Server, name: str = "team/tool:1") -> references.Reference:
    return references.parse(f"{server.address}/{name}")


async def serve(request: web.Request) -> web.StreamResponse:
    if "/manifests/" in request.path:
        return web.Response(body=MANIFEST, headers={"Content-Type": manifests.OCI_MANIFEST})
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
    headers = {"Content-Range": f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}"} if start else {}
    return web.Response(status=206 if start else 200, body=BLOB[start:], headers=headers)


def refuse(status: int, code: str, message: str, **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        body = {"errors": [{"code": code, "message": message}]}
        return web.json_response(body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def test_token_flow_asks_once_and_reuses_the_token(remote: Remote) -> None:
    async def tokens(request: web.Request) -> web.StreamResponse:
        assert request.query == {"service": "reg", "scope": "repository:team/tool:pull", "account": "me"}
        return web.json_response({"token": "T", "expires_in": 300})

    async with Server(tokens) as realm:

        async def registry(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") == "Bearer T":
                return await serve(request)
            challenge = f'Bearer realm="http://{realm.address}/t",service="reg",scope="repository:team/tool:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})

        async with Server(registry) as server:
            repository = remote.repository(at(server), RegistryAuth("me", "secret"))
            await repository.manifest("1")
            await repository.small_blob(WANTED, 1 << 23)
            await remote.repository(at(server), RegistryAuth("me", "secret")).manifest("1")
            assert [seen[1] for seen in realm.seen] == ["Basic " + base64.b64encode(b"me:secret").decode()]
            assert all("Basic" not in seen[1] for seen in server.seen)


async def test_identity_token_is_exchanged_by_oauth(remote: Remote) -> None:
    async def tokens(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "R")
        return web.json_response({"access_token": "T"})

    async with Server(tokens) as realm:

        async def registry(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") == "Bearer T":
                return await serve(request)
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{realm.address}/t"'})

        async with Server(registry) as server:
            await remote.repository(at(server), RegistryAuth(identity_token="R")).manifest("1")


async def test_a_login_gets_the_identity_token_of_a_server_that_gives_one(remote: Remote) -> None:
    async def tokens(request: web.Request) -> web.StreamResponse:
        asked = request.query.get("offline_token") == "true" and request.query["client_id"]
        return web.json_response({"token": "T", **({"refresh_token": "R"} if asked else {})})

    async with Server(tokens) as realm:

        async def registry(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") == "Bearer T":
                return await serve(request)
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{realm.address}/t"'})

        async with Server(registry) as server:
            auth = RegistryAuth("me", "secret", server.address)
            await remote.repository(at(server), auth).manifest("1")
            assert await asking.login(remote, auth) == "R", "also when a token of before would do"
            assert remote.tokens.identity(auth) == ""

    async with Server(serve) as server:
        assert await asking.login(remote, RegistryAuth("me", "secret", server.address)) == ""


async def test_basic_credentials_and_their_absence(remote: Remote) -> None:
    async def registry(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization", "").startswith("Basic "):
            return await serve(request)
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})

    async with Server(registry) as server:
        await remote.repository(at(server), RegistryAuth("me", "x")).manifest("1")
        with pytest.raises(SampanError, match="no basic auth credentials") as caught:
            await remote.repository(at(server)).manifest("1")
        assert caught.value.status == 500, "401 would make the docker CLI ask for a password"


async def test_credentials_do_not_follow_a_redirect_to_another_host(remote: Remote) -> None:
    async with Server(serve) as elsewhere:

        async def registry(request: web.Request) -> web.StreamResponse:
            if not request.headers.get("Authorization"):
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            raise web.HTTPTemporaryRedirect(f"http://{elsewhere.address}/stored")

        async with Server(registry) as server:
            repository = remote.repository(at(server), RegistryAuth("me", "secret"))
            assert b"".join([c async for c in repository.blob(WANTED, 0)]) == BLOB
            assert elsewhere.seen == [("/stored", "", "")]


async def test_credentials_are_not_sent_to_a_realm_without_tls() -> None:
    remote = Remote(Hosts(), "test")
    asked = Asked(Endpoint("https://reg.example"), "scope", "GET", "https://reg.example/v2/a")
    with pytest.raises(SampanError, match="not https"):
        await remote.tokens.answer([("bearer", {"realm": "http://evil.example/t"})], asked, RegistryAuth("me", "x"), "")
    await remote.close()


async def test_a_token_is_only_for_whose_credentials_fetched_it(remote: Remote) -> None:
    async def tokens(request: web.Request) -> web.StreamResponse:
        right = "Basic " + base64.b64encode(b"me:right").decode()
        return web.json_response({"token": "T"}, status=200 if request.headers.get("Authorization") == right else 401)

    async with Server(tokens) as realm:

        async def registry(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") == "Bearer T":
                return await serve(request)
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{realm.address}/t"'})

        async with Server(registry) as server:
            await remote.repository(at(server), RegistryAuth("me", "right")).manifest("1")
            for auth in (RegistryAuth("me", "wrong"), None):
                with pytest.raises(SampanError, match="unauthorized"):
                    await remote.repository(at(server), auth).manifest("1")


async def test_foreign_layers_are_fetched_without_credentials(remote: Remote) -> None:
    async with Server(serve) as elsewhere:

        async def registry(request: web.Request) -> web.StreamResponse:
            if not request.headers.get("Authorization"):
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            return web.Response(status=404)

        async with Server(registry) as server:
            repository = remote.repository(at(server), RegistryAuth("me", "secret"))
            foreign = Descriptor(
                media_type=WANTED.media_type, digest=DIGEST, size=len(BLOB), urls=[f"http://{elsewhere.address}/layer"]
            )
            assert b"".join([c async for c in repository.blob(foreign, 0)]) == BLOB
            assert elsewhere.seen[0][1] == ""


async def test_a_broken_download_goes_on_where_it_broke(remote: Remote) -> None:
    async def registry(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        response = web.StreamResponse(status=206 if start else 200)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}"
        response.content_length = len(BLOB) - start
        await response.prepare(request)
        await response.write(BLOB[start : start + 300_000])
        if start + 300_000 < len(BLOB):
            assert request.transport is not None
            await asyncio.sleep(0.02)
            request.transport.close()
        return response

    async with Server(registry) as server:
        data = b"".join([chunk async for chunk in remote.repository(at(server)).blob(WANTED, 0)])
        assert data == BLOB
        first, *later = [seen[2] for seen in server.seen]
        assert first == "" and later and all(later)


async def test_a_registry_without_ranges_is_read_again_from_the_start(remote: Remote) -> None:
    async def registry(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BLOB)

    async with Server(registry) as server:
        data = b"".join([chunk async for chunk in remote.repository(at(server)).blob(WANTED, 5000)])
        assert data == BLOB[5000:]


async def test_server_errors_are_tried_again_and_refusals_are_not(remote: Remote) -> None:
    answers = [503, 502, 200]

    async def shaky(request: web.Request) -> web.StreamResponse:
        status = answers.pop(0)
        return await serve(request) if status == 200 else web.Response(status=status)

    async with Server(shaky) as server:
        await remote.repository(at(server)).manifest("1")
    async with Server(refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")) as server:
        with pytest.raises(NotFound):
            await remote.repository(at(server)).manifest("1")
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        (refuse(404, "MANIFEST_UNKNOWN", "manifest unknown"), NotFound,
         "manifest for {}/team/tool:1 not found: manifest unknown: manifest unknown"),
        (refuse(404, "NAME_UNKNOWN", "repository name not known to registry"), NotFound,
         "repository {}/team/tool not found: name unknown: repository name not known to registry"),
        (refuse(403, "DENIED", "requested access to the resource is denied"), NotFound,
         "pull access denied for {}/team/tool, repository does not exist or may require 'docker login': "
         "denied: requested access to the resource is denied"),
        (refuse(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", Retry_After="3600"), TooManyRequests,
         "toomanyrequests: You have reached your pull rate limit."),
        (refuse(401, "UNAUTHORIZED", "authentication required"), SampanError, "unauthorized: authentication required"),
    ],
)  # fmt: skip
async def test_refusals_in_dockers_words(
    remote: Remote, handler: Handler, kind: type[SampanError], message: str
) -> None:
    async with Server(handler) as server:
        with pytest.raises(kind) as caught:
            await remote.repository(at(server)).manifest("1")
        assert caught.value.message == message.format(server.address)


async def test_a_host_that_does_not_answer(remote: Remote) -> None:
    async with Server(serve) as server:
        address = server.address
    with pytest.raises(SampanError) as caught:
        await remote.repository(references.parse(f"{address}/a:1")).manifest("1")
    assert caught.value.message == f'Get "http://{address}/v2/": dial tcp {address}: connect: connection refused'


async def test_plain_http_is_refused_where_it_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts()
    monkeypatch.setattr(hosts, "is_insecure", lambda host: False)
    remote = Remote(hosts, "test")
    async with Server(serve) as server:
        with pytest.raises(SampanError, match="http: server gave HTTP response to HTTPS client"):
            await remote.repository(at(server)).manifest("1")
        assert not server.seen
    await remote.close()


async def test_wrong_bytes_and_giants_are_refused(remote: Remote) -> None:
    async def lying(request: web.Request) -> web.StreamResponse:
        size = manifests.LIMIT + 1 if "huge" in request.path else len(MANIFEST)
        return web.Response(body=(MANIFEST[:-1] + b" }").ljust(size))

    async with Server(lying) as server:
        repository = remote.repository(at(server))
        with pytest.raises(DigestMismatch):
            await repository.manifest("sha256:" + hashlib.sha256(MANIFEST).hexdigest())
        with pytest.raises(SampanError, match="too large"):
            await repository.manifest("huge")
        with pytest.raises(DigestMismatch, match=DIGEST):
            await repository.small_blob(WANTED, 1 << 23)


async def test_a_mirror_serves_the_hub_and_its_refusal_is_not_the_last_word() -> None:
    async with Server(serve) as mirror:
        remote = Remote(Hosts(mirrors=[f"http://{mirror.address}"]), "test")
        await remote.repository(references.parse("busybox:1"), RegistryAuth("me", "x")).manifest("1")
        assert mirror.seen[0][0] == "/v2/library/busybox/manifests/1"
        endpoints = remote.hosts.endpoints("docker.io")
        assert [e.base for e in endpoints] == [f"http://{mirror.address}", "https://registry-1.docker.io"]
        assert [e.base for e in remote.hosts.endpoints("reg.example")] == ["https://reg.example"]
        await remote.close()


async def test_tags_are_read_page_by_page(remote: Remote) -> None:
    async def registry(request: web.Request) -> web.StreamResponse:
        if request.query.get("last") == "b":
            return web.json_response({"tags": ["c"]})
        link = '</v2/team/tool/tags/list?last=b&n=1000>; rel="next"'
        return web.json_response({"tags": ["a", "b"]}, headers={"Link": link})

    async with Server(registry) as server:
        assert await remote.repository(at(server)).tags() == ["a", "b", "c"]


def test_insecure_registries_are_hosts_and_networks() -> None:
    hosts = Hosts(insecure=["reg.example:5000", "10.1.0.0/16", "http://plain.example/"])
    for host in ("127.0.0.1:1", "localhost:5000", "[::1]:5", "reg.example:5000", "10.1.2.3:443", "plain.example"):
        assert hosts.is_insecure(host), host
    for host in ("reg.example", "10.2.0.1", "example.com"):
        assert not hosts.is_insecure(host), host


@pytest.mark.parametrize("url", ["ftp://x", "mirror", "https://", "https://a?b", "https://u:p@h"])
def test_bad_mirrors_are_refused(url: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid mirror"):
        Hosts(mirrors=[url])


def test_certificate_without_its_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "reg.example").mkdir()
    (tmp_path / "reg.example" / "client.cert").write_text("x")
    with pytest.raises(SampanError, match=r"missing key client\.key"):
        Hosts(certificates=[tmp_path]).context(Endpoint("https://reg.example"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://a/t",service="s,x",scope="a:b:c"',
         [("bearer", {"realm": "https://a/t", "service": "s,x", "scope": "a:b:c"})]),
        ('Basic realm="a \\"b\\""', [("basic", {"realm": 'a "b"'})]),
        ('Negotiate, Bearer realm=x', [("negotiate", {}), ("bearer", {"realm": "x"})]),
        ("", []),
    ],
)  # fmt: skip
def test_challenges_are_parsed(header: str, expected: Any) -> None:
    assert auths.challenges([header]) == expected
