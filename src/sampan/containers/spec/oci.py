"""A container document as an OCI runtime spec, and an exec as an OCI process.

`container_spec` is called at each start, when the root filesystem is mounted and the network sandbox is there
(`Prepared`). The only files it reads are the container's /etc/passwd and /etc/group, inside its root
(`runtime.users`)."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.containers.model import Config, Container, ExecConfig, HostConfig
from sampan.containers.spec import security_options
from sampan.containers.spec.oci_resources import resources
from sampan.errors import InvalidParameter, SampanError
from sampan.linux import openat2
from sampan.runtime import capabilities, cgroups, devices, lsm, paths, seccomp, sysctls, users
from sampan.runtime.binaries import find
from sampan.runtime.failures import create_failed, exec_failed
from sampan.runtime.spec import OCIMount, Process, SpecInput, generate

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM_SIZE = 64 << 20

_PROC_LEAK = re.compile(r"/proc/(?:self|thread-self|[0-9]+)(?:/task/[0-9]+)?/(?:fd|cwd|root|exe|map_files)(?:/|$)")
"""Links to what a process has open: a working directory there was a way out of the container (CVE-2024-21626)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another container, for `container:ID` modes: its init's pid, and its shared /dev/shm (`runtime.shm`) if it has
    one."""

    pid: int
    shm: Path | None = None


def _no_peer(reference: str) -> Peer:
    raise SampanError(f"cannot join namespaces of a non running container: {reference}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the host has made ready for one run."""

    rootfs: Path
    cgroup_parent: str
    """The daemon's; HostConfig.CgroupParent goes before it."""
    netns: Path | None = None
    """The sandbox's; None with network modes host, none (a new, empty one is made) and `container:`."""
    mounts: Sequence[OCIMount] = ()
    """`mounts.oci_mounts`."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """/etc/hostname, /etc/hosts, /etc/resolv.conf → their source."""
    shm: Path | None = None
    """`runtime.shm.mount`'s, for IPC mode shareable."""
    rootfs_propagation: str = ""
    linked: Sequence[str] = ()
    """Variables that `--link` gives; the container's own come after them."""
    defaults: security_options.Defaults = field(default_factory=security_options.Defaults)
    """The daemon's, of containers that do not say otherwise."""
    peer: Callable[[str], Peer] = _no_peer
    """Looks up the container of `container:ID`; raises when it does not run."""


def container_spec(container: Container, prepared: Prepared) -> dict[str, Any]:
    """config.json. Raises `SampanError` subclasses in Docker's words."""
    config, host = container.config, container.host_config
    options = security_options.parse(host.security_opt, prepared.defaults, privileged=host.privileged)
    process_label, mount_label = lsm.selinux_labels(options.labels)
    caps = capabilities.effective(host.cap_add, host.cap_drop, host.privileged)
    spaces = _namespaces(host, prepared)
    found = _devices(host)
    with openat2.root(prepared.rootfs) as root:
        user = users.resolve(root, config.user, host.group_add or ())
        working_directory = _working_directory(root, config.working_dir)
    return generate(
        SpecInput(
            process=Process(
                args=[container.path, *container.args],
                env=environment(config, user.home, tty=config.tty, linked=prepared.linked),
                cwd=working_directory,
                user=user,
                capabilities=caps,
                terminal=config.tty,
                console_size=_console_size(host.console_size),
                no_new_privileges=options.no_new_privileges,
                rlimits=[(limit.name, limit.soft, limit.hard) for limit in host.ulimits or ()],
                oom_score_adj=oom_score_adj(host.oom_score_adj),
                apparmor=lsm.apparmor_profile(options.apparmor),
                selinux=process_label,
            ),
            rootfs=prepared.rootfs,
            readonly=host.readonly_rootfs,
            privileged=host.privileged,
            writable_cgroups=options.writable_cgroups,
            hostname=config.hostname,
            namespaces=spaces,
            mounts=prepared.mounts,
            files=prepared.files,
            shm_size=host.shm_size or DEFAULT_SHM_SIZE,
            shm=_shm(host.ipc_mode, prepared),
            has_shm=host.ipc_mode != "none",
            init=_init(host, prepared.defaults.init),
            devices=found,
            device_rules=host.device_cgroup_rules or (),
            resources=resources(host),
            cgroup=cgroup_path(host.cgroup_parent or prepared.cgroup_parent, container.id),
            sysctls=_sysctls(config, host, spaces),
            seccomp=_seccomp(options.seccomp, host.privileged, caps),
            masked_paths=_paths(host.masked_paths, paths.masked(), host.privileged),
            readonly_paths=_paths(host.readonly_paths, paths.READONLY, host.privileged),
            rootfs_propagation=prepared.rootfs_propagation,
            mount_label=mount_label,
            annotations=host.annotations or {},
        )
    )


