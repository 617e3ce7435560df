"""The PORTS column: published ports with their host side, adjacent ones as ranges."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _order(port: dict[str, Any]) -> tuple[int, str, int, str]:
    return port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port.get("Type", "")


def join_host_port(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def displayed(ports: list[dict[str, Any]]) -> str:
    """`0.0.0.0:8080->80/tcp, 9000-9002/udp`: ranges first, then each mapping to another port number."""
    groups: dict[tuple[str, str], tuple[int, int]] = {}
    done: list[str] = []
    mappings: list[str] = []
    for port in sorted(ports, key=_order):
        inside, host, kind = port["PrivatePort"], port.get("IP", ""), port.get("Type", "")
        if host and port.get("PublicPort", 0) != inside:
            mappings.append(f"{join_host_port(host, str(port.get('PublicPort', 0)))}->{inside}/{kind}")
            continue
        key = host, kind
        first, last = groups.get(key, (inside, inside))
        if key not in groups or inside == last + 1:
            groups[key] = first, inside
            continue
        done.append(_range(key, first, last))
        groups[key] = inside, inside
    done += [_range(key, first, last) for key, (first, last) in groups.items()]
    return ", ".join(done + mappings)


def _range(key: tuple[str, str], first: int, last: int) -> str:
    host, kind = key
    ports = str(first) if first == last else f"{first}-{last}"
    return f"{join_host_port(host, ports)}->{ports}/{kind}" if host else f"{ports}/{kind}"
