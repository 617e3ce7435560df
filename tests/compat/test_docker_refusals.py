"""Networks, ports and volumes that cannot be had: Docker's words and exit codes through both clients, nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.daemon import CONTROL, Daemon

RUN = ("run", "--rm")
BUSYBOX = ("busybox", "true")


def state(daemon: Daemon) -> str:
    """All that a refused request could have left in the engine."""
    lists = [daemon.api("GET", path)[1] for path in ("/containers/json?all=1", "/networks", "/volumes")]
    rows = [row for found in lists for row in (found.get("Volumes") or [] if isinstance(found, dict) else found)]
    return json.dumps(sorted(row.get("Name") or row["Names"][0] for row in rows))


@pytest.fixture(scope="module")
def world(daemon: Daemon) -> Iterator[Daemon]:
    """A network with a container on it, which has a published port and a volume."""
    daemon.ok("network", "create", "--subnet", "10.99.0.0/24", "--aux-address", "kept=10.99.0.9", "taken")
    daemon.ok("volume", "create", "used")
    daemon.ok(
        "run", "-d", "--name", "user", "--network", "taken", "--ip", "10.99.0.7", "-p", "127.0.0.1:18741:80", "-v",
        "used:/data", "busybox", "sh", "-c", "ln -s /etc /data/out; exec sleep 600",
    )  # fmt: skip
    yield daemon
    daemon.cli("rm", "-f", "user")
    daemon.cli("network", "rm", "taken")
    daemon.cli("volume", "rm", "used")


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("network", "create", "--subnet", "10.99.0.0/16", "n"), 1, "Pool overlaps with other one on this address space"),
    (("network", "create", "--subnet", "10.99.0.128/25", "n"), 1, "Pool overlaps with other one on this address space"),
    (("network", "create", "--subnet", "10.98.0.0/24", "--gateway", "10.97.0.1", "n"), 1, "no matching subnet"),
    (("network", "create", "--subnet", "10.98.0.0/24", "--subnet", "10.97.0.0/24", "n"), 1, "support multiple subnets"),
    (("network", "create", "-d", "bogus", "n"), 1, 'plugin "bogus" not found'),
    (("network", "create", "-d", "host", "n"), 1, 'only one instance of "host" network is allowed'),
    (("network", "create", "taken"), 1, "network with name taken already exists"),
    (("network", "rm", "taken"), 1, "has active endpoints"),
    (("network", "rm", "bridge"), 1, "bridge is a pre-defined network and cannot be removed"),
    (("network", "connect", "taken", "user"), 1, "endpoint with name user already exists in network taken"),
    (("network", "disconnect", "bridge", "user"), 1, "is not connected to network bridge"),
    ((*RUN, "--network", "taken", "--ip", "10.99.0.7", *BUSYBOX), 125, "Address already in use"),
    ((*RUN, "--network", "taken", "--ip", "10.99.0.9", *BUSYBOX), 125, "Address already in use"),
    ((*RUN, "--network", "taken", "--ip", "10.96.0.7", *BUSYBOX), 125, "no configured subnet or ip-range contain"),
    (("create", "--network", "taken", "--ip", "10.96.0.7", *BUSYBOX), 1, "no configured subnet or ip-range contain"),
    ((*RUN, "--network", "host", "--ip", "10.96.0.7", *BUSYBOX), 125, "supported on user defined networks only"),
    ((*RUN, "--network", "bogus", *BUSYBOX), 125, "network bogus not found"),
    ((*RUN, "--network", "container:bogus", *BUSYBOX), 125, "No such container: bogus"),
    ((*RUN, "-p", "127.0.0.1:18741:80", *BUSYBOX), 125, "port is already allocated"),
    ((*RUN, "-p", "8000-8002:80-81", *BUSYBOX), 125, "80-81 and 8000-8002"),
    ((*RUN, "-p", "80:99999", *BUSYBOX), 125, "99999"),
    ((*RUN, "-p", "300.1.1.1:80:80", *BUSYBOX), 125, "300.1.1.1"),
    ((*RUN, "--mount", "type=bind,src=/no/such,dst=/x", *BUSYBOX), 125, "bind source path does not exist: /no/such"),
    ((*RUN, "--mount", "type=volume", *BUSYBOX), 125, "target is required"),
    ((*RUN, "--mount", "type=volume,src=used,dst=/x,volume-subpath=out", *BUSYBOX), 125, "escapes the base directory"),
    ((*RUN, "--mount", "type=volume,src=used,dst=/x,volume-subpath=../x", *BUSYBOX), 125, "within the volume"),
    ((*RUN, "-v", "used:/", *BUSYBOX), 125, "invalid specification: destination can't be '/'"),
    ((*RUN, "-v", "/tmp:/", *BUSYBOX), 125, "invalid specification: destination can't be '/'"),
    (("volume", "rm", "used"), 1, "volume is in use - ["),
    (("volume", "create", "-d", "bogus", "vol"), 1, 'plugin "bogus" not found'),
    (("volume", "create", "-o", "bogus=1", "vol"), 1, 'invalid option: "bogus"'),
]  # fmt: skip


@pytest.mark.docker_cli(26)
def test_what_cannot_be_had_is_refused_and_leaves_nothing(world: Daemon) -> None:
    before = state(world)
    for words, code, message in REFUSED:
        result = world.cli(*words)
        assert message in result.stderr, f"{words}: {result.stderr}"
        assert result.returncode == code, f"{words}: {result}"
        assert CONTROL or state(world) == before, words
