"""Many endpoints, made and taken away again: nothing is left, and nothing is used up."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from sampan.networks import EndpointRequest, Network, PortRequest
from support import netlab
from support.daemon import SAMPAN, Daemon
from support.netlab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CONTAINERS, NETWORKS = 50, 10


async def settled(lab: Lab) -> dict[str, str]:
    """The host's state when no link is being removed any more."""
    for _ in range(200):
        found = netlab.state()
        if "veth" not in found["links"]:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found["links"])


def held(lab: Lab) -> list[object]:
    """What a daemon has open and remembers."""
    return [
        len(list(Path("/proc/self/fd").iterdir())),
        sorted((lab.settings.exec_root / "netns").iterdir()),
        lab.networks._serving.resolvers,
        lab.networks._serving.proxies,
        {key: value for key, value in lab.networks._directory._names.items() if value},
    ]


def test_five_hundred_endpoints_leave_nothing(tmp_path: Path) -> None:
    async def scenario(lab: Lab) -> None:
        for number in range(NETWORKS):
            await lab.networks.create(Network(name=f"n{number}", enable_ipv6=number == 0))

        async def live(number: int) -> None:
            """One container on half of the networks from its start, on the others later, with ports that change."""
            name = f"{number:064x}"
            wanted = [EndpointRequest(network=f"n{n}", dns_names=[f"c{number}"]) for n in range(NETWORKS)]
            half = NETWORKS // 2
            await lab.networks.up(name, "n0", wanted[:half], [PortRequest(80), PortRequest(53, "udp")])
            for request in wanted[half:]:
                await lab.networks.connect(name, request)
            await lab.networks.publish(name, [PortRequest(80), PortRequest(81)])
            assert {port.container_port for port in await lab.networks.publish(name, [PortRequest(82)])} == {82}
            for request in wanted[: half // 2]:
                await lab.networks.disconnect(name, request.network)
            await lab.networks.down(name)

        await live(0)  # what is made once and kept (spare namespaces) is there now
        before = await settled(lab), held(lab)
        for start in range(0, CONTAINERS, 10):
            await asyncio.gather(*(live(number) for number in range(start, start + 10)))
        assert (await settled(lab), held(lab)) == before
        sandbox = await lab.networks.up("f" * 64, "n0", [EndpointRequest(network="n1")], [])
        assert sandbox.endpoints[0].ipv4.endswith(".2"), "every address has been given back"
        for number in range(NETWORKS):
            if number == 1:
                await lab.networks.down("f" * 64)
            await lab.networks.remove(f"n{number}")

    netlab.run(tmp_path, scenario)


def test_containers_of_one_network_find_each_other(daemon: Daemon) -> None:
    daemon.client = SAMPAN
    names = [f"m{number}" for number in range(12)]
    daemon.ok("network", "create", "many")
    try:
        for name in names:
            daemon.ok(
                "run", "-d", "--name", name, "--network", "many", "--network-alias", "all", "busybox", "sleep", "600"
            )
        for asking in (names[0], names[-1]):
            said = daemon.ok("exec", asking, "sh", "-c", f"for n in {' '.join(names)}; do nslookup $n; done")
            assert said.count("Name:") == len(names)
            assert daemon.ok("exec", asking, "nslookup", "all").count("Name:") == len(names)
        daemon.kill()
        daemon.start()
        assert "Name:" in daemon.ok("exec", names[0], "nslookup", names[1])
    finally:
        daemon.cli("rm", "-f", *names)
        daemon.ok("network", "rm", "many")
