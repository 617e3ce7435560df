"""Writing to a repository: blobs in one piece, resumed in chunks when the connection broke, mounted from another
repository where that is possible; manifests.

Source: distribution-spec 1.1, "Pushing blobs", "Mounting a blob from another repository", "Pushing Manifests".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from sampan.errors import SampanError
from sampan.images.manifests import Descriptor
from sampan.images.remote import wire
from sampan.images.remote.client import Ask, Repository
from sampan.images.remote.failures import RegistryError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_TRIES = 5
_CHUNK = 16 << 20
"""Bytes of a chunk for registries (or proxies before them) that refuse a whole layer at once."""

Read = Callable[[int, int], AsyncIterator[bytes]]
"""(start, stop) -> those bytes of the blob."""


class Uploads:
    """The writing side of a `Repository` that was opened with `pull=False`."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._mounts_anything: bool | None = None

    async def mount(self, digest: str, source: str) -> str:
        """Asks to link a blob of another repository of this registry. "" when it is there now, else the Location of
        the upload that the registry began instead."""
        path = f"blobs/uploads/?mount={digest}" + (f"&from={source}" if source else "")
        async with self._repository.request(Ask("POST", path, {"Content-Length": "0"})) as response:
            if response.status == HTTPStatus.CREATED:
                return ""
            return _location(response.headers.get("Location", ""))

    async def mounts_anything(self) -> bool:
        """Does the registry link what it has anywhere, without being told where? Ours says so."""
        if self._mounts_anything is None:
            self._mounts_anything = False
            with suppress(RegistryError):
                async with self._repository.request(Ask("GET", "/v2/")) as response:
                    self._mounts_anything = "any" in response.headers.get("Sampan-Mounts", "")
        return self._mounts_anything

    async def linked(self, digest: str) -> bool:
        """Links a blob that such a registry has anywhere; False leaves nothing behind."""
        location = await self.mount(digest, "")
        if location:
            with suppress(RegistryError):
                async with self._repository.request(Ask("DELETE", location)):
                    pass
        return not location

    async def begin(self) -> str:
        """The Location of a new upload."""
        async with self._repository.request(Ask("POST", "blobs/uploads/", {"Content-Length": "0"})) as response:
            return _location(response.headers.get("Location", ""))

    async def blob(self, descriptor: Descriptor, read: Read, location: str = "") -> None:
        """Sends a blob. A broken connection is continued where the registry says it has come to."""
        tries, limit, offset = 0, descriptor.size, 0
        location = location or await self.begin()
        while True:
            before = offset
            try:
                while descriptor.size - offset > limit:
                    location = await self._chunk(location, read, offset, offset + limit)
                    offset += limit
                await self._finish(location, descriptor, read, offset)
                return
            except RegistryError as error:
                if error.http_status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or limit <= _CHUNK:
                    raise
                limit = _CHUNK
                location, offset = await self.begin(), 0
                continue
            except _Lost as error:
                tries = 1 if offset > before else tries + 1
                if tries >= _TRIES:
                    raise SampanError(f"upload of blob {descriptor.digest} broke off: {error}") from None
            await wire.pause(tries)
            location, offset = await self._resumed(location)

    async def _chunk(self, location: str, read: Read, start: int, stop: int) -> str:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(stop - start),
            "Content-Range": f"{start}-{stop - 1}",
        }
        ask = Ask("PATCH", location, headers, retry=False, body=lambda: read(start, stop))
        async with self._sent(ask) as response:
            return _location(response.headers.get("Location", "")) if "Location" in response.headers else location

    async def _finish(self, location: str, descriptor: Descriptor, read: Read, offset: int) -> None:
        if offset:  # a PUT that carries the rest is not understood everywhere after a broken PUT
            location = await self._chunk(location, read, offset, descriptor.size)
            offset = descriptor.size
        start, stop = offset, descriptor.size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(stop - start)}
        target = location + ("&" if "?" in location else "?") + f"digest={descriptor.digest}"
        body = (lambda: read(start, stop)) if stop > start else None
        async with self._sent(Ask("PUT", target, headers, retry=False, body=body)):
            pass

    def _sent(self, ask: Ask) -> _Sending:
        return _Sending(self._repository, ask)

    async def _resumed(self, location: str) -> tuple[str, int]:
        """Where the registry has come to; from the start again when it forgot the upload."""
        try:
            async with self._repository.request(Ask("GET", location)) as response:
                last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")[2]
                moved = response.headers.get("Location", "")
                # "0-0" is both nothing and one byte: distribution says it for nothing
                return _location(moved) if moved else location, int(last) + 1 if last.isdigit() and last != "0" else 0
        except RegistryError:
            return await self.begin(), 0

    async def manifest(self, reference: str, data: bytes, media_type: str) -> str:
        """Puts a manifest or index under a tag or digest. The digest as the registry tells it, or ""."""
        async with self._repository.request(_put(reference, data, media_type)) as response:
            return str(response.headers.get("Docker-Content-Digest", ""))

    async def referrer(self, digest: str, data: bytes, media_type: str) -> bool:
        """Puts a manifest that has a subject; does the registry say that it lists it there?"""
        async with self._repository.request(_put(digest, data, media_type)) as response:
            return "OCI-Subject" in response.headers


class _Lost(Exception):
    """The connection broke while a body was sent."""


class _Sending:
    """A request with a body; a connection lost on the way is `_Lost` and not the user's message yet."""

    def __init__(self, repository: Repository, ask: Ask) -> None:
        self._context = repository.request(ask)

    async def __aenter__(self) -> ClientResponse:
        try:
            return await self._context.__aenter__()
        except RegistryError as error:
            if error.http_status >= 500 or error.http_status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _Lost(error.message) from None
            raise
        except SampanError as error:
            raise _Lost(error.message) from None

    async def __aexit__(self, *error: object) -> None:
        await self._context.__aexit__(None, None, None)


def _put(reference: str, data: bytes, media_type: str) -> Ask:
    headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
    return Ask("PUT", f"manifests/{reference}", headers, body=lambda: data)


def _location(given: str) -> str:
    if not given:
        raise SampanError("the registry began an upload without saying where")
    return given
