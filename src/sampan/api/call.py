"""One request being answered: its parameters, its body, and the replies a handler gives."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, unquote_plus

import msgspec
from aiohttp import web

from sampan.api import decoding
from sampan.api.versions import Version
from sampan.errors import InvalidParameter
from sampan.golang import quote

if TYPE_CHECKING:
    from sampan.engine import Engine

T = TypeVar("T")

MAXIMUM_BODY = 16 << 20
"""Bytes of a JSON body; the largest real ones (a create with a seccomp profile) are some ten kilobytes."""

JSON = "application/json"
ANSWERING = "sampan.answering"
"""On a request: the head of its answer is on the wire."""
_FALSE = frozenset({"", "0", "no", "false", "none"})
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}")
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?\s*$")


class Call:
    """See the module. `name` is the path's variable part, decoded."""

    __slots__ = ("engine", "name", "query", "request", "version")

    def __init__(self, engine: Engine, request: web.BaseRequest, version: Version, name: str, query: str) -> None:
        self.engine = engine
        self.request = request
        self.version = version
        self.name = name
        self.query = parse_query(query) if query else {}

    # -- parameters --------------------------------------------------------------------------------
    def has(self, key: str) -> bool:
        return key in self.query

    def text(self, key: str, default: str = "") -> str:
        values = self.query.get(key)
        return values[0] if values else default

    def texts(self, key: str) -> list[str]:
        return self.query.get(key, [])

    def flag(self, key: str, default: bool = False) -> bool:
        """Docker's idea of a boolean: anything but "", 0, no, false, none."""
        values = self.query.get(key)
        return default if values is None else values[0].strip().lower() not in _FALSE

    def number(self, key: str) -> int | None:
        """None when absent or empty."""
        value = self.text(key)
        if not value:
            return None
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise InvalidParameter(f"strconv.Atoi: parsing {quote(value)}: invalid syntax")
        if not -(1 << 63) <= (number := int(value)) < 1 << 63:
            raise InvalidParameter(f"strconv.Atoi: parsing {quote(value)}: value out of range")
        return number

    # -- body --------------------------------------------------------------------------------------
    def require_json(self) -> None:
        """Raises unless the body is declared as JSON; no Content-Type is fine when there is no body."""
        content_type = self.request.headers.get("Content-Type")
        if content_type is None:
            if not self.request.can_read_body and not self.request.headers.get("Transfer-Encoding"):
                return
            content_type = ""
        media = content_type.partition(";")[0].strip()
        if not media:
            raise InvalidParameter(f"malformed Content-Type header ({content_type}): mime: no media type")
        if not _MEDIA_TYPE.match(media):
            raise InvalidParameter(
                f"malformed Content-Type header ({content_type}): mime: expected slash after first token"
            )
        if media.lower() != JSON:
            raise InvalidParameter(f"unsupported Content-Type header ({content_type}): must be '{JSON}'")

    async def body(self) -> bytes:
        """The whole body, at most `MAXIMUM_BODY` bytes."""
        request = self.request
        if (request.content_length or 0) > MAXIMUM_BODY:
            raise InvalidParameter("http: request body too large")
        parts: list[bytes] = []
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
            if size > MAXIMUM_BODY:
                raise InvalidParameter("http: request body too large")
            parts.append(part)
        return b"".join(parts)

    async def json(self) -> Any:
        """The body as JSON; {} when there is none (Docker's `ReadJSON`)."""
        self.require_json()
        if self.request.content_length == 0 or not self.request.can_read_body:
            return {}
        return decoding.parse(await self.body())

    async def decode(self, type_: type[T], root: str) -> T:
        """The body as `type_`; `root` is what Go calls the struct."""
        return decoding.convert(await self.json(), type_, root)

    def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes, for archives of any size."""
        return self.request.content.iter_any()

    # -- replies -----------------------------------------------------------------------------------
    async def streaming(
        self, content_type: str, headers: Mapping[str, str] | None = None, status: int = 200
    ) -> web.StreamResponse:
        """A chunked reply whose headers are on the wire when this returns."""
        response = web.StreamResponse(status=status, headers=dict(headers or {}))
        response.headers["Content-Type"] = content_type
        response.enable_chunked_encoding()
        await response.prepare(self.request)
        self.request[ANSWERING] = True
        return response


def unexpected(error: Exception) -> str:
    """What the client reads of an error that is none of ours."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return place + (error.strerror or str(error)).lower()


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON body, with the newline Go's encoder ends with."""
    return web.Response(
        body=msgspec.json.encode(value) + b"\n", status=status, headers={**(headers or {}), "Content-Type": JSON}
    )


def empty(status: int = 204) -> web.Response:
    return web.Response(status=status)


def parse_query(query: str) -> dict[str, list[str]]:
    """A raw query string. Raises `InvalidParameter` as net/url words it."""
    if bad := _BAD_ESCAPE.search(query):
        raise InvalidParameter(f"invalid URL escape {quote(bad[0])}")
    values: dict[str, list[str]] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        if ";" in pair:
            raise InvalidParameter("invalid semicolon separator in query")
        key, _, value = pair.partition("=")
        values.setdefault(unquote_plus(key), []).append(unquote_plus(value))
    return values


def parse_path(path: str) -> str:
    if bad := _BAD_ESCAPE.search(path):
        raise InvalidParameter(f"invalid URL escape {quote(bad[0])}")
    return unquote(path)
