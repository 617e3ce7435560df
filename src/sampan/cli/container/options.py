"""The flags of `run` and `create`: about a hundred, in the groups docker keeps them in."""

from __future__ import annotations

import os

from sampan.golang import boolean

from ..flags import Flag
from ..values import swap_size
from .addresses import host_flag, ip_flag, link_flag, search_flag
from .environment import env_flag, label_flag
from .limits import cgroup_rule, gpus, rate_bytes, rate_operations, ulimit, weight_device
from .mounts import mount
from .networks import network


def _attach(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


_SYSCTLS = frozenset(
    (
        "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
        "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
    )
)  # fmt: skip


def _sysctl(text: str) -> str:
    """Only what is namespaced may be set for one container."""
    name, equals, _ = text.partition("=")
    if not equals or (name not in _SYSCTLS and not name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def _trust(text: str) -> bool:
    if not boolean(text):
        raise ValueError("content trust is not supported")
    return True


def _platform_default() -> str:
    return os.environ.get("DOCKER_DEFAULT_PLATFORM", "")


GENERAL = (
    Flag("attach", "list", "Attach to STDIN, STDOUT or STDERR", short="a", parse=_attach),
    Flag("device-cgroup-rule", "list", "Add a rule to the cgroup allowed devices list", parse=cgroup_rule),
    Flag("device", "list", "Add a host device to the container"),
    Flag("gpus", "gpu-request", "GPU devices to add to the container ('all' to pass all GPUs)", parse=gpus),
    Flag("env", "list", "Set environment variables", short="e", parse=env_flag),
    Flag("env-file", "list", "Read in a file of environment variables"),
    Flag("entrypoint", "string", "Overwrite the default ENTRYPOINT of the image"),
    Flag("group-add", "list", "Add additional groups to join"),
    Flag("hostname", "string", "Container host name", short="h"),
    Flag("domainname", "string", "Container NIS domain name"),
    Flag("interactive", "bool", "Keep STDIN open even if not attached", short="i"),
    Flag("label", "list", "Set meta data on a container", short="l", parse=label_flag),
    Flag("label-file", "list", "Read in a line delimited file of labels"),
    Flag("read-only", "bool", "Mount the container's root filesystem as read only"),
    Flag("restart", "string", "Restart policy to apply when a container exits", default="no", shown='"no"'),
    Flag("stop-signal", "string", "Signal to stop the container"),
    Flag("stop-timeout", "int", "Timeout (in seconds) to stop a container"),
    Flag("sysctl", "map", "Sysctl options", shown="map[]", parse=_sysctl),
    Flag("tty", "bool", "Allocate a pseudo-TTY", short="t"),
    Flag("ulimit", "ulimit", "Ulimit options", shown="[]", parse=ulimit),
    Flag("user", "string", "Username or UID (format: <name|uid>[:<group|gid>])", short="u"),
    Flag("workdir", "string", "Working directory inside the container", short="w"),
    Flag(
        "rm",
        "bool",
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    Flag("name", "string", "Assign a name to the container"),
    Flag("quiet", "bool", "Suppress the pull output", short="q"),
    Flag("use-api-socket", "bool", "Bind mount Docker API socket and required auth"),
    Flag("help", "bool", "Print usage"),
    Flag("platform", "string", "Set platform if server is multi-platform capable", default=_platform_default()),
    Flag("disable-content-trust", "bool", "Skip image verification", default=True, shown="true", parse=_trust),
)

SECURITY = (
    Flag("cap-add", "list", "Add Linux capabilities"),
    Flag("cap-drop", "list", "Drop Linux capabilities"),
    Flag("privileged", "bool", "Give extended privileges to this container"),
    Flag("security-opt", "list", "Security Options"),
    Flag("userns", "string", "User namespace to use"),
    Flag(
        "cgroupns",
        "string",
        "Cgroup namespace to use (host|private)\n"
        "'host':    Run the container in the Docker host's cgroup namespace\n"
        "'private': Run the container in its own private cgroup namespace\n"
        "'':        Use the cgroup namespace as configured by the\n"
        "           default-cgroupns-mode option on the daemon (default)",
    ),
)

NETWORK = (
    Flag("add-host", "list", "Add a custom host-to-IP mapping (host:ip)", parse=host_flag),
    Flag("dns", "list", "Set custom DNS servers", parse=ip_flag),
    Flag("dns-opt", "list", "Set DNS options", hidden=True, into="dns-option"),
    Flag("dns-option", "list", "Set DNS options"),
    Flag("dns-search", "list", "Set custom DNS search domains", parse=search_flag),
    Flag("expose", "list", "Expose a port or a range of ports"),
    Flag("ip", "string", "IPv4 address (e.g., 172.30.100.104)"),
    Flag("ip6", "string", "IPv6 address (e.g., 2001:db8::33)"),
    Flag("link", "list", "Add link to another container", parse=link_flag),
    Flag("link-local-ip", "list", "Container IPv4/IPv6 link-local addresses"),
    Flag("mac-address", "string", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag("publish", "list", "Publish a container's port(s) to the host", short="p"),
    Flag("publish-all", "bool", "Publish all exposed ports to random ports", short="P"),
    Flag("net", "network", "Connect a container to a network", hidden=True, into="network", parse=network),
    Flag("network", "network", "Connect a container to a network", parse=network),
    Flag("net-alias", "list", "Add network-scoped alias for the container", hidden=True, into="network-alias"),
    Flag("network-alias", "list", "Add network-scoped alias for the container"),
)

STORAGE = (
    Flag("log-driver", "string", "Logging driver for the container"),
    Flag("volume-driver", "string", "Optional volume driver for the container"),
    Flag("log-opt", "list", "Log driver options"),
    Flag("storage-opt", "list", "Storage driver options for the container"),
    Flag("tmpfs", "list", "Mount a tmpfs directory"),
    Flag("volumes-from", "list", "Mount volumes from the specified container(s)"),
    Flag("volume", "list", "Bind mount a volume", short="v"),
    Flag("mount", "mount", "Attach a filesystem mount to the container", parse=mount),
)

HEALTH = (
    Flag("health-cmd", "string", "Command to run to check health"),
    Flag("health-interval", "duration", "Time between running the check (ms|s|m|h) (default 0s)"),
    Flag("health-retries", "int", "Consecutive failures needed to report unhealthy"),
    Flag("health-timeout", "duration", "Maximum time to allow one check to run (ms|s|m|h) (default 0s)"),
    Flag(
        "health-start-period",
        "duration",
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)",
    ),
    Flag(
        "health-start-interval",
        "duration",
        "Time between running the check during the start period (ms|s|m|h) (default 0s)",
    ),
    Flag(
        "health-on-failure",
        "string",
        'Action to take once the container turns unhealthy ("none", "kill", "restart", "stop")',
        default="none",
        shown='"none"',
    ),
    Flag("no-healthcheck", "bool", "Disable any container-specified HEALTHCHECK"),
)

RESOURCES = (
    Flag(
        "blkio-weight",
        "uint16",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
    ),
    Flag("blkio-weight-device", "list", "Block IO weight (relative device weight)", shown="[]", parse=weight_device),
    Flag("cidfile", "string", "Write the container ID to the file"),
    Flag("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", "string", "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("cpu-count", "int", "CPU count (Windows only)", hidden=True),
    Flag("cpu-percent", "int", "CPU percent (Windows only)", hidden=True),
    Flag("cpu-period", "int", "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag("cpu-quota", "int", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag("cpu-rt-period", "int", "Limit CPU real-time period in microseconds"),
    Flag("cpu-rt-runtime", "int", "Limit CPU real-time runtime in microseconds"),
    Flag("cpu-shares", "int", "CPU shares (relative weight)", short="c"),
    Flag("cpus", "decimal", "Number of CPUs"),
    Flag(
        "device-read-bps",
        "list",
        "Limit read rate (bytes per second) from a device",
        shown="[]",
        parse=rate_bytes,
    ),
    Flag(
        "device-read-iops",
        "list",
        "Limit read rate (IO per second) from a device",
        shown="[]",
        parse=rate_operations,
    ),
    Flag(
        "device-write-bps",
        "list",
        "Limit write rate (bytes per second) to a device",
        shown="[]",
        parse=rate_bytes,
    ),
    Flag(
        "device-write-iops",
        "list",
        "Limit write rate (IO per second) to a device",
        shown="[]",
        parse=rate_operations,
    ),
    Flag("io-maxbandwidth", "bytes", "Maximum IO bandwidth limit for the system drive (Windows only)", hidden=True),
    Flag("io-maxiops", "uint", "Maximum IOps limit for the system drive (Windows only)", hidden=True),
    Flag("kernel-memory", "bytes", "Kernel memory limit", deprecated="and no longer supported by the kernel"),
    Flag("memory", "bytes", "Memory limit", short="m"),
    Flag("memory-reservation", "bytes", "Memory soft limit"),
    Flag(
        "memory-swap",
        "bytes",
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
        parse=swap_size,
    ),
    Flag(
        "memory-swappiness",
        "int",
        "Tune container memory swappiness (0 to 100)",
        default=-1,
        shown="-1",
    ),
    Flag("oom-kill-disable", "bool", "Disable OOM Killer"),
    Flag("oom-score-adj", "int", "Tune host's OOM preferences (-1000 to 1000)"),
    Flag("pids-limit", "int", "Tune container pids limit (set -1 for unlimited)"),
    Flag("cgroup-parent", "string", "Optional parent cgroup for the container"),
    Flag("ipc", "string", "IPC mode to use"),
    Flag("isolation", "string", "Container isolation technology"),
    Flag("pid", "string", "PID namespace to use"),
    Flag("shm-size", "bytes", "Size of /dev/shm"),
    Flag("uts", "string", "UTS namespace to use"),
    Flag("runtime", "string", "Runtime to use for this container"),
    Flag(
        "init",
        "bool",
        "Run an init inside the container that forwards signals and reaps processes",
    ),
    Flag(
        "annotation",
        "map",
        "Add an annotation to the container (passed through to the OCI runtime)",
        shown="map[]",
    ),
)

WINDOWS_ONLY = ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")

COMMON = (*GENERAL, *SECURITY, *NETWORK, *STORAGE, *HEALTH, *RESOURCES)

CREATE = (
    *COMMON,
    Flag(
        "pull",
        "string",
        'Pull image before creating ("always", "|missing", "never")',
        default="missing",
        shown='"missing"',
    ),
)

RUN = (
    *COMMON,
    Flag(
        "pull",
        "string",
        'Pull image before running ("always", "missing", "never")',
        default="missing",
        shown='"missing"',
    ),
    Flag("detach", "bool", "Run container in background and print container ID", short="d"),
    Flag("sig-proxy", "bool", "Proxy received signals to the process", default=True, shown="true"),
    Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
)
