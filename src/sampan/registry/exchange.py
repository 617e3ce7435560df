"""One request being answered, and the answers that a registry gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from urllib.parse import parse_qs, quote

from aiohttp import web

from sampan.registry.failures import PAGINATION_NUMBER_INVALID, Refusal

JSON = "application/json"
PAGE_LIMIT = 1000
"""Entries of a page where the client asks for no or a larger number."""


class Exchange:
    """A request with its query decoded. `user` is who asked, "" for nobody."""

    __slots__ = ("_continued", "query", "request", "user")

    def __init__(self, request: web.BaseRequest, query: str) -> None:
        self.request = request
        self.query = parse_qs(query, keep_blank_values=True)
        self.user = ""
        self._continued = False

    def text(self, key: str) -> str:
        return self.query.get(key, [""])[0]

    def texts(self, key: str) -> list[str]:
        return self.query.get(key, [])

    @property
    def head(self) -> bool:
        return self.request.method == "HEAD"

    def page(self) -> int:
        """`n`. 0 is allowed: the spec wants an empty list then."""
        if "n" not in self.query:
            return PAGE_LIMIT
        text = self.text("n")
        if not text.isascii() or not text.isdigit():
            raise Refusal(PAGINATION_NUMBER_INVALID, "invalid number of results requested", {"n": text[:50]})
        return min(int(text.lstrip("0")[:5] or "0"), PAGE_LIMIT)  # of thousands of digits Python reads none

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Tells a client that waits for leave to go on (curl, Go)."""
        if not self._continued and self.request.headers.get("Expect", "").lower() == "100-continue":
            self._continued = True
            assert self.request.transport is not None
            self.request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for chunk in self.request.content.iter_any():
            yield chunk


def reply(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, content_type: str = ""
) -> web.Response:
    sent = dict(headers or {})
    if content_type:
        sent["Content-Type"] = content_type
    return web.Response(status=status, body=body, headers=sent)


def next_link(path: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """The `Link` of a page that is not the last (RFC 5988)."""
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in parameters.items())
    return {"Link": f'<{path}?{query}>; rel="next"'}
