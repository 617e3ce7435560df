"""Networks on a real kernel, in a laboratory of namespaces (`support.netlab`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.errors import InvalidParameter, SampanError
from sampan.networks import EndpointRequest, Network, Networks, PortRequest, Sandbox
from sampan.networks.firewall import MARK
from sampan.store import Database, EventLog
from support import killed, netlab
from support.netlab import Lab, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

LOOPBACK_THROUGH_ETH0 = """
sysctl -qw net.ipv4.conf.all.route_localnet=1
ip route add 127.0.0.1 via {gateway} table 9
ip rule add pref 1 lookup local
ip rule add pref 0 to 127.0.0.1 lookup 9
ip rule del pref 0 lookup local
"""
DROP = "type filter hook forward priority 0; policy drop;"
ONE, TWO = "1" * 64, "2" * 64


async def start(
    networks: Networks,
    container_id: str = ONE,
    ports: tuple[PortRequest, ...] = (),
    network: str = "bridge",
    **wish: str,
) -> Sandbox:
    endpoint = EndpointRequest(network=network, dns_names=["c" + container_id[0]], **wish)  # type: ignore[arg-type]
    return await networks.up(container_id, network, [endpoint], list(ports))


async def outside(lab: Lab, address: str, port: int, kind: int = socket.SOCK_STREAM, timeout: float = 3) -> str:
    return await asyncio.to_thread(lab.outside, lambda: ask(address, port, kind, timeout))


async def inside(
    lab: Lab, sandbox: Sandbox, address: str, port: int, timeout: float = 3, kind: int = socket.SOCK_STREAM
) -> str:
    return await asyncio.to_thread(lab.inside, sandbox, lambda: ask(address, port, kind, timeout))


async def host(address: str, port: int, kind: int = socket.SOCK_STREAM, timeout: float = 3) -> str:
    return await asyncio.to_thread(ask, address, port, kind, timeout)


def test_a_published_port_is_reached_from_everywhere(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        two = await start(lab.networks, TWO)
        lab.serve(one, 80)
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE  # the client's own address
        assert await host(netlab.HOST, 8080) == netlab.HOST
        assert await host("127.0.0.1", 8080) == one.endpoints[0].gateway
        assert await host("::1", 8080) == one.endpoints[0].gateway
        assert await inside(lab, two, netlab.HOST, 8080) == one.endpoints[0].gateway
        assert await inside(lab, two, one.endpoints[0].gateway, 8080)
        assert await inside(lab, two, one.endpoints[0].ipv4, 80) == two.endpoints[0].ipv4
        assert await inside(lab, one, netlab.HOST, 8080), "its own published port (hairpin)"

    netlab.run(tmp_path, scenario)


def test_udp_is_published_over_ipv4_and_ipv6(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(53, "udp", host_port="5300"),))
        lab.serve(one, 53, socket.SOCK_DGRAM)
        assert await outside(lab, netlab.HOST, 5300, socket.SOCK_DGRAM) == netlab.OUTSIDE
        assert await host("127.0.0.1", 5300, socket.SOCK_DGRAM)
        assert await host("::1", 5300, socket.SOCK_DGRAM)
        assert await outside(lab, netlab.HOST6, 5300, socket.SOCK_DGRAM)
        netlab.sh("ip address add 2001:db8:5::77/64 dev out0 nodad")
        assert await outside(lab, "2001:db8:5::77", 5300, socket.SOCK_DGRAM), "answered by the address that was asked"

    netlab.run(tmp_path, scenario)


def test_a_port_on_one_address_is_not_on_the_others(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_ip="127.0.0.1", host_port="8080"),))
        lab.serve(one, 80)
        assert [port.host_ip for port in one.ports] == ["127.0.0.1"]
        assert await host("127.0.0.1", 8080)
        assert not await outside(lab, netlab.HOST, 8080, timeout=0.5)

    netlab.run(tmp_path, scenario)


def test_the_outside_reaches_no_unpublished_port(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        lab.serve(one, 80)
        lab.serve(one, 81)
        address = one.endpoints[0].ipv4
        assert await host(address, 81), "the host itself may"
        assert not await outside(lab, address, 81, timeout=0.5)
        assert not await outside(lab, address, 80, timeout=0.5), "not even a published one past its publication"

    netlab.run(tmp_path, scenario)


def test_containers_reach_the_outside_masked_but_not_the_hosts_loopback(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks)
        server = lab.outside(lambda: socket.create_server((netlab.OUTSIDE, 7000)))
        secret = socket.create_server(("127.0.0.1", 7001))
        with server, secret:
            server.settimeout(3)
            client = asyncio.create_task(inside(lab, one, netlab.OUTSIDE, 7000))
            connection, peer = await asyncio.to_thread(server.accept)
            connection.sendall(b"ok")
            connection.close()
            assert await client == "ok"
            assert peer[0] == netlab.HOST
            assert not await inside(lab, one, one.endpoints[0].gateway, 7001, timeout=0.5)

    netlab.run(tmp_path, scenario)


def test_the_hosts_loopback_is_closed_to_containers(tmp_path: Path) -> None:
    """route_localnet is on for our bridges: what a container addresses to 127.0.0.1 itself must die (CVE-2020-8558)."""

    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks)
        lab.inside(one, lambda: netlab.sh(LOOPBACK_THROUGH_ETH0.format(gateway=one.endpoints[0].gateway)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as secret:
            secret.bind(("127.0.0.1", 7001))
            secret.settimeout(0.5)
            await inside(lab, one, "127.0.0.1", 7001, timeout=0.1, kind=socket.SOCK_DGRAM)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(secret.recv, 100)

    netlab.run(tmp_path, scenario)


@pytest.mark.parametrize("tool", ["nft", "iptables-nft", "iptables-legacy"])
def test_beside_an_engine_that_set_forward_to_drop(tmp_path: Path, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}")

    def drop() -> None:
        if tool == "nft":
            netlab.sh(f"nft 'add table ip filter; add chain ip filter FORWARD {{ {DROP} }}'")
        else:
            netlab.sh(f"{tool} -P FORWARD DROP; {tool} -A FORWARD -i docker0 -j ACCEPT")

    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        lab.serve(one, 80)
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE
        (rule,) = [row[1] for row in lab.networks.info()["FirewallBackend"]["Info"] if row[0] == "AcceptRule"]
        assert "filter FORWARD" in rule
        if tool != "nft":
            rules = netlab.sh(f"{tool} -S FORWARD")
            assert f"--mark {MARK:#x}/{MARK:#x}" in rules and "-i docker0 -j ACCEPT" in rules

    netlab.run(tmp_path, scenario, prepare=drop)  # which also proves that the foreign rules are as before


def test_the_accept_rule_comes_with_the_first_bridge_and_goes_with_the_last(tmp_path: Path) -> None:
    def drop() -> None:
        netlab.sh(f"nft 'add table ip filter; add chain ip filter FORWARD {{ {DROP} }}'")

    async def scenario(lab: Lab) -> None:
        foreign = netlab.sh("nft list table ip filter")
        assert "sampan" not in foreign, "without a bridge nobody needs it"
        for name in ("first", "second"):
            await lab.networks.create(Network(name=name))
            assert netlab.sh("nft list table ip filter").count("sampan lab") == 1, "with the network, not later"
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),), network="second")
        lab.serve(one, 80)
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE
        await lab.networks.down(ONE)
        await lab.networks.remove("first")
        assert "sampan lab" in netlab.sh("nft list table ip filter")
        await lab.networks.remove("second")
        assert netlab.sh("nft list table ip filter") == foreign

    netlab.run(tmp_path, scenario, prepare=drop, bridge="none")


def test_a_firewall_that_reloads_cuts_nobody_off(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        lab.serve(one, 80)
        netlab.sh(f"nft flush ruleset; nft 'add table inet fw; add chain inet fw f {{ {DROP} }}'")
        for _ in range(50):
            await asyncio.sleep(0.1)
            if await outside(lab, netlab.HOST, 8080, timeout=0.3):
                break
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE
        netlab.sh("nft delete table inet fw")

    netlab.run(tmp_path, scenario)


def test_a_port_that_was_taken_while_no_daemon_held_it_is_held_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by an outgoing connection whose own port it became."""
    monkeypatch.setattr("sampan.networks.service._HOLD_AGAIN", 0.05)

    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        lab.serve(one, 80)
        wiring = lab.networks._wiring
        assert wiring is not None
        close, taken = wiring.close, []

        def close_and_lose() -> None:
            close()
            taken.append(socket.create_server(("::1", 8080), family=socket.AF_INET6))

        monkeypatch.setattr(wiring, "close", close_and_lose)
        await lab.restart({ONE: one})
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE, "the rules work all the while"
        taken[0].close()
        for _ in range(100):
            with contextlib.suppress(OSError):
                if await host("::1", 8080):
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("nobody serves [::]:8080")

    netlab.run(tmp_path, scenario)


