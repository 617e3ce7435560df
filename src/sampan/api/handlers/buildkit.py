"""BuildKit's two doors, where buildx knocks: `/grpc` (what it calls) and `/session` (what it offers). What comes behind
the upgrade is `sampan.buildkit`'s, loaded for the first client that needs it.

A daemon whose `/grpc` does not upgrade is one without BuildKit to buildx: it boots a `moby/buildkit` container instead.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from sampan.api import build_request
from sampan.api.call import Call, empty
from sampan.api.connection import Connection, Hijacked
from sampan.api.handlers.images import progress
from sampan.containers.model import Ulimit
from sampan.errors import InvalidParameter, SampanError
from sampan.images.service import Progress

if TYPE_CHECKING:
    from sampan.buildkit.service import BuildKit
    from sampan.buildkit.transport import Carried

_UPLOAD = "upload-request:"
"""Before a build's id: this request is its context."""
_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def _door(call: Call) -> BuildKit:
    server = _connection(call).server
    if server.buildkit is None:
        from sampan.buildkit.service import BuildKit

        server.buildkit = BuildKit(call.engine)
    return server.buildkit


async def session(call: Call) -> web.StreamResponse:
    _check(call, InvalidParameter)
    door, connection = _door(call), _connection(call)
    headers = call.request.headers
    offers = headers.getall("X-Docker-Expose-Session-Grpc-Method", [])
    session, carried = await door.session(headers, offers, connection.connection_lost)
    try:
        return await _carry(connection, carried)
    finally:
        door.forget(session)


async def grpc(call: Call) -> web.StreamResponse:
    _check(call, SampanError)  # a 500 in dockerd, too
    connection = _connection(call)
    return await _carry(connection, _door(call).control(connection.connection_lost))


# -- docker CLIs before 23.0, which have a session but no gRPC of their own: POST /build?version=2 ---------------------
async def build(call: Call) -> web.StreamResponse:
    """Source: moby builder/builder-next/builder.go (parameters, the two kinds of aux message)."""
    from sampan.buildkit.attributes import Export
    from sampan.buildkit.solving import Wanted

    door = _door(call)
    if (ref := call.text("buildid")).startswith(_UPLOAD):
        await door.upload(ref.removeprefix(_UPLOAD), call.stream())
        return empty(status=200)
    names = [name for name in call.texts("t") if name]
    outputs = build_request.json(call, "outputs", list[_Output]) or []
    exports = [Export(one.type, one.attrs or {}) for one in outputs]
    exports = exports or [Export("moby", {"name": ",".join(names)} if names else {})]
    wanted = Wanted(call.text("session"), exports)
    ref = ref or os.urandom(12).hex()
    quiet = call.flag("q")

    async def work(show: Progress) -> None:
        def tell(status: bytes) -> None:
            if not quiet:
                show({"id": "moby.buildkit.trace", "aux": base64.b64encode(status).decode()})

        response = await door.build(ref, wanted, _attributes(call), tell)
        if image := response.get("containerimage.config.digest"):
            show({"id": "moby.image.id", "aux": {"ID": image}})
            if quiet:
                show({"stream": f"{image}\n"})

    return await progress(call, work)


class _Output(msgspec.Struct, rename="pascal"):
    type: str
    attrs: dict[str, str] | None = None


async def cancel(call: Call) -> web.StreamResponse:
    await _door(call).cancel(call.text("id"))
    return empty(status=200)


def _attributes(call: Call) -> dict[str, str]:
    """The parameters as the Dockerfile frontend's attributes."""
    found = {"filename": call.text("dockerfile") or "Dockerfile", "target": call.text("target")}
    if (remote := call.text("remote")) and remote != "client-session":
        found["context"] = remote
    found |= {f"build-arg:{name}": value for name, value in _named(call, "buildargs").items() if value is not None}
    found |= {f"label:{name}": value for name, value in _named(call, "labels").items() if value is not None}
    found["cache-from"] = ",".join(build_request.json(call, "cachefrom", list[str]) or [])
    found["platform"] = call.text("platform")
    found["image-resolve-mode"] = "pull" if call.flag("pull") else "local"
    if call.flag("nocache"):
        found["no-cache"] = ""
    network = call.text("networkmode")
    if network not in ("", "default", "none", "host"):
        raise InvalidParameter(f"network mode {network} not supported by buildkit")
    found["force-network-mode"] = "" if network == "default" else network
    hosts = [host for text in call.texts("extrahosts") for host in text.split(",") if host]
    found["add-hosts"] = ",".join(host.replace(":", "=", 1) for host in hosts)
    limits = build_request.json(call, "ulimits", list[Ulimit]) or []
    found["ulimit"] = ",".join(f"{one.name}={one.soft}:{one.hard}" for one in limits)
    found["shm-size"], found["cgroup-parent"] = call.text("shmsize"), call.text("cgroupparent")
    return found


def _named(call: Call, name: str) -> dict[str, str | None]:
    return build_request.json(call, name, dict[str, str | None]) or {}


# -- what the doors share ----------------------------------------------------------------------------------------------
def _check(call: Call, refusal: Callable[[str], SampanError]) -> None:
    protocol = call.request.headers.get("Upgrade", "")
    if not protocol:
        raise refusal("no upgrade proto in request")
    if protocol != "h2c":
        raise refusal(f"protocol {protocol} not supported")


def _connection(call: Call) -> Connection:
    connection = call.request.protocol
    assert isinstance(connection, Connection)
    return connection


async def _carry(connection: Connection, carried: Carried) -> web.StreamResponse:
    def begin(transport: asyncio.Transport) -> asyncio.Protocol:
        transport.write(_UPGRADED)
        carried.begin(transport)
        return carried

    connection.hijack(begin)
    await carried.ended()
    return Hijacked()
