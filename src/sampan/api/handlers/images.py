"""Images: list, look, tag, delete, pull, load, save, prune."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from sampan.api import decoding
from sampan.api.call import JSON, Call, empty, reply, unexpected
from sampan.api.filters import Filters
from sampan.api.handlers.containers import prune_labels, prune_until
from sampan.api.handlers.files import TAR, send
from sampan.api.timestamps import rfc3339
from sampan.api.views import image as views
from sampan.builds.changes import changed
from sampan.containers.committing import run_config
from sampan.containers.model import Config
from sampan.errors import Forbidden, InvalidParameter, SampanError
from sampan.images import Image, Platform, platforms, references
from sampan.images.digests import chain_ids
from sampan.images.model import RunConfig
from sampan.images.service import ImageSummary, Progress, RegistryAuth
from sampan.images.variants import Variant

log = logging.getLogger("sampan.api")

_LIST = frozenset(["before", "dangling", "label", "reference", "since", "until"])


def _platform(text: str) -> Platform | None:
    """An OCI platform as JSON, as newer calls give it."""
    if not text:
        return None
    try:
        given = msgspec.json.decode(text.encode(), type=Platform)
    except msgspec.DecodeError as error:
        raise InvalidParameter(f"failed to parse platform: {error}") from None
    if not given.os and not given.architecture and (given.variant or given.os_version or given.os_features):
        raise InvalidParameter("optional platform fields provided, but OS and Architecture are missing")
    if not given.os or not given.architecture:
        raise InvalidParameter("both OS and Architecture must be provided")
    return given


def _one_platform(call: Call, since: tuple[int, int], key: str = "platform") -> Platform | None:
    if call.version < since:
        return None
    if len(call.texts(key)) > 1:
        raise InvalidParameter("multiple platform parameters not supported")
    return _platform(call.text(key))


# -- looking -----------------------------------------------------------------------------------------
async def list_(call: Call) -> web.StreamResponse:
    filters = Filters.parse(call.text("filters"), _LIST)
    if call.version < (1, 41) and call.text("filter"):
        filters.add("reference", call.text("filter"))
    shared = call.version >= (1, 42) and call.flag("shared-size")
    rows = call.engine.images.list(call.flag("all"), filters.as_lists(), shared)
    shown = [views.summary(row, call.version) for row in rows]
    if call.version >= (1, 51):
        for view in shown:
            view["Containers"] = len(call.engine.images.users(view["Id"]))
    if call.version >= (1, 47) and call.flag("manifests"):
        shown = [await _with_manifests(call, row) for row in rows]
    return reply(shown)


async def _with_manifests(call: Call, row: ImageSummary) -> dict[str, Any]:
    """A row with every platform behind it. `Size` is then the disk that all of it takes, blobs too: the sum of
    the manifests', as in Docker's containerd store, the only one of Docker's that has them."""
    images = call.engine.images
    found = await asyncio.to_thread(images.variants, row.image.id)
    descriptor = await asyncio.to_thread(images.described, row.image.id)
    view = views.summary(row, call.version, descriptor)
    view["Manifests"] = _manifests(call, found)
    view["Size"] = sum(variant.total for variant in found)
    view["Containers"] = sum(len(images.users(variant.image)) for variant in found if variant.image)
    return view


def _manifests(call: Call, found: list[Variant]) -> list[dict[str, Any]]:
    def containers(variant: Variant) -> list[str]:
        return [id for id, _ in call.engine.images.users(variant.image)] if variant.image else []

    return [views.variant(variant, containers(variant)) for variant in found]


async def inspect(call: Call) -> web.StreamResponse:
    if call.version >= (1, 48) and call.flag("manifests") and call.text("platform"):
        raise InvalidParameter("conflicting options: manifests and platform options cannot both be set")
    images = call.engine.images
    image = images.resolve(call.name, _one_platform(call, (1, 49)))
    view = views.inspect(
        image,
        call.version,
        parent=images.parent(image.id),
        tagged_at=rfc3339(images.last_tagged(image.id)),
        graph=graph(call.engine.settings.data_root, image),
        descriptor=images.described(image.id) if call.version >= (1, 48) else None,
    )
    if call.version >= (1, 48) and call.flag("manifests"):
        view["Manifests"] = _manifests(call, await asyncio.to_thread(images.variants, image.id))
    return reply(view)


def graph(data_root: Path, image: Image) -> dict[str, str] | None:
    """`GraphDriver.Data`: where the layers are. The top one is the upper, as dockerd's overlay2 shows it."""
    chain = chain_ids(image.config.rootfs.diff_ids)
    if not chain:
        return None
    places = [str(data_root / "layers" / one.partition(":")[2] / "diff") for one in reversed(chain)]
    data = {"LowerDir": ":".join(places[1:])} if len(places) > 1 else {}
    top = Path(places[0]).parent
    return data | {"MergedDir": str(top / "merged"), "UpperDir": places[0], "WorkDir": str(top / "work")}


