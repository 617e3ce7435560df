"""`--sysctl`: only what belongs to one of the container's own namespaces (runc's validator; crun is laxer)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sampan.runtime.failures import StartFailed, create_failed

_IPC = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_UTS = frozenset({"kernel.domainname", "kernel.hostname"})

UNPRIVILEGED = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
"""Docker 20.10 gives every container with a network namespace of its own: ports below 1024 and ping without
capabilities."""


def check(sysctls: Mapping[str, str], own: Iterable[str]) -> None:
    """`own`: the namespaces (network, ipc, uts) that are not the host's. Raises `StartFailed` in runc's words."""
    namespaces = frozenset(own)
    for name in map(_dotted, sysctls):
        if name in _IPC or name.startswith("fs.mqueue."):
            if "ipc" not in namespaces:
                raise _refused(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
        elif name.startswith("net."):
            if "network" not in namespaces:
                raise _refused(f'sysctl "{name}" not allowed in host network namespace')
        elif name in _UTS:
            if "uts" not in namespaces:
                raise _refused(f'sysctl "{name}" is not allowed in the hosts uts namespace')
            if name == "kernel.hostname":
                raise _refused(f'sysctl "{name}" is not allowed as it conflicts with the OCI "hostname" field')
        else:
            raise _refused(f'sysctl "{name}" is not in a separate kernel namespace')


def _dotted(name: str) -> str:
    """sysctl(8) takes slashes too: the separator is whichever comes first."""
    slash, dot = name.find("/"), name.find(".")
    if slash == -1 or -1 < dot < slash:
        return name
    return name.translate(str.maketrans("/.", "./"))


def _refused(reason: str) -> StartFailed:
    return create_failed(f"runc create failed: {reason}")
