"""Builds: `POST /build` with dockerd's classic stream, or with our own client's events, and `POST /build/prune`."""

from __future__ import annotations

import asyncio
import codecs
import shutil
import struct
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import msgspec
from aiohttp import web

from sampan.api import build_request, hijack
from sampan.api.cache_filters import CacheFilters
from sampan.api.call import Call, reply
from sampan.api.connection import Connection, Hijacked
from sampan.api.handlers import buildkit
from sampan.api.handlers.files import TAR, send
from sampan.api.handlers.images import Reports, progress
from sampan.api.timestamps import rfc3339
from sampan.builds import BuildOptions, StepFailed
from sampan.builds.cache import CacheRecord, kept
from sampan.builds.context import Context
from sampan.builds.dockerfile import DockerfileError
from sampan.builds.progress import (
    AnyEvent,
    Cached,
    Done,
    Failed,
    Finished,
    InOrder,
    Noted,
    Output,
    Planned,
    Pulled,
    Removed,
    Running,
    Started,
)
from sampan.builds.service import CacheMount
from sampan.builds.ssh import FAILURE, LIMIT
from sampan.errors import InvalidParameter, SampanError
from sampan.images.service import Progress

_RED, _PLAIN = "\x1b[91m", "\x1b[0m"
_WAITING = 256
"""Messages, of up to 64 KiB each."""


async def build(call: Call) -> web.StreamResponse:
    if call.text("version") == "2":
        return await buildkit.build(call)
    options = build_request.options(call)
    events = call.flag("events")
    quiet = call.flag("q")
    context: Context | None = None
    shown = _Classic(quiet)
    try:
        context, options = await _context(call, options)

        async def work(show: Progress) -> None:
            if events:
                await _with_events(call, options, context, show)
                return
            shown.show = show
            ordered = InOrder(shown)
            try:
                await call.engine.builds.build(options, context, ordered)
            except StepFailed as error:
                ordered.flush()
                shown.failed(error)

        return await progress(call, work)
    finally:
        if context is not None:
            await context.leave()


async def _with_events(call: Call, options: BuildOptions, context: Context | None, show: Progress) -> None:
    """One JSON object an event; output as base64."""
    tell = _Events(show)
    try:
        await call.engine.builds.build(options, context, tell)
    except StepFailed as error:
        detail = {"message": error.message, "code": error.code}
        show({"error": error.message, "errorDetail": detail, "excerpt": error.excerpt, "step": tell.failed})
    except DockerfileError as error:
        show({"error": error.message, "errorDetail": {"message": error.message}, "excerpt": error.excerpt})


class _Draining:
    """A step's output waits while the client does not take what is there."""

    show: Progress

    def drain(self, step: int) -> Awaitable[None] | None:
        show = self.show
        if not isinstance(show, Reports) or show.queue.qsize() <= _WAITING:
            return None
        return show.taken(_WAITING // 4)


class _Events(_Draining):
    """`failed`: the first step that did."""

    def __init__(self, show: Progress) -> None:
        self.show = show
        self.failed = -1

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Failed) and self.failed < 0:
            self.failed = event.step
        self.show(msgspec.to_builtins(event))


# -- its input ------------------------------------------------------------------------------------------
async def _context(call: Call, options: BuildOptions) -> tuple[Context | None, BuildOptions]:
    remote = call.text("remote")
    if remote == "client-session":
        raise InvalidParameter("remote=client-session needs version=2")
    if remote:
        return await call.engine.builds.fetch(remote, options)
    return await call.engine.builds.receive(_body(call), options), options


async def _body(call: Call) -> AsyncIterator[bytes]:
    try:
        async for chunk in call.stream():
            yield chunk
    except (ConnectionError, web.PayloadAccessError) as error:
        raise SampanError("unexpected EOF") from error


# -- what its client takes and gives beside it -----------------------------------------------------------
async def export(call: Call) -> web.StreamResponse:
    """A result that a running build has for its client, once."""
    return await send(call, TAR, call.engine.builds.export(call.name))


