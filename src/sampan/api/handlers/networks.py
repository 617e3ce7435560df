"""Networks: list, look, create, connect, disconnect, delete, prune."""

from __future__ import annotations

import msgspec
from aiohttp import web

from sampan.api.call import Call, empty, reply
from sampan.api.filters import Filters
from sampan.api.handlers.containers import prune_labels, prune_until
from sampan.api.views import network as views
from sampan.containers.model import EndpointSettings
from sampan.errors import InvalidParameter, NotFound, SampanError
from sampan.networks import Network
from sampan.networks.model import IPAM

_LIST = frozenset(["dangling", "driver", "id", "label", "name", "scope", "type"])
_PREDEFINED = frozenset({"bridge", "host", "none"})


class CreateRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """`POST /networks/create`."""

    name: str = ""
    check_duplicate: bool = False
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = msgspec.field(default=None, name="EnableIPv6")
    ipam: IPAM | None = msgspec.field(default=None, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: dict[str, str] | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class ConnectRequest(msgspec.Struct, rename="pascal", kw_only=True):
    container: str = ""
    endpoint_config: EndpointSettings | None = None


class DisconnectRequest(msgspec.Struct, rename="pascal", kw_only=True):
    container: str = ""
    force: bool = False


async def list_(call: Call) -> web.StreamResponse:
    filters = Filters.parse(call.text("filters"), _LIST)
    for kind in filters.get("type"):
        if kind not in ("builtin", "custom"):
            raise InvalidParameter(f"invalid filter: 'type'='{kind}'")
    dangling = _truth(filters)
    networks = call.engine.networks
    detailed = call.version < (1, 28)
    names = _names(call) if detailed else {}
    rows = []
    for network in networks.all():
        if _shown(network, filters) and (dangling is None or _dangling(call, network) == dangling):
            endpoints = networks.endpoints(network.id) if detailed else None
            rows.append(views.inspect(network, call.version, endpoints, names))
    return reply(rows)


def _shown(network: Network, filters: Filters) -> bool:
    if not filters.match("id", network.id) or not filters.match("name", network.name):
        return False
    if not (filters.exact("driver", network.driver) and filters.exact("scope", network.scope)):
        return False
    if not filters.exact("type", "builtin" if network.name in _PREDEFINED else "custom"):
        return False
    return filters.labels("label", network.labels)


def _truth(filters: Filters) -> bool | None:
    """The `dangling` filter, with the words that this list alone has for a bad one."""
    if "dangling" not in filters:
        return None
    try:
        return filters.boolean("dangling")
    except InvalidParameter:
        raise InvalidParameter(
            'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
        ) from None


def _dangling(call: Call, network: Network) -> bool:
    """User-defined, and no container is on it."""
    return network.name not in _PREDEFINED and not call.engine.networks.endpoints(network.id)


def _names(call: Call) -> dict[str, str]:
    return {container.id: container.name for container in call.engine.containers.all()}


async def inspect(call: Call) -> web.StreamResponse:
    networks = call.engine.networks
    network = networks.get(call.name)
    if call.text("scope") not in ("", network.scope):
        raise NotFound(f"network {call.name} not found")
    return reply(views.inspect(network, call.version, networks.endpoints(network.id), _names(call)))


async def create(call: Call) -> web.StreamResponse:
    request = await call.decode(CreateRequest, "CreateRequest")
    if request.config_only or (request.config_from or {}).get("Network"):
        raise InvalidParameter("configuration-only networks belong to swarm, which is not supported")
    if request.ingress or request.scope == "swarm":
        raise InvalidParameter("This node is not a swarm manager. Networks with swarm scope cannot be created")
    network, warning = await call.engine.networks.create(
        Network(
            name=request.name,
            driver=request.driver or "bridge",
            enable_ipv4=request.enable_ipv4 is not False or call.version < (1, 48),
            enable_ipv6=bool(request.enable_ipv6),
            ipam=request.ipam or IPAM(),
            internal=request.internal,
            attachable=request.attachable,
            options=request.options or {},
            labels=request.labels or {},
        )
    )
    return reply({"Id": network.id, "Warning": warning}, status=201)


async def delete(call: Call) -> web.StreamResponse:
    await call.engine.networks.remove(call.name)
    return empty()


async def connect(call: Call) -> web.StreamResponse:
    request = await call.decode(ConnectRequest, "ConnectOptions")
    await call.engine.containers.connect(request.container, call.name, request.endpoint_config or EndpointSettings())
    return empty(200)


async def disconnect(call: Call) -> web.StreamResponse:
    request = await call.decode(DisconnectRequest, "DisconnectOptions")
    containers = call.engine.containers
    try:
        containers.get(request.container)
    except NotFound:
        if not request.force:
            raise
        # Docker looks for an endpoint of that name, left over by a container that is gone.
        call.engine.networks.get(call.name)
        raise SampanError(f"endpoint {request.container} not found") from None
    await containers.disconnect(request.container, call.name, request.force)
    return empty(200)


async def prune(call: Call) -> web.StreamResponse:
    filters = Filters.parse(call.text("filters"), ("label", "label!", "until"))
    until = prune_until(filters)
    used = {name for container in call.engine.containers.all() for name in container.networking}

    def keep(network: Network) -> bool:
        if network.name in used or (until and network.created > until):
            return True
        return not prune_labels(filters, network.labels)

    removed = await call.engine.networks.prune(keep)
    call.engine.events.publish("network", "prune", "", {"reclaimed": "0"})
    return reply({"NetworksDeleted": removed or None})
