"""The engine itself: ping, version, info, events, disk usage; and what needs a swarm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from sampan import system
from sampan.api.call import JSON, Call, reply
from sampan.api.filters import Filters
from sampan.api.handlers import builds
from sampan.api.handlers.containers import rows as container_rows
from sampan.api.timestamps import parse
from sampan.api.views import event as event_views
from sampan.api.views import image as image_views
from sampan.api.views import system as views
from sampan.api.views import volume as volume_views
from sampan.errors import InvalidParameter, NotSupported, Unavailable
from sampan.golang import quote
from sampan.images.usage import Usage
from sampan.store import Event

_PING = {
    "Builder-Version": "1",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Swarm": "inactive",
    "Content-Type": "text/plain; charset=utf-8",
}
OVERLAP = 256
"""Events at the history's end that a new subscription may bring again."""
NDJSON = "application/x-ndjson"
JSON_SEQUENCE = "application/json-seq"
EVENT_LAG = 0.02
"""Seconds from an event to its delivery: the answer to the request that caused it is with its client by then. An
attached `compose up` (2.26) depends on it: at Ctrl-C the last container's end must not be heard before `stop` has been
answered, or it closes a channel twice. dockerd answers tens of milliseconds before it says `die`."""


async def ping(call: Call) -> web.StreamResponse:
    headers = _PING
    if not call.engine.settings.features.get("buildkit", True):  # what the docker CLI then builds with
        headers = {**_PING, "Builder-Version": "1"}
    return web.Response(body=b"OK" if call.request.method == "GET" else b"", headers=headers)


async def version(call: Call) -> web.StreamResponse:
    return reply(views.version_(system.host(), await system.components(call.engine)))


async def info(call: Call) -> web.StreamResponse:
    engine = call.engine
    return reply(views.info(system.host(), await system.facts(engine), system.counts(engine), call.version))


# -- events ------------------------------------------------------------------------------------------
async def events(call: Call) -> web.StreamResponse:
    since, until = parse(call.text("since")), parse(call.text("until"))
    if until and until < since:
        raise InvalidParameter(
            f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})"
        )
    filters = Filters.parse(call.text("filters"))
    log = call.engine.events
    subscription = log.subscribe()
    try:
        past = log.history(since, until or None) if call.text("since") or until else []
        response = await call.streaming(JSON)
        body = b"".join(_line(event) for event in past if event_views.wanted(event, filters, call.version))
        if body:
            await response.write(body)
        if not (until and until < time.time_ns()):
            # What came between subscribing and reading the history is in both. Later is not enough to tell it by: the
            # clock may have been put back since the daemon before wrote its part.
            known = {event.time for event in past[-OVERLAP:]}
            async for event in _until(aiter(subscription), until):
                if event.time not in known and event_views.wanted(event, filters, call.version):
                    await asyncio.sleep(min(event.time / 1e9 + EVENT_LAG - time.time(), EVENT_LAG))
                    await response.write(_line(event))
        await response.write_eof()
        return response
    finally:
        subscription.close()


def _line(event: Event) -> bytes:
    return msgspec.json.encode(event_views.message(event)) + b"\n"


async def _until(events: AsyncIterator[Event], until: int) -> AsyncIterator[Event]:
    """`events` until a time in nanoseconds; 0 for ever."""
    while True:
        left = (until - time.time_ns()) / 1e9 if until else None
        try:
            async with asyncio.timeout(None if left is None else max(left, 0)):
                event = await anext(events)
        except (TimeoutError, StopAsyncIteration):
            return
        yield event


# -- disk --------------------------------------------------------------------------------------------
_OBJECTS = ("container", "image", "volume", "build-cache")


async def disk_usage(call: Call) -> web.StreamResponse:
    kinds = set(_OBJECTS)
    if call.version >= (1, 42) and call.has("type"):
        for kind in call.texts("type"):
            if kind not in _OBJECTS:
                raise InvalidParameter(f"unknown object type: {kind}")
        kinds = set(call.texts("type"))
    engine = call.engine
    view: dict[str, Any] = {}
    usage = await asyncio.to_thread(engine.images.usage) if "image" in kinds else Usage(0)
    view["LayersSize"] = usage.total
    view["Images"] = await _images(call, usage) if "image" in kinds else None
    view["Containers"] = await container_rows(call, True, 0, True) if "container" in kinds else None
    view["Volumes"] = await _volumes(call) if "volume" in kinds else None
    cache = await builds.usage(call) if "build-cache" in kinds or call.version < (1, 42) else []
    view["BuildCache"] = cache if "build-cache" in kinds else None
    if call.version < (1, 42) and (size := sum(row["Size"] for row in cache)):
        view["BuilderSize"] = size
    return reply(view)


async def _images(call: Call, usage: Usage) -> list[dict[str, Any]]:
    """Sizes are of all that is on the disk, blobs too."""
    images = call.engine.images
    shown = []
    for row in await asyncio.to_thread(images.list, True):
        view = image_views.summary(row, call.version)
        view["Size"], view["SharedSize"] = usage.sizes.get(row.image.id, (row.image.size, 0))
        if "VirtualSize" in view:
            view["VirtualSize"] = view["Size"]
        view["Containers"] = len(images.users(row.image.id))
        shown.append(view)
    return shown


async def _volumes(call: Call) -> list[dict[str, Any]]:
    volumes = call.engine.volumes

    def measure() -> list[dict[str, Any]]:
        return [
            volume_views.inspect(
                one, volumes.mountpoint(one.name), (len(volumes.users(one.name)), volumes.usage(one.name))
            )
            for one in volumes.all()
        ]

    return await asyncio.to_thread(measure)


# -- not here ----------------------------------------------------------------------------------------
async def swarm(call: Call) -> web.StreamResponse:
    """Everything that a swarm manager would answer."""
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
        "swarm and try again."
    )


async def swarm_start(call: Call) -> web.StreamResponse:
    raise NotSupported("swarm is not supported")


async def swarm_leave(call: Call) -> web.StreamResponse:
    raise Unavailable("This node is not part of a swarm")


async def checkpoints(call: Call) -> web.StreamResponse:
    raise NotSupported(
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to "
        "enable it."
    )


async def plugins(call: Call) -> web.StreamResponse:
    return reply([])


async def plugin_missing(call: Call) -> web.StreamResponse:
    from sampan.errors import NotFound

    raise NotFound(f"plugin {quote(call.name)} not found")


async def plugin_unsupported(call: Call) -> web.StreamResponse:
    raise NotSupported("managed plugins are not supported")
