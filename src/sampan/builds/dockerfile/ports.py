"""EXPOSE: `80`, `53/udp`, `8000-8010/tcp`; of the old `[ip:][host:]container` only the container's part counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sampan.builds.dockerfile import scalars
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.golang import quote

_PROTOCOLS = frozenset(("tcp", "udp", "sctp"))


def exposed_ports(words: Iterable[str]) -> list[str]:
    """`80/tcp`, … of expanded words. Raises `DockerfileError`."""
    return [port for word in words for port in _ports(word)]


def split(word: str) -> tuple[str, str, str]:
    """Address, host's ports, container's ports with their protocol; "" where not said."""
    head, _, container = word.rpartition(":")
    address, _, host = head.rpartition(":")
    return address, host, container


def protocol_of(container: str) -> str:
    """As spelled; "" when it says none."""
    return container.partition("/")[2]


def _ports(word: str) -> list[str]:
    address, host, container = split(word)
    ports, _, protocol = container.partition("/")
    if not ports:
        raise DockerfileError(f"invalid port: {quote(word)}: no port specified")
    if protocol and protocol.lower() not in _PROTOCOLS:
        raise DockerfileError(f"invalid port: {quote(word)}: invalid proto: {protocol}")
    _check_address(address)
    span = _range(ports)
    if span is None:
        raise DockerfileError(f"invalid containerPort: {ports}")
    if host:
        _check_host(host, ports, span)
    return [f"{port}/{protocol.lower() or 'tcp'}" for port in span]


def _check_address(address: str) -> None:
    if not address:
        return
    plain = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        ipaddress.ip_address(plain)
    except ValueError:
        raise DockerfileError(f"invalid IP address: {address}") from None


def _check_host(host: str, ports: str, span: range) -> None:
    host_span = _range(host)
    if host_span is None:
        raise DockerfileError(f"invalid hostPort: {host}")
    if len(span) != 1 and len(host_span) != len(span):
        raise DockerfileError(f"invalid ranges specified for container and host Ports: {ports} and {host}")


def _range(text: str) -> range | None:
    first, dash, last = text.partition("-")
    try:
        start = scalars.integer(first, 64)
        end = scalars.integer(last, 64) if dash and first != last else start
    except ValueError:
        return None
    return range(start, end + 1) if 0 <= start <= end <= 65535 else None
