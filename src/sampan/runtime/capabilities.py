"""Capabilities: Docker's fourteen, `--cap-add`, `--cap-drop`, `ALL`. Never inheritable ones (CVE-2022-27649)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from sampan.errors import InvalidParameter

DEFAULT = tuple(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
)

_KNOWN = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
    MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""

KNOWN = tuple(f"CAP_{name}" for name in _KNOWN.split())
"""By number (include/uapi/linux/capability.h)."""


@functools.cache
def available() -> tuple[str, ...]:
    """What this daemon can give: its own bounding set, which an outer container or systemd may have cut."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return tuple(name for number, name in enumerate(KNOWN) if mask >> number & 1)
    return KNOWN


def check(add: Iterable[str] | None, drop: Iterable[str] | None) -> None:
    """Raises `InvalidParameter` in Docker's words for a name that does not exist or that this host cannot give."""
    for field, names in (("CapAdd", add), ("CapDrop", drop)):
        for name in _normal(names):
            if name == "ALL":
                continue
            if name not in KNOWN:
                raise InvalidParameter(f'invalid {field}: unknown capability: "{name}"')
            if name not in available():
                raise InvalidParameter(
                    f"invalid {field}: capability not supported by your kernel or not available in the current "
                    f'environment: "{name}"'
                )


def _normal(names: Iterable[str] | None) -> list[str]:
    found = []
    for name in names or ():
        upper = name.upper()
        found.append(upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}")
    return found


def effective(add: Sequence[str] | None, drop: Sequence[str] | None, privileged: bool = False) -> tuple[str, ...]:
    """The set a container gets (moby's TweakCapabilities)."""
    check(add, drop)
    if privileged:
        return available()
    added, dropped = _normal(add), _normal(drop)
    if "ALL" in added:
        kept = [name for name in available() if name not in dropped]
    elif "ALL" in dropped:
        kept = added
    else:
        kept = [name for name in DEFAULT if name not in dropped] + added
    # What the host cannot give of the default set is left out, as dockerd leaves it out.
    return tuple(name for name in dict.fromkeys(kept) if name in available())


def oci(names: Sequence[str]) -> dict[str, list[str]]:
    """`process.capabilities`. A process that is not root loses them at exec, since none is ambient."""
    return {"bounding": list(names), "effective": list(names), "permitted": list(names)}
