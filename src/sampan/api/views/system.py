"""`GET /info` and `GET /version` in Docker's JSON."""

from __future__ import annotations

import time
from typing import Any

import sampan
from sampan.api import versions
from sampan.api.timestamps import rfc3339
from sampan.api.versions import Version
from sampan.system import Counts, EngineFacts, Host

_SWARM = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def info(host: Host, engine: EngineFacts, counts: Counts, version: Version) -> dict[str, Any]:
    registry: dict[str, Any] = {}
    if version < (1, 47):
        registry = {"AllowNondistributableArtifactsCIDRs": None, "AllowNondistributableArtifactsHostnames": None}
    registry |= {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8", *engine.insecure_networks],
        "IndexConfigs": {
            "docker.io": {"Name": "docker.io", "Mirrors": engine.mirrors, "Secure": True, "Official": True},
            **{
                name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
                for name in engine.insecure_registries
            },
        },
        "Mirrors": engine.mirrors or None,
    }
    view: dict[str, Any] = {
        "ID": engine.id,
        "Containers": counts.running + counts.paused + counts.stopped,
        "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused,
        "ContainersStopped": counts.stopped,
        "Images": counts.images,
        "Driver": "overlay2",
        "DriverStatus": engine.driver_status,
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": engine.log_drivers,
        },
        "MemoryLimit": host.cgroup.memory,
        "SwapLimit": host.cgroup.swap,
    }
    if host.cgroup.version == "1":
        if version < (1, 42):
            view["KernelMemory"] = host.cgroup.kernel
        view["KernelMemoryTCP"] = host.cgroup.kernel_tcp
    view |= {
        "CpuCfsPeriod": host.cgroup.cpu_cfs,
        "CpuCfsQuota": host.cgroup.cpu_cfs,
        "CPUShares": host.cgroup.cpu_shares,
        "CPUSet": host.cgroup.cpuset,
        "PidsLimit": host.cgroup.pids,
        "IPv4Forwarding": host.ipv4_forwarding,
    }
    if version < (1, 50):
        view |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    view |= {
        "Debug": engine.debug,
        "NFd": engine.descriptors,
        "OomKillDisable": host.cgroup.oom_kill_disable,
        "NGoroutines": engine.tasks,
        "SystemTime": rfc3339(time.time_ns()),
        "LoggingDriver": engine.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": host.cgroup.version,
        "NEventsListener": engine.listeners,
        "KernelVersion": host.kernel,
        "OperatingSystem": host.os_name,
        "OSVersion": host.os_version,
        "OSType": "linux",
        "Architecture": host.machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registry,
        "NCPU": host.cpus,
        "MemTotal": host.memory,
        "GenericResources": None,
        "DockerRootDir": engine.data_root,
        "HttpProxy": engine.http_proxy,
        "HttpsProxy": engine.https_proxy,
        "NoProxy": engine.no_proxy,
        "Name": host.name,
        "Labels": engine.labels,
        "ExperimentalBuild": False,
        "ServerVersion": sampan.__version__,
        "Runtimes": _runtimes(engine, version),
        "DefaultRuntime": engine.default_runtime,
        "Swarm": _SWARM,
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": engine.init_binary,
    }
    for key, commit in (("ContainerdCommit", ""), ("RuncCommit", engine.runc_version), ("InitCommit", "")):
        view[key] = {"ID": commit, "Expected": commit} if version < (1, 49) else {"ID": commit}
    security = engine.security_options
    if version < (1, 25):
        view["ExecutionDriver"] = "<not supported>"
        security = [option.partition(",")[0].removeprefix("name=") for option in security]
    view["SecurityOptions"] = security
    if engine.address_pools:
        view["DefaultAddressPools"] = [{"Base": base, "Size": size} for base, size in engine.address_pools]
    if version >= (1, 49):
        view["FirewallBackend"] = (
            {"Driver": "nftables", "Info": engine.firewall} if engine.firewall else {"Driver": "nftables"}
        )
    return view | {"CDISpecDirs": [], "Warnings": engine.warnings or None}


def _runtimes(engine: EngineFacts, version: Version) -> dict[str, Any]:
    view: dict[str, Any] = {}
    for runtime in engine.runtimes:
        view[runtime.name] = {"path": runtime.path}
        if version >= (1, 44) and runtime.version:
            view[runtime.name]["status"] = {"org.opencontainers.runtime-spec.features": runtime.features}
    return view


def version_(host: Host, components: list[tuple[str, str]]) -> dict[str, Any]:
    """`components` are (name, version) of the programs that do the work: runtimes, conmon, init."""
    arch = host.go_arch
    details = {
        "ApiVersion": versions.text(versions.MAXIMUM),
        "Arch": arch,
        "BuildTime": host.build_time,
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": host.language,
        "KernelVersion": host.kernel,
        "MinAPIVersion": versions.text(versions.MINIMUM),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": "Sampan"},
        "Components": [
            {"Name": "Engine", "Version": sampan.__version__, "Details": details},
            *({"Name": name, "Version": number, "Details": {"GitCommit": ""}} for name, number in components),
        ],
        "Version": sampan.__version__,
        "ApiVersion": details["ApiVersion"],
        "MinAPIVersion": details["MinAPIVersion"],
        "GitCommit": details["GitCommit"],
        "GoVersion": details["GoVersion"],
        "Os": "linux",
        "Arch": arch,
        "KernelVersion": host.kernel,
        "BuildTime": details["BuildTime"],
    }
