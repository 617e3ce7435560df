"""Which OCI runtime runs a container: names to paths, and the one fallback (crun to runc)."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.errors import InvalidParameter, Unavailable
from sampan.runtime import cgroups

log = logging.getLogger(__name__)

_SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
_DOCKER_NAMES = frozenset({"io.containerd.runc.v2", "io.containerd.runtime.v1.linux"})
"""dockerd's own names for its default runtime, which clients send back."""


def find(program: str) -> str | None:
    """Absolute path of a program, also in the sbin directories that a plain user's PATH lacks."""
    return program if Path(program).is_absolute() else shutil.which(program, path=_SEARCH)


@dataclass(frozen=True, slots=True)
class OCIRuntime:
    """`kind` is "crun" or "runc" when we know the program's own files (its `--root` directory), "" for others."""

    name: str
    path: str
    kind: str = ""


class Runtimes:
    """The runtimes of this host. Checked once; a missing program is an error only when it is asked for."""

    def __init__(self, configured: Mapping[str, str], default: str) -> None:
        self._known: dict[str, OCIRuntime] = {}
        for name in ("crun", "runc"):
            if path := find(name):
                self._known[name] = OCIRuntime(name, path, name)
        for name, program in configured.items():
            path = find(program)
            kind = name if name in ("crun", "runc") else ""
            self._known[name] = OCIRuntime(name, path or program, kind)
        self.default = default
        self._replaced = ""
        reason = self._why_not_crun()
        if reason and "runc" in self._known:
            self._replaced = "crun"
            if default == "crun":
                log.warning("crun cannot be used: %s; runc takes its place", reason)

    def _why_not_crun(self) -> str:
        if "crun" not in self._known:
            return "it is not installed"
        if cgroups.crun_refuses_host():
            return "this host's cgroups are hybrid, with controllers on the v2 tree"
        return ""

    def names(self) -> list[str]:
        """Usable ones, for `info`."""
        return [name for name in self._known if name != self._replaced]

    def get(self, requested: str = "") -> OCIRuntime:
        """Raises `InvalidParameter` for an unknown name, `Unavailable` when no runtime is installed."""
        name = self.default if requested in ("", *_DOCKER_NAMES) else requested
        if name == self._replaced:
            name = "runc"
        found = self._known.get(name)
        if found is not None:
            return found
        if name in ("crun", "runc"):
            raise Unavailable(f"the OCI runtime {name} is not installed; install the package {name}")
        raise InvalidParameter(f"unknown or invalid runtime name: {requested or name}")
