"""`import URL`: an archive from anywhere on the web, told as dockerd tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sampan.errors import InvalidParameter, SampanError
from sampan.images.progress import Progress, bar, message
from sampan.images.remote import failures, wire
from sampan.images.remote.client import Remote

_STEP = 1 << 20
"""Bytes between two reports."""


async def archive(remote: Remote, url: str, progress: Progress) -> AsyncIterator[bytes]:
    """Its bytes. http:// is put before an address without a scheme, as dockerd does."""
    url = url if "://" in url else f"http://{url}"
    if not url.startswith(("http://", "https://")):
        raise InvalidParameter(f"invalid URL {url!r}: use http:// or https://")
    try:
        async with remote.session().get(url, ssl=remote.hosts.public) as response:
            if response.status >= 400:
                text = (await wire.error_body(response)).decode("utf-8", "replace").strip()
                phrase = response.reason or ""
                raise SampanError(f"failed to GET {url} with status {response.status} {phrase}: {text}")
            progress(message(f"Downloading from {url}"))
            total, current, told = response.content_length or 0, 0, 0
            async for chunk in response.content.iter_any():
                yield chunk
                current += len(chunk)
                if current - told >= _STEP or current == total:
                    told = current
                    detail = {"current": current, "total": total} if total else {"current": current}
                    progress({"status": "Importing", "progressDetail": detail, "progress": bar(current, total)})
            if total and current < total:
                raise SampanError(f"unexpected EOF: {url} broke off after {current} of {total} bytes")
    except wire.lost() as error:
        raise failures.on_connection(error, url) from None
