"""What the engine asks registries besides pull and push: are these credentials good, what is behind a name, which
images are there.

Sources: Engine API `/auth`, `/distribution/{name}/json`, `/images/search`; Docker Registry v1 search; distribution-spec
1.1 (`/v2/_catalog` is distribution's own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from sampan import golang
from sampan.errors import Forbidden, InvalidParameter, NotFound, SampanError, Unauthorized
from sampan.images import manifests
from sampan.images.digests import digest as digest_of
from sampan.images.manifests import Descriptor, Index
from sampan.images.model import Platform
from sampan.images.references import DEFAULT_DOMAIN, Reference
from sampan.images.remote import wire
from sampan.images.remote.auth import RegistryAuth
from sampan.images.remote.client import Ask, Remote, Repository
from sampan.images.remote.failures import RegistryError

_HUB_INDEX = "index.docker.io"
_PAGES = 100
_LIMIT = 8 << 20


class SearchResult(msgspec.Struct):
    """One image that a search found, in the API's spelling."""

    name: str
    description: str | None = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _Results(msgspec.Struct):
    results: list[SearchResult] | None = None


class _Catalog(msgspec.Struct):
    repositories: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a name stands for at its registry."""

    descriptor: Descriptor
    platforms: list[Platform]


def _refused(error: RegistryError) -> SampanError:
    kinds: dict[int, type[SampanError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    return kinds.get(error.http_status, SampanError)(error.message)


def domain_of(address: str) -> str:
    """The registry that a `serveraddress` of a login means."""
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DEFAULT_DOMAIN if host in ("", _HUB_INDEX, "registry-1.docker.io") else host


async def login(remote: Remote, auth: RegistryAuth) -> str:
    """Tries credentials; returns the identity token that a token server gives for them, to be kept instead of the
    password, "" from most. Raises `Unauthorized` for wrong ones.
    """
    auth = replace(auth, offline=True)
    domain = domain_of(auth.server_address)
    repository = remote.repository(Reference(domain, ""), auth, pull=False)
    try:
        async with repository.request(Ask("GET", "/v2/", retry=False, scope="")):
            return remote.tokens.identity(auth)
    except RegistryError as error:
        base = remote.hosts.endpoints(domain, pull=False)[-1].base
        status = error.http_status
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        error.message = f"login attempt to {base}/v2/ failed with status: {status} {phrase}".rstrip()
        raise _refused(error) from None


async def inspect(remote: Remote, reference: Reference, auth: RegistryAuth | None) -> Distribution:
    """A manifest's or index's descriptor and platforms, without pulling it."""
    repository = remote.repository(reference, auth)
    version = reference.digest or reference.tag
    accept = {"Accept": ", ".join(manifests.ACCEPT)}
    try:
        async with repository.request(Ask("GET", f"manifests/{version}", accept)) as response:
            data = await wire.read(response, manifests.LIMIT, f"manifest for {reference.familiar}")
            media_type = response.headers.get("Content-Type", "")
    except RegistryError as error:
        raise _refused(error) from None
    document = manifests.decode(data, media_type)
    kind = media_type.partition(";")[0].strip() or document.media_type
    descriptor = Descriptor(media_type=kind, digest=digest_of(data), size=len(data))
    if isinstance(document, Index):
        return Distribution(descriptor, [entry.platform for entry in document.manifests if entry.platform is not None])
    if document.config.media_type not in (manifests.OCI_CONFIG, manifests.DOCKER_CONFIG):
        return Distribution(descriptor, [])
    config = manifests.decode_config(await repository.small_blob(document.config, manifests.CONFIG_LIMIT))
    platform = Platform(config.architecture, config.os, config.variant, config.os_version)
    return Distribution(descriptor, [platform])


# -- search ------------------------------------------------------------------------------------------
async def search(
    remote: Remote, term: str, limit: int, filters: Mapping[str, Sequence[str]], auth: RegistryAuth | None
) -> list[SearchResult]:
    """Docker Hub for plain terms; `HOST/term` asks that registry, by `/v1/search` or, where that is missing, by going
    through `/v2/_catalog`. Names of a named registry come back with its host, ready to be pulled."""
    if "://" in term:
        raise InvalidParameter(f"invalid repository name: repository name ({term}) should not have a scheme")
    if limit and not 1 <= limit <= 100:
        raise InvalidParameter(f"limit {limit} is outside the range of [1, 100]")
    wanted = _Wanted(filters)
    head, slash, rest = term.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost") and head not in (DEFAULT_DOMAIN, _HUB_INDEX):
        found = await _named(remote, head, rest, limit or 25, auth)
    else:
        plain = rest if head in (DEFAULT_DOMAIN, _HUB_INDEX) else term
        repository = remote.repository(Reference(_HUB_INDEX, ""), auth)
        try:
            found = await _v1(repository, plain.removeprefix("library/"), limit or 25)
        except RegistryError as error:
            raise _refused(error) from None
    return [result for result in found if wanted.fits(result)]


class _Wanted:
    """`--filter`. Raises `InvalidParameter` in dockerd's words."""

    def __init__(self, filters: Mapping[str, Sequence[str]]) -> None:
        self._official = self._flag(filters, "is-official")
        self._automated = self._flag(filters, "is-automated")
        self._stars = 0
        for value in filters.get("stars", ()):
            if not value.isascii() or not value.removeprefix("-").isdigit():
                raise InvalidParameter(
                    f"invalid filter 'stars={value}': strconv.Atoi: parsing {golang.quote(value)}: invalid syntax"
                )
            self._stars = max(self._stars, int(value))

    @staticmethod
    def _flag(filters: Mapping[str, Sequence[str]], name: str) -> bool | None:
        values = filters.get(name, ())
        if not values:
            return None
        if len(values) > 1 or values[0].lower() not in ("true", "1", "false", "0"):
            raise InvalidParameter(f"invalid filter '{name}=[{' '.join(values)}]'")
        return values[0].lower() in ("true", "1")

    def fits(self, result: SearchResult) -> bool:
        return (
            self._official in (None, result.is_official)
            and self._automated in (None, result.is_automated)
            and result.star_count >= self._stars
        )