def exec_process(
    container: Container,
    config: ExecConfig,
    rootfs: Path,
    defaults: security_options.Defaults | None = None,
) -> dict[str, Any]:
    """The OCI process of an exec in a running container. `rootfs` is the bundle's."""
    own, host = container.config, container.host_config
    cwd = config.working_dir or own.working_dir or "/"
    if not posixpath.isabs(cwd):
        raise _bad_cwd(cwd)
    with openat2.root(rootfs) as root:
        user = users.resolve(root, config.user or own.user, host.group_add or ())
        _refuse_leak(root, cwd)
    command = [config.cmd] if isinstance(config.cmd, str) else config.cmd or []
    options = security_options.parse(host.security_opt, defaults)
    return Process(
        args=command,
        env=environment(own, user.home, tty=config.tty, extra=config.env or ()),
        cwd=cwd,
        user=user,
        capabilities=capabilities.effective(host.cap_add, host.cap_drop, config.privileged or host.privileged),
        terminal=config.tty,
        console_size=_console_size(config.console_size),
        no_new_privileges=options.no_new_privileges,
        rlimits=[(limit.name, limit.soft, limit.hard) for limit in host.ulimits or ()],
        oom_score_adj=oom_score_adj(host.oom_score_adj),
        apparmor=lsm.apparmor_profile(options.apparmor),
        selinux=lsm.selinux_labels(options.labels)[0],
    ).oci()


def _refuse_leak(root: int, cwd: str) -> None:
    """A symlink of the container counts as what it leads to."""
    places = [posixpath.normpath(cwd)]
    with contextlib.suppress(OSError):
        places.append("/" + os.fsdecode(openat2.resolve_in_root(root, cwd)))
    if any(_PROC_LEAK.match(place) for place in places):
        raise _bad_cwd(cwd)


def _bad_cwd(cwd: str) -> SampanError:
    return exec_failed(
        f'exec failed: unable to start container process: chdir to cwd ("{cwd}") set in config.json failed: '
        "not a directory inside the container"
    )


def check(host: HostConfig) -> None:
    """What can be refused at create already: capabilities, security options, devices that need a driver."""
    capabilities.check(host.cap_add, host.cap_drop)
    lsm.selinux_labels(security_options.parse(host.security_opt).labels)


# -- process ---------------------------------------------------------------------------------------


def environment(
    config: Config, home: str, *, tty: bool, extra: Sequence[str] = (), linked: Sequence[str] = ()
) -> list[str]:
    """PATH, HOSTNAME and (with a TTY) TERM, then the user's: `NAME=value` sets in place, a bare `NAME` unsets. HOME as
    runc sets it where there is none: crun 1.8 leaves it out for a user without a line in /etc/passwd."""
    found = {"PATH": DEFAULT_PATH, "HOSTNAME": config.hostname or os.uname().nodename}
    if tty:
        found["TERM"] = "xterm"
    for entry in [*linked, *(config.env or ()), *extra]:
        name, equals, value = entry.partition("=")
        if equals:
            found[name] = value
        else:
            found.pop(name, None)
    found["HOME"] = found.get("HOME") or home
    return [f"{name}={value}" for name, value in found.items()]


def _working_directory(root: int, wanted: str) -> str:
    """Makes it, as dockerd does (owned by root, 0755), inside the root. One that leads into a process' open files is
    refused."""
    cwd = wanted or "/"
    if not posixpath.isabs(cwd):
        raise InvalidParameter(f"the working directory '{cwd}' is invalid, it needs to be an absolute path")
    if posixpath.normpath(cwd) == "/":
        return "/"
    try:
        place = "/" + os.fsdecode(openat2.resolve_in_root(root, cwd))
        if _PROC_LEAK.match(place):
            raise create_failed(
                "runc create failed: unable to start container process: error during container init: "
                f"mkdir {cwd}: not a directory"
            )
        if not place.startswith(("/proc/", "/sys/", "/dev/")):  # there, another filesystem will be mounted
            os.close(openat2.mkdirs_in_root(root, cwd))
    except NotADirectoryError:
        raise SampanError(f"Cannot mkdir: {cwd} is not a directory") from None
    except OSError as error:
        # A read-only root: the runtime says what is missing, if anything is.
        with contextlib.suppress(OSError):
            os.close(openat2.open_in_root(root, cwd, os.O_PATH | os.O_DIRECTORY))
            return cwd
        raise SampanError(f"Cannot mkdir {cwd}: {error.strerror}") from None
    return cwd


