"""Talking to registries: one `Remote` for the daemon, one `Repository` for each operation.

Rules kept here: credentials go to the host they were given for and to the token server it names, never along a
redirect to another
host (CVE-2020-15157 is what happens otherwise); a broken download continues where it broke (Range); 5xx, 429 and lost
connections are tried again with growing pauses; every answer that is read whole has a size limit.

Source: OCI distribution-spec 1.1; distribution "Token Authentication", "OAuth2 token".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import msgspec

from sampan.errors import NotFound, SampanError, Unauthorized
from sampan.images import manifests
from sampan.images.content import DigestMismatch
from sampan.images.digests import digest as digest_of
from sampan.images.manifests import Descriptor
from sampan.images.references import Reference
from sampan.images.remote import failures, wire
from sampan.images.remote.auth import RegistryAuth, challenges
from sampan.images.remote.failures import RegistryError
from sampan.images.remote.hosts import Endpoint, Hosts
from sampan.images.remote.tokens import Asked, Tokens

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_TRIES = 6
_REDIRECTS = 10
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteManifest:
    """A manifest or index as the registry sent it: its own bytes are what its digest is of."""

    data: bytes
    digest: str
    media_type: str


class Remote:
    """The daemon's registry client. `session` is opened on the first request."""

    def __init__(self, hosts: Hosts, user_agent: str) -> None:
        self.hosts = hosts
        self._user_agent = user_agent
        self._session: ClientSession | None = None
        self.tokens = Tokens(self.session, hosts)
        self.attempts = 5
        """For each blob, without progress: dockerd's max-download-attempts."""
        self.working: dict[str, Endpoint] = {}
        """The endpoint of each domain that answered last: where plain http had to do, https is not tried each time."""

    def session(self) -> ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                trust_env=True,
                read_bufsize=_READ,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60),
                headers={"User-Agent": self._user_agent},
            )
        return self._session

    def repository(self, reference: Reference, auth: RegistryAuth | None = None, *, pull: bool = True) -> Repository:
        """`pull=False`: for a push; mirrors are left out, and tokens are asked for writing too."""
        endpoints = self.hosts.endpoints(reference.domain, pull=pull)
        if (known := self.working.get(reference.domain)) in endpoints and not endpoints[0].mirror:
            endpoints = [known]
        return Repository(self, reference, auth, endpoints, "pull" if pull else "pull,push")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class Repository:
    """One repository on whichever of its endpoints answers."""

    def __init__(
        self,
        remote: Remote,
        reference: Reference,
        auth: RegistryAuth | None,
        endpoints: Sequence[Endpoint],
        actions: str = "pull",
    ) -> None:
        self._remote = remote
        self._reference = reference
        self._auth = auth
        self._endpoints = list(endpoints)
        self._authorization: dict[str, str] = {}
        self._actions = actions

    # -- what is asked -----------------------------------------------------------------------------
    async def manifest(self, version: str) -> RemoteManifest:
        """By tag or digest. Raises `NotFound` and others as `docker pull` words them."""
        try:
            async with self._get(f"manifests/{version}", headers=_ACCEPT) as response:
                data = await wire.read(response, manifests.LIMIT, f"manifest for {self._reference.familiar}")
                media_type = response.headers.get("Content-Type", "")
        except RegistryError as error:
            raise failures.on_pull(error, self._reference) from None
        digest = digest_of(data)
        if version.startswith("sha256:") and digest != version:
            raise DigestMismatch(version, digest, len(data))
        return RemoteManifest(data, digest, media_type)

    async def manifest_digest(self, tag: str) -> str:
        """What a tag points at, by HEAD: costs no rate limit. "" when the registry does not say (or has no such
        tag).
        """
        try:
            async with self._get(f"manifests/{tag}", headers=_ACCEPT, method="HEAD") as response:
                return str(response.headers.get("Docker-Content-Digest", ""))
        except RegistryError:
            return ""

    async def blob_size(self, digest: str) -> int | None:
        """By HEAD; None when the repository has no such blob."""
        try:
            async with self._get(f"blobs/{digest}", method="HEAD") as response:
                return response.content_length or 0
        except RegistryError as error:
            if error.http_status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def small_blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """A config: read whole, verified."""
        if descriptor.size > limit:
            raise SampanError(f"blob {descriptor.digest} is too large: {descriptor.size} bytes, the limit is {limit}")
        try:
            async with self._get(f"blobs/{descriptor.digest}") as response:
                data = await wire.read(response, limit, f"blob {descriptor.digest}")
        except RegistryError as error:
            raise failures.on_pull(error, self._reference) from None
        if digest_of(data) != descriptor.digest:
            raise DigestMismatch(descriptor.digest, digest_of(data), len(data))
        return data

    async def blob(self, descriptor: Descriptor, offset: int) -> AsyncIterator[bytes]:
        """A blob's bytes from `offset` on, in the sizes the network gives them. Broken connections are continued.

        Bytes are not verified here. When the registry cannot continue, the skipped part is read and dropped.
        """
        position, tries = offset, 0
        while position < descriptor.size or descriptor.size == 0:
            before = position
            try:
                async with self._blob_response(descriptor, position) as (response, skip):
                    async for chunk in response.content.iter_any():
                        if skip >= len(chunk):
                            skip -= len(chunk)
                            continue
                        data, skip = chunk[skip:] if skip else chunk, 0
                        position += len(data)
                        yield data
                if position >= descriptor.size:
                    return
                raise ConnectionResetError(f"only {position} of {descriptor.size} bytes")
            except RegistryError as error:
                raise failures.on_pull(error, self._reference) from None
            except wire.lost() as error:
                tries = 1 if position > before else tries + 1
                if tries >= self._remote.attempts:
                    raise SampanError(
                        f"download of blob {descriptor.digest} from {self._reference.domain} broke off after "
                        f"{position} of {descriptor.size} bytes: {str(error) or 'unexpected EOF'}"
                    ) from None
                await wire.pause(tries)

    @asynccontextmanager
    async def _blob_response(self, descriptor: Descriptor, position: int) -> AsyncIterator[tuple[ClientResponse, int]]:
        """(response, bytes to drop first)."""
        headers = {"Range": f"bytes={position}-"} if position else {}
        try:
            async with self._get(f"blobs/{descriptor.digest}", headers=headers, retry=False) as response:
                yield response, self._to_skip(response, position)
        except RegistryError as error:
            if error.http_status != 404 or not descriptor.urls:
                raise
            async with self._foreign(descriptor, headers) as response:
                yield response, self._to_skip(response, position)

    @staticmethod
    def _to_skip(response: ClientResponse, position: int) -> int:
        if position and response.status == HTTPStatus.PARTIAL_CONTENT:
            start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
            if start.isdigit() and int(start) <= position:
                return position - int(start)
            raise SampanError("the registry answered a Range request with another range")
        return position

    @asynccontextmanager
    async def _foreign(self, descriptor: Descriptor, headers: Mapping[str, str]) -> AsyncIterator[ClientResponse]:
        """A foreign layer from the first of its own URLs that answers: without credentials, whatever it asks for."""
        failure: SampanError = NotFound(f"blob {descriptor.digest} not found")
        for url in descriptor.urls or ():
            if not url.startswith(("https://", "http://")):
                continue
            async with self._remote.session().get(
                url, headers=dict(headers), ssl=self._remote.hosts.public
            ) as response:
                if response.status < 300:
                    yield response
                    return
                failure = SampanError(f"foreign layer {descriptor.digest}: {url}: status {response.status}")
        raise failure

    async def referrers(self, digest: str) -> list[Descriptor]:
        """Artefacts whose subject a manifest is; by the tag schema where the registry has no API for it."""
        name = f"list of referrers of {digest}"
        try:
            async with self._get(f"referrers/{digest}", headers={"Accept": manifests.OCI_INDEX}) as response:
                data = await wire.read(response, manifests.LIMIT, name)
        except RegistryError as error:
            if error.http_status not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
                raise failures.on_pull(error, self._reference) from None
            try:
                data = (await self.manifest(digest.replace(":", "-"))).data
            except NotFound:
                return []
        document = manifests.decode(data, manifests.OCI_INDEX, name)
        return document.manifests if isinstance(document, manifests.Index) else []

    async def tags(self) -> list[str]:
        """All tags, page by page."""
        found: list[str] = []
        path = "tags/list?n=1000"
        for _ in range(1000):
            try:
                async with self._get(path) as response:
                    page = msgspec.json.decode(await wire.read(response, 8 << 20, "tags list"), type=_Tags)
                    link = response.headers.get("Link", "")
            except RegistryError as error:
                raise failures.on_pull(error, self._reference) from None
            except msgspec.DecodeError as error:
                raise SampanError(f"the registry's list of tags is not valid: {error}") from None
            found += page.tags or []
            target = link.partition("<")[2].partition(">")[0]
            if 'rel="next"' not in link or "?" not in target:
                break
            path = "tags/list?" + target.partition("?")[2]
        return found

    # -- how it is asked ---------------------------------------------------------------------------
    @asynccontextmanager
    async def _get(
        self, path: str, *, headers: Mapping[str, str] | None = None, method: str = "GET", retry: bool = True
    ) -> AsyncIterator[ClientResponse]:
        """A successful response from the first endpoint that gives one. Raises `RegistryError` for a refusal."""
        try:
            async with self.request(Ask(method, path, headers or {}, retry)) as response:
                yield response
        except Unauthorized as error:  # as 401 it would make the docker CLI ask for a password; dockerd answers 500
            raise SampanError(error.message) from None

    @asynccontextmanager
    async def request(self, ask: Ask) -> AsyncIterator[ClientResponse]:
        """As `_get`, of any kind."""
        response = await self._ask(ask)
        try:
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _ask(self, ask: Ask) -> ClientResponse:
        failure: SampanError | None = None
        for endpoint in tuple(self._endpoints):
            try:
                response = await self._ask_endpoint(endpoint, ask)
            except RegistryError as error:
                # A mirror's refusal says nothing about the registry behind it.
                if not endpoint.mirror:
                    raise
                failure = error
                continue
            except SampanError as error:
                # https first, http second: of an insecure registry that is down, the http failure is the one to tell.
                failure = error
                self._remote.working.pop(self._reference.domain, None)
                continue
            if not endpoint.mirror:
                self._remote.working[self._reference.domain] = endpoint
                self._endpoints = [endpoint]
            return response
        raise failure or SampanError(f"no endpoint for {self._reference.domain}")

    async def _ask_endpoint(self, endpoint: Endpoint, ask: Ask) -> ClientResponse:
        url = f"{endpoint.base}/v2/{self._reference.path}/{ask.path}"
        if ask.path.startswith(("/", "https://", "http://")):
            url = urljoin(f"{endpoint.base}/", ask.path)
        tries = 0
        while True:
            tries += 1
            last = tries >= _TRIES or not ask.retry
            try:
                response = await self._authorized(endpoint, ask, url)
            except wire.lost() as error:
                refused = failures.on_connection(error, url if ask.path.startswith("/") else f"{endpoint.base}/v2/")
                if last or not wire.worth_retrying(error):
                    raise refused from None
                await wire.pause(tries)
                continue
            if response.status < 400:
                return response
            refusal = failures.from_response(
                response.status, await wire.error_body(response), response.headers.getall("WWW-Authenticate", [])
            )
            if last or not await self._wait(response, tries):
                raise refusal

    @staticmethod
    async def _wait(response: ClientResponse, tries: int) -> bool:
        """Pauses where trying again makes sense; False where it does not."""
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            after = response.headers.get("Retry-After", "")
            if tries > 2 or (after.isdigit() and int(after) > wire.PAUSE_LIMIT):
                return False
            await (asyncio.sleep(int(after)) if after.isdigit() else wire.pause(tries))
            return True
        if response.status in (500, 502, 503, 504):
            await wire.pause(tries)
            return tries < 4
        return False

    async def _authorized(self, endpoint: Endpoint, ask: Ask, url: str) -> ClientResponse:
        """One request; on 401 once more with what the challenge asks for."""
        if self._auth is not None and self._auth.registry_token:
            self._authorization.setdefault(endpoint.base, f"Bearer {self._auth.registry_token}")
        used = self._authorization.get(endpoint.base, "")
        response = await self._follow(endpoint, ask, url, used)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        offered = challenges(response.headers.getall("WWW-Authenticate", []))
        scope = f"repository:{self._reference.path}:{self._actions}" if ask.scope is None else ask.scope
        asked = Asked(endpoint, scope, ask.method, url)
        fresh = await self._remote.tokens.answer(offered, asked, self._auth, used)
        if not fresh or fresh == used:
            return response
        response.close()
        self._authorization[endpoint.base] = fresh
        return await self._follow(endpoint, ask, url, fresh)

    async def _follow(self, endpoint: Endpoint, ask: Ask, url: str, authorization: str) -> ClientResponse:
        """Follows redirects by hand: aiohttp would repeat the Authorization on the same host's other port."""
        session = self._remote.session()
        origin = wire.origin(endpoint.base)
        for _ in range(_REDIRECTS):
            if not url.startswith(("https://", "http://")) or (origin.startswith("https:") and url.startswith("http:")):
                raise SampanError(f"{endpoint.host} redirects to {url.partition('?')[0]}, which is refused")
            sent = dict(ask.headers)
            context: Any = self._remote.hosts.public if url.startswith("https:") else True
            if wire.origin(url) == origin:
                if authorization:
                    sent["Authorization"] = authorization
                if origin.startswith("https:"):
                    context = self._remote.hosts.context(endpoint)
            data = ask.body() if ask.body is not None else None
            response = await session.request(
                ask.method, url, headers=sent, data=data, allow_redirects=False, ssl=context
            )
            target = response.headers.get("Location", "")
            if response.status not in (301, 302, 303, 307, 308) or not target:
                return response
            response.release()
            url = urljoin(url, target)
        raise SampanError(f"{endpoint.host}: stopped after {_REDIRECTS} redirects")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `path` is below the repository, or absolute, or a whole URL (an upload's Location). `body` makes
    the body, anew for every attempt."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    retry: bool = True
    body: Callable[[], Any] | None = None
    scope: str | None = None
    """What a token is asked for where the challenge does not say; None: this repository."""


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


_ACCEPT = {"Accept": ", ".join(manifests.ACCEPT)}
