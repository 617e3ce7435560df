"""What the host is and what the engine stands on: the facts behind `GET /info`, `GET /version` and `GET /system/df`.

Facts of the host do not change while the daemon runs, so they are read once; versions of programs are asked for when
somebody wants to know, because each costs a process."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.configuration import without_credentials
from sampan.containers.logs import log_drivers
from sampan.containers.model import Status
from sampan.errors import SampanError

if TYPE_CHECKING:
    from sampan.engine import Engine

CGROUP = Path("/sys/fs/cgroup")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_FILESYSTEMS = {
    0xEF53: "extfs",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlayfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
}
"""statfs(2) magic numbers, by Docker's names."""
_CGROUP2_MAGIC = 0x63677270


@dataclass(frozen=True, slots=True)
class Cgroup:
    """What the kernel's cgroups can limit here. `version` is "1" (also for hybrid: the controllers are on v1) or
    "2"."""

    version: str
    memory: bool = False
    swap: bool = False
    kernel: bool = False
    kernel_tcp: bool = False
    cpu_cfs: bool = False
    cpu_shares: bool = False
    cpuset: bool = False
    pids: bool = False
    oom_kill_disable: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """This machine. `memory` is bytes."""

    kernel: str
    os_name: str
    os_version: str
    machine: str
    go_arch: str
    cpus: int
    memory: int
    name: str
    ipv4_forwarding: bool
    cgroup: Cgroup
    language: str
    build_time: str


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """One OCI runtime. `features` is what `<runtime> features` prints (OCI runtime-spec features.md), "" when it
    cannot."""

    name: str
    path: str
    version: str = ""
    features: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    running: int = 0
    paused: int = 0
    stopped: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """The engine's own settings and state, as `info` shows them."""

    id: str
    data_root: str
    debug: bool
    log_driver: str
    labels: list[str]
    mirrors: list[str]
    insecure_registries: list[str]
    insecure_networks: list[str]
    driver_status: list[tuple[str, str]]
    default_runtime: str
    runtimes: list[RuntimeFacts]
    runc_version: str
    init_binary: str
    descriptors: int
    tasks: int
    listeners: int
    address_pools: list[tuple[str, int]]
    security_options: list[str]
    firewall: list[list[str]]
    warnings: list[str]
    log_drivers: list[str]
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


# -- the host ----------------------------------------------------------------------------------------
def _statfs_magic(path: Path) -> int:
    """`f_type` of statfs(2), which Python does not offer; it is the first long on every Linux port."""
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _cgroup() -> Cgroup:
    if _statfs_magic(CGROUP) == _CGROUP2_MAGIC:
        controllers = set(_read(CGROUP / "cgroup.controllers").split())
        return Cgroup(
            version="2",
            memory="memory" in controllers,
            swap="memory" in controllers,
            cpu_cfs="cpu" in controllers,
            cpu_shares="cpu" in controllers,
            cpuset="cpuset" in controllers,
            pids="pids" in controllers,
        )
    return Cgroup(
        version="1",
        memory=(CGROUP / "memory/memory.limit_in_bytes").exists(),
        swap=(CGROUP / "memory/memory.memsw.limit_in_bytes").exists(),
        kernel=(CGROUP / "memory/memory.kmem.limit_in_bytes").exists(),
        kernel_tcp=(CGROUP / "memory/memory.kmem.tcp.limit_in_bytes").exists(),
        cpu_cfs=(CGROUP / "cpu/cpu.cfs_quota_us").exists(),
        cpu_shares=(CGROUP / "cpu/cpu.shares").exists(),
        cpuset=(CGROUP / "cpuset/cpuset.cpus").exists(),
        pids=(CGROUP / "pids").is_dir(),
        oom_kill_disable=(CGROUP / "memory/memory.oom_control").exists(),
    )


@cache
def host() -> Host:
    """Read once."""
    import time

    uname = os.uname()
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    memory = next(
        (
            int(line.split()[1]) * 1024
            for line in _read(Path("/proc/meminfo")).splitlines()
            if line.startswith("MemTotal:")
        ),
        0,
    )
    built = time.gmtime(Path(__file__).stat().st_mtime)
    return Host(
        kernel=uname.release,
        os_name=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        machine=uname.machine,
        go_arch=_MACHINES.get(uname.machine, uname.machine),
        cpus=len(os.sched_getaffinity(0)),
        memory=memory,
        name=uname.nodename,
        ipv4_forwarding=_read(Path("/proc/sys/net/ipv4/ip_forward")) == "1",
        cgroup=_cgroup(),
        language=f"python{platform.python_version()}",
        build_time=time.strftime("%Y-%m-%dT%H:%M:%S.000000000+00:00", built),
    )