def _console_size(size: Sequence[int] | None) -> tuple[int, int] | None:
    """[height, width]; zeros mean "not known"."""
    return (size[0], size[1]) if size and len(size) == 2 and all(size) else None


def oom_score_adj(wanted: int) -> int:
    """Without CAP_SYS_RESOURCE nobody may go below their own score: the default 0 then means the daemon's own."""
    if "CAP_SYS_RESOURCE" in capabilities.available():
        return wanted
    own = int(Path("/proc/self/oom_score_adj").read_text())
    if wanted >= own:
        return wanted
    if wanted == 0:
        return own
    raise create_failed(
        f"runc create failed: unable to start container process: cannot set oom_score_adj to {wanted}: "
        f"below the daemon's own ({own}), and the daemon lacks CAP_SYS_RESOURCE"
    )


# -- isolation -------------------------------------------------------------------------------------


def _namespaces(host: HostConfig, prepared: Prepared) -> dict[str, str]:
    found = {"mount": ""}
    for kind, mode, file in (
        ("pid", host.pid_mode, "pid"),
        ("ipc", host.ipc_mode, "ipc"),
        ("uts", host.uts_mode, "uts"),
    ):
        _place(found, kind, mode, file, prepared)
    if prepared.netns is not None:
        found["network"] = str(prepared.netns)
    else:
        _place(found, "network", host.network_mode, "net", prepared)
    default = "private" if cgroups.mode() is cgroups.Mode.V2 else "host"
    if (host.cgroupns_mode or default) == "private":
        found["cgroup"] = ""
    return found


def _place(found: dict[str, str], kind: str, mode: str, file: str, prepared: Prepared) -> None:
    if mode == "host":
        return
    peer = _peer_of(mode)
    found[kind] = f"/proc/{prepared.peer(peer).pid}/ns/{file}" if peer else ""


def _peer_of(mode: str) -> str:
    """The container of `container:ID`."""
    return mode.removeprefix("container:") if mode.startswith("container:") else ""


def _shm(mode: str, prepared: Prepared) -> Path | None:
    if mode == "host":
        return Path("/dev/shm")
    if peer := _peer_of(mode):
        shared = prepared.peer(peer).shm
        if shared is None:
            raise SampanError(f"cannot join IPC of container {peer}: its IPC mode is not shareable")
        return shared
    return prepared.shm if mode == "shareable" else None


def _init(host: HostConfig, default: bool) -> str:
    """catatonit does what Docker's tini does: reaps, and passes signals on. A pid namespace of others has its own."""
    if not (default if host.init is None else host.init) or host.pid_mode:
        return ""
    program = find("catatonit")
    if program is None:
        raise SampanError('exec: "docker-init": executable file not found in $PATH; install the package catatonit')
    return program


def _sysctls(config: Config, host: HostConfig, spaces: Mapping[str, str]) -> dict[str, str]:
    private_network = "network" in spaces and not host.network_mode.startswith("container:")
    found = dict(sysctls.UNPRIVILEGED) if private_network else {}
    if config.domainname and "uts" in spaces:
        found["kernel.domainname"] = config.domainname  # runc before 1.2 does not know the spec's own field
    sysctls.check(host.sysctls or {}, spaces)
    return {**found, **(host.sysctls or {})}


def _seccomp(wanted: str, privileged: bool, caps: Sequence[str]) -> Mapping[str, Any] | None:
    if wanted == "unconfined" or (privileged and not wanted):
        return None
    if wanted:
        return seccomp.load_profile(wanted, caps)
    return seccomp.default_profile(frozenset(caps))


def _paths(given: Sequence[str] | None, default: Sequence[str], privileged: bool) -> Sequence[str]:
    """None: the default. An empty list is how the CLI says `systempaths=unconfined`."""
    if privileged:
        return ()
    return default if given is None else given


def _devices(host: HostConfig) -> list[devices.Device]:
    for request in host.device_requests or ():
        wanted = "[" + " ".join(f"[{' '.join(group)}]" for group in request.capabilities or ()) + "]"
        raise SampanError(f'could not select device driver "{request.driver}" with capabilities: {wanted}')
    if host.privileged:
        return devices.all_of_host()
    found: dict[str, devices.Device] = {}
    for wish in host.devices or ():
        for device in devices.from_host(wish.path_on_host, wish.path_in_container, wish.cgroup_permissions):
            found[device.path] = device
    return list(found.values())


def cgroup_path(parent: str, id: str) -> str:
    """`<parent>/<id>`, absolute. A parent that climbs is refused."""
    clean = posixpath.normpath("/" + parent.lstrip("/"))
    if ".." in parent.split("/") or clean == "/":
        raise InvalidParameter(f"cgroup-parent {parent} is not a valid cgroup path")
    return f"{clean}/{id}"
