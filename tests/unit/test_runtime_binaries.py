"""Which runtime runs a container, on which host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.errors import InvalidParameter, Unavailable
from sampan.runtime import binaries, capabilities, cgroups
from sampan.runtime.binaries import Runtimes

SHARED: dict[str, Any] = {"mounts": [{"destination": "/x", "options": ["rbind", "rshared"]}]}
PRIVATE: dict[str, Any] = {"mounts": [{"destination": "/x", "options": ["rbind", "rprivate"]}]}


class Host:
    """What is installed, and what the kernel is like."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.programs = {"crun", "runc", "unshare"}
        self._patch = patch
        patch.setattr(binaries, "find", lambda name: f"/bin/{name}" if name in self.programs else None)
        self.is_(cgroups.Mode.V2)
        patch.setattr(capabilities, "available", lambda: capabilities.KNOWN)

    def is_(self, mode: cgroups.Mode, *, refused: bool = False) -> None:
        self._patch.setattr(cgroups, "mode", lambda: mode)
        self._patch.setattr(cgroups, "crun_refuses_host", lambda: refused)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    yield Host(monkeypatch)


def test_crun_is_the_default_and_dockers_names_mean_it(host: Host) -> None:
    runtimes = Runtimes({}, "crun")
    for name in ("", "crun", "io.containerd.runc.v2"):
        assert runtimes.get(name).command == ("/bin/crun",)
    assert runtimes.get("runc").command == ("/bin/runc",)
    with pytest.raises(InvalidParameter, match="unknown or invalid runtime name: nope"):
        runtimes.get("nope")


def test_own_runtimes_by_path(host: Host) -> None:
    host.programs.add("kata")
    runtimes = Runtimes({"k": ("kata", "-v")}, "k")
    assert (runtimes.get().command, runtimes.get().kind) == (("/bin/kata", "-v"), "")


def test_a_hybrid_host_runs_crun_where_the_second_tree_is_not_mounted(host: Host) -> None:
    host.is_(cgroups.Mode.HYBRID, refused=True)
    runtimes = Runtimes({}, "crun")
    command = runtimes.for_spec("", PRIVATE).command
    assert command[:4] == ("/bin/unshare", "--mount", "--propagation", "slave") and command[-1] == "/bin/crun"
    assert runtimes.for_spec("", SHARED).name == "runc", "its mounts have to reach the host"


@pytest.mark.parametrize("missing", ["crun", "unshare"])
def test_runc_takes_the_place_of_a_crun_that_cannot_run(
    host: Host, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    host.is_(cgroups.Mode.HYBRID, refused=True)
    host.programs.remove(missing)
    runtimes = Runtimes({}, "crun")
    assert runtimes.get().name == runtimes.get("crun").name == "runc"
    assert len(caplog.records) == 1 and "runc takes its place" in caplog.text


def test_crun_on_v2_needs_memlock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "available", lambda: capabilities.DEFAULT)
    monkeypatch.setattr(binaries.resource, "getrlimit", lambda which: (65536, 65536))
    assert Runtimes({}, "crun").get().name == "runc"


def test_nothing_installed_is_told(host: Host) -> None:
    host.programs.clear()
    with pytest.raises(Unavailable, match="install the package crun"):
        Runtimes({}, "crun").get()
