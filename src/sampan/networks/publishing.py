"""Published ports of a sandbox that lives: some go, some come, the others never stop answering.

The caller says which ports there shall be; what is held already is matched with it (`assign`), so doing it twice does
nothing the second time. That is how a daemon that was killed in between finishes the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from sampan.networks import endpoints
from sampan.networks.model import PortRequest, PublishedPort
from sampan.networks.ports import Held
from sampan.networks.wiring import Live, Wiring, forget_flows

_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Plan:
    """`drop` goes, `missing` comes; whatever else is held stays."""

    drop: list[Held]
    missing: list[PortRequest]


def assign(requests: Sequence[PortRequest], ports: Sequence[PublishedPort]) -> list[list[PublishedPort]]:
    """For each request the ports that are its own, [] for none. Pure. A request for one number comes before one for a
    range, and that before one for any number: what is left over is theirs in order."""
    left = list(ports)
    found: list[list[PublishedPort]] = [[] for _ in requests]
    for index in sorted(range(len(requests)), key=lambda index: _freedom(requests[index])):
        request = requests[index]
        fitting = [port for port in left if _fits(request, port)]
        if fitting:
            number = next((port.host_port for port in fitting if port.host_port), 0)
            found[index] = [port for port in fitting if port.host_port in (number, 0)]
            left = [port for port in left if port not in found[index]]
    return found


def _freedom(request: PortRequest) -> int:
    if request.host_port in ("", "0"):
        return 2
    return 1 if "-" in request.host_port else 0


def _fits(request: PortRequest, port: PublishedPort) -> bool:
    if (port.container_port, port.protocol) != (request.container_port, request.protocol):
        return False
    if not port.host_port:  # of a routed network: on the container's own address, whatever was asked for
        return not request.host_ip or (":" in request.host_ip) == (":" in port.host_ip)
    wanted = (str(ip_address(request.host_ip)),) if request.host_ip else _EVERYWHERE
    if port.host_ip not in wanted:
        return False
    if request.host_port in ("", "0"):
        return True
    first, _, last = request.host_port.partition("-")
    return int(first) <= port.host_port <= int(last or first)


def plan(wiring: Wiring, live: Live, requests: list[PortRequest]) -> Plan:
    requests = wiring.on_host(live, requests)
    owned = assign(requests, [held.port for held in live.held])
    kept = [port for ports in owned for port in ports]
    return Plan(
        drop=[held for held in live.held if held.port not in kept],
        missing=[request for request, ports in zip(requests, owned, strict=True) if not ports],
    )


def carry_out(wiring: Wiring, live: Live, change: Plan) -> None:
    """All or nothing: where a new port is taken, those that were to go are held again before it raises. Blocks."""
    record = live.record
    for held in change.drop:
        wiring.ports.release(held)
        live.held = [other for other in live.held if other is not held]
    name = next((name for endpoint in record.endpoints for name in endpoint.dns_names), record.container_id[:12])
    try:
        fresh = wiring.reserve(live, change.missing, name)
    except BaseException:
        live.held += [wiring.ports.hold_again(record.container_id, held.port) for held in change.drop]
        raise
    live.held += fresh
    record.ports = [held.port for held in live.held]
    # The record first: a daemon that is killed now finds rules that nobody wrote down, and replaces the whole table.
    wiring.put(record)
    wiring.retranslate(live)
    forget_flows([held.port for held in (*change.drop, *fresh)])


def has_way_out(live: Live) -> bool:
    """Is it on a network whose ports can be published?"""
    return endpoints.provider(live.record.endpoints) is not None
