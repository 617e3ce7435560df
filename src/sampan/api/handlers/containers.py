"""Containers: create, look, and their life."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import msgspec
from aiohttp import web

from sampan.api import create_request, decoding, listing
from sampan.api.call import JSON, Call, empty, reply
from sampan.api.filters import Filters
from sampan.api.handlers import sizes
from sampan.api.timestamps import parse_until, rfc3339
from sampan.api.views import container as views
from sampan.containers.model import Container
from sampan.errors import InvalidParameter, NotFound, SampanError
from sampan.golang import quote
from sampan.images import platforms


async def create(call: Call) -> web.StreamResponse:
    call.require_json()
    body = decoding.parse(await call.body())
    request = create_request.decode(body, call.version)
    platform = call.text("platform") if call.version >= (1, 41) else ""
    if platform:
        platforms.parse(platform)  # Docker checks it before the image
    made = await call.engine.containers.create(
        call.text("name"), request.config, request.host_config, request.networking, platform or None
    )
    return reply({"Id": made.id, "Warnings": [*made.warnings, *request.warnings]}, status=201)


# -- looking -----------------------------------------------------------------------------------------
async def list_(call: Call) -> web.StreamResponse:
    return reply(await rows(call, call.flag("all"), call.number("limit") or 0, call.flag("size")))


async def rows(call: Call, all: bool, limit: int, size: bool) -> list[dict[str, Any]]:
    """The rows of a list request, filters and all."""
    containers = call.engine.containers
    selection = listing.select(
        Filters.parse(call.text("filters")),
        all=all,
        limit=limit,
        find=containers.get,
        ancestors=lambda value: _ancestors(call, value),
        before=call.text("before"),
        since=call.text("since"),
    )
    now = time.time_ns()
    images = _ImageNames(call)
    shown = []
    for container in listing.chosen(containers.all(), selection):
        measured = await sizes.container(call.engine, container) if size else None
        shown.append(views.summary(container, call.version, now, images.of(container), measured))
    return shown


def _ancestors(call: Call, value: str) -> list[str]:
    """The image and everything built on it. An unknown one is no error: nothing matches."""
    images = call.engine.images
    try:
        base = images.resolve(value)
    except SampanError:
        return []
    layers = base.config.rootfs.diff_ids
    if not layers:
        return [base.id]
    return [
        base.id,
        *(
            row.image.id
            for row in images.list(all=True)
            if row.image.config.rootfs.diff_ids[: len(layers)] == layers
            and len(row.image.config.rootfs.diff_ids) > len(layers)
        ),
    ]


class _ImageNames:
    """The name a row shows for its image: the reference as given while it still means that image, else the id."""

    def __init__(self, call: Call) -> None:
        self._images = call.engine.images
        self._ids: dict[str, str] = {}

    def of(self, container: Container) -> str:
        name = container.image_name
        if name == container.image_id:
            return name
        if name not in self._ids:
            try:
                self._ids[name] = self._images.resolve(name).id
            except SampanError:
                self._ids[name] = ""
        return name if self._ids[name] == container.image_id else container.image_id


async def inspect(call: Call) -> web.StreamResponse:
    engine = call.engine
    container = engine.containers.get(call.name)
    measured = await sizes.container(engine, container) if call.flag("size") else None
    netns = f"{engine.settings.exec_root}/netns/{container.id}"
    return reply(
        views.inspect(
            container,
            call.version,
            files=engine.containers.files(container.id),
            sandbox_key=netns if container.state.running and os.path.exists(netns) else "",  # noqa: PTH110 (hot)
            sizes=measured,
            graph=_graph(call, container),
        )
    )


def _graph(call: Call, container: Container) -> dict[str, str] | None:
    """`GraphDriver.Data`: the directories of its overlay."""
    engine = call.engine
    try:
        lowers = engine.snapshots.lowers(engine.images.resolve(container.image_id).chain_id)
        upper = engine.snapshots.upper(container.id)
    except SampanError:
        return None
    return {
        "LowerDir": ":".join(map(str, lowers)),
        "MergedDir": f"{engine.settings.exec_root}/containers/{container.id}/rootfs",
        "UpperDir": str(upper),
        "WorkDir": str(upper.parent / "work"),
    }


async def top(call: Call) -> web.StreamResponse:
    found = await call.engine.containers.top(call.name, call.text("ps_args"))
    return reply({"Processes": found.rows, "Titles": found.titles})


async def stats(call: Call) -> web.StreamResponse:
    """One JSON object a second; the first tells of an error before the headers go."""
    stream = call.flag("stream", True)
    if stream and call.flag("one-shot"):
        raise InvalidParameter("cannot have stream=true and one-shot=true")
    samples = await call.engine.containers.stats(call.name, stream=stream, one_shot=call.flag("one-shot"))
    response = await call.streaming("application/json")
    async for usage in samples:
        shown = {**usage, "read": rfc3339(usage["read"]), "preread": rfc3339(usage["preread"])}
        await response.write(msgspec.json.encode(shown) + b"\n")
    await response.write_eof()
    return response


# -- life --------------------------------------------------------------------------------------------
async def start(call: Call) -> web.StreamResponse:
    length = call.request.content_length
    if (length or 0) > 7 or "Transfer-Encoding" in call.request.headers:
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    if call.text("checkpoint"):
        raise InvalidParameter("checkpoint is only supported in experimental mode")
    await call.engine.containers.start(call.name)
    return empty()


def _signal(call: Call) -> str | None:
    return (call.text("signal") or None) if call.version >= (1, 42) else None


async def stop(call: Call) -> web.StreamResponse:
    await call.engine.containers.stop(call.name, call.number("t"), _signal(call))
    return empty()


async def restart(call: Call) -> web.StreamResponse:
    await call.engine.containers.restart(call.name, call.number("t"), _signal(call))
    return empty()


async def kill(call: Call) -> web.StreamResponse:
    try:
        await call.engine.containers.kill(call.name, call.text("signal") or "SIGKILL")
    except SampanError as error:
        prefix = f"cannot kill container: {call.name}: "
        if not error.message.startswith(prefix.rstrip(" :")):
            error.message = prefix + error.message
        raise
    return empty()


async def pause(call: Call) -> web.StreamResponse:
    await call.engine.containers.pause(call.name)
    return empty()


async def unpause(call: Call) -> web.StreamResponse:
    await call.engine.containers.unpause(call.name)
    return empty()


async def rename(call: Call) -> web.StreamResponse:
    await call.engine.containers.rename(call.name, call.text("name"))
    return empty()


async def remove(call: Call) -> web.StreamResponse:
    await call.engine.containers.remove(
        call.name, force=call.flag("force"), volumes=call.flag("v"), link=call.flag("link")
    )
    return empty()


async def wait(call: Call) -> web.StreamResponse:
    """The headers go out as soon as the wait is registered: the docker CLI starts the container when it has them."""
    containers = call.engine.containers
    condition = "not-running"
    if call.version >= (1, 30):
        condition = call.text("condition") or condition
        if condition not in ("not-running", "next-exit", "removed", "healthy"):
            raise InvalidParameter(f"invalid condition: {quote(condition)}")
    reference = containers.get(call.name).id
    waiting = asyncio.ensure_future(containers.wait(reference, condition))
    try:
        # One turn of the loop: `wait` subscribes before its first await.
        await asyncio.sleep(0)
        if waiting.done():
            waiting.result()  # what is refused is refused before the headers
        if call.version < (1, 30):
            code, error = await waiting
            return reply({"StatusCode": code})
        response = await call.streaming(JSON)
        code, error = await waiting
    finally:
        waiting.cancel()
    if error is not None and condition == "removed" and call.version < (1, 34):
        await response.write_eof()
        return response
    answer: dict[str, Any] = {"StatusCode": code}
    if error is not None:
        answer["Error"] = {"Message": error}
    await response.write(msgspec.json.encode(answer) + b"\n")
    await response.write_eof()
    return response


async def update(call: Call) -> web.StreamResponse:
    body = await call.json()
    wanted, given = create_request.decode_update(body, call.version)
    also = create_request.decode_changes(body)
    return reply({"Warnings": await call.engine.containers.update(call.name, wanted, given, also) or None})


async def resize(call: Call) -> web.StreamResponse:
    height, width = dimensions(call)
    await call.engine.containers.resize(call.name, height, width)
    return empty(200)


def dimensions(call: Call) -> tuple[int, int]:
    """`h` and `w` of a resize."""
    sizes = []
    for key, what in (("h", "height"), ("w", "width")):
        text = call.text(key)
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise InvalidParameter(f"invalid resize {what} {quote(text)}: invalid syntax")
        if text.startswith("-") or int(digits) >= 1 << 32:
            raise InvalidParameter(f"invalid resize {what} {quote(text)}: value out of range")
        sizes.append(int(digits))
    return sizes[0], sizes[1]


async def prune(call: Call) -> web.StreamResponse:
    """Removes what does not run: `label`, `label!`, `until`."""
    filters = Filters.parse(call.text("filters"), ("label", "label!", "until"))
    until = prune_until(filters)
    engine = call.engine
    deleted, space = [], 0
    for container in list(engine.containers.all()):
        if container.state.running or (until and container.created > until):
            continue
        if not prune_labels(filters, container.config.labels):
            continue
        try:
            size = (await sizes.container(engine, container))[0]
            await engine.containers.remove(container.id)
        except (NotFound, SampanError):
            continue
        deleted.append(container.id)
        space += size
    engine.events.publish("container", "prune", "", {"reclaimed": str(space)})
    return reply({"ContainersDeleted": deleted or None, "SpaceReclaimed": space})


def prune_labels(filters: Filters, labels: dict[str, str] | None) -> bool:
    """`label` must match, `label!` must not."""
    if not filters.labels("label", labels):
        return False
    return "label!" not in filters or not filters.labels("label!", labels)


def prune_until(filters: Filters) -> int:
    """The `until` filter in nanoseconds since the epoch; 0 without one."""
    values = filters.get("until")
    if len(values) > 1:
        raise InvalidParameter("more than one until filter specified")
    return parse_until(values[0], time.time_ns()) if values else 0
