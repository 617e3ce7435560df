"""Fixtures for every group: a daemon per module, and a session that fails when it leaves anything on the host."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator

import pytest

from support.daemon import Daemon
from support.images import busybox_archive
from support.leftovers import leftovers


@pytest.fixture(scope="session", autouse=True)
def host_left_as_found() -> Iterator[None]:
    """Fails the session when mounts, links, tables, cgroups or processes of our tests are still there at its end."""
    if os.geteuid() != 0 or os.environ.get("PYTEST_XDIST_WORKER"):
        yield  # side by side, another worker's daemons are alive: `test.sh` runs the kernel groups in one process
        return
    before = leftovers()
    yield
    left: set[str] = set()
    for _ in range(50):
        left = leftovers() - before
        if not left:
            return
        time.sleep(0.1)  # the kernel tears namespaces and cgroups down a moment later
    pytest.fail("left on this host:\n" + "\n".join(sorted(left)))


@pytest.fixture(scope="module")
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A running `sampand` with busybox:latest loaded, shared by one module's tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    daemon = Daemon(request.module.__name__.rpartition(".")[2].rpartition("_")[2][:6])
    try:
        daemon.start()
        daemon.load(busybox_archive())
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def container_name(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[str]:
    """A free name; whatever has it at the end of the test is removed."""
    name = f"t{zlib.crc32(request.node.name.encode()):x}"
    yield name
    daemon.api("DELETE", f"/containers/{name}?force=1&v=1")