async def _v1(repository: Repository, term: str, limit: int) -> list[SearchResult]:
    ask = Ask("GET", f"/v1/search?q={quote(term, safe='')}&n={limit}", retry=False, scope="")
    async with repository.request(ask) as response:
        data = await wire.read(response, _LIMIT, "search results")
    try:
        return msgspec.json.decode(data, type=_Results).results or []
    except msgspec.DecodeError as error:
        raise SampanError(f"the registry's answer to the search is not valid: {error}") from None


async def _named(remote: Remote, host: str, term: str, limit: int, auth: RegistryAuth | None) -> list[SearchResult]:
    repository = remote.repository(Reference(host, ""), auth)
    try:
        found = await _v1(repository, term, limit)
    except RegistryError as error:
        if error.http_status not in (400, 404, 405, 501):
            raise _refused(error) from None
        found = await _catalog(repository, host, term, limit)
    except SampanError as error:
        if "is not valid" not in error.message:
            raise
        found = await _catalog(repository, host, term, limit)  # a page of HTML: no search there
    for result in found:
        result.name = f"{host}/{result.name.removeprefix(f'{host}/')}"
    return found[:limit]


async def _catalog(repository: Repository, host: str, term: str, limit: int) -> list[SearchResult]:
    """Names that have the term in them, page by page until there are enough."""
    found: list[SearchResult] = []
    path = "/v2/_catalog?n=1000"
    for _ in range(_PAGES):
        try:
            async with repository.request(Ask("GET", path, scope="registry:catalog:*")) as response:
                page = msgspec.json.decode(await wire.read(response, _LIMIT, "catalog"), type=_Catalog)
                link = response.headers.get("Link", "")
        except RegistryError as error:
            if error.http_status in (404, 405):
                raise NotFound(f"{host} offers neither /v1/search nor /v2/_catalog: it cannot be searched") from None
            raise _refused(error) from None
        except msgspec.DecodeError as error:
            raise SampanError(f"the registry's catalog is not valid: {error}") from None
        found += [SearchResult(name) for name in page.repositories or [] if term.lower() in name]
        target = link.partition("<")[2].partition(">")[0]
        if len(found) >= limit or 'rel="next"' not in link or "?" not in target:
            break
        path = "/v2/_catalog?" + target.partition("?")[2]
    return found
