"""Every compat module that asks for `daemon` runs twice: with the stock docker CLI, and with `sampan`."""

from __future__ import annotations

import os
from collections.abc import Iterator

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
