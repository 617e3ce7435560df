"""Seccomp profiles in OCI form: the default one, and custom ones in Docker's JSON format (`--security-opt seccomp=`).

A Docker profile is an OCI profile whose rules may depend on capabilities, architecture and kernel (`includes`,
`excludes`), and whose architectures may come from `archMap`. Unknown system calls are left to libseccomp, which skips
what it does not know."""

from __future__ import annotations

import errno
import functools
import os
import platform
from collections.abc import Collection
from typing import Any

import msgspec

from sampan.errors import SampanError
from sampan.runtime import seccomp_default as default

_ALLOW, _DENY = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

Profile = dict[str, Any]
"""`linux.seccomp` of the OCI runtime spec."""


def architecture() -> str:
    """This machine's, as Go and Docker name it (amd64, arm64…)."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


@functools.lru_cache(maxsize=32)
def default_profile(capabilities: frozenset[str], arch: str = "") -> Profile:
    """The default profile for a process with these capabilities (its bounding set, "CAP_…" names). Not to be
    changed."""
    arch = arch or architecture()
    names = [*default.ALWAYS, *default.TRACING, *default.BY_ARCHITECTURE.get(arch, ())]
    for capability, calls in default.BY_CAPABILITY:
        if capability in capabilities:
            names += calls
    # libseccomp copies all it has for each rule it takes: the many small rules cost least before the big one.
    rules = [_rule(["socket"], (0, default.SOCKET_FAMILIES_BELOW, "SCMP_CMP_LT"))]
    rules += [_rule(["socket"], (0, family, "SCMP_CMP_EQ")) for family in default.SOCKET_FAMILIES]
    rules += [_rule(["personality"], (0, value, "SCMP_CMP_EQ")) for value in default.PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        # s390 passes clone's flags second.
        index = 1 if arch == "s390x" else 0
        rules.append(_rule(["clone"], (index, default.CLONE_NAMESPACES, "SCMP_CMP_MASKED_EQ")))
        rules.append({"names": ["clone3"], "action": _DENY, "errnoRet": errno.ENOSYS})
    rules.append(_rule(list(dict.fromkeys(names))))
    return {
        "defaultAction": _DENY,
        "defaultErrnoRet": errno.EPERM,
        "architectures": list(default.ARCHITECTURES.get(arch, ())),
        "syscalls": rules,
    }


def _rule(names: list[str], *arguments: tuple[int, int, str]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": _ALLOW}
    if arguments:
        rule["args"] = [{"index": index, "value": value, "op": operator} for index, value, operator in arguments]
    return rule


class _Condition(msgspec.Struct, rename="camel"):
    caps: list[str] = msgspec.field(default_factory=list)
    arches: list[str] = msgspec.field(default_factory=list)
    min_kernel: str = ""


class _Argument(msgspec.Struct, rename="camel", omit_defaults=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Call(msgspec.Struct, rename="camel"):
    action: str
    name: str = ""
    names: list[str] = msgspec.field(default_factory=list)
    errno_ret: int | None = None
    args: list[_Argument] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _ArchMap(msgspec.Struct, rename="camel"):
    architecture: str
    sub_architectures: list[str] | None = None


class _DockerProfile(msgspec.Struct, rename="camel"):
    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    arch_map: list[_ArchMap] | None = None
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[_Call] | None = None


def load_profile(text: str, capabilities: Collection[str], arch: str = "", kernel: str = "") -> Profile | None:
    """A custom profile; None when it asks for nothing. Raises `SampanError` in Docker's words."""
    try:
        profile = msgspec.json.decode(text.encode(), type=_DockerProfile)
    except msgspec.DecodeError as error:
        raise SampanError(f"Decoding seccomp profile failed: {error}") from None
    calls = profile.syscalls or []
    if not profile.default_action and not calls:
        return None
    if profile.architectures and profile.arch_map:
        raise SampanError(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    arch = arch or architecture()
    wanted: Profile = {
        "defaultAction": profile.default_action,
        "defaultErrnoRet": profile.default_errno_ret,
        "architectures": profile.architectures or _mapped(profile.arch_map or [], arch),
        "flags": profile.flags,
        "listenerPath": profile.listener_path or None,
        "listenerMetadata": profile.listener_metadata or None,
        "syscalls": [
            _oci_call(call)
            for call in calls
            if _applies(call, frozenset(capabilities), arch, kernel or os.uname().release)
        ],
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _mapped(maps: list[_ArchMap], arch: str) -> list[str]:
    native = next(iter(default.ARCHITECTURES.get(arch, ())), "")
    for entry in maps:
        if entry.architecture == native:
            return [native, *(entry.sub_architectures or [])]
    return []


def _applies(call: _Call, capabilities: frozenset[str], arch: str, kernel: str) -> bool:
    if call.name and call.names:
        raise SampanError("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")
    without, only = call.excludes, call.includes
    if without is not None:
        if arch in without.arches or capabilities.intersection(without.caps):
            return False
        if without.min_kernel and _at_least(kernel, without.min_kernel):
            return False
    if only is not None:
        if only.arches and arch not in only.arches:
            return False
        if not capabilities.issuperset(only.caps):
            return False
        if only.min_kernel and not _at_least(kernel, only.min_kernel):
            return False
    return True


def _at_least(kernel: str, minimum: str) -> bool:
    return _version(kernel) >= _version(minimum)


def _version(text: str) -> tuple[int, int]:
    """Major and minor of "6.8.0-31-generic"."""
    try:
        major, minor = text.split("-")[0].split(".")[:2]
        return int(major), int(minor)
    except ValueError:
        raise SampanError(f'invalid kernel version in the seccomp profile: "{text}"') from None


def _oci_call(call: _Call) -> dict[str, Any]:
    found: dict[str, Any] = {"names": call.names or [call.name], "action": call.action}
    if call.errno_ret is not None:
        found["errnoRet"] = call.errno_ret
    if call.args:
        found["args"] = [msgspec.to_builtins(argument) for argument in call.args]
    return found
