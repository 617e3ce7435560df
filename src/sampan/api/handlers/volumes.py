"""Volumes: list, look, create, delete, prune."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from sampan.api.call import Call, empty, reply
from sampan.api.filters import Filters
from sampan.api.handlers import files
from sampan.api.views import volume as views
from sampan.errors import Unavailable


class CreateRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """`POST /volumes/create`."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = None


async def list_(call: Call) -> web.StreamResponse:
    volumes = call.engine.volumes
    filters = Filters.parse(call.text("filters"))
    rows = [views.inspect(one, volumes.mountpoint(one.name)) for one in volumes.list(filters.as_lists())]
    return reply({"Volumes": rows, "Warnings": None})


async def inspect(call: Call) -> web.StreamResponse:
    volume = call.engine.volumes.get(call.name)
    return reply(views.inspect(volume, call.engine.volumes.mountpoint(volume.name)))


async def create(call: Call) -> web.StreamResponse:
    request = await call.decode(CreateRequest, "CreateOptions")
    volumes = call.engine.volumes
    volume = volumes.create(request.name, request.driver or "local", request.driver_opts, request.labels)
    return reply(views.inspect(volume, volumes.mountpoint(volume.name)), status=201)


async def update(call: Call) -> web.StreamResponse:
    raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")


async def delete(call: Call) -> web.StreamResponse:
    await asyncio.to_thread(call.engine.volumes.remove, call.name, call.flag("force"))
    return empty()


async def export_(call: Call) -> web.StreamResponse:
    """Sampan's own, as podman has it: a tar of the volume."""
    return await files.send(call, files.TAR, await call.engine.containers.export_volume(call.name))


async def import_(call: Call) -> web.StreamResponse:
    """Sampan's own, as podman has it: unpacks a tar into the volume."""
    await call.engine.containers.import_volume(call.name, call.stream())
    return empty()


async def prune(call: Call) -> web.StreamResponse:
    filters = Filters.parse(call.text("filters"))
    if call.version < (1, 42):
        filters.add("all", "true")
    names, space = await asyncio.to_thread(call.engine.volumes.prune, filters.as_lists())
    return reply({"VolumesDeleted": list(names), "SpaceReclaimed": space})  # the one prune that is never null
