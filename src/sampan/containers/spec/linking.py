"""`--link` on the default bridge: the legacy way for a container to know another by an alias of its own choice.

It gives a line in /etc/hosts and environment variables, both made at start (deprecated by Docker, kept by clients of
old). On user-defined networks links are names for DNS, and nothing of this applies.
"""

from __future__ import annotations

from sampan.containers.context import Context
from sampan.containers.model import Container
from sampan.containers.rules.validation import parse_port
from sampan.errors import Conflict, InvalidParameter, NotFound


def split(word: str) -> tuple[str, str]:
    """(reference, alias) of `name:alias` or `name`."""
    ref, _, alias = word.partition(":")
    return ref, alias or ref.removeprefix("/")


def _linked(context: Context, container: Container) -> list[tuple[str, str, Container]]:
    """(alias, address, container). Raises `Conflict` when one does not run."""
    found = []
    if container.host_config.network_mode != "bridge":
        return []
    for word in container.host_config.links or []:
        ref, alias = split(word)
        other = context.roster.find(ref).container
        if not other.state.running:
            raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}")
        bridge = other.networking.get("bridge")
        if bridge is not None and bridge.ip_address:
            found.append((alias, bridge.ip_address, other))
    return found


def hosts(context: Context, container: Container) -> list[tuple[str, str]]:
    """(address, names) for /etc/hosts."""
    return [
        (address, " ".join(dict.fromkeys((alias, other.config.hostname, other.name))))
        for alias, address, other in _linked(context, container)
    ]


def environment(context: Context, container: Container) -> list[str]:
    """`DB_NAME`, `DB_PORT`, `DB_PORT_5432_TCP…` and `DB_ENV_…` of a link with the alias db."""
    found: list[str] = []
    for alias, address, other in _linked(context, container):
        prefix = alias.upper().replace("-", "_")
        ports = sorted(parse_port(port) for port in other.config.exposed_ports or {})
        if ports:
            number, protocol = next((port for port in ports if port[1] == "tcp"), ports[0])
            found.append(f"{prefix}_PORT={protocol}://{address}:{number}")
        for number, protocol in ports:
            name = f"{prefix}_PORT_{number}_{protocol.upper()}"
            found += [f"{name}={protocol}://{address}:{number}", f"{name}_ADDR={address}"]
            found += [f"{name}_PORT={number}", f"{name}_PROTO={protocol}"]
        found.append(f"{prefix}_NAME=/{container.name}/{alias}")
        for entry in other.config.env or []:
            if entry.partition("=")[0] not in ("HOME", "PATH"):
                found.append(f"{prefix}_ENV_{entry}")
    return found


def check(context: Context, container: Container) -> None:
    """At create: what is linked to must exist. Raises `InvalidParameter`, `NotFound`."""
    for word in container.host_config.links or []:
        ref, alias = split(word)
        if not ref or not alias or word.count(":") > 1:
            raise InvalidParameter(f"bad format for links: {word}")
        try:
            context.roster.find(ref)
        except NotFound:
            raise InvalidParameter(f"could not get container for {ref}: No such container: {ref}") from None


def unlink(context: Context, ref: str) -> None:
    """`rm --link PARENT/ALIAS`: the containers stay, and what runs keeps the name. Raises `InvalidParameter`,
    `NotFound`."""
    parent, _, alias = ref.removeprefix("/").rpartition("/")
    if not parent:
        raise InvalidParameter("Conflict, cannot remove the default link name of the container")
    record = context.roster.find(parent)
    words = record.container.host_config.links or []
    kept = [word for word in words if split(word)[1] != alias]
    if len(kept) == len(words):
        raise NotFound(f"Cannot get parent {parent} for link name {alias}")
    record.container.host_config.links = kept
    context.save(record)