def test_ports_outlive_a_killed_daemon(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        await start(lab.networks, TWO, (PortRequest(80, host_port="8081"),))
        lab.serve(one, 80)
        await lab.restart({ONE: one})
        assert await outside(lab, netlab.HOST, 8080) == netlab.OUTSIDE
        assert await host("::1", 8080)
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("0.0.0.0", 8080)).close()
        socket.create_server(("0.0.0.0", 8081)).close()  # the dead container's is free
        three = await start(lab.networks, "3" * 64)
        assert three.endpoints[0].ipv4 not in (one.endpoints[0].ipv4, "")
        assert set(lab.networks.endpoints(one.endpoints[0].network_id)) == {ONE, "3" * 64}
        links = [line for line in netlab.sh("ip -br link").splitlines() if line.startswith("veth")]
        assert len(links) == 2

    netlab.run(tmp_path, scenario)


def test_a_taken_port_undoes_everything(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        one = await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        before = netlab.state()
        with pytest.raises(SampanError) as error:
            await start(lab.networks, TWO, (PortRequest(80, host_port="8090"), PortRequest(81, host_port="8080")))
        assert error.value.message.startswith("driver failed programming external connectivity on endpoint c2 (")
        assert error.value.message.endswith("): Bind for 0.0.0.0:8080 failed: port is already allocated")
        with socket.create_server(("127.0.0.1", 8090)), pytest.raises(SampanError) as error:
            await start(lab.networks, TWO, (PortRequest(80, host_port="8090"),))
        assert (
            "failed to bind host port for 0.0.0.0:8090:10.177.0.3:80/tcp: address already in use" in error.value.message
        )
        assert netlab.state() == before
        assert [path.name for path in (lab.root / "run/netns").iterdir()] == [ONE]
        two = await start(lab.networks, TWO, (PortRequest(80, host_port="8090"),))
        assert two.endpoints[0].ipv4 == "10.177.0.3"
        await lab.networks.down(ONE)
        await start(lab.networks, ONE, (PortRequest(80, host_port="8080"),))
        assert one.ports[0].host_port == 8080

    netlab.run(tmp_path, scenario)


def test_two_engines_share_a_host(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        import msgspec

        settings = msgspec.structs.replace(
            lab.settings, exec_root=lab.root / "run2", data_root=lab.root / "data2", bridge="lab1", nft_table="lab_two"
        )
        settings.exec_root.mkdir()
        database = Database(settings.data_root / "state.db")
        other = Networks(settings, database, EventLog(database))
        await other.open({})
        try:
            one = await start(lab.networks)
            two = await start(other)
            assert one.endpoints[0].gateway != two.endpoints[0].gateway
            lab.serve(two, 80)
            assert await host(two.endpoints[0].ipv4, 80)
        finally:
            await other.close(keep=False)

    netlab.run(tmp_path, scenario)


def test_none_has_loopback_only_and_host_has_no_namespace(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        none = await lab.networks.up(ONE, "none", [EndpointRequest(network="none")], [])
        assert lab.inside(none, lambda: netlab.sh("ip -br link")).split()[0] == "lo"
        assert none.endpoints[0].network == "none" and none.endpoints[0].endpoint_id
        shared = await lab.networks.up(
            TWO, "host", [EndpointRequest(network="host")], [PortRequest(80, host_port="80")]
        )
        assert shared.netns is None and shared.ports == []
        await lab.networks.down(TWO)

    netlab.run(tmp_path, scenario)


def test_a_udp_client_that_never_paused_reaches_the_containers_next_run(tmp_path: Path) -> None:
    """moby#8795: its flow is tracked from before, and would never meet the new rules."""

    async def scenario(lab: Lab) -> None:
        def client() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.connect((netlab.HOST, 5300))
            made.settimeout(2)
            return made

        with lab.outside(client) as steady:
            steady.send(b"too early")
            await asyncio.sleep(0.05)
            for run in range(2):
                one = await start(lab.networks, ONE, (PortRequest(53, "udp", host_port="5300"),))
                lab.serve(one, 53, socket.SOCK_DGRAM)
                with contextlib.suppress(ConnectionRefusedError):
                    steady.send(b"?")
                steady.send(b"?")
                assert await asyncio.to_thread(receive, steady) == netlab.OUTSIDE, f"run {run}"
                await lab.networks.down(ONE)
                await start(lab.networks, TWO)  # has the first one's address now
                with contextlib.suppress(ConnectionRefusedError):
                    steady.send(b"?")
                await lab.networks.down(TWO)

    netlab.run(tmp_path, scenario)


def receive(client: socket.socket) -> str:
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return client.recv(100).decode()


def test_a_daemon_killed_at_any_step_of_a_start_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.networks.close(keep=False)
        before = netlab.state()
        died = killed.DEATH
        step = 0
        while died == killed.DEATH:
            step += 1
            root = tmp_path / str(step)
            program = [sys.executable, killed.__file__, str(root), str(step)]
            done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=False)
            died = done.returncode
            assert died in (0, killed.DEATH), done.stderr
            database = Database(root / "data" / "state.db")
            after = Networks(killed.settings(root), database, EventLog(database))
            await after.open({})
            assert not list((root / "run" / "netns").glob("*")), f"step {step}"
            links = netlab.sh("ip -br link")
            assert "veth" not in links, f"step {step}"
            assert all(network.predefined or network.bridge in links for network in after.all()), f"step {step}"
            await after.close(keep=False)
            assert netlab.state() == before, f"step {step}"
            database.close()
        assert step > 10

    netlab.run(tmp_path, scenario)


def test_the_hosts_firewall_blocks_published_ports_when_the_user_turns_that_on(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        netlab.sh("nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; policy drop; }'")
        for rule in ("iif lo accept", "tcp dport 8081 accept", "udp dport 5301 accept", "ct state established accept"):
            netlab.sh(f"nft add rule inet fw in {rule}")
        ports = (
            PortRequest(80, host_port="8080"),
            PortRequest(80, host_port="8081"),
            PortRequest(53, "udp", host_port="5300"),
            PortRequest(53, "udp", host_port="5301"),
        )
        one = await start(lab.networks, ONE, ports)
        lab.serve(one, 80)
        lab.serve(one, 53, socket.SOCK_DGRAM)
        assert not await outside(lab, netlab.HOST, 8080, timeout=0.5)
        assert not await outside(lab, netlab.HOST, 5300, socket.SOCK_DGRAM, timeout=0.5)
        assert await outside(lab, netlab.HOST, 8081)
        assert await outside(lab, netlab.HOST, 5301, socket.SOCK_DGRAM)
        assert await host("127.0.0.1", 8080)
        await lab.restart({ONE: one})
        assert not await outside(lab, netlab.HOST, 8080, timeout=0.5)
        assert await outside(lab, netlab.HOST, 8081)
        with pytest.raises(InvalidParameter, match="sctp"):
            await start(lab.networks, TWO, (PortRequest(80, "sctp"),))
        routed = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
        await lab.networks.create(Network(name="routed", options=routed))
        with pytest.raises(InvalidParameter, match="routed"):
            await start(lab.networks, TWO, (PortRequest(80),), network="routed")
        await lab.networks.remove("routed")
        netlab.sh("nft delete table inet fw")

    netlab.run(tmp_path, scenario, ports_behind_firewall=True)
