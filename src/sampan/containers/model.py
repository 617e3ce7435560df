"""What a container is: its configuration as the Docker Engine API spells it, its state, and the document that is
stored.

`Config` and `HostConfig` are both wire and stored types (`POST /containers/create`): the user's own words, kept as
given, so that `inspect` gives them back. JSON nulls are dropped before decoding (Go's rule: null leaves the zero
value); `None` here means "not given". `StrSlice` fields accept a string or a list, as Docker does.

Words: a *container* is a document plus a snapshot; it is *created* once, *started* many times, and each start is one
run with a pid, a start and a finish time and an exit code. Its *status* is one of `Status`; `TRANSITIONS` is the table
of allowed changes, and `containers.transitions` is the only writer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

StrSlice = list[str]


class _Docker(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    """Docker's JSON spelling; defaults are left out of what is stored."""


def _slice(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value


class HealthcheckConfig(_Docker):
    """Durations are nanoseconds; 0 means Docker's default (30 s, 30 s, 0 s, 5 s), retries 0 means 3."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Config(_Docker):
    """The portable part: what an image can say too."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthcheckConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | str | None = None

    def __post_init__(self) -> None:
        self.cmd, self.entrypoint, self.shell = _slice(self.cmd), _slice(self.entrypoint), _slice(self.shell)


class PortBinding(_Docker):
    """`HostPort` is "", a port or a range "8000-8010"."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(_Docker):
    """`name` is "", no, always, unless-stopped or on-failure."""

    name: str = ""
    maximum_retry_count: int = 0


class LogConfig(_Docker):
    type: str = ""
    config: dict[str, str] | None = None


class Ulimit(_Docker):
    name: str = ""
    soft: int = 0
    hard: int = 0


class DeviceMapping(_Docker):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(_Docker):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = msgspec.field(default=None, name="DeviceIDs")
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class WeightDevice(_Docker):
    path: str = ""
    weight: int = 0


class ThrottleDevice(_Docker):
    path: str = ""
    rate: int = 0


class BindOptions(_Docker):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriver(_Docker):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(_Docker):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: VolumeDriver | None = None
    subpath: str = ""


class ImageOptions(_Docker):
    subpath: str = ""


class TmpfsOptions(_Docker):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class Mount(_Docker):
    """One `--mount`. `type` is bind, volume, tmpfs, image, npipe or cluster."""

    target: str = ""
    source: str = ""
    type: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(_Docker):
    """The part that depends on the host: resources, isolation, mounts, ports. Sizes are bytes."""

    # Resources
    cpu_shares: int = 0
    memory: int = 0
    cgroup_parent: str = ""
    nano_cpus: int = 0
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = msgspec.field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleDevice] | None = msgspec.field(default=None, name="BlkioDeviceWriteIOps")
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = msgspec.field(default=0, name="KernelMemoryTCP")
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = msgspec.field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = msgspec.field(default=0, name="IOMaximumBandwidth")
    # The rest
    binds: list[str] | None = None
    container_id_file: str = msgspec.field(default="", name="ContainerIDFile")
    log_config: LogConfig | None = None
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy | None = None
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: list[int] | None = None
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None
    health_on_failure: str = ""
    """What follows when the container becomes unhealthy: "", none, kill, restart or stop. Sampan's own, spelled as
    Podman's flag."""


class IPAMConfig(_Docker):
    ipv4_address: str = msgspec.field(default="", name="IPv4Address")
    ipv6_address: str = msgspec.field(default="", name="IPv6Address")
    link_local_ips: list[str] | None = msgspec.field(default=None, name="LinkLocalIPs")


class EndpointSettings(_Docker):
    """What the user asks of one network, and (in the lower half) what the container got."""

    ipam_config: IPAMConfig | None = msgspec.field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = msgspec.field(default="", name="NetworkID")
    endpoint_id: str = msgspec.field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = msgspec.field(default="", name="IPAddress")
    ip_prefix_len: int = msgspec.field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = msgspec.field(default="", name="IPv6Gateway")
    global_ipv6_address: str = msgspec.field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = msgspec.field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: list[str] | None = msgspec.field(default=None, name="DNSNames")
    given_mac: str = ""
    """Not shown by inspect: the `mac_address` that was asked for, while `mac_address` is the one in use."""


class NetworkingConfig(_Docker):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class MountPoint(_Docker):
    """A resolved mount, as `inspect` shows it under `Mounts`. `source` is a host path ("" for tmpfs)."""

    type: str = ""
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = msgspec.field(default=True, name="RW")
    propagation: str = ""
    # Not shown by inspect: what mounting needs besides.
    anonymous: bool = False
    no_copy: bool = False
    subpath: str = ""
    image: str = ""
    """sha256:… of the mounted image's config, which the container keeps alive as it does its own (type image)."""
    options: list[str] = msgspec.field(default_factory=list)
    """tmpfs options; for a bind the words `mountpoints.mounts` defines (`bind`, `ro-nonrecursive`, …)."""


class Changing(_Docker):
    """A change of a running container's mounts (their destinations), ports and limits that is being made: what a daemon
    that finds it makes as the document says."""

    unmount: list[str] = msgspec.field(default_factory=list)
    mount: list[str] = msgspec.field(default_factory=list)
    limits: bool = False


class Status(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.RUNNING, Status.REMOVING, Status.EXITED}),
    Status.RUNNING: frozenset({Status.PAUSED, Status.RESTARTING, Status.EXITED}),
    Status.PAUSED: frozenset({Status.RUNNING, Status.RESTARTING, Status.EXITED}),
    Status.RESTARTING: frozenset({Status.RUNNING, Status.EXITED, Status.REMOVING}),
    Status.EXITED: frozenset({Status.RUNNING, Status.REMOVING}),
    Status.REMOVING: frozenset({Status.DEAD}),
    Status.DEAD: frozenset({Status.REMOVING}),
}
"""From each status, the statuses it may change to. An exited container may be started again; a dead one only
removed."""