async def history(call: Call) -> web.StreamResponse:
    platform = _one_platform(call, (1, 48))
    if platform is not None:
        call.engine.images.resolve(call.name, platform)
    return reply(views.history(call.engine.images.history(call.name)))


async def search(call: Call) -> web.StreamResponse:
    filters = Filters.parse(call.text("filters"), ("is-automated", "is-official", "stars"))
    limit = call.text("limit") or "0"
    if not limit.removeprefix("-").isdigit():
        raise InvalidParameter(f'invalid limit specified: strconv.Atoi: parsing "{limit}": invalid syntax')
    found = await call.engine.images.search(call.text("term"), int(limit), filters.as_lists(), registry_auth(call))
    return reply([msgspec.to_builtins(result) | {"description": result.description or ""} for result in found])


async def distribution(call: Call) -> web.StreamResponse:
    found = await call.engine.images.distribution(call.name, registry_auth(call))
    return reply(
        {
            "Descriptor": msgspec.to_builtins(found.descriptor),
            "Platforms": [msgspec.to_builtins(platform) for platform in found.platforms],
        }
    )


async def auth(call: Call) -> web.StreamResponse:
    """`POST /auth`: are these credentials good?"""
    given = decoding.convert(await call.json(), Auth, "AuthConfig")
    token = await call.engine.images.login(auth_of(given) or RegistryAuth(server_address=given.serveraddress))
    return reply({"IdentityToken": token, "Status": "Login Succeeded"})


# -- changing ----------------------------------------------------------------------------------------
async def tag(call: Call) -> web.StreamResponse:
    repository, name = call.text("repo"), call.text("tag")
    if not repository:
        raise InvalidParameter("invalid reference format")
    reference = references.parse(repository)
    if reference.digest:
        raise InvalidParameter("cannot import digest reference")
    if reference.familiar_name == "sha256":
        raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")
    call.engine.images.tag(call.name, repository, name)
    return empty(201)


async def delete(call: Call) -> web.StreamResponse:
    if not call.name.strip():
        raise InvalidParameter("image name cannot be blank")
    if platform := _one_platform(call, (1, 50), "platforms"):
        call.engine.images.resolve(call.name, platform)  # of another platform: not found
    rows = await asyncio.to_thread(call.engine.images.delete, call.name, call.flag("force"), not call.flag("noprune"))
    return reply(views.deleted(rows))


async def prune(call: Call) -> web.StreamResponse:
    """Dangling images, or with `dangling=false` every one no container uses."""
    filters = Filters.parse(call.text("filters"), ("dangling", "label", "label!", "until"))
    dangling = filters.boolean("dangling", True)
    until = prune_until(filters)
    images = call.engine.images
    deleted: list[dict[str, str]] = []
    before = await asyncio.to_thread(images.items)
    for row in images.list(all=True):
        image = row.image
        if (dangling and image.repo_tags) or images.users(image.id):
            continue
        if until and row.created * 1_000_000_000 > until:
            continue
        if not prune_labels(filters, image.config.config.labels):
            continue
        refs = image.repo_tags if image.repo_tags else [image.id]
        for ref in refs:
            with contextlib.suppress(SampanError):
                deleted += views.deleted(await asyncio.to_thread(images.delete, ref, False, True))
    space = await asyncio.to_thread(images.given_back, before) if deleted else 0
    call.engine.events.publish("image", "prune", "", {"reclaimed": str(space)})
    return reply({"ImagesDeleted": deleted or None, "SpaceReclaimed": space})


# -- registries --------------------------------------------------------------------------------------
class Auth(msgspec.Struct):
    """One registry's credentials, as clients send them."""

    username: str = ""
    password: str = ""
    auth: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def registry_auth(call: Call) -> RegistryAuth | None:
    """`X-Registry-Auth`: base64url JSON. An unreadable one counts as none, as in Docker."""
    header = call.request.headers.get("X-Registry-Auth", "")
    if not header:
        return None
    try:
        text = base64.urlsafe_b64decode(header.replace("+", "-").replace("/", "_") + "=" * (-len(header) % 4))
        return auth_of(decoding.convert(decoding.parse(text), Auth, "AuthConfig"))
    except (binascii.Error, ValueError, SampanError):
        return None


def auth_of(given: Auth) -> RegistryAuth | None:
    """None when it says nothing."""
    username, password = _decoded(given)
    auth = RegistryAuth(username, password, given.serveraddress, given.identitytoken, given.registrytoken)
    return auth if username or auth.identity_token or auth.registry_token else None


def _decoded(given: Auth) -> tuple[str, str]:
    """(user name, password), which `auth` may carry instead."""
    if given.auth and not given.username:
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            username, _, password = base64.b64decode(given.auth).decode().partition(":")
            return username, password
    return given.username, given.password


