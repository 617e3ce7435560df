"""Platforms: `os/arch[/variant]` text, and which of several an image index offers fits best. Pure functions.

Order of preference as in containerd's `platforms.Only`: an ARM host takes its own variant, then lower ones; an amd64
host takes 386 last.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from sampan.errors import InvalidParameter
from sampan.images.model import Platform

_MACHINES = {
    "x86_64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "riscv64": ("riscv64", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le", ""),
}
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
}
_KNOWN = frozenset(name for name, _ in _MACHINES.values()) | {"ppc64", "mips", "mipsle", "mips64", "wasm"}
_SYSTEMS = frozenset(
    {"linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "aix", "wasip1", "plan9"}
)
_PART = re.compile(r"[A-Za-z0-9_.-]+")


@functools.cache
def host() -> Platform:
    """This machine's."""
    architecture, variant = _MACHINES.get(os.uname().machine, (os.uname().machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def runnable() -> list[Platform]:
    """What programs can be run here: this machine's own platform first, then those that an interpreter is registered
    for (binfmt_misc, as qemu-user-static and docker/binfmt register theirs)."""
    found = [host()]
    for machine, (architecture, variant) in _MACHINES.items():
        platform = Platform(os="linux", architecture=architecture, variant=variant)
        if platform not in found and Path(f"/proc/sys/fs/binfmt_misc/qemu-{machine}").exists():
            found.append(platform)
    return found


def normalize(platform: Platform) -> Platform:
    """Other people's spellings to Go's: x86_64 → amd64, arm64/v8 → arm64, arm → arm/v7."""
    architecture, variant = platform.architecture.lower(), platform.variant.lower()
    if architecture in _ARCHITECTURES:
        architecture, given = _ARCHITECTURES[architecture]
        variant = variant or given
    if architecture == "arm64" and variant in ("8", "v8"):
        variant = ""
    if architecture == "arm":
        variant = {"": "v7", "7": "v7", "6": "v6", "5": "v5", "8": "v8"}.get(variant, variant)
    if architecture == "amd64" and variant == "v1":
        variant = ""
    system = platform.os.lower()
    return Platform(
        os="darwin" if system == "macos" else system,
        architecture=architecture,
        variant=variant,
        os_version=platform.os_version,
        os_features=platform.os_features,
    )


def parse(text: str) -> Platform:
    """`linux/arm64/v8`, `linux`, `arm64`. Raises `InvalidParameter` as containerd words it."""
    parts = text.split("/")
    _check(text, parts)
    if len(parts) == 1:
        word = parts[0].lower()
        if word in _SYSTEMS:
            return Platform(os=word, architecture=host().architecture, variant=host().variant)
        guessed = normalize(Platform(os="linux", architecture=word))
        if guessed.architecture in _KNOWN:
            return guessed
        raise InvalidParameter(f'"{text}": unknown operating system or architecture: invalid argument')
    return normalize(Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else ""))


def _check(text: str, parts: list[str]) -> None:
    if not _PART.fullmatch(parts[0]):
        raise InvalidParameter(
            f'"{parts[0]}" is an invalid OS component of "{text}": OSAndVersion specifier component must '
            'match "^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$": invalid argument'
        )
    for part in parts[1:]:
        if not _PART.fullmatch(part):
            raise InvalidParameter(
                f'"{part}" is an invalid component of "{text}": platform specifier component must '
                'match "^[A-Za-z0-9_.-]+$": invalid argument'
            )
    if len(parts) > 3:
        raise InvalidParameter(f'"{text}": cannot parse platform specifier: invalid argument')


def text(platform: Platform) -> str:
    """`os/arch[/variant]`."""
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)


def described(platform: Platform) -> str:
    """As Docker shows it in messages: arm64 with its v8."""
    shown = text(platform)
    return f"{shown}/v8" if platform.architecture == "arm64" and not platform.variant else shown


def _number(variant: str) -> int:
    digits = variant.removeprefix("v")
    return int(digits) if digits.isdigit() else 0


def acceptable(wanted: Platform) -> list[Platform]:
    """What fits `wanted`, best first."""
    wanted = normalize(wanted)
    system, architecture = wanted.os, wanted.architecture
    fits = [Platform(os=system, architecture=architecture, variant=wanted.variant)]

    def lower(arch: str, top: int, bottom: int) -> list[Platform]:
        variants = [
            normalize(Platform(os=system, architecture=arch, variant=f"v{n}")) for n in range(top, bottom - 1, -1)
        ]
        return [Platform(os=system, architecture=p.architecture, variant=p.variant) for p in variants]

    if architecture == "amd64":
        fits += lower("amd64", _number(wanted.variant) - 1, 1)
        fits.append(Platform(os=system, architecture="386"))
    elif architecture == "arm":
        fits += lower("arm", _number(wanted.variant) - 1, 5)
    elif architecture == "arm64":
        if _number(wanted.variant) > 8:
            fits += lower("arm64", _number(wanted.variant) - 1, 8)
        fits += lower("arm", 8, 5)
    return fits


def choose(offered: Sequence[Platform | None], wanted: Platform) -> int | None:
    """Index of the best of `offered`; None when nothing fits. Equal ones: the first."""
    plain = [
        None if p is None else Platform(os=n.os, architecture=n.architecture, variant=n.variant)
        for p in offered
        for n in (normalize(p) if p is not None else Platform(),)
    ]
    for candidate in acceptable(wanted):
        if candidate in plain:
            return plain.index(candidate)
    return None


def matches(actual: Platform, wanted: Platform) -> bool:
    """Would an image of `actual` do for someone who asked for `wanted`?"""
    return choose([actual], wanted) == 0