class HealthLog(_Docker):
    """One probe; times are nanoseconds since the epoch."""

    start: int = 0
    end: int = 0
    exit_code: int = 0
    output: str = ""


class Health(_Docker):
    """`status` is starting, healthy or unhealthy."""

    status: str = "starting"
    failing_streak: int = 0
    log: list[HealthLog] = msgspec.field(default_factory=list)


class State(_Docker):
    """Where a container is in its life. Times are nanoseconds since the epoch, 0 for never."""

    status: Status = Status.CREATED
    pid: int = 0
    conmon_pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: int = 0
    finished_at: int = 0
    health: Health | None = None
    manually_stopped: bool = False
    """`stop`/`kill` by the user: `unless-stopped` and `on-failure` leave it alone."""

    @property
    def running(self) -> bool:
        """Docker's `State.Running`: true while paused or restarting too."""
        return self.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


class Container(_Docker):
    """The stored document. `name` has no leading slash. Changed only under the container's lock."""

    id: str = ""
    name: str = ""
    created: int = 0
    image_id: str = ""
    """sha256:… of the image's config; the container keeps it alive."""
    image_name: str = ""
    """The reference as the user gave it."""
    platform: str = "linux"
    path: str = ""
    args: list[str] = msgspec.field(default_factory=list)
    config: Config = msgspec.field(default_factory=Config)
    """Merged with the image's: what runs."""
    host_config: HostConfig = msgspec.field(default_factory=HostConfig)
    networking: dict[str, EndpointSettings] = msgspec.field(default_factory=dict)
    """Requested endpoints by network name; the result half is filled while running."""
    ports: dict[str, list[PortBinding]] = msgspec.field(default_factory=dict)
    """"80/tcp" → host bindings that are in force; empty when not running."""
    mounts: list[MountPoint] = msgspec.field(default_factory=list)
    state: State = msgspec.field(default_factory=State)
    restart_count: int = 0
    runtime: str = ""
    """The runtime that holds the current or last run (crun, runc, …)."""
    log_path: str = ""
    exec_ids: list[str] = msgspec.field(default_factory=list)
    """Execs that have not ended."""
    changing: Changing | None = None
    """Not shown by inspect: the document says already what the running container does not have yet."""
    remove_volumes: bool = False
    """Not shown by inspect: the removal that is under way takes the anonymous volumes too."""


class ExecConfig(_Docker):
    """`POST /containers/{id}/exec`."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] | None = None
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | str | None = None

    def __post_init__(self) -> None:
        self.cmd = _slice(self.cmd)


class Exec(_Docker):
    """An exec instance. `exit_code` is None until it ended. `ended` is nanoseconds since the epoch."""

    id: str = ""
    container_id: str = ""
    config: ExecConfig = msgspec.field(default_factory=ExecConfig)
    running: bool = False
    started: bool = False
    pid: int = 0
    exit_code: int | None = None
    ended: int = 0