async def ssh(call: Call) -> web.StreamResponse:
    """A client's ssh agents, for the build that names the same session. Each message to an agent goes out as its
    length, the length of the agent's id, the id, the message; the answer comes back as its length and itself."""
    token = call.text("session")
    if len(token) < 32:
        raise InvalidParameter("an ssh session needs a token of 32 characters or more")
    connection = call.request.protocol
    assert isinstance(connection, Connection)
    channel = hijack.hijack(connection, framed=False)
    relay = _Relay(channel)
    with call.engine.builds.agents.registered(token, relay.ask):
        channel.raw(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        await channel.gone()
    channel.release()
    return Hijacked()


class _Relay:
    """One question at a time. What goes wrong is an agent's failure, never a build's."""

    _LENGTH = struct.Struct(">I")

    def __init__(self, channel: hijack.Socket) -> None:
        self._channel = channel
        self._lock = asyncio.Lock()
        self._pending = b""

    async def ask(self, id: str, message: bytes) -> bytes:
        name = id.encode()[:255]
        async with self._lock:
            try:
                size = 1 + len(name) + len(message)
                self._channel.raw(self._LENGTH.pack(size) + bytes([len(name)]) + name + message)
                (length,) = self._LENGTH.unpack(await self._exactly(self._LENGTH.size))
                return await self._exactly(length) if 0 < length <= LIMIT else FAILURE
            except ConnectionError:
                return FAILURE

    async def _exactly(self, size: int) -> bytes:
        while len(self._pending) < size:
            data = await self._channel.read()
            if not data:
                raise ConnectionResetError("the client has gone")
            self._pending += data
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken


# -- the classic stream --------------------------------------------------------------------------------
class _Classic(_Draining):
    """Draws events as dockerd's builder does. The last step's result is shown when its image is there."""

    def __init__(self, quiet: bool) -> None:
        self.show: Progress = lambda message: None
        self._quiet = quiet
        self._held: list[dict[str, Any]] = []
        self._total = 0
        self._crumbs = ""
        self._keywords: dict[int, str] = {}
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def _tell(self, message: dict[str, Any]) -> None:
        if self._quiet:
            self._held.append(message)
        else:
            self.show(message)

    def _text(self, text: str) -> None:
        self._tell({"stream": text})

    def __call__(self, event: AnyEvent) -> None:
        if not isinstance(event, Output):
            self._flush()
        match event:
            case Planned():
                self._total = event.total
            case Started():
                self._keywords[event.step] = event.keyword
                self._text(f"Step {event.step + 1}/{self._total} : {event.text}")
                self._text("\n")
            case Cached():
                self._text(" ---> Using cache\n")
            case Running():
                self._text(f" ---> Running in {event.id}\n")
            case Output():
                self._output(event)
            case Removed():
                self._text(f" ---> Removed intermediate container {event.id}\n")
            case Pulled():
                self._tell(event.message)
            case Noted():
                self._text(event.text)
                if not event.text.endswith("\n"):
                    self._text("\n")
            case Done():
                last = event.step == self._total - 1
                if not last and (event.id or self._keywords.get(event.step) == "FROM"):
                    self._text(f" ---> {_short(event.id)}\n")
            case Finished():
                self._finished(event)

    def _output(self, event: Output) -> None:
        """A program's unbuffered stderr comes in crumbs; each piece here is coloured, so they are gathered to lines."""
        place = (event.step, event.stream)
        decoder = self._decoders.get(place)
        if decoder is None:
            decoder = self._decoders[place] = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(event.data)
        if event.stream != 2:
            self._flush()
            if text:
                self._text(text)
            return
        text = self._crumbs + text
        end = max(text.rfind("\n"), text.rfind("\r")) + 1
        self._crumbs = text[:end]
        self._flush()
        self._crumbs = text[end:]

    def _flush(self) -> None:
        text, self._crumbs = self._crumbs, ""
        if text:
            self._text(f"{_RED}{text}{_PLAIN}")

    def _finished(self, event: Finished) -> None:
        if self._quiet:
            self.show({"stream": f"{event.image}\n"})
            return
        self._text(f" ---> {_short(event.image)}\n")
        self._tell({"aux": {"ID": event.image}})
        self._text(f"Successfully built {_short(event.image)}\n")
        for tag in event.tags:
            self._text(f"Successfully tagged {tag}\n")

    def failed(self, error: StepFailed) -> None:
        """Also shows what a quiet build has kept to itself."""
        self._flush()
        for message in self._held:
            self.show(message)
        if error.excerpt:
            self.show({"stream": error.excerpt})
        detail: dict[str, Any] = {"code": error.code} if error.code else {}
        self.show({"errorDetail": {**detail, "message": error.message}, "error": error.message})


def _short(id: str) -> str:
    return id.removeprefix("sha256:")[:12]


# -- the cache -----------------------------------------------------------------------------------------
async def prune(call: Call) -> web.StreamResponse:
    filters = CacheFilters.parse(call.text("filters"))
    everything = call.flag("all")
    builds = call.engine.builds
    total = sum(record.size for record in builds.usage())
    free = shutil.disk_usage(call.engine.settings.data_root).free
    keep = kept(total, free, _space(call, "keep-storage"))
    if call.version >= (1, 48):
        reserved = _space(call, "reserved-space") or _space(call, "keep-storage")
        keep = kept(total, free, reserved, _space(call, "max-used-space"), _space(call, "min-free-space"))
    in_images = builds.in_images()

    def wanted(record: CacheRecord) -> bool:
        shared = record.layer is not None and record.layer.chain_id in in_images
        found = {
            "id": _short(record.key),
            "parent": _short(record.parent),
            "type": "regular",
            "description": record.text,
            "inuse": builds.in_use(record),
            "shared": shared,
            "private": not shared,
        }
        return (everything or not shared) and filters.fits(found, record.used)

    def mounts(mount: CacheMount) -> bool:
        found = {
            "id": mount.path.name,
            "type": "exec.cachemount",
            "description": f"cached mount {mount.id}",
            "inuse": mount.in_use,
            "private": True,
        }
        return filters.fits(found, mount.used)

    removed, freed = await builds.prune(wanted, keep)
    if not keep:
        names, more = await builds.prune_cache_mounts(mounts)
        removed, freed = removed + names, freed + more
    call.engine.events.publish("builder", "prune", "", {"reclaimed": str(freed)})
    return reply({"CachesDeleted": [_short(one) for one in removed] or None, "SpaceReclaimed": freed})


def _space(call: Call, key: str) -> int:
    try:
        return call.number(key) or 0
    except InvalidParameter as error:
        error.message = f"{key} is in bytes and expects an integer, got {call.text(key)}: {error.message}"
        raise


async def usage(call: Call) -> list[dict[str, Any]]:
    """`system df`'s BuildCache."""
    builds = call.engine.builds
    shared = builds.in_images()
    mounts = [
        {
            "ID": mount.path.name,
            "Type": "exec.cachemount",
            "Description": f"cached mount {mount.id}",
            "InUse": mount.in_use,
            "Shared": False,
            "Size": mount.size,
            "CreatedAt": rfc3339(mount.used),
            "LastUsedAt": rfc3339(mount.used),
            "UsageCount": 1,
        }
        for mount in await asyncio.to_thread(builds.cache_mounts)
    ]
    return mounts + [
        {
            "ID": _short(record.key),
            "Parents": [_short(record.parent)],
            "Type": "regular",
            "Description": record.text,
            "InUse": builds.in_use(record),
            "Shared": record.layer is not None and record.layer.chain_id in shared,
            "Size": record.size,
            "CreatedAt": rfc3339(record.made),
            "LastUsedAt": rfc3339(record.used),
            "UsageCount": record.uses,
        }
        for record in builds.usage()
    ]
