"""Which containers `GET /containers/json` shows: every filter, `limit`, and Docker's messages for bad ones. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sampan.api.filters import Filters
from sampan.containers.model import Container, Status
from sampan.errors import InvalidParameter
from sampan.golang import quote

_NAMES = "ancestor before exited expose health id is-task isolation label name network publish since status volume"
ACCEPTED = frozenset(_NAMES.split())
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")


@dataclass(slots=True)
class Selection:
    """A parsed list request. `before` and `since` are container ids; `images` the ids that `ancestor` stands for."""

    all: bool
    limit: int
    filters: Filters
    exited: frozenset[int] = frozenset()
    before: str = ""
    since: str = ""
    images: frozenset[str] | None = None
    published: frozenset[str] = frozenset()
    exposed: frozenset[str] = frozenset()
    networks: dict[str, str] = field(default_factory=dict)


def select(
    filters: Filters,
    *,
    all: bool,
    limit: int,
    find: Callable[[str], Container],
    ancestors: Callable[[str], Iterable[str]],
    before: str = "",
    since: str = "",
) -> Selection:
    """Checks the filters. `find` resolves the containers of before and since, `ancestors` an image reference to the
    ids of it and what was built on it. `before` and `since` are the old parameters of the same name."""
    filters.validate(ACCEPTED)
    exited = set()
    for value in filters.get("exited"):
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise InvalidParameter(
                f"invalid filter 'exited={value}': strconv.Atoi: parsing {quote(value)}: invalid syntax"
            )
        exited.add(int(value))
    for value in filters.get("status"):
        if value not in _STATUSES:
            raise InvalidParameter(
                f"invalid filter 'status={value}': invalid value for state ({value}): "
                f"must be one of {', '.join(_STATUSES)}"
            )
        all = True
    filters.boolean("is-task")
    for value in filters.get("health"):
        if value not in _HEALTHS:
            raise InvalidParameter(
                f"invalid filter 'health={value}': invalid value for health ({value}): "
                f"must be one of {', '.join(_HEALTHS)}"
            )
    selection = Selection(all=all, limit=limit, filters=filters, exited=frozenset(exited))
    for value in (*filters.get("before"), *([before] if before else ())):
        selection.before = find(value).id
    for value in (*filters.get("since"), *([since] if since else ())):
        selection.since = find(value).id
    if "ancestor" in filters:
        selection.images = frozenset(image for value in filters.get("ancestor") for image in ancestors(value))
    selection.published = _ports("publish", filters)
    selection.exposed = _ports("expose", filters)
    return selection


def _ports(name: str, filters: Filters) -> frozenset[str]:
    """ "80", "80/udp", "8000-8010/tcp" → "80/tcp"…"""
    ports = set()
    for value in filters.get(name):
        if ":" in value:
            raise InvalidParameter(f"filter for '{name}' should not contain ':': {value}")
        numbers, _, protocol = value.partition("/")
        first, dash, last = numbers.partition("-")
        for number in (first, last) if dash else (first,):
            if not (number.isascii() and number.isdigit() and int(number) < 65536):
                raise InvalidParameter(
                    f"error while looking up for {name} {value}: "
                    f"strconv.ParseUint: parsing {quote(number)}: invalid syntax"
                )
        if dash and int(last) < int(first):
            raise InvalidParameter(
                f"error while looking up for {name} {value}: invalid range specified for port: {numbers}"
            )
        ports |= {f"{port}/{protocol or 'tcp'}" for port in range(int(first), int(last if dash else first) + 1)}
    return frozenset(ports)


def chosen(containers: Iterable[Container], selection: Selection) -> Iterator[Container]:
    """`containers` come newest first."""
    shown = 0
    waiting = bool(selection.before)
    for container in containers:
        if waiting:
            waiting = container.id != selection.before
            continue
        if selection.since and container.id == selection.since:
            return
        if not container.state.running and not selection.all and selection.limit <= 0:
            continue
        if not _identity(container, selection.filters):
            continue
        if selection.limit > 0 and shown == selection.limit:
            return
        if _state(container, selection) and _surroundings(container, selection):
            shown += 1
            yield container


def _identity(container: Container, filters: Filters) -> bool:
    if not filters:
        return True
    if not (filters.match("name", f"/{container.name}") or filters.match("name", container.name)):
        return False
    if not filters.match("id", container.id):
        return False
    if "is-task" in filters and filters.boolean("is-task"):
        return False
    return filters.labels("label", container.config.labels)


def _state(container: Container, selection: Selection) -> bool:
    filters, state = selection.filters, container.state
    if selection.exited and not (state.exit_code in selection.exited and not state.running and state.started_at):
        return False
    if not filters.match("status", "exited" if state.status is Status.EXITED else state.status.value):
        return False
    return filters.exact("health", state.health.status if state.health is not None else "none")


def _surroundings(container: Container, selection: Selection) -> bool:
    filters = selection.filters
    if "volume" in filters:
        places = {place for mount in container.mounts for place in (mount.name or mount.source, mount.destination)}
        if not places & set(filters.get("volume")):
            return False
    if selection.images is not None and container.image_id not in selection.images:
        return False
    if "network" in filters and not any(
        name == value or (value and endpoint.network_id.startswith(value))
        for value in filters.get("network")
        for name, endpoint in container.networking.items()
    ):
        return False
    if selection.published or selection.exposed:
        return bool(_public(container) & selection.published) or bool(_private(container) & selection.exposed)
    return True


def _public(container: Container) -> set[str]:
    return {
        f"{one.host_port}/{port.partition('/')[2] or 'tcp'}"
        for port, bound in container.ports.items()
        for one in bound or ()
    }


def _private(container: Container) -> set[str]:
    if not container.state.running:
        return set()
    return {*container.ports, *(container.config.exposed_ports or {})}
