"""A bundle: the directory from which conmon and the OCI runtime run one container.

Layout, under `<exec-root>/containers/<container id>/` (tmpfs, gone at reboot like the processes themselves)::

    config.json         the OCI runtime spec
    rootfs/             where the snapshot is mounted
    pidfile, conmon.pid written by conmon
    attach, ctl, winsz  conmon's socket and fifos
    oom                 made by conmon when the OOM killer struck
    runtime.log         what the OCI runtime logged (JSON lines)
    exec/<exec id>/     the same for an exec: process.json, pidfile, exit
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bundle:
    id: str
    path: Path
    log_path: Path | None
    """Where conmon writes stdout and stderr (k8s-file format): in the data root, it outlives a reboot. None:
    nowhere."""

    @property
    def rootfs(self) -> Path:
        return self.path / "rootfs"

    @property
    def spec(self) -> Path:
        return self.path / "config.json"

    @property
    def pidfile(self) -> Path:
        return self.path / "pidfile"

    @property
    def conmon_pidfile(self) -> Path:
        return self.path / "conmon.pid"

    @property
    def attach_socket(self) -> Path:
        return self.path / "attach"

    @property
    def ctl(self) -> Path:
        return self.path / "ctl"

    @property
    def winsz(self) -> Path:
        return self.path / "winsz"

    @property
    def oom(self) -> Path:
        return self.path / "oom"

    @property
    def runtime_log(self) -> Path:
        return self.path / "runtime.log"

    @property
    def execs(self) -> Path:
        return self.path / "exec"

    def exec(self, exec_id: str) -> Path:
        return self.execs / exec_id
