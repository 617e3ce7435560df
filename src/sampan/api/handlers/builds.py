"""Builds: `POST /build` with dockerd's classic stream, or with our own client's events, and `POST /build/prune`."""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import msgspec
from aiohttp import web

from sampan.api import decoding
from sampan.api.call import Call, reply
from sampan.api.filters import Filters
from sampan.api.handlers.containers import prune_until
from sampan.api.handlers.images import Auth, Reports, auth_of, progress
from sampan.api.timestamps import rfc3339
from sampan.builds import BuildOptions, StepFailed
from sampan.builds.cache import CacheRecord
from sampan.builds.context import Context
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
from sampan.containers.model import HostConfig, Ulimit
from sampan.errors import InvalidParameter, NotSupported, SampanError
from sampan.images import platforms
from sampan.images.service import Progress, RegistryAuth

_RED, _PLAIN = "\x1b[91m", "\x1b[0m"
_WAITING = 256
"""Messages, of up to 64 KiB each."""
_PRUNE_FILTERS = ("until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private")


async def build(call: Call) -> web.StreamResponse:
    if call.text("version") == "2":
        raise NotSupported("this daemon does not speak BuildKit's protocol yet: set DOCKER_BUILDKIT=0")
    options = _options(call)
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


# -- what is asked for -------------------------------------------------------------------------------
def _options(call: Call) -> BuildOptions:
    for name, what in (("outputs", "exporters other than images"),):
        if call.text(name):
            raise NotSupported(f"{what} are not supported by POST /build")
    platform = None
    if call.text("platform") and call.version >= (1, 32):
        platform = platforms.parse(call.text("platform"))
    return BuildOptions(
        dockerfile=call.text("dockerfile") or "Dockerfile",
        tags=[tag for tag in call.texts("t") if tag],
        args=_json(call, "buildargs", dict[str, str | None]) or {},
        labels=_json(call, "labels", dict[str, str]) or {},
        target=call.text("target"),
        platform=platform,
        no_cache=call.flag("nocache"),
        no_cache_filter=call.texts("nocachefilter"),
        cache_from=_json(call, "cachefrom", list[str]) or [],
        cache_local=call.flag("cachelocal"),
        pull=call.flag("pull"),
        lint=call.flag("events"),
        check=call.flag("check"),
        squash=call.flag("squash"),
        host_config=_host_config(call),
        secrets=_secrets(call),
        contexts=_json(call, "contexts", dict[str, str]) or {},
        entitlements=frozenset(call.texts("allow")),
        auths=_auths(call),
    )


def _json(call: Call, name: str, type_: Any) -> Any:
    text = call.text(name)
    if not text:
        return None
    try:
        return msgspec.json.decode(text.encode(), type=type_ | None)
    except msgspec.DecodeError as error:
        raise InvalidParameter(f"error reading {name}: {error}") from None


def _host_config(call: Call) -> HostConfig:
    hosts = [host for text in call.texts("extrahosts") for host in text.split(",") if host]
    return HostConfig(
        memory=call.number("memory") or 0,
        memory_swap=call.number("memswap") or 0,
        cpu_shares=call.number("cpushares") or 0,
        cpu_period=call.number("cpuperiod") or 0,
        cpu_quota=call.number("cpuquota") or 0,
        cpuset_cpus=call.text("cpusetcpus"),
        cpuset_mems=call.text("cpusetmems"),
        cgroup_parent=call.text("cgroupparent"),
        network_mode=call.text("networkmode") or "default",
        extra_hosts=hosts or None,
        shm_size=call.number("shmsize") or 0,
        ulimits=_json(call, "ulimits", list[Ulimit]),
        security_opt=_json(call, "securityopt", list[str]) or None,
    )


def _secrets(call: Call) -> dict[str, bytes]:
    """Our own client's: base64 of a JSON object whose values are base64."""
    header = call.request.headers.get("X-Sampan-Build-Secrets", "")
    if not header:
        return {}
    try:
        return msgspec.json.decode(base64.b64decode(header), type=dict[str, bytes])
    except (binascii.Error, msgspec.DecodeError) as error:
        raise InvalidParameter(f"error reading X-Sampan-Build-Secrets: {error}") from None


def _auths(call: Call) -> dict[str, RegistryAuth]:
    """`X-Registry-Config`: base64 JSON by registry. An unreadable one counts as none, as in Docker."""
    header = call.request.headers.get("X-Registry-Config", "")
    try:
        text = base64.urlsafe_b64decode(header.replace("+", "-").replace("/", "_") + "=" * (-len(header) % 4))
        given = decoding.convert(decoding.parse(text), dict[str, Auth], "AuthConfig") if text else {}
    except (binascii.Error, ValueError, SampanError):
        return {}
    found = {registry: auth_of(one) for registry, one in given.items()}
    return {registry: auth for registry, auth in found.items() if auth is not None}


async def _context(call: Call, options: BuildOptions) -> tuple[Context | None, BuildOptions]:
    remote = call.text("remote")
    if remote == "client-session":
        raise NotSupported("this daemon does not speak BuildKit's protocol yet: set DOCKER_BUILDKIT=0")
    if remote:
        return await call.engine.builds.fetch(remote, options)
    return await call.engine.builds.receive(_body(call), options), options


async def _body(call: Call) -> AsyncIterator[bytes]:
    try:
        async for chunk in call.stream():
            yield chunk
    except (ConnectionError, web.PayloadAccessError) as error:
        raise SampanError("unexpected EOF") from error


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
    filters = Filters.parse(call.text("filters"), _PRUNE_FILTERS)
    until = prune_until(filters)
    ids = filters.as_lists().get("id", [])
    everything = call.flag("all")
    keep = call.number("reserved-space") or call.number("keep-storage") or 0
    builds = call.engine.builds
    in_images = builds.in_images() if not everything else set()

    def wanted(record: CacheRecord) -> bool:
        if ids and not any(_short(record.key).startswith(one) or record.key == one for one in ids):
            return False
        if until and record.used > until:
            return False
        return everything or record.layer is None or record.layer.chain_id not in in_images

    removed, freed = await builds.prune(wanted, keep)
    if not keep:
        names, more = await builds.prune_cache_mounts(
            lambda mount: (not ids or mount.path.name in ids) and (not until or mount.used <= until)
        )
        removed, freed = removed + names, freed + more
    call.engine.events.publish("builder", "prune", "", {"reclaimed": str(freed)})
    return reply({"CachesDeleted": [_short(one) for one in removed] or None, "SpaceReclaimed": freed})


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
