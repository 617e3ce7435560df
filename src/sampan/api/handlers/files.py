"""Files of a container: archive GET, PUT and HEAD, changes, export."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from sampan.api.call import Call, empty, reply
from sampan.api.timestamps import rfc3339
from sampan.containers.copying.archive import PathStat
from sampan.errors import InvalidParameter, SampanError

TAR = "application/x-tar"


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    return path


def _stat_header(stat: PathStat) -> dict[str, str]:
    view = {
        "name": stat.name,
        "size": stat.size,
        "mode": stat.mode,
        "mtime": rfc3339(stat.mtime),
        "linkTarget": stat.link_target,
    }
    return {"X-Docker-Container-Path-Stat": base64.b64encode(msgspec.json.encode(view)).decode()}


async def archive_head(call: Call) -> web.StreamResponse:
    stat = await call.engine.containers.stat_path(call.name, _path(call))
    return web.Response(headers=_stat_header(stat))


async def archive_get(call: Call) -> web.StreamResponse:
    stat, body = await call.engine.containers.get_archive(call.name, _path(call))
    return await send(call, TAR, body, _stat_header(stat))


async def archive_put(call: Call) -> web.StreamResponse:
    body = call.stream()
    try:
        await call.engine.containers.put_archive(
            call.name,
            _path(call),
            body,
            keep_kind=call.flag("noOverwriteDirNonDir"),
            copy_owner=call.flag("copyUIDGID"),
        )
    except SampanError:
        await _read_on(body)
        raise
    return empty(200)


async def _read_on(body: AsyncIterator[bytes]) -> None:
    """The docker CLI logs a broken pipe when the answer comes before it has sent all; dockerd (Go's http server) reads
    256 KiB more first."""
    left = 256 << 10
    with contextlib.suppress(OSError):  # the client is gone
        while left > 0 and (piece := await anext(body, b"")):
            left -= len(piece)


async def changes(call: Call) -> web.StreamResponse:
    rows = await call.engine.containers.changes(call.name)
    return reply([{"Path": row.path, "Kind": row.kind} for row in rows] or None)


async def export(call: Call) -> web.StreamResponse:
    return await send(call, "application/octet-stream", await call.engine.containers.export(call.name))


async def send(
    call: Call, content_type: str, body: AsyncIterator[bytes], headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """Streams an asynchronous iterator of bytes. The first piece is fetched before the headers go, so that an error
    in making it is still an error reply; one that comes later cuts the reply short, which a client sees in the
    missing last chunk."""
    try:
        piece: bytes | None = await anext(body, None)
        response = await call.streaming(content_type, headers)
        while piece is not None:
            await response.write(piece)
            piece = await anext(body, None)
        await response.write_eof()
        return response
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
