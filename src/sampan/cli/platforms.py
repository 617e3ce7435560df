"""`--platform os[/arch[/variant]]` in the spelling that containerd's platforms package gives it."""

from __future__ import annotations

import os

from .errors import CliError

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_SYSTEMS = frozenset(("linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "android", "aix", "js"))
_KNOWN = frozenset(
    ("386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm")
)


def normal(text: str) -> str:
    """ "ARM64" as "linux/arm64", "linux" with our own architecture; "" stays. `CliError` for what is none."""
    if not text:
        return ""
    parts = text.lower().split("/")
    if len(parts) > 3:
        raise _refused(f'"{text}": cannot parse platform specifier')
    for part, shown in zip(parts, text.split("/"), strict=True):
        if not part or not all(char.isascii() and (char.isalnum() or char in "_-.") for char in part):
            raise _refused(
                f'"{shown}" is an invalid component of "{text}": '
                'platform specifier component must match "^[A-Za-z0-9_.-]+$"'
            )
    if len(parts) == 1:
        if parts[0] in _SYSTEMS:
            return "/".join(filter(None, (parts[0], *_architecture(os.uname().machine, ""))))
        architecture, variant = _architecture(parts[0], "")
        if architecture not in _KNOWN:
            raise _refused(f'"{text}": unknown operating system or architecture')
        return "/".join(filter(None, ("linux", architecture, "" if variant == "v7" else variant)))
    if len(parts) == 2:
        architecture, variant = _architecture(parts[1], "")
        return "/".join(filter(None, (parts[0], architecture, "" if variant == "v7" else variant)))
    return "/".join(filter(None, (parts[0], *_architecture(parts[1], parts[2]))))


def _architecture(name: str, variant: str) -> tuple[str, str]:
    name, implied = _ARCHITECTURES.get(name, (name, ""))
    variant = variant or implied
    if name == "arm" and variant in ("", "7"):
        variant = "v7"
    elif name == "arm" and variant in ("5", "6", "8"):
        variant = f"v{variant}"
    elif (name, variant) in (("arm64", "8"), ("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return name, variant


def _refused(reason: str) -> CliError:
    return CliError(f"error parsing specified platform: {reason}: invalid argument")