async def create(call: Call) -> web.StreamResponse:
    """Pull, or import."""
    image = call.text("fromImage")
    platform = platforms.parse(call.text("platform")) if call.text("platform") and call.version >= (1, 32) else None
    if not image:
        return await _import(call, platform)
    reference = references.join(image, call.text("tag"))
    if reference.familiar_name == "scratch":
        raise Forbidden("'scratch' is a reserved name")
    auth, referrers = registry_auth(call), call.flag("referrers")  # ours: with the artefacts that refer to the image
    name, images = reference.familiar, call.engine.images
    return await progress(call, lambda show: images.pull(name, platform, auth, show, referrers=referrers))


async def _import(call: Call, platform: Platform | None) -> web.StreamResponse:
    source = call.text("fromSrc")
    name = ""
    if call.text("repo"):
        reference = references.join(call.text("repo"), call.text("tag"))
        if reference.digest:
            raise InvalidParameter("cannot import digest reference")
        name = reference.familiar
    config = changed(RunConfig(), call.texts("changes"))

    async def work(show: Progress) -> None:
        comment = call.text("message") or f"Imported from {source}"
        archive = call.stream() if source == "-" else call.engine.images.download(source, show)
        id = await call.engine.images.import_archive(archive, name, config, comment, platform)
        show({"status": id})

    return await progress(call, work)


async def commit(call: Call) -> web.StreamResponse:
    """A container as an image. The body may be a configuration that is laid over the container's."""
    containers = call.engine.containers
    ref = call.text("container")
    own = containers.image_config(ref)
    body = decoding.parse(await call.body()) if call.request.can_read_body else None
    given = run_config(decoding.convert(body, Config, "Config")) if body is not None else own
    reference = ""
    if call.text("repo"):
        named = references.join(call.text("repo"), call.text("tag"))
        if named.digest:
            raise InvalidParameter("cannot commit to digest reference")
        reference = named.tagged().familiar
    id = await containers.commit(
        ref,
        changed(given, call.texts("changes")),
        reference=reference,
        author=call.text("author"),
        comment=call.text("comment"),
        pause=call.flag("pause", True) if call.version >= (1, 13) else call.flag("pause"),
    )
    return reply({"Id": id}, status=201)


async def push(call: Call) -> web.StreamResponse:
    """One tag, or all of a repository. The name carries no tag, `tag` does."""
    if "X-Registry-Auth" not in call.request.headers and not call.request.can_read_body:
        raise InvalidParameter("Bad parameters and missing X-Registry-Auth: EOF")
    reference = references.parse(call.name)
    if reference.digest:
        raise InvalidParameter("cannot push a digest reference")
    if tag := call.text("tag"):
        reference = reference.with_tag(tag)
    platform = _one_platform(call, (1, 46))
    auth = registry_auth(call)
    return await progress(call, lambda show: call.engine.images.push(reference.familiar, platform, auth, show))


class Reports:
    """Where work reports to, one message an object."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def __call__(self, message: dict[str, Any]) -> None:
        self.queue.put_nowait(message)

    async def taken(self, most: int) -> None:
        """Returns when the client has left no more than `most` messages waiting."""
        while self.queue.qsize() > most:  # noqa: ASYNC110 (a queue tells nobody that it got shorter)
            await asyncio.sleep(0.005)


async def progress(
    call: Call, work: Callable[[Progress], Awaitable[Any]], *, errors_inside: bool = False
) -> web.StreamResponse:
    """Runs `work` and streams what it reports, one JSON object a line. An error before the first report is an ordinary
    error reply, unless `errors_inside`; a later one is the last line, as `errorDetail`."""
    reports = Reports()
    queue = reports.queue
    task = asyncio.ensure_future(work(reports))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    response: web.StreamResponse | None = None
    try:
        while (message := await queue.get()) is not None:
            lines = [_line(message)]
            while not queue.empty() and (message := queue.get_nowait()) is not None:
                lines.append(_line(message))
            if response is None:
                response = await call.streaming(JSON)
            await response.write(b"".join(lines))
            if message is None:
                break
        try:
            await task
        except SampanError as error:
            if response is None:
                if not errors_inside:
                    raise
                response = await call.streaming(JSON)
            await response.write(_line({"errorDetail": {"message": error.message}, "error": error.message}))
        except Exception as error:
            if response is None or isinstance(error, ConnectionError):
                raise
            log.exception("Handler for %s %s failed", call.request.method, call.request.path)
            reason = unexpected(error)
            await response.write(_line({"errorDetail": {"message": reason}, "error": reason}))
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if response is None:
        response = await call.streaming(JSON)
    await response.write_eof()
    return response


def _line(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message) + b"\r\n"


# -- archives ----------------------------------------------------------------------------------------
async def load(call: Call) -> web.StreamResponse:
    platform = _one_platform(call, (1, 48))
    quiet = call.flag("quiet", True)
    return await progress(
        call, lambda show: call.engine.images.load(call.stream(), show, quiet, platform), errors_inside=True
    )


async def save(call: Call) -> web.StreamResponse:
    """One image by its path, or several by `names`."""
    names = [call.name] if call.name else call.texts("names")
    return await send(call, TAR, call.engine.images.save(names, _one_platform(call, (1, 48))))
