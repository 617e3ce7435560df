"""User-defined networks and their nameserver on a real kernel, in a laboratory of namespaces (`support.netlab`)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from sampan.errors import Forbidden, InvalidParameter, SampanError
from sampan.linux import namespaces
from sampan.networks import IPAM, Endpoint, EndpointRequest, IPAMPool, Network, PortRequest, Sandbox
from sampan.networks import files as files_module
from support import netlab
from support.netlab import Lab, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
A, PTR, AAAA = 1, 12, 28


async def start(lab: Lab, container_id: str, network: str, **wish: str) -> Sandbox:
    short = container_id[0]
    names = [f"c{short}", container_id[:12], "service"]
    endpoint = EndpointRequest(network=network, dns_names=names, **wish)  # type: ignore[arg-type]
    return await lab.networks.up(container_id, network, [endpoint], [])


async def create(lab: Lab, name: str = "net", **settings: object) -> Network:
    network, _ = await lab.networks.create(msgspec.structs.replace(Network(name=name), **settings))
    return network


async def reach(lab: Lab, sandbox: Sandbox, address: str, port: int = 80, timeout: float = 2) -> str:
    return await asyncio.to_thread(lab.inside, sandbox, lambda: ask(address, port, timeout=timeout))


async def resolve(
    lab: Lab, sandbox: Sandbox, name: str, type: int = A, kind: int = socket.SOCK_DGRAM
) -> list[str] | int:
    """Addresses or names, or the response code when it is not NOERROR."""
    return await asyncio.to_thread(lab.inside, sandbox, lambda: lookup(name, type, kind))


def lookup(name: str, type: int = A, kind: int = socket.SOCK_DGRAM, server: str = "127.0.0.11") -> list[str] | int:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    query = struct.pack(">6H", 77, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", type, 1)
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(3)
        client.connect((server, 53))
        if kind == socket.SOCK_STREAM:
            client.sendall(len(query).to_bytes(2, "big") + query)
            response = client.recv(1 << 16)[2:]
        else:
            client.send(query)
            response = client.recv(1 << 16)
    id, flags, _, count, _, _ = struct.unpack_from(">6H", response)
    assert id == 77
    return list(records(response, len(query), count)) if not flags & 15 else flags & 15


def records(response: bytes, offset: int, count: int) -> list[str]:
    found = []
    for _ in range(count):
        type, _, _, length = struct.unpack_from(">2HIH", response, offset + 2)
        data = response[offset + 12 : offset + 12 + length]
        found.append(labels(data) if type == PTR else str(ip_address(data)))
        offset += 12 + length
    return found


def labels(data: bytes) -> str:
    parts = []
    while data[0]:
        parts.append(data[1 : 1 + data[0]].decode())
        data = data[1 + data[0] :]
    return ".".join(parts)


def in_lab(tmp_path: Path, scenario: Callable[[Lab], Awaitable[None]]) -> None:
    netlab.run(tmp_path, scenario)


def test_names_resolve_both_ways(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab)
        one = await start(lab, ONE, "net")
        two = await start(lab, TWO, "net")
        address = two.endpoints[0].ipv4
        for name in ("c2", "C2", TWO[:12], "c2.net"):
            assert await resolve(lab, one, name) == [address], name
        assert await resolve(lab, one, "c2", kind=socket.SOCK_STREAM) == [address]
        assert await resolve(lab, one, "c2", AAAA) == []
        both = await resolve(lab, one, "service")
        assert isinstance(both, list) and sorted(both) == sorted([address, one.endpoints[0].ipv4])
        reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        assert await resolve(lab, one, reverse, PTR) == ["c2.net"]
        await lab.networks.rename(TWO, "c2", "other")
        assert await resolve(lab, one, "other") == [address]
        await lab.networks.down(TWO)
        assert await resolve(lab, one, "service") == [one.endpoints[0].ipv4]

    in_lab(tmp_path, scenario)


def test_the_nameserver_leaves_port_53_to_the_container(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab)
        one = await start(lab, ONE, "net")
        two = await start(lab, TWO, "net")
        lab.serve(one, 53, socket.SOCK_DGRAM)
        lab.serve(one, 53)
        assert await resolve(lab, one, "c2") == [two.endpoints[0].ipv4]
        assert await reach(lab, two, one.endpoints[0].ipv4, 53) == two.endpoints[0].ipv4

    in_lab(tmp_path, scenario)


def test_unknown_names_go_to_the_hosts_nameserver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(lab: Lab) -> None:
        upstream = lab.outside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        upstream.bind((netlab.OUTSIDE, 53))
        upstream.settimeout(3)
        monkeypatch.setattr(files_module, "host_resolver", lambda: files_module.parse(f"nameserver {netlab.OUTSIDE}"))

        def answer() -> str:
            query, peer = upstream.recvfrom(512)
            record = b"\xc0\x0c" + struct.pack(">2HIH", A, 1, 60, 4) + bytes([203, 0, 113, 9])
            upstream.sendto(query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + query[12:] + record, peer)
            return str(peer[0])

        await create(lab)
        await create(lab, "closed", internal=True)
        one = await start(lab, ONE, "net")
        two = await start(lab, TWO, "closed")
        asked = asyncio.create_task(asyncio.to_thread(answer))
        assert await resolve(lab, one, "example.org") == ["203.0.113.9"]
        assert await asked == netlab.HOST, "masked, from the container's own namespace"
        assert await resolve(lab, two, "example.org") == 2, "an internal network asks nobody"
        assert await resolve(lab, two, "c2") == [two.endpoints[0].ipv4]
        upstream.close()

    in_lab(tmp_path, scenario)


def test_the_nameserver_and_networks_outlive_a_killed_daemon(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        network = await create(lab)
        one = await start(lab, ONE, "net")
        two = await start(lab, TWO, "net")
        await lab.restart({ONE: one, TWO: two})
        assert lab.networks.get("net") == network
        assert await resolve(lab, one, "c2") == [two.endpoints[0].ipv4]
        three = await start(lab, THREE, "net")
        assert three.endpoints[0].ipv4 not in {one.endpoints[0].ipv4, two.endpoints[0].ipv4}

    in_lab(tmp_path, scenario)


def test_bridges_are_isolated_from_each_other(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab, "a")
        await create(lab, "b")
        one, two = await start(lab, ONE, "a"), await start(lab, TWO, "b")
        lab.serve(two, 80)
        assert await resolve(lab, one, "c2") != [two.endpoints[0].ipv4]
        assert not await reach(lab, one, two.endpoints[0].ipv4, timeout=0.5)
        await lab.networks.connect(ONE, EndpointRequest(network="b", dns_names=["c1"]))
        assert await reach(lab, one, two.endpoints[0].ipv4)
        assert await resolve(lab, one, "c2") == [two.endpoints[0].ipv4]
        await lab.networks.disconnect(ONE, "b")
        assert not await reach(lab, one, two.endpoints[0].ipv4, timeout=0.5)
        assert "eth1" not in lab.inside(one, lambda: netlab.sh("ip -br link"))

    in_lab(tmp_path, scenario)


def test_icc_false_separates_containers_of_one_bridge(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab, options={"com.docker.network.bridge.enable_icc": "false"})
        one, two = await start(lab, ONE, "net"), await start(lab, TWO, "net")
        lab.serve(two, 80)
        assert not await reach(lab, one, two.endpoints[0].ipv4, timeout=0.5)
        gateway, address = one.endpoints[0].gateway, two.endpoints[0].ipv4
        lab.inside(one, lambda: netlab.sh(f"ip route add {address} via {gateway}"))
        assert not await reach(lab, one, address, timeout=0.5), "nor through the gateway"

    in_lab(tmp_path, scenario)


def test_an_internal_network_has_no_way_out(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab, internal=True)
        one = await start(lab, ONE, "net")
        two = await start(lab, TWO, "net")
        lab.serve(two, 80)
        server = lab.outside(lambda: socket.create_server((netlab.OUTSIDE, 7000)))
        with server:
            assert await reach(lab, one, two.endpoints[0].ipv4)
            lab.inside(one, lambda: netlab.sh("ip route add default via 10.177.1.1"))
            assert not await reach(lab, one, netlab.OUTSIDE, 7000, timeout=0.5)

    in_lab(tmp_path, scenario)


def test_ipv6_works_inside_outside_and_published(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        pool = IPAMPool(subnet="fd00:77::/64")
        await create(lab, enable_ipv6=True, ipam=IPAM(config=[pool]))
        endpoint = EndpointRequest(network="net", dns_names=["c1"])
        port = PortRequest(80, host_port="8080")
        one = await lab.networks.up(ONE, "net", [endpoint], [port])
        two = await start(lab, TWO, "net", ipv6="fd00:77::99")
        lab.serve(one, 80, address="::")
        assert two.endpoints[0].ipv6 == "fd00:77::99"
        assert await resolve(lab, two, "c1", AAAA) == [one.endpoints[0].ipv6]
        assert await reach(lab, two, one.endpoints[0].ipv6) == "fd00:77::99"
        from_outside = await asyncio.to_thread(lab.outside, lambda: ask(netlab.HOST6, 8080))
        assert from_outside == netlab.OUTSIDE6, "the client's own address"
        assert await asyncio.to_thread(ask, "::1", 8080)
        direct = await asyncio.to_thread(lab.outside, lambda: route_and_ask(one.endpoints[0]))
        assert direct == ""

    in_lab(tmp_path, scenario)


def route_and_ask(endpoint: Endpoint) -> str:
    netlab.sh(f"ip -6 route add fd00:77::/64 via {netlab.HOST6}")
    return ask(endpoint.ipv6, 80, timeout=0.5)


def test_addresses_are_as_asked_for(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        pool = IPAMPool(
            subnet="10.9.0.0/24",
            ip_range="10.9.0.128/25",
            gateway="10.9.0.254",
            auxiliary_addresses={"x": "10.9.0.129"},
        )
        network = await create(lab, ipam=IPAM(config=[pool]))
        one = await start(lab, ONE, "net")
        two = await start(lab, TWO, "net", ipv4="10.9.0.5", mac="02:11:22:33:44:55")
        assert [one.endpoints[0].ipv4, one.endpoints[0].gateway] == ["10.9.0.128", "10.9.0.254"]
        assert [two.endpoints[0].ipv4, two.endpoints[0].mac] == ["10.9.0.5", "02:11:22:33:44:55"]
        assert "02:11:22:33:44:55" in lab.inside(two, lambda: netlab.sh("ip link show eth0"))
        before = netlab.state()
        for wish, kind, message in (
            ("10.9.0.5", Forbidden, "Address already in use"),
            ("10.9.0.254", Forbidden, "Address already in use"),
            ("10.8.0.1", InvalidParameter, "no configured subnet or ip-range contain the IP address 10.8.0.1"),
        ):
            with pytest.raises(kind, match=message):
                await start(lab, THREE, "net", ipv4=wish)
        three = await start(lab, THREE, "net")
        assert three.endpoints[0].ipv4 == "10.9.0.130"
        await lab.networks.down(THREE)
        with pytest.raises(Forbidden, match="has active endpoints"):
            await lab.networks.remove(network.id)
        for _ in range(50):
            if netlab.state() == before:
                break
            await asyncio.sleep(0.1)
        assert netlab.state() == before

    in_lab(tmp_path, scenario)


def test_the_gateway_follows_priority_and_ports_follow_the_gateway(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab, "b")
        await create(lab, "a")
        one = await lab.networks.up(ONE, "b", [EndpointRequest(network="b")], [PortRequest(80, host_port="8080")])
        lab.serve(one, 80)
        await lab.networks.connect(ONE, EndpointRequest(network="a"))
        via = lab.inside(one, lambda: netlab.sh("ip route show default"))
        assert "dev eth1" in via, "network a comes first by name"
        assert await asyncio.to_thread(lab.outside, lambda: ask(netlab.HOST, 8080)) == netlab.OUTSIDE
        await lab.networks.disconnect(ONE, "a")
        assert "dev eth0" in lab.inside(one, lambda: netlab.sh("ip route show default"))
        assert await asyncio.to_thread(lab.outside, lambda: ask(netlab.HOST, 8080)) == netlab.OUTSIDE
        with pytest.raises(SampanError, match=f"container {ONE} is not connected to network a"):
            await lab.networks.disconnect(ONE, "a")
        with pytest.raises(Forbidden, match="already exists in network b"):
            await lab.networks.connect(ONE, EndpointRequest(network="b"))

    in_lab(tmp_path, scenario)


def test_two_hundred_containers_find_each_other(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab)
        sandboxes = {}
        for number in range(200):
            container_id = f"{number:064x}"
            endpoint = EndpointRequest(network="net", dns_names=[f"n{number}", "all"])
            sandboxes[number] = await lab.networks.up(container_id, "net", [endpoint], [])
        for number in (0, 57, 199):
            other = sandboxes[(number + 101) % 200]
            assert await resolve(lab, sandboxes[number], f"n{(number + 101) % 200}") == [other.endpoints[0].ipv4]
        everybody = await resolve(lab, sandboxes[3], "all", kind=socket.SOCK_STREAM)
        assert isinstance(everybody, list) and len(set(everybody)) == 200
        await asyncio.gather(*(lab.networks.down(f"{number:064x}") for number in range(200)))

    in_lab(tmp_path, scenario)


def test_driver_options_do_what_docker_says(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        prefix = "com.docker.network."
        netlab.sh("ip address add 198.51.100.9/24 dev out0")
        await create(
            lab,
            options={
                prefix + "bridge.name": "mybr",
                prefix + "bridge.host_binding_ipv4": "127.0.0.1",
                prefix + "container_iface_prefix": "lan",
                prefix + "driver.mtu": "1400",
                prefix + "host_ipv4": "198.51.100.9",
            },
        )
        opts = {prefix + "endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}
        one = await lab.networks.up(
            ONE, "net", [EndpointRequest(network="net", driver_opts=opts)], [PortRequest(80, host_port="8080")]
        )
        assert [port.host_ip for port in one.ports] == ["127.0.0.1"]
        assert "mtu 1400" in lab.inside(one, lambda: netlab.sh("ip link show lan0"))
        assert "mtu 1400" in netlab.sh("ip link show mybr")
        assert lab.inside(one, lambda: netlab.sh("cat /proc/sys/net/ipv4/conf/lan0/log_martians")).strip() == "1"
        named = EndpointRequest(network="net", driver_opts={prefix + "endpoint.ifname": "front"})
        two = await lab.networks.up(TWO, "net", [named], [])
        assert "front" in lab.inside(two, lambda: netlab.sh("ip -br link"))
        server = lab.outside(lambda: socket.create_server((netlab.OUTSIDE, 7000)))
        with server:
            server.settimeout(3)
            client = asyncio.create_task(reach(lab, two, netlab.OUTSIDE, 7000))
            connection, peer = await asyncio.to_thread(server.accept)
            connection.close()
            await client
            assert peer[0] == "198.51.100.9"
        netlab.sh("ip address del 198.51.100.9/24 dev out0")

    in_lab(tmp_path, scenario)


def supported(kind: str, rest: str = "") -> bool:
    """Has the kernel this kind of link?"""
    command = f"ip link add probe link out9 type {kind} {rest}"

    def probe() -> bool:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        netlab.sh("ip link add out9 type veth peer name out8")
        return subprocess.run(command.split(), capture_output=True, check=False).returncode == 0

    return namespaces.in_thread(probe)


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_a_container_is_a_host_of_its_own_on_the_parents_network(tmp_path: Path, driver: str) -> None:
    if not supported(driver):
        pytest.skip(f"this kernel has no {driver}")

    async def scenario(lab: Lab) -> None:
        pool = IPAMPool(subnet="198.51.100.0/24", ip_range="198.51.100.64/26", gateway=netlab.OUTSIDE)
        with pytest.raises(InvalidParameter, match=f"requested {driver} mode 'odd' is not valid"):
            await create(lab, driver=driver, options={f"{driver}_mode": "odd"})
        await create(lab, driver=driver, options={"parent": "out0"}, ipam=IPAM(config=[pool]))
        one, two = await start(lab, ONE, "net"), await start(lab, TWO, "net")
        lab.serve(one, 80)
        address = one.endpoints[0].ipv4
        assert await asyncio.to_thread(lab.outside, lambda: ask(address, 80)) == netlab.OUTSIDE
        assert await reach(lab, two, address) == two.endpoints[0].ipv4
        assert await resolve(lab, two, "c1") == [address]
        await lab.restart({ONE: one, TWO: two})
        await lab.networks.disconnect(TWO, "net")
        assert "eth0" not in lab.inside(two, lambda: netlab.sh("ip -br link"))
        await lab.networks.connect(TWO, EndpointRequest(network="net", dns_names=["c2"]))
        assert await reach(lab, two, address)

    in_lab(tmp_path, scenario)


def test_a_macvlan_without_parent_or_on_a_vlan_makes_its_own(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await create(lab, "alone", driver="macvlan")
        one, two = await start(lab, ONE, "alone"), await start(lab, TWO, "alone")
        lab.serve(one, 80)
        assert await reach(lab, two, one.endpoints[0].ipv4)
        if supported("vlan", "id 5"):
            await create(lab, "tagged", driver="macvlan", options={"parent": "out0.50"})
            assert "out0.50@out0" in netlab.sh("ip -br link")
            await lab.networks.remove("tagged")
            assert "out0.50" not in netlab.sh("ip -br link")

    in_lab(tmp_path, scenario)


def test_a_bridge_of_the_users_own_is_used_and_left(tmp_path: Path) -> None:
    def prepare() -> None:
        netlab.sh("ip link add lan type bridge; ip link set lan up")

    async def scenario(lab: Lab) -> None:
        network = await create(lab, options={"com.docker.network.bridge.name": "lan"})
        await start(lab, ONE, "net")
        assert not network.link_made
        await lab.networks.down(ONE)
        await lab.networks.remove("net")
        assert "lan" in netlab.sh("ip -br link")

    netlab.run(tmp_path, scenario, prepare)
