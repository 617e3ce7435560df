"""`com.docker.network.bridge.gateway_mode_ipv4` and `…ipv6` on a real kernel, in a laboratory of namespaces."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from sampan.networks import IPAM, EndpointRequest, IPAMPool, Network, PortRequest, Sandbox
from support import netlab
from support.netlab import Lab, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MODE4, MODE6 = (f"com.docker.network.bridge.gateway_mode_ipv{version}" for version in (4, 6))
ONE, TWO = "1" * 64, "2" * 64
PORTS = [PortRequest(80, host_port="8080")]


async def started(lab: Lab, id: str, network: Network, ports: list[PortRequest]) -> Sandbox:
    await lab.networks.create(network)
    sandbox = await lab.networks.up(id, network.name, [EndpointRequest(network=network.name)], ports)
    for port in (80, 81):
        lab.serve(sandbox, port)
    return sandbox


async def outside(lab: Lab, address: str, port: int, timeout: float = 3) -> str:
    return await asyncio.to_thread(lab.outside, lambda: ask(address, port, timeout=timeout))


async def inside(lab: Lab, sandbox: Sandbox, address: str, port: int, timeout: float = 3) -> str:
    return await asyncio.to_thread(lab.inside, sandbox, lambda: ask(address, port, timeout=timeout))


async def seen_as(lab: Lab, sandbox: Sandbox) -> str:
    """The address that a server outside sees the container with."""
    with lab.outside(lambda: socket.create_server((netlab.OUTSIDE, 7000))) as server:
        server.settimeout(3)
        asking = asyncio.create_task(inside(lab, sandbox, netlab.OUTSIDE, 7000))
        connection, peer = await asyncio.to_thread(server.accept)
        connection.close()
        await asking
        return str(peer[0])


def test_a_routed_network_opens_published_ports_at_the_containers_own_address(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await started(lab, ONE, Network(name="net", options={MODE4: "routed"}), PORTS)
        address = one.endpoints[0].ipv4
        assert [(port.host_ip, port.host_port) for port in one.ports] == [("0.0.0.0", 0)]
        assert await outside(lab, address, 80) == netlab.OUTSIDE
        assert not await outside(lab, address, 81, 0.5), "what is not published stays closed"
        assert not await outside(lab, netlab.HOST, 8080, 0.5), "nothing is translated"
        lab.outside(lambda: netlab.sh(f"busybox ping -c 1 -W 2 {address}"))
        assert await seen_as(lab, one) == address, "nor masked"
        two = await started(lab, TWO, Network(name="other"), [])
        assert await inside(lab, two, address, 80), "from other networks too"
        assert not await inside(lab, two, address, 81, 0.5)
        await lab.networks.publish(ONE, [PortRequest(81, host_port="9000")])
        assert await outside(lab, address, 81)
        assert not await outside(lab, address, 80, 0.5)
        await lab.restart({ONE: one})
        assert await outside(lab, address, 81), "and after a restart of the daemon"

    netlab.run(tmp_path, scenario)


def test_one_family_is_routed_and_the_other_translated(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        pool = IPAM(config=[IPAMPool(subnet="2001:db8:77::/64")])
        one = await started(
            lab, ONE, Network(name="net", enable_ipv6=True, ipam=pool, options={MODE6: "routed"}), PORTS
        )
        lab.serve(one, 80, address=one.endpoints[0].ipv6)
        lab.outside(lambda: netlab.sh(f"ip -6 route add 2001:db8:77::/64 via {netlab.HOST6}"))
        assert [(port.host_ip, port.host_port) for port in one.ports] == [("0.0.0.0", 8080), ("::", 0)]
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE
        assert await outside(lab, one.endpoints[0].ipv6, 80) == netlab.OUTSIDE6
        assert not await outside(lab, one.endpoints[0].ipv4, 80, 0.5)
        assert await lab.networks.publish(ONE, PORTS) == one.ports, "nothing to change"

    netlab.run(tmp_path, scenario)


def test_nat_unprotected_lets_the_outside_in_but_not_other_networks(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await started(lab, ONE, Network(name="net", options={MODE4: "nat-unprotected"}), PORTS)
        address = one.endpoints[0].ipv4
        assert await outside(lab, address, 81) == netlab.OUTSIDE
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE
        assert await seen_as(lab, one) == netlab.HOST
        two = await started(lab, TWO, Network(name="other"), [])
        assert not await inside(lab, two, address, 81, 0.5)

    netlab.run(tmp_path, scenario)


def test_an_isolated_networks_bridge_has_no_address(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        made, _ = await lab.networks.create(
            Network(name="net", internal=True, enable_ipv6=True, options={MODE4: "isolated", MODE6: "isolated"})
        )
        assert [pool.gateway for pool in made.ipam.config] == ["", ""]
        assert "inet" not in netlab.sh(f"ip address show {made.bridge}")
        one = await lab.networks.up(ONE, "net", [EndpointRequest(network="net")], [])
        two = await lab.networks.up(TWO, "net", [EndpointRequest(network="net")], [])
        assert one.endpoints[0].ipv4.endswith(".1"), "the gateway's address is not kept free"
        lab.serve(one, 80)
        assert await inside(lab, two, one.endpoints[0].ipv4, 80)
        assert not await asyncio.to_thread(ask, one.endpoints[0].ipv4, 80, timeout=0.5), "the host is no part of it"

    netlab.run(tmp_path, scenario)
