"""A container's /etc/hostname, /etc/hosts and /etc/resolv.conf: made at each start beside its log, bound into it.

The files are rewritten in place, never replaced: a running container has bound their inodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.containers.context import Context
from sampan.containers.model import Container
from sampan.containers.spec import linking, networking
from sampan.errors import InvalidParameter
from sampan.networks import Sandbox, files


@dataclass(frozen=True, slots=True)
class EtcFiles:
    hostname: Path
    hosts: Path
    resolv_conf: Path

    def mounts(self, users: Iterable[Mapping[str, object]]) -> dict[str, Path]:
        """Destination → source, of those that the user mounts nothing over."""
        own = {"/etc/hostname": self.hostname, "/etc/hosts": self.hosts, "/etc/resolv.conf": self.resolv_conf}
        covered = {mount["destination"] for mount in users}
        return {destination: source for destination, source in own.items() if destination not in covered}

    def below(self, users: Iterable[Mapping[str, object]]) -> dict[str, Path]:
        """As `mounts`, of a build's step: there a mount over /etc hides them (BuildKit), in a container they are put
        into it (dockerd)."""
        users = list(users)
        hidden = any(mount["destination"] in ("/etc", "/") for mount in users)
        return {} if hidden else self.mounts(users)


def of(directory: Path) -> EtcFiles:
    return EtcFiles(directory / "hostname", directory / "hosts", directory / "resolv.conf")


def write(context: Context, container: Container, sandbox: Sandbox) -> EtcFiles:
    """Blocks for well under a millisecond. Raises `InvalidParameter`, `Conflict` (a link to what does not run)."""
    paths = of(context.directory(container.id))
    host = container.host_config
    config = container.config
    if host.network_mode.startswith(networking.CONTAINER):
        raise ValueError("a container in another's network has that one's files")
    paths.hostname.write_text(config.hostname + "\n")
    write_hosts(context, container, sandbox, paths.hosts)
    paths.resolv_conf.write_text(resolv_conf(context, container, sandbox))
    return paths


def resolv_conf(context: Context, container: Container, sandbox: Sandbox) -> str:
    """What /etc/resolv.conf says while the container is on the sandbox's networks."""
    host = container.host_config
    settings = context.settings
    resolver = files.override(
        files.host_resolver(),
        host.dns or settings.dns,
        host.dns_search or settings.dns_search,
        host.dns_options or settings.dns_options,
    )
    ipv6 = any(endpoint.ipv6 for endpoint in sandbox.endpoints)
    if host.network_mode == "host":
        return files.host(resolver)
    if any(endpoint.network not in ("bridge", "none") for endpoint in sandbox.endpoints):
        return files.internal(resolver, ipv6)
    return files.legacy(resolver, ipv6)


def write_hosts(context: Context, container: Container, sandbox: Sandbox, path: Path) -> None:
    host = container.host_config
    if host.network_mode == "host" and not host.extra_hosts:
        try:
            path.write_bytes(Path("/etc/hosts").read_bytes())
        except FileNotFoundError:
            path.write_text(files.hosts((), ""))
        return
    addresses = [address for endpoint in sandbox.endpoints for address in (endpoint.ipv4, endpoint.ipv6) if address]
    path.write_text(
        files.hosts(
            addresses,
            container.config.hostname,
            container.config.domainname,
            [_extra(context, word) for word in host.extra_hosts or []],
            linking.hosts(context, container),
        )
    )


def _extra(context: Context, word: str) -> tuple[str, str]:
    name, _, address = word.partition(":")
    if address == "host-gateway":
        address = _host_gateway(context)
    return name, address.removeprefix("[").removesuffix("]")


def _host_gateway(context: Context) -> str:
    found = context.networks.host_gateway()
    if not found:
        raise InvalidParameter(
            "unable to derive the IP value for host-gateway: the default bridge is off (--bridge=none)"
        )
    return found
