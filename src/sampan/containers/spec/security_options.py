"""`--security-opt`, parsed as dockerd parses it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.errors import InvalidParameter

_TRUE, _FALSE = (
    frozenset({"1", "t", "T", "true", "TRUE", "True"}),
    frozenset({"0", "f", "F", "false", "FALSE", "False"}),
)


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """`seccomp` is "" (the default profile), "unconfined", or a profile's JSON. `apparmor` and `labels` are
    for hosts that have such a security module (`runtime.lsm`); on others they change nothing, as in Docker."""

    seccomp: str = ""
    no_new_privileges: bool = False
    apparmor: str = ""
    labels: tuple[str, ...] = ()
    writable_cgroups: bool = False


def parse(options: Iterable[str] | None) -> SecurityOptions:
    """Raises `InvalidParameter`."""
    seccomp, apparmor, labels = "", "", []
    no_new_privileges = writable_cgroups = False
    for option in options or ():
        if option == "no-new-privileges":
            no_new_privileges = True
            continue
        if option == "disable":
            labels.append("disable")
            continue
        name, value = _split(option)
        if name == "label":
            labels.append(value)
        elif name == "apparmor":
            apparmor = value
        elif name == "seccomp":
            seccomp = "" if value == "builtin" else value
        elif name == "no-new-privileges":
            no_new_privileges = _flag(option, value)
        elif name == "writable-cgroups":
            writable_cgroups = _flag(option, value)
        else:
            raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(seccomp, no_new_privileges, apparmor, tuple(labels), writable_cgroups)


def _split(option: str) -> tuple[str, str]:
    """ "=", or the ":" of old clients."""
    for separator in "=:":
        name, found, value = option.partition(separator)
        if found:
            return name, value
    raise InvalidParameter(f'invalid --security-opt 1: "{option}"')


def _flag(option: str, value: str) -> bool:
    if value in _TRUE | _FALSE:
        return value in _TRUE
    raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
