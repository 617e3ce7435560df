"""Seccomp profiles compiled once, for crun.

Compiling the default profile takes libseccomp 10 ms alone and 25 ms inside a runtime, at every start: more than all
else that starting a container does. crun takes a ready filter in the annotation `run.oci.seccomp_bpf_data` (crun(1);
since 1.2) and then does not compile the profile, which stays in the spec. The library is the one that crun itself is
linked with."""

from __future__ import annotations

import base64
import ctypes
import errno
import functools
import os
from typing import Any

import msgspec

ANNOTATION = "run.oci.seccomp_bpf_data"

# include/seccomp.h
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_OPERATORS = {
    f"SCMP_CMP_{name}": number for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), start=1)
}
_UNKNOWN_SYSCALL = -1


class _Compare(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Compare)),
    ]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    return library


_compiled: dict[bytes, str] = {}


def ready(profile: dict[str, Any]) -> str | None:
    """The annotation's value if it was compiled before."""
    return _compiled.get(msgspec.json.encode(profile))


def annotation(profile: dict[str, Any]) -> str:
    """The annotation's value: base64 of the filter. Blocks for 10 ms the first time. "" for a profile that is left to
    crun."""
    key = msgspec.json.encode(profile)
    if key not in _compiled:
        if len(_compiled) >= 64:
            _compiled.clear()
        program = compile(profile)
        _compiled[key] = base64.b64encode(program).decode() if program else ""
    return _compiled[key]


def compile(profile: dict[str, Any]) -> bytes | None:
    """The filter as `struct sock_filter`s; None for what is left to crun: no libseccomp, notifications, unknown
    words."""
    library = _library()
    default = _action(profile.get("defaultAction", ""), profile.get("defaultErrnoRet"))
    if library is None or default is None or profile.get("listenerPath"):
        return None
    context = library.seccomp_init(default)
    if not context:
        return None
    try:
        for name in profile.get("architectures") or ():
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            if not token or library.seccomp_arch_add(context, token) not in (0, -errno.EEXIST):
                return None
        for rule in profile.get("syscalls") or ():
            if not _add(library, context, rule, default):
                return None
        descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            if library.seccomp_export_bpf(context, descriptor):
                return None
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)
    finally:
        library.seccomp_release(context)


def _action(name: str, number: int | None) -> int | None:
    action = _ACTIONS.get(name)
    if action is not None and name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return action | ((errno.EPERM if number is None else number) & 0xFFFF)
    return action


def _add(library: ctypes.CDLL, context: int, rule: dict[str, Any], default: int) -> bool:
    action = _action(rule["action"], rule.get("errnoRet"))
    if action is None:
        return False
    if action == default:  # libseccomp refuses what changes nothing
        return True
    conditions = rule.get("args") or []
    if any(condition["op"] not in _OPERATORS for condition in conditions):
        return False
    # libseccomp takes one condition an argument; more are alternatives, as runc and crun have it.
    indexes = [condition["index"] for condition in conditions]
    groups = [conditions] if len(set(indexes)) == len(indexes) else [[condition] for condition in conditions]
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            continue
        for group in groups:
            compares = (_Compare * max(1, len(group)))(*map(_compare, group))
            result = library.seccomp_rule_add_array(context, action, number, len(group), compares)
            if result not in (0, -errno.EEXIST, -errno.EDOM):
                return False
    return True


def _compare(condition: dict[str, Any]) -> _Compare:
    return _Compare(condition["index"], _OPERATORS[condition["op"]], condition["value"], condition.get("valueTwo", 0))