# -- programs ----------------------------------------------------------------------------------------
def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def _version_of(path: str) -> str:
    """The number in the first line of `<program> --version`: "crun version 1.8.1", "conmon version 2.1.6", "tini
    0.2"."""
    words = _output(path, "--version").partition("\n")[0].split()
    return next((word for word in words if word[:1].isdigit()), "")


@cache
def _features_of(path: str) -> str:
    import json

    text = _output(path, "features")
    try:
        return json.dumps(json.loads(text), separators=(",", ":")) if text else ""
    except ValueError:
        return ""


def _runtime_paths(engine: Engine) -> dict[str, str]:
    paths = {name: found for name in ("crun", "runc") if (found := shutil.which(name))}
    return paths | {name: words[0] for name, words in engine.settings.runtimes.items()}


def _runtimes(engine: Engine) -> list[RuntimeFacts]:
    return [
        RuntimeFacts(name, path, _version_of(path), _features_of(path))
        for name, path in sorted(_runtime_paths(engine).items())
    ]


async def components(engine: Engine) -> list[tuple[str, str]]:
    """(name, version) of the programs that do the work, for `GET /version`."""

    def ask() -> list[tuple[str, str]]:
        programs = {**_runtime_paths(engine), **{n: p for n in ("conmon", "catatonit") if (p := shutil.which(n))}}
        return [(name, _version_of(path)) for name, path in programs.items()]

    return await asyncio.to_thread(ask)


# -- the engine --------------------------------------------------------------------------------------
def counts(engine: Engine) -> Counts:
    running = paused = stopped = 0
    for container in engine.containers.all():
        if container.state.status == Status.PAUSED:
            paused += 1
        elif container.state.running:
            running += 1
        else:
            stopped += 1
    return Counts(running, paused, stopped, len(engine.images.list(all=True)))


def _warnings(here: Host) -> list[str]:
    lacking = {
        "memory limit": here.cgroup.memory,
        "swap limit": here.cgroup.swap,
        "cpu cfs quota": here.cgroup.cpu_cfs,
        "cpu shares": here.cgroup.cpu_shares,
        "cpuset": here.cgroup.cpuset,
        "pids limit": here.cgroup.pids,
    }
    warnings = [f"WARNING: No {what} support" for what, there in lacking.items() if not there]
    if _read(Path("/proc/sys/net/ipv4/ip_forward")) != "1":
        warnings.append("WARNING: IPv4 forwarding is disabled")
    return warnings


def _security_options(here: Host) -> list[str]:
    options = []
    if "Seccomp:" in _read(Path("/proc/self/status")):
        options.append("name=seccomp,profile=builtin")
    if here.cgroup.version == "2":
        options.append("name=cgroupns")
    return options


async def facts(engine: Engine) -> EngineFacts:
    """Everything `GET /info` says of the engine itself."""
    settings = engine.settings
    here = host()
    runtimes = await asyncio.to_thread(_runtimes, engine)
    network = engine.networks.info()
    try:
        default_runtime = engine.runtime.name()
    except SampanError:
        default_runtime = settings.default_runtime
    insecure = [entry for entry in settings.insecure_registries if "/" not in entry]
    warnings = [*_warnings(here), *network.get("Warnings", [])]
    warnings += [
        f"WARNING: API is accessible on http://{one.removeprefix('tcp://')} without encryption.\n"
        "         Access to the remote API is equivalent to root access on the host."
        for one in settings.hosts
        if one.startswith("tcp://") and not (settings.tls or settings.tlsverify)
    ]
    return EngineFacts(
        id=engine.id,
        data_root=str(settings.data_root),
        debug=settings.debug,
        log_driver=settings.log_driver,
        labels=list(settings.labels),
        mirrors=[mirror.rstrip("/") + "/" for mirror in settings.registry_mirrors],
        insecure_registries=insecure,
        insecure_networks=[entry for entry in settings.insecure_registries if "/" in entry],
        driver_status=[
            ("Backing Filesystem", _FILESYSTEMS.get(_statfs_magic(settings.data_root), "<unknown>")),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ],
        default_runtime=default_runtime,
        runtimes=runtimes,
        runc_version=next((one.version for one in runtimes if one.name == "runc"), ""),
        init_binary="catatonit",
        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names only
        tasks=len(asyncio.all_tasks()),
        listeners=engine.events.listeners,
        address_pools=list(settings.address_pools),
        security_options=_security_options(here),
        firewall=network.get("FirewallBackend", {}).get("Info", []),
        warnings=warnings,
        log_drivers=log_drivers.NAMES,
        http_proxy=without_credentials(os.environ.get("HTTP_PROXY", os.environ.get("http_proxy", ""))),
        https_proxy=without_credentials(os.environ.get("HTTPS_PROXY", os.environ.get("https_proxy", ""))),
        no_proxy=os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")),
    )
