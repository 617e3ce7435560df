"""The OCI runtime spec (config.json, opencontainers/runtime-spec) of a container, from plain values. Pure.

The mounts, paths and defaults are those of Docker's own specs: programs look for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.runtime import capabilities, devices
from sampan.runtime.devices import Device
from sampan.runtime.users import User

OCI_VERSION = "1.0.2"
INIT_PATH = "/sbin/docker-init"
_STAY_WRITABLE = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})
"""Under a read-only root filesystem."""

OCIMount = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What runs. `console_size` is (height, width)."""

    args: Sequence[str]
    env: Sequence[str]
    cwd: str
    user: User
    capabilities: Sequence[str]
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    no_new_privileges: bool = False
    rlimits: Sequence[tuple[str, int, int]] = ()
    """(name as `nofile`, soft, hard); -1 is unlimited."""
    oom_score_adj: int | None = None
    apparmor: str = ""
    selinux: str = ""

    def oci(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "terminal": self.terminal,
            "user": self.user.oci(),
            "args": list(self.args),
            "env": list(self.env),
            "cwd": self.cwd,
            "capabilities": capabilities.oci(self.capabilities),
            "noNewPrivileges": self.no_new_privileges,
        }
        if self.console_size is not None and self.terminal:
            found["consoleSize"] = {"height": self.console_size[0], "width": self.console_size[1]}
        if self.rlimits:
            found["rlimits"] = [
                {"type": f"RLIMIT_{name.upper()}", "soft": _unsigned(soft), "hard": _unsigned(hard)}
                for name, soft, hard in self.rlimits
            ]
        if self.oom_score_adj is not None:
            found["oomScoreAdj"] = self.oom_score_adj
        if self.apparmor:
            found["apparmorProfile"] = self.apparmor
        if self.selinux:
            found["selinuxLabel"] = self.selinux
        return found


def _unsigned(limit: int) -> int:
    return limit if limit >= 0 else (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecInput:
    """Everything a spec is made of."""

    process: Process
    rootfs: Path
    readonly: bool = False
    privileged: bool = False
    writable_cgroups: bool = False
    hostname: str = ""
    """"" keeps the host's (UTS mode host) or what a joined namespace has."""
    namespaces: Mapping[str, str]
    """OCI type (pid, network, ipc, uts, mount, cgroup) → path of one to join, "" for a new one; absent: the host's."""
    mounts: Sequence[OCIMount] = ()
    """The user's, parents first. One at a default mount's destination takes its place."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """/etc/hostname, hosts, resolv.conf: destination → source."""
    shm_size: int = 64 << 20
    shm: Path | None = None
    """A directory of the host to be /dev/shm (IPC modes host, shareable, container:)."""
    has_shm: bool = True
    """False for IPC mode none."""
    init: str = ""
    """The host's init program, to run as pid 1 above the command; "" for none."""
    devices: Sequence[Device] = ()
    device_rules: Sequence[str] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)
    cgroup: str
    sysctls: Mapping[str, str] = field(default_factory=dict)
    seccomp: Mapping[str, Any] | None = None
    masked_paths: Sequence[str] = ()
    readonly_paths: Sequence[str] = ()
    rootfs_propagation: str = ""
    mount_label: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


def generate(wanted: SpecInput) -> dict[str, Any]:
    """config.json."""
    process = wanted.process.oci()
    if wanted.init:
        process["args"] = [INIT_PATH, "--", *process["args"]]
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": str(wanted.rootfs), "readonly": wanted.readonly},
        "mounts": _mounts(wanted),
        "linux": _linux(wanted),
    }
    if wanted.hostname and wanted.namespaces.get("uts") == "":
        spec["hostname"] = wanted.hostname
    if wanted.annotations:
        spec["annotations"] = dict(wanted.annotations)
    return spec


def _linux(wanted: SpecInput) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "cgroupsPath": wanted.cgroup,
        "namespaces": [
            {"type": kind, "path": path} if path else {"type": kind} for kind, path in wanted.namespaces.items()
        ],
        "resources": {
            **wanted.resources,
            "devices": devices.rules(wanted.devices, wanted.device_rules, wanted.privileged),
        },
    }
    if wanted.devices:
        linux["devices"] = [device.node() for device in wanted.devices]
    if wanted.sysctls:
        linux["sysctl"] = dict(wanted.sysctls)
    if wanted.seccomp is not None:
        linux["seccomp"] = wanted.seccomp
    if wanted.masked_paths:
        linux["maskedPaths"] = list(wanted.masked_paths)
    if wanted.readonly_paths:
        linux["readonlyPaths"] = list(wanted.readonly_paths)
    if wanted.rootfs_propagation:
        linux["rootfsPropagation"] = wanted.rootfs_propagation
    if wanted.mount_label:
        linux["mountLabel"] = wanted.mount_label
    return linux


def _mounts(wanted: SpecInput) -> list[dict[str, Any]]:
    users = {str(mount["destination"]) for mount in wanted.mounts}
    own = [
        mount
        for mount in [*_system(wanted), *_ours(wanted)]
        if mount["destination"] not in users and not ("/dev" in users and mount["destination"].startswith("/dev/"))
    ]
    if wanted.readonly:
        for mount in own:
            if mount["destination"] not in _STAY_WRITABLE and "ro" not in mount["options"]:
                mount["options"].append("ro")
    writable = {"sysfs", "cgroup"} if wanted.privileged else {"cgroup"} if wanted.writable_cgroups else set()
    for mount in own:
        if mount["type"] in writable:
            mount["options"].remove("ro")
    # Files after the user's mounts: a volume at /etc must not hide /etc/hosts.
    files = {INIT_PATH, *wanted.files}
    return [
        *(mount for mount in own if mount["destination"] not in files),
        *(dict(mount) for mount in wanted.mounts),
        *(mount for mount in own if mount["destination"] in files),
    ]


def _system(wanted: SpecInput) -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    found = [
        _mount("/proc", "proc", "proc", *safe),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            *("/dev/pts", "devpts", "devpts"),
            *("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        _mount("/sys", "sysfs", "sysfs", *safe, "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", *safe),
        _mount("/dev/mqueue", "mqueue", "mqueue", *safe),
    ]
    if wanted.shm is not None:
        found.append(_mount("/dev/shm", "bind", str(wanted.shm), "rbind", "rprivate"))
    elif wanted.has_shm:
        found.append(_mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", f"size={wanted.shm_size}"))
    return found


def _ours(wanted: SpecInput) -> list[dict[str, Any]]:
    found = [_mount(INIT_PATH, "bind", wanted.init, "bind", "ro")] if wanted.init else []
    return found + [_mount(path, "bind", str(source), "rbind", "rprivate") for path, source in wanted.files.items()]


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
