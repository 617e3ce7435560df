"""`-p` and `--expose`: port specifications as go-connections reads them."""

from __future__ import annotations

from ..errors import CliError
from .addresses import ip_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Bindings = dict[str, list[dict[str, str]]]


def parse_published(specs: Sequence[str]) -> tuple[dict[str, dict[str, str]], Bindings]:
    """(ExposedPorts, PortBindings) of `-p` values; raises `CliError` with docker's words."""
    exposed: dict[str, dict[str, str]] = {}
    bindings: Bindings = {}
    for spec in specs:
        for port, binding in _mappings(_standard(spec)):
            exposed.setdefault(port, {})
            bindings.setdefault(port, []).append(binding)
    return exposed, bindings


def add_exposed(exposed: dict[str, dict[str, str]], specs: Sequence[str]) -> None:
    """Add the ports of `--expose`: port[-port][/protocol]."""
    for spec in specs:
        if ":" in spec:
            raise CliError(f"invalid port format for --expose: {spec}")
        protocol, ports = split_protocol(spec)
        try:
            start, end = port_range(ports)
        except ValueError as error:
            raise CliError(f"invalid range format for --expose: {spec}, error: {error}") from None
        for port in range(start, end + 1):
            exposed.setdefault(f"{port}/{protocol}", {})


def _standard(spec: str) -> str:
    """The long form published=8080,target=80,protocol=tcp as published:target/protocol."""
    if "=" not in spec:
        return spec
    params = {"protocol": "tcp", "published": "", "target": ""}
    for param in spec.split(","):
        key, equals, value = param.partition("=")
        if not equals or not key:
            raise CliError(f"invalid publish opts format (should be name=value but got '{param}')")
        params[key] = value
    return f"{params['published']}:{params['target']}/{params['protocol']}"


def split_protocol(spec: str) -> tuple[str, str]:
    """(protocol, ports) of "53/udp"; ("", "") when there is no port."""
    ports, _, protocol = spec.partition("/")
    if not ports:
        return "", ""
    return protocol.split("/")[0] or "tcp", ports


def port_range(text: str) -> tuple[int, int]:
    if not text:
        raise ValueError("empty string specified for ports.")
    first, dash, last = text.partition("-")
    start = _port(first)
    end = _port(last.split("-")[0]) if dash else start
    if end < start:
        raise ValueError(f"invalid range specified for port: {text}")
    return start, end


def _port(text: str) -> int:
    from sampan.golang import quote

    if not (text.isdecimal() and text.isascii()):
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    if int(text) > 65535:
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return int(text)


def _mappings(spec: str) -> list[tuple[str, dict[str, str]]]:
    parts = spec.split(":")
    address, host, inside = ":".join(parts[:-2]), "".join(parts[-2:-1]), parts[-1]
    protocol, inside = split_protocol(inside)
    if address[:1] == "[":
        if not address.endswith("]"):
            raise CliError(f"invalid IP address {address}: address {address}:: missing ']' in address")
        address = address[1:-1]
    if address and not ip_version(address):
        raise CliError(f"invalid IP address: {address}")
    if not inside:
        raise CliError(f"no port specified: {spec}<empty>")
    try:
        start, end = port_range(inside)
    except ValueError:
        raise CliError(f"invalid containerPort: {inside}") from None
    host_start = host_end = 0
    if host:
        try:
            host_start, host_end = port_range(host)
        except ValueError:
            raise CliError(f"invalid hostPort: {host}") from None
        if end - start != host_end - host_start and start != end:
            raise CliError(f"invalid ranges specified for container and host Ports: {inside} and {host}")
    if protocol.lower() not in ("tcp", "udp", "sctp"):
        raise CliError(f"invalid proto: {protocol}")
    found = []
    for step in range(end - start + 1):
        chosen = str(host_start + step) if host else ""
        if start == end and host_start != host_end:
            chosen = f"{host_start}-{host_end}"  # the daemon takes any free one of these
        found.append((f"{start + step}/{protocol.lower()}", {"HostIp": address, "HostPort": chosen}))
    return found
