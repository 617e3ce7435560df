"""dockerd's settings that Sampan does not have: taken where they say what it does anyway, refused with a reason where
they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Refuse = Callable[[Any], str]
"""Why a value is not taken; "" when it is."""


def only(*values: Any, why: str) -> Refuse:
    return lambda value: "" if value in values else why


def _empty(why: str) -> Refuse:
    return lambda value: "" if not value else why


def _exec_options(value: list[str]) -> str:
    for option in value:
        name, _, given = option.partition("=")
        if name != "native.cgroupdriver":
            return f"unknown option {option}"
        if given != "cgroupfs":
            return "cgroups are made by the OCI runtime itself (native.cgroupdriver=cgroupfs), not by systemd"
    return ""


def _storage_options(value: list[str]) -> str:
    for option in value:
        if option.partition("=")[0].lower() not in ("overlay.override_kernel_check", "overlay2.override_kernel_check"):
            return f"the storage driver has no option {option.partition('=')[0]}"
    return ""


def features(value: dict[str, bool]) -> str:
    """`buildkit` says which builder clients are to prefer; they are told what there is."""
    for name, on in value.items():
        if on and name == "containerd-snapshotter":
            return "images are kept in Sampan's own store"
        if on and name == "cdi":
            return "CDI devices are not supported"
    return ""


_CONTAINERD = _empty("there is no containerd: Sampan runs the OCI runtime itself")
_RT = only(0, why="real-time limits for the parent cgroup are not supported; containers have --cpu-rt-period")
_SWARM = "there is no Swarm"

TABLE: tuple[tuple[str, str, str, Refuse], ...] = (
    # flag, kind, key, what is refused
    ("api-cors-header", "string", "api-cors-header", _empty("Docker 28 has no CORS headers either")),
    (
        "authorization-plugin",
        "list",
        "authorization-plugins",
        _empty("authorization plugins are not supported, and to go on without one would let everybody in"),
    ),
    ("bridge-accept-fwmark", "string", "bridge-accept-fwmark", _empty("not supported")),
    ("cdi-spec-dir", "list", "cdi-spec-dirs", _empty("CDI devices are not supported")),
    ("containerd", "string", "containerd", _CONTAINERD),
    ("containerd-namespace", "string", "containerd-namespace", only("", "moby", why=_CONTAINERD("x"))),
    (
        "containerd-plugins-namespace",
        "string",
        "containerd-plugin-namespace",
        only("", "plugins.moby", why=_CONTAINERD("x")),
    ),
    ("cpu-rt-period", "int", "cpu-rt-period", _RT),
    ("cpu-rt-runtime", "int", "cpu-rt-runtime", _RT),
    ("cri-containerd", "bool", "cri-containerd", only(False, why=_CONTAINERD("x"))),
    ("default-gateway", "string", "default-gateway", _empty("the default bridge itself is the gateway")),
    ("default-gateway-v6", "string", "default-gateway-v6", _empty("the default bridge itself is the gateway")),
    ("exec-opt", "list", "exec-opts", _exec_options),
    ("experimental", "bool", "experimental", only(False, why="there are no experimental features")),
    ("firewall-backend", "string", "firewall-backend", only("", "nftables", why="the rules are nftables' own")),
    ("init-path", "string", "init-path", _empty("the init is catatonit")),
    ("ip-forward", "bool", "ip-forward", only(True, why="without forwarding no container reaches the network")),
    (
        "ip-forward-no-drop",
        "bool",
        "ip-forward-no-drop",
        only(True, why="the policy of the host's FORWARD chain is left alone"),
    ),
    (
        "ip6tables",
        "bool",
        "ip6tables",
        only(True, why="Sampan's rules are in a table of its own, which leaves those of others alone"),
    ),
    (
        "iptables",
        "bool",
        "iptables",
        only(True, why="Sampan's rules are in a table of its own, which leaves those of others alone"),
    ),
    ("live-restore", "bool", "live-restore", only(True, why="containers always outlive the daemon")),
    ("network-control-plane-mtu", "int", "network-control-plane-mtu", only(1500, why=_SWARM)),
    ("network-diagnostic-port", "int", "network-diagnostic-port", only(0, why="not supported")),
    ("node-generic-resource", "list", "node-generic-resources", _empty(_SWARM)),
    ("raw-logs", "bool", "raw-logs", only(True, False, why="")),  # no colours, and full times, either way
    ("rootless", "bool", "rootless", only(False, why="not supported")),
    ("selinux-enabled", "bool", "selinux-enabled", only(False, why="SELinux labels are not supported")),
    (
        "storage-driver",
        "string",
        "storage-driver",
        only("", "overlay2", "overlayfs", why="layers are mounted by overlayfs (overlay2)"),
    ),
    ("storage-opt", "list", "storage-opts", _storage_options),
    ("swarm-default-advertise-addr", "string", "swarm-default-advertise-addr", _empty(_SWARM)),
    ("swarm-raft-heartbeat-tick", "int", "swarm-raft-heartbeat-tick", only(0, why=_SWARM)),
    ("swarm-raft-election-tick", "int", "swarm-raft-election-tick", only(0, why=_SWARM)),
    # Published ports are reached on the loopback addresses either way, and no proxy process is there for it.
    ("userland-proxy", "bool", "userland-proxy", only(True, False, why="")),
    ("userland-proxy-path", "string", "userland-proxy-path", _empty("there is no proxy program")),
    ("userns-remap", "string", "userns-remap", _empty("user namespaces for all containers are not supported")),
)
