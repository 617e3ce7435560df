"""`--security-opt`, parsed as dockerd parses it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sampan.errors import InvalidParameter
from sampan.settings import Settings

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


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the daemon's settings give containers that do not say otherwise. `seccomp` as in `SecurityOptions`."""

    seccomp: str = ""
    no_new_privileges: bool = False
    init: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Defaults:
        """Reads the profile at each use, as dockerd does at its start. Raises `InvalidParameter`."""
        profile = settings.seccomp_profile
        if profile not in ("", "builtin", "unconfined"):
            try:
                profile = Path(profile).read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidParameter(f"opening seccomp profile ({profile}) failed: {error}") from None
        return cls("" if profile == "builtin" else profile, settings.no_new_privileges, settings.init)


def parse(
    options: Iterable[str] | None, defaults: Defaults | None = None, *, privileged: bool = False
) -> SecurityOptions:
    """`privileged`: the daemon's own profile is not for it. Raises `InvalidParameter`."""
    defaults = defaults or Defaults()
    seccomp, apparmor, labels = "" if privileged else defaults.seccomp, "", []
    no_new_privileges, writable_cgroups = defaults.no_new_privileges, False
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
