"""Which OCI runtime runs a container: names to programs, and what is done about a host that crun refuses.

crun does not know hybrid cgroups: where the v2 tree beside the v1 ones holds controllers, it stops. There it is run
in a mount namespace of its own in which that tree is not mounted (everything else is; what the host mounts still
arrives). It costs 4 ms of `unshare` and `sh`, where runc costs 25 ms more than crun. What runc still does on such a
host: containers with mounts of *shared* propagation, which could not reach the host from there. And all of them where
crun or unshare is missing."""

from __future__ import annotations

import logging
import os
import resource
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.errors import InvalidParameter, Unavailable
from sampan.runtime import capabilities, cgroups

log = logging.getLogger(__name__)

_SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
_DOCKER_NAMES = frozenset({"io.containerd.runc.v2", "io.containerd.runtime.v1.linux"})
"""dockerd's own names for its default runtime, which clients send back."""


def find(program: str) -> str | None:
    """Absolute path of a program, also in the sbin directories that a plain user's PATH lacks."""
    return program if Path(program).is_absolute() else shutil.which(program, path=_SEARCH)


@dataclass(frozen=True, slots=True)
class OCIRuntime:
    """`command` is the program, with whatever comes before it. `kind` is "crun" or "runc" when we know the program's
    own files (its `--root` directory), "" for others. `cut_off`: its mounts cannot propagate to the host."""

    name: str
    command: tuple[str, ...]
    kind: str = ""
    cut_off: bool = False


class Runtimes:
    """The runtimes of this host. Checked once; a missing program is an error only when it is asked for."""

    def __init__(self, configured: Mapping[str, Sequence[str]], default: str) -> None:
        self._known: dict[str, OCIRuntime] = {}
        for name in ("crun", "runc"):
            if path := find(name):
                self._known[name] = OCIRuntime(name, (path,), name)
        for name, (program, *arguments) in configured.items():
            path = find(program)
            kind = name if name in ("crun", "runc") else ""
            self._known[name] = OCIRuntime(name, (path or program, *arguments), kind)
        self.default = default
        self._replaced = ""
        self._accommodate_crun()

    def _accommodate_crun(self) -> None:
        """Decided once; one line in the log."""
        crun = self._known.get("crun")
        if crun is None:
            reason = "it is not installed"
        elif _lacks_memlock():
            reason = "for its device rules on cgroup v2 it needs CAP_SYS_RESOURCE or an unlimited RLIMIT_MEMLOCK"
        elif not cgroups.crun_refuses_host():
            return
        elif (unshare := find("unshare")) is not None:
            tree = shlex.quote(str(cgroups.ROOT / "unified"))
            self._known["crun"] = OCIRuntime(
                name="crun",
                command=(
                    *(unshare, "--mount", "--propagation", "slave"),
                    *("/bin/sh", "-c", f'umount {tree} && exec "$0" "$@"', *crun.command),
                ),
                kind="crun",
                cut_off=True,
            )
            log.info("this host's cgroups are hybrid: crun runs in a mount namespace without the v2 tree")
            return
        else:
            reason = "this host's cgroups are hybrid, with controllers on the v2 tree"
        if "runc" in self._known:
            self._replaced = "crun"
            if self.default == "crun":
                log.warning("crun cannot be used: %s; runc takes its place", reason)

    def names(self) -> list[str]:
        """Usable ones, for `info`."""
        return [name for name in self._known if name != self._replaced]

    def for_spec(self, requested: str, spec: Mapping[str, Any]) -> OCIRuntime:
        """As `get`; but for mounts of shared propagation one whose mounts reach the host, if there is any."""
        chosen = self.get(requested)
        if chosen.cut_off and "runc" in self._known and _propagates(spec):
            return self._known["runc"]
        return chosen

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


def _lacks_memlock() -> bool:
    """crun raises the limit before it loads its device filter, though Linux 5.11 no longer counts that."""
    return (
        cgroups.mode() is cgroups.Mode.V2
        and "CAP_SYS_RESOURCE" not in capabilities.available()
        and resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != resource.RLIM_INFINITY
    )


def _propagates(spec: Mapping[str, Any]) -> bool:
    shared = {"shared", "rshared"}
    return any(shared.intersection(mount.get("options", ())) for mount in spec.get("mounts", ()))
