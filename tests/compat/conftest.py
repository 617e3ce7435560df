"""Every compat module that asks for `daemon` runs twice: with the stock docker CLI, and with `sampan`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache

import pytest

from support.daemon import CONTROL, SAMPAN, Daemon, docker_binary
from support.images import busybox_archive


@pytest.fixture(scope="module", params=["docker", "sampan"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """As the root conftest's, with a client."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    daemon = Daemon(request.param[0] + request.module.__name__.rpartition("_")[2][:5])
    daemon.client = SAMPAN if request.param == "sampan" else [docker_binary()]
    try:
        daemon.start()
        if not CONTROL:
            daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


@cache
def docker_cli_version() -> int:
    """The major version of the stock CLI here: 20 on Debian 12, 26 on Debian 13, …"""
    said = subprocess.run([docker_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)", said)
    assert found, said
    return int(found[1])


@pytest.fixture(autouse=True)
def skip_what_an_old_docker_cli_lacks(request: pytest.FixtureRequest) -> None:
    """`@pytest.mark.docker_cli(N)`: with the stock client this test needs version N; older ones have other words."""
    marker = request.node.get_closest_marker("docker_cli")
    given = getattr(request.node, "callspec", None)
    if marker and given and given.params.get("daemon") == "docker" and docker_cli_version() < marker.args[0]:
        pytest.skip(f"needs the docker CLI {marker.args[0]}")
