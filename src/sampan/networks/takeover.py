"""Taking over after a daemon that stopped or was killed: what still lives is known again, and what belongs to nobody
goes. Blocking, in the thread of the `Wiring`.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack

from sampan.errors import SampanError
from sampan.linux import netlink
from sampan.networks import endpoints
from sampan.networks.model import SandboxRecord
from sampan.networks.ports import Held
from sampan.networks.wiring import Live, Wiring

log = logging.getLogger(__name__)


def unheld(wiring: Wiring) -> list[tuple[Live, Held]]:
    """Published ports that no socket holds."""
    return [
        (live, held)
        for live in wiring.live.values()
        for held in live.held
        if held.socket is None and held.port.protocol != "sctp" and held.port.host_port
    ]


def hold_again(wiring: Wiring) -> list[Live]:
    """Those of them that can be bound now are. Returns whose they were."""
    return [live for live, held in unheld(wiring) if wiring.ports.hold_later(held)]


def take_over(wiring: Wiring, record: SandboxRecord) -> bool:
    """A sandbox that lived on while the daemon was away. False when its namespace is gone."""
    if record.netns and not wiring.sandboxes.exists(record.container_id):
        return False
    live = Live(record)
    for endpoint in record.endpoints:
        endpoints.hold(wiring.catalog, endpoint)
    for port in record.ports:
        held = wiring.ports.hold_again(record.container_id, port)
        if held.socket is None and port.protocol != "sctp" and port.host_port:
            log.warning(
                "port %s:%d of container %s was taken meanwhile", port.host_ip, port.host_port, record.container_id
            )
        live.held.append(held)
    if wiring.namespace(live) is not None:
        try:
            with ExitStack() as undo:
                wiring.bind_nameserver(live, undo)
                undo.pop_all()
        except SampanError as error:
            log.error("container %s: %s", record.container_id, error.message)
    rules = wiring.rules_of(live)
    if rules:
        wiring.rules.rules[record.container_id] = rules
    wiring.live[record.container_id] = live
    wiring.put(record)
    return True


def sweep(wiring: Wiring) -> None:
    """Removes every namespace and link that belongs to no live sandbox, and every record."""
    for name in wiring.sandboxes.names():
        if name not in wiring.live or not wiring.live[name].record.netns:
            wiring.sandboxes.remove(name)
    for container_id in wiring.records():
        if container_id not in wiring.live:
            wiring.forget(container_id)
    expected = {endpoint.link for live in wiring.live.values() for endpoint in live.record.endpoints}
    masters = wiring.indexes()
    for link in wiring.kernel.links():
        if link.kind == "veth" and link.master in masters and link.name not in expected:
            wiring.kernel.run(netlink.delete_link(link.name))
