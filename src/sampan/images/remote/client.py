"""Talking to registries: one `Remote` for the daemon, one `Repository` for each operation.

Rules kept here: credentials go to the host they were given for and to the token server it names, never along a
redirect to another
host (CVE-2020-15157 is what happens otherwise); a broken download continues where it broke (Range); 5xx, 429 and lost
connections are tried again with growing pauses; every answer that is read whole has a size limit.

Source: OCI distribution-spec 1.1; distribution "Token Authentication", "OAuth2 token".
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin

import msgspec

from sampan.errors import NotFound, SampanError, Unauthorized
from sampan.images import manifests
from sampan.images.content import DigestMismatch
from sampan.images.digests import digest as digest_of
from sampan.images.manifests import Descriptor
from sampan.images.references import Reference
from sampan.images.remote import failures
from sampan.images.remote.auth import RegistryAuth, challenges
from sampan.images.remote.failures import RegistryError
from sampan.images.remote.hosts import Endpoint, Hosts

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_TRIES = 6
_PAUSE = 0.5
_PAUSE_LIMIT = 30.0
_REDIRECTS = 10
_ERROR_LIMIT = 64 << 10
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteManifest:
    """A manifest or index as the registry sent it: its own bytes are what its digest is of."""

    data: bytes
    digest: str
    media_type: str


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: int = 60


class Remote:
    """The daemon's registry client. `session` is opened on the first request."""

    def __init__(self, hosts: Hosts, user_agent: str) -> None:
        self.hosts = hosts
        self._user_agent = user_agent
        self._session: ClientSession | None = None
        self.tokens: dict[tuple[str, str, str, str], tuple[str, float]] = {}
        """(realm, service, scope, user) → (token, monotonic time it ends)."""
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
        endpoints = self.hosts.endpoints(reference.domain, pull=pull)
        if (known := self.working.get(reference.domain)) in endpoints and not endpoints[0].mirror:
            endpoints = [known]
        return Repository(self, reference, auth, endpoints)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class Repository:
    """One repository on whichever of its endpoints answers."""

    def __init__(
        self, remote: Remote, reference: Reference, auth: RegistryAuth | None, endpoints: Sequence[Endpoint]
    ) -> None:
        self._remote = remote
        self._reference = reference
        self._auth = auth
        self._endpoints = list(endpoints)
        self._authorization: dict[str, str] = {}
        self._actions = "pull"

    # -- what is asked -----------------------------------------------------------------------------
    async def manifest(self, version: str) -> RemoteManifest:
        """By tag or digest. Raises `NotFound` and others as `docker pull` words them."""
        try:
            async with self._get(f"manifests/{version}", headers=_ACCEPT) as response:
                data = await _read(response, manifests.LIMIT, f"manifest for {self._reference.familiar}")
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

    async def small_blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """A config: read whole, verified."""
        if descriptor.size > limit:
            raise SampanError(f"blob {descriptor.digest} is too large: {descriptor.size} bytes, the limit is {limit}")
        try:
            async with self._get(f"blobs/{descriptor.digest}") as response:
                data = await _read(response, limit, f"blob {descriptor.digest}")
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
            except _lost() as error:
                tries = 1 if position > before else tries + 1
                if tries >= _TRIES:
                    raise SampanError(
                        f"download of blob {descriptor.digest} from {self._reference.domain} broke off after "
                        f"{position} of {descriptor.size} bytes: {str(error) or 'unexpected EOF'}"
                    ) from None
                await _pause(tries)

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
            async with self._remote.session().get(url, headers=dict(headers)) as response:
                if response.status < 300:
                    yield response
                    return
                failure = SampanError(f"foreign layer {descriptor.digest}: {url}: status {response.status}")
        raise failure

    async def tags(self) -> list[str]:
        """All tags, page by page."""
        found: list[str] = []
        path = "tags/list?n=1000"
        for _ in range(1000):
            try:
                async with self._get(path) as response:
                    page = msgspec.json.decode(await _read(response, 8 << 20, "tags list"), type=_Tags)
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
        response = await self._ask(method, path, headers or {}, retry)
        try:
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], retry: bool) -> ClientResponse:
        failure: SampanError | None = None
        for endpoint in tuple(self._endpoints):
            try:
                response = await self._ask_endpoint(endpoint, method, path, headers, retry)
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

    async def _ask_endpoint(
        self, endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str], retry: bool
    ) -> ClientResponse:
        url = f"{endpoint.base}/v2/{self._reference.path}/{path}"
        tries = 0
        while True:
            tries += 1
            last = tries >= _TRIES or not retry
            try:
                response = await self._authorized(endpoint, method, url, headers)
            except _lost() as error:
                refused = failures.on_connection(error, f"{endpoint.base}/v2/")
                if last or not _worth_retrying(error):
                    raise refused from None
                await _pause(tries)
                continue
            if response.status < 400:
                return response
            refusal = failures.from_response(
                response.status, await _error_body(response), response.headers.getall("WWW-Authenticate", [])
            )
            if last or not await self._wait(response, tries):
                raise refusal

    @staticmethod
    async def _wait(response: ClientResponse, tries: int) -> bool:
        """Pauses where trying again makes sense; False where it does not."""
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            after = response.headers.get("Retry-After", "")
            if tries > 2 or (after.isdigit() and int(after) > _PAUSE_LIMIT):
                return False
            await (asyncio.sleep(int(after)) if after.isdigit() else _pause(tries))
            return True
        if response.status in (500, 502, 503, 504):
            await _pause(tries)
            return tries < 4
        return False

    async def _authorized(
        self, endpoint: Endpoint, method: str, url: str, headers: Mapping[str, str]
    ) -> ClientResponse:
        """One request; on 401 once more with what the challenge asks for."""
        if self._auth is not None and self._auth.registry_token:
            self._authorization.setdefault(endpoint.base, f"Bearer {self._auth.registry_token}")
        used = self._authorization.get(endpoint.base, "")
        response = await self._follow(endpoint, method, url, headers, used)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        offered = challenges(response.headers.getall("WWW-Authenticate", []))
        fresh = await self._answer(endpoint, offered, method, url)
        if not fresh or fresh == used:
            return response
        response.close()
        self._authorization[endpoint.base] = fresh
        return await self._follow(endpoint, method, url, headers, fresh)

    async def _follow(
        self, endpoint: Endpoint, method: str, url: str, headers: Mapping[str, str], authorization: str
    ) -> ClientResponse:
        """Follows redirects by hand: aiohttp would repeat the Authorization on the same host's other port."""
        session = self._remote.session()
        origin = _origin(url)
        for _ in range(_REDIRECTS):
            sent = dict(headers)
            if authorization and _origin(url) == origin:
                sent["Authorization"] = authorization
            context: Any = self._remote.hosts.context(endpoint) if url.startswith("https:") else True
            if _origin(url) != origin:
                context = True
            response = await session.request(method, url, headers=sent, allow_redirects=False, ssl=context)
            target = response.headers.get("Location", "")
            if response.status not in (301, 302, 303, 307, 308) or not target:
                return response
            response.release()
            url = urljoin(url, target)
            if not url.startswith(("https://", "http://")) or (origin.startswith("https:") and url.startswith("http:")):
                raise SampanError(f"{endpoint.host} redirects to {url.partition('?')[0]}, which is refused")
        raise SampanError(f"{endpoint.host}: stopped after {_REDIRECTS} redirects")

    # -- tokens ------------------------------------------------------------------------------------
    async def _answer(
        self, endpoint: Endpoint, offered: list[tuple[str, dict[str, str]]], method: str, url: str
    ) -> str:
        """The Authorization that a challenge wants; "" when there is nothing to answer with."""
        for scheme, parameters in offered:
            if scheme == "bearer" and parameters.get("realm"):
                return f"Bearer {await self._token(endpoint, parameters)}"
        if any(scheme == "basic" for scheme, _ in offered):
            if self._auth is None or not self._auth.basic:
                raise Unauthorized(f'{method.capitalize()} "{url}": no basic auth credentials')
            return self._auth.basic
        return ""

    async def _token(self, endpoint: Endpoint, parameters: Mapping[str, str]) -> str:
        realm, service = parameters["realm"], parameters.get("service", "")
        if not realm.startswith("https://") and not (realm.startswith("http://") and endpoint.insecure):
            raise SampanError(f"{endpoint.host} asks to send credentials to {realm[:200]}, which is not https")
        scope = parameters.get("scope") or f"repository:{self._reference.path}:{self._actions}"
        user = self._auth.username or self._auth.identity_token if self._auth is not None else ""
        key = (realm, service, scope, user)
        known = self._remote.tokens.get(key)
        current = self._authorization.get(endpoint.base, "")
        if known is not None and known[1] > time.monotonic() and current != f"Bearer {known[0]}":
            return known[0]
        token = await self._fetch_token(endpoint, realm, service, scope)
        value = token.token or token.access_token
        if not value:
            raise Unauthorized(f"authorization server {realm} did not include a token in the response")
        # The minimum life that clients may assume is 60 s; renewed a little early.
        self._remote.tokens[key] = (value, time.monotonic() + max(token.expires_in, 60) * 0.9)
        return value

    async def _fetch_token(self, endpoint: Endpoint, realm: str, service: str, scope: str) -> _Token:
        session = self._remote.session()
        auth = self._auth
        context: Any = self._remote.hosts.context(endpoint) if realm.startswith("https:") else True
        if _origin(realm) != _origin(endpoint.base + "/") and not endpoint.insecure:
            context = True
        if auth is not None and auth.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": auth.identity_token,
                "service": service,
                "scope": scope,
                "client_id": "sampan",
            }
            request = session.post(realm, data=form, ssl=context, allow_redirects=False)
        else:
            query = {"service": service, "scope": scope}
            headers = {}
            if auth is not None and auth.basic:
                query["account"] = auth.username
                headers["Authorization"] = auth.basic
            separator = "&" if "?" in realm else "?"
            target = realm + separator + urlencode({key: value for key, value in query.items() if value})
            request = session.get(target, headers=headers, ssl=context, allow_redirects=False)
        try:
            async with request as response:
                body = await _read(response, 1 << 20, "token")
                if response.status >= 300:
                    error = failures.from_response(response.status, body, [])
                    if response.status in (401, 403):
                        raise Unauthorized(
                            f'Head "{endpoint.base}/v2/": unauthorized: incorrect username or password'
                            if auth is not None
                            else f"{realm}: {error.message}"
                        )
                    raise error
                return msgspec.json.decode(body, type=_Token)
        except msgspec.DecodeError:
            raise SampanError(f"authorization server {realm} did not answer with a token") from None
        except _lost() as error:
            raise failures.on_connection(error, realm) from None


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


_ACCEPT = {"Accept": ", ".join(manifests.ACCEPT)}


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].lower()}"


def _lost() -> tuple[type[BaseException], ...]:
    """What a broken or impossible connection raises."""
    import aiohttp

    return (aiohttp.ClientError, ConnectionError, TimeoutError)


def _worth_retrying(error: BaseException) -> bool:
    """Resets and timeouts pass; refused connections, unknown names and bad certificates do not."""
    import aiohttp

    return not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientSSLError | aiohttp.InvalidURL)


async def _pause(tries: int) -> None:
    """Exponential, with jitter so that many clients do not come back at once."""
    await asyncio.sleep(min(_PAUSE_LIMIT, _PAUSE * 2 ** (tries - 1)) * (0.75 + random.random() / 2))


async def _read(response: ClientResponse, limit: int, what: str) -> bytes:
    """A whole body of at most `limit` bytes."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise SampanError(f"{what} is too large: the limit is {limit} bytes")
    return bytes(data)


async def _error_body(response: ClientResponse) -> bytes:
    try:
        return await _read(response, _ERROR_LIMIT, "error")
    except SampanError:
        return b""
    except _lost():
        return b""
    finally:
        response.close()
