"""Files of a container: archive GET, PUT and HEAD, changes, export."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from aiohttp import web

from sampan.api.call import Call, empty, reply
from sampan.errors import InvalidParameter

TAR = "application/x-tar"


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    return path


def _stat_header(stat: Any) -> dict[str, str]:
    return {"X-Docker-Container-Path-Stat": base64.b64encode(msgspec.json.encode(stat)).decode()}


async def archive_head(call: Call) -> web.StreamResponse:
    from sampan.containers import archive

    path = _path(call)
    stat = await archive.stat_path(call.engine.containers, call.name, path)
    return web.Response(headers=_stat_header(stat.header()))


async def archive_get(call: Call) -> web.StreamResponse:
    from sampan.containers import archive

    path = _path(call)
    stat, body = await archive.get_archive(call.engine.containers, call.name, path)
    return await send(call, TAR, body, _stat_header(stat.header()))


async def archive_put(call: Call) -> web.StreamResponse:
    from sampan.containers import archive

    path = _path(call)
    await archive.put_archive(
        call.engine.containers,
        call.name,
        path,
        call.stream(),
        no_overwrite_dir_non_dir=call.flag("noOverwriteDirNonDir"),
        copy_uid_gid=call.flag("copyUIDGID"),
    )
    return empty(200)


async def changes_(call: Call) -> web.StreamResponse:
    from sampan.containers import changes

    rows = await changes.changes(call.engine.containers, call.name)
    return reply([{"Path": row.path, "Kind": row.kind} for row in rows] or None)


async def export_(call: Call) -> web.StreamResponse:
    from sampan.containers import export

    body = await export.export(call.engine.containers, call.name)
    return await send(call, "application/octet-stream", body)


async def send(call: Call, content_type: str, body: Any, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """Streams an asynchronous iterator of bytes. The first piece is fetched before the headers go, so that an error
    in making it is still an error reply; one that comes later cuts the reply short, which a client sees in the
    missing last chunk."""
    iterator = aiter(body)
    first = await anext(iterator, b"")
    response = await call.streaming(content_type, headers)
    piece: bytes | None = first
    while piece:
        await response.write(piece)
        piece = await anext(iterator, None)
    await response.write_eof()
    return response
